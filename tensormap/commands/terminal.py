"""What is written to stdout and stderr, and whether in colour."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from typing import Any, TextIO

from tensormap.diagnostics import Diagnostic

MOST = 50
"""Findings shown at most; `--json` gives all."""


def open_streams() -> None:
    """Open on nothing what the caller has closed of stdin, stdout and stderr. Otherwise a file that is written gets the number of
    one of them, and with it whatever a library says. Characters that a stream's encoding does not have are escaped.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def out_text(text: str) -> None:
    """Write a text that is read again to stdout: as UTF-8, whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())


def out(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(f"{text}\n")


def out_json(value: Any) -> None:
    """Write a result to stdout for a program to read."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def err(text: str) -> None:
    """Write to stderr what is no result."""
    sys.stderr.write(f"{text}\n")


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a stream shows what is drawn on it."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_color(stream: TextIO) -> bool:
    """Tell whether a stream shows colours that the user wants (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def show(findings: Sequence[Diagnostic]) -> None:
    """Write findings to stderr."""
    from tensormap.render import render

    if not findings:
        return
    width = shutil.get_terminal_size().columns if is_terminal(sys.stderr) else None
    color = has_color(sys.stderr)
    err("\n\n".join(render(each, color=color, width=width) for each in findings[:MOST]))
    if len(findings) > MOST:
        err(f"\nand {len(findings) - MOST} more findings; `--json` gives all of them")


def as_json(findings: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """Return findings as plain data."""
    from tensormap.render import render_json

    return [render_json(each) for each in findings]


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Return rows with their columns aligned, two blanks apart."""
    if not rows:
        return []
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]) - 1)]
    return [
        indent + "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
