"""Findings about a mapping or a checkpoint: what is wrong, where, and what it disagrees with.

Knows text and positions only; how a finding looks on a terminal is `render`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]

MARK = "\ufdd0"
"""What a name carries that an included file has for itself, with a number behind it: it tells the name from those of other files.
It can stand in no name of a mapping file, and no message shows it.
"""
_MARKED = re.compile(MARK + "[0-9]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A text with the name that messages call it by, usually a file's path."""

    name: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Span:
    """The characters `start` to `end` (exclusive) of a source."""

    source: Source = field(repr=False)
    start: int
    end: int

    def to(self, other: Span) -> Span:
        """Return the span from the start of this one to the end of `other`."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Label:
    """What is seen at one place. An empty text only underlines."""

    span: Span
    text: str = ""
    primary: bool = True


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: a stable slug, one sentence, the places, and facts that were used."""

    slug: str
    message: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    severity: Severity = "error"


def unmarked(text: str) -> str:
    """Return a text with names as they are written in their files."""
    return _MARKED.sub("", text) if MARK in text else text


def as_written(found: Diagnostic) -> Diagnostic:
    """Return a finding with names as they are written in their files."""
    texts = (found.message, *found.notes, *found.help, *(each.text for each in found.labels))
    if not any(MARK in each for each in texts):
        return found
    return replace(
        found,
        message=unmarked(found.message),
        labels=tuple(replace(each, text=unmarked(each.text)) for each in found.labels),
        notes=tuple(map(unmarked, found.notes)),
        help=tuple(map(unmarked, found.help)),
    )


class TensormapError(Exception):
    """The base of every error that tensormap raises about its input; holds all findings of a stage."""

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic]) -> None:
        found = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        self.diagnostics: tuple[Diagnostic, ...] = tuple(map(as_written, found))
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        from tensormap.render import render

        return "\n\n".join(render(each) for each in self.diagnostics)


class MappingError(TensormapError):
    """The mapping file, or the way it was asked to be used, is at fault (exit code 2)."""


class CheckpointError(TensormapError):
    """The checkpoint or its config is at fault, or does not fit the mapping (exit code 3)."""


class BusyError(TensormapError):
    """Another run holds the target, or an interrupted run left work to resume (exit code 5)."""
