"""Findings as text with carets, and as JSON.

Knows nothing of what a finding means. Every character that a terminal could obey is escaped: names come from files.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from tensormap.diagnostics import Diagnostic, Label, Source

MAX_WIDTH = 140
"""Columns of source shown where no width is asked for; longer lines are clipped around their labels."""

_TAB = 4
_NEAR = 1000  # characters to each side of a mark that are looked at in a line without end
_CUT = "..."
_MIN_WIDTH = 24
_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "secondary": "\x1b[1;34m",
    "frame": "\x1b[1;34m",
    "bold": "\x1b[1m",
}


def render(diagnostic: Diagnostic, *, color: bool = False, width: int | None = None) -> str:
    """Return a finding as text, at most about `width` columns wide where it shows source, without a newline at its end.

    >>> print(render(Diagnostic("axis-unknown", "no axis is called `f`", notes=("there are `e` and `v`",))))
    error[axis-unknown]: no axis is called `f`
      = note: there are `e` and `v`
    """
    paint = _Paint(color, diagnostic.severity)
    head = paint(diagnostic.severity, f"{diagnostic.severity}[{diagnostic.slug}]")
    message = "\n".join(_lines_of(diagnostic.message))
    lines = [head + paint("bold", f": {message}")]
    excerpts = _excerpts(diagnostic.labels)
    gutter = max((len(str(number + 1)) for each in excerpts for number in each.numbers), default=1)
    for order, excerpt in enumerate(excerpts):
        room = max(_MIN_WIDTH, (MAX_WIDTH if width is None else width) - gutter - 3)
        lines += _show(excerpt, "-->" if order == 0 else ":::", gutter, room, paint)
    closing = [("note", each) for each in diagnostic.notes] + [("help", each) for each in diagnostic.help]
    if excerpts and closing:
        lines.append(paint("frame", " " * gutter + " |"))
    for kind, text in closing:
        first, *rest = _lines_of(text)
        lines.append(f"{' ' * gutter} {paint('frame', '=')} {paint('bold', f'{kind}:')} {first}")
        lines += [" " * (gutter + 9) + each for each in rest]
    return "\n".join(lines)


def render_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return a finding as plain data; lines and columns count from 1, columns in characters."""
    return {
        "severity": diagnostic.severity,
        "slug": diagnostic.slug,
        "message": diagnostic.message,
        "labels": [
            {
                "source": label.span.source.name,
                "start": _position(label.span.source, label.span.start),
                "end": _position(label.span.source, label.span.end),
                "text": label.text,
                "primary": label.primary,
            }
            for label in diagnostic.labels
        ],
        "notes": list(diagnostic.notes),
        "help": list(diagnostic.help),
    }


def _position(source: Source, place: int) -> dict[str, int]:
    line, column = _locate(source, place)
    return {"line": line + 1, "column": column + 1}


# --- places


@lru_cache(maxsize=8)
def _starts(text: str) -> list[int]:
    """Return where each line starts."""
    starts = [0]
    place = text.find("\n")
    while place >= 0:
        starts.append(place + 1)
        place = text.find("\n", place + 1)
    return starts


def _locate(source: Source, place: int) -> tuple[int, int]:
    """Return the line and column of a character, both from 0."""
    place = max(0, min(place, len(source.text)))
    starts = _starts(source.text)
    line = bisect_right(starts, place) - 1
    return line, place - starts[line]


def _line(source: Source, number: int) -> str:
    starts = _starts(source.text)
    end = starts[number + 1] - 1 if number + 1 < len(starts) else len(source.text)
    return source.text[starts[number] : end].removesuffix("\r")


@dataclass(frozen=True, slots=True)
class _Mark:
    """An underline of columns `start` to `end` of one line, and what it says."""

    line: int
    start: int
    end: int
    text: str
    primary: bool


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """The marks in one source; `line` and `column` are the place that its heading names."""

    source: Source
    line: int
    column: int
    marks: tuple[_Mark, ...]

    @property
    def numbers(self) -> list[int]:
        """The lines shown: those with marks, and single lines between them."""
        marked = sorted({mark.line for mark in self.marks})
        return sorted({*marked, *(a + 1 for a, b in pairwise(marked) if b == a + 2)})


def _excerpts(labels: Sequence[Label]) -> list[_Excerpt]:
    """Sort labels by source, that of the first primary label first."""
    ordered = sorted(labels, key=lambda each: not each.primary)
    sources: list[Source] = []
    for label in ordered:
        if not any(label.span.source is each or label.span.source == each for each in sources):
            sources.append(label.span.source)
    found = []
    for source in sources:
        mine = [each for each in ordered if each.span.source is source or each.span.source == source]
        line, column = _locate(source, mine[0].span.start)
        marks = sorted(
            (mark for each in mine for mark in _marks(each)), key=lambda each: (each.line, each.start, each.end)
        )
        found.append(_Excerpt(source, line, column, tuple(marks)))
    return found


def _marks(label: Label) -> Iterator[_Mark]:
    """Underline a label's characters; of several lines the first and the last."""
    source = label.span.source
    line, start = _locate(source, label.span.start)
    last, end = _locate(source, max(label.span.start, label.span.end))
    if last > line and end == 0:
        last -= 1
        end = len(_line(source, last))
    if last == line:
        yield _Mark(line, start, max(start + 1, end), label.text, label.primary)
        return
    yield _Mark(line, start, max(start + 1, len(_line(source, line))), "", label.primary)
    text = _line(source, last)
    indent = len(text) - len(text.lstrip())
    yield _Mark(last, min(indent, max(0, end - 1)), max(end, 1), label.text, label.primary)


