"""Text as a name template: literal text and holes, with the places of both.

The parser hands in how a hole's inside is parsed; a hole that is a single name or number is read here, without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from tensormap.diagnostics import Diagnostic, Label, Source, Span
from tensormap.language.syntax import Hole, Integer, Name, Template

MAX_NAME = 4096
MAX_HOLE = 256

_SIMPLE = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*|0|[1-9][0-9]{0,17})[ \t]*(?::0([1-9])[ \t]*)?\Z")
_PIECE = re.compile(r"\{([^{}]*)\}|[^{}]+|[{}]")

ReadHole = Callable[[str, int], tuple[Hole | None, list[Diagnostic]]]


class Templates:
    """Reads the templates of one source; findings are collected."""

    def __init__(self, source: Source, read_hole: ReadHole) -> None:
        self.source = source
        self.found: list[Diagnostic] = []
        self._read_hole = read_hole

    def read(self, text: str, span: Span, skip: int, *, quoted: bool) -> Template:
        """Read `text`, which begins `skip` characters into `span`."""
        if len(text) > MAX_NAME:
            self._refuse("too-long", f"a name holds at most {MAX_NAME} characters", span)
            return Template((text[:16],), quoted, span)
        if "{" not in text and "}" not in text:
            return Template((text,) if text else (), quoted, span)
        parts = tuple(self._parts(text, span.start + skip))
        for before, after in pairwise(parts):
            self._check_border(before, after)
        return Template(parts, quoted, span)

    def _refuse(self, slug: str, message: str, span: Span, seen: str = "", *help: str) -> None:
        self.found.append(Diagnostic(slug, message, (Label(span, seen),), help=help))

    def _parts(self, text: str, base: int) -> Iterator[str | Hole]:
        for piece in _PIECE.finditer(text):
            span = Span(self.source, base + piece.start(), base + piece.end())
            if piece[1] is not None:
                yield self._hole(piece[1], span)
            elif piece[0] in "{}":
                self._refuse("unclosed", "a brace in a name begins or ends a hole, and this one has no partner", span)
            else:
                yield piece[0]

    def _hole(self, inside: str, span: Span) -> Hole:
        if simple := _SIMPLE.match(inside):
            word = simple[1]
            place = Span(self.source, span.start + 1 + simple.start(1), span.start + 1 + simple.end(1))
            value = Integer(int(word), place) if word.isdigit() else Name(word, place)
            return Hole(value, int(simple[2] or 0), span)
        if not inside.strip():
            self._refuse("syntax", "this hole is empty", span, "", "write an index into it, as in `{i}`")
        elif len(inside) > MAX_HOLE:
            self._refuse("too-long", f"a hole holds at most {MAX_HOLE} characters", span)
        else:
            hole, found = self._read_hole(inside, span.start + 1)
            self.found += found
            if hole is not None:
                return Hole(hole.expression, hole.width, span)
        return Hole(Integer(0, span), 0, span)

    def _check_border(self, before: str | Hole, after: str | Hole) -> None:
        """Refuse a hole whose end cannot be told: beside a digit or another hole, unless padded."""
        if isinstance(before, Hole) and isinstance(after, Hole):
            if not (before.width and after.width):
                labels = (Label(after.span, "this hole"), Label(before.span, "follows this one at once", primary=False))
                message = "two holes side by side cannot be told apart"
                help = "pad both, as in `{i:02}{j:02}`, or number pairs in one hole, as in `{(i j)}`"
                self.found.append(Diagnostic("adjacent-holes", message, labels, help=(help,)))
        elif isinstance(before, Hole) and isinstance(after, str):
            self._check_digit(before, after[0])
        elif isinstance(before, str) and isinstance(after, Hole):
            self._check_digit(after, before[-1])

    def _check_digit(self, hole: Hole, beside: str) -> None:
        if not hole.width and beside.isdigit():
            message = f"a hole beside the digit `{beside}` cannot be told from it"
            self._refuse("adjacent-holes", message, hole.span, "", "pad it, as in `{i:02}`")