# --- text


@dataclass(frozen=True, slots=True)
class _Paint:
    """Colours text, or leaves it."""

    color: bool
    severity: str

    def __call__(self, style: str, text: str) -> str:
        return f"{_STYLES[style]}{text}\x1b[0m" if self.color else text


def _show(excerpt: _Excerpt, arrow: str, gutter: int, room: int, paint: _Paint) -> Iterator[str]:
    """Show the lines of one source with their marks."""
    place = f"{_escape(excerpt.source.name)}:{excerpt.line + 1}:{excerpt.column + 1}"
    yield f"{' ' * gutter}{paint('frame', arrow)} {place}"
    bar = paint("frame", " " * gutter + " |")
    yield bar
    before: int | None = None
    for number in excerpt.numbers:
        if before is not None and number > before + 1:
            yield paint("frame", _CUT)
        before = number
        marks = [mark for mark in excerpt.marks if mark.line == number]
        text, rows = _underline(_line(excerpt.source, number), marks, room)
        yield f"{paint('frame', f'{number + 1:>{gutter}} |')} {text}".rstrip()
        for mark, (blank, length) in zip(marks, rows, strict=True):
            said = " ".join(_lines_of(mark.text))
            line = ("^" if mark.primary else "-") * length + (f" {said}" if said else "")
            yield f"{bar} {' ' * blank}{paint(paint.severity if mark.primary else 'secondary', line)}"


def _underline(line: str, marks: Sequence[_Mark], room: int) -> tuple[str, list[tuple[int, int]]]:
    """Return a line as shown, clipped to `room` columns, and for each mark where its underline begins and how long it is."""
    if len(line) > 4 * _NEAR and marks:
        return _underline_near(line, marks, room)
    cells = [_cell(each) for each in line]
    columns = [0]
    for cell in cells:
        columns.append(columns[-1] + _columns(cell))
    total = columns[-1]

    def column(place: int) -> int:
        return columns[place] if place < len(columns) else total + place - len(line)

    first, last = 0, len(cells)
    left = right = ""
    if total > room and marks:
        first, last = _window(columns, marks, room - 2 * len(_CUT))
        left = _CUT if first > 0 else ""
        right = _CUT if last < len(cells) else ""
    elif total > room:
        last = max(1, bisect_right(columns, room - len(_CUT)) - 1)
        right = _CUT
    shift = len(left) - columns[first]
    edge = columns[last] + shift
    rows = []
    for mark in marks:
        start = max(len(left), min(column(mark.start) + shift, edge))
        end = min(column(mark.end) + shift, edge + (1 if last == len(cells) else 0))
        rows.append((start, max(1, end - start)))
    return left + "".join(cells[first:last]) + right, rows


def _underline_near(line: str, marks: Sequence[_Mark], room: int) -> tuple[str, list[tuple[int, int]]]:
    """Underline a line that is longer than any screen: only what is near the primary mark is looked at."""
    chosen = next((mark for mark in marks if mark.primary), marks[0])
    cut = max(0, min(chosen.start, len(line)) - _NEAR)
    piece = line[cut : cut + 2 * _NEAR]
    moved = [
        replace(mark, start=min(max(0, mark.start - cut), len(piece)), end=min(max(1, mark.end - cut), len(piece) + 1))
        for mark in marks
    ]
    text, rows = _underline(piece, moved, room)
    left = _CUT if cut and not text.startswith(_CUT) else ""
    right = _CUT if cut + len(piece) < len(line) and not text.endswith(_CUT) else ""
    return left + text + right, [(blank + len(left), length) for blank, length in rows]


def _window(columns: Sequence[int], marks: Sequence[_Mark], room: int) -> tuple[int, int]:
    """Choose the characters to show, so that the primary mark's start and as many others as fit are seen."""
    chosen = next((mark for mark in marks if mark.primary), marks[0])
    count = len(columns) - 1
    start = end = min(chosen.start, count)
    for mark in sorted(marks, key=lambda each: (not each.primary, abs(each.start - chosen.start))):
        low, high = min(start, mark.start, count), max(end, min(mark.end, count))
        if columns[high] - columns[low] <= room:
            start, end = low, high
    before = (room - (columns[end] - columns[start])) // 2
    if start == end < min(chosen.end, count):  # longer than there is room: show where it begins
        before = room // 4
    low = max(0, columns[start] - before)
    low = max(0, min(low, columns[count] - room))
    first = min(start, bisect_right(columns, low - 1) if low else 0)
    last = max(first + 1, bisect_right(columns, columns[first] + room) - 1)
    return first, min(last, count)


def _lines_of(text: str) -> list[str]:
    """Split a text that may hold newlines, and escape its lines."""
    return [_escape(each) for each in text.split("\n")]


def _escape(text: str) -> str:
    return text if text.isascii() and text.isprintable() else "".join(map(_cell, text))


def _cell(character: str) -> str:
    """Return how a character is shown."""
    if character == "\t":
        return " " * _TAB
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


def _columns(cell: str) -> int:
    """Return how many columns of a terminal a shown character takes."""
    if cell.isascii():
        return len(cell)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in cell
    )
