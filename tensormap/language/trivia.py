"""Where comments and blank lines belong: before a statement, at its end, or before a closing brace.

A comment inside a statement that runs over several lines moves before it; one behind an opening brace moves below it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from tensormap.language.syntax import ConfigLine, SideLine, Statement, Trivia

T = TypeVar("T", bound=Statement | SideLine | ConfigLine)


class Comments:
    """The comments of one text, each handed out once.

    `places` are their starts and ends, in order. Bodies settle theirs from the inside out, so what a body left inside one of
    its statements stands between that statement's words.
    """

    def __init__(self, text: str, places: Sequence[tuple[int, int]]) -> None:
        self._text = text
        self._starts = [start for start, _ in places]
        self._ends = [end for _, end in places]
        self._free = [True] * len(self._starts)

    def settle(self, statements: Sequence[T], start: int, end: int) -> tuple[tuple[T, ...], Trivia]:
        """Give the comments between `start` and `end` to `statements`; return these, and what stands behind the last."""
        settled: list[T] = []
        place = start
        for each in statements:
            before = self._gap(place, each.span.start)
            if not settled and before[:1] == [None]:
                del before[0]
            before += [text for text in self._gap(each.span.start, each.span.end) if text is not None]
            after, place = self._behind(each.span.end, end)
            settled.append(replace(each, trivia=Trivia(tuple(before), after)) if before or after is not None else each)
        closing = self._gap(place, end)
        if not settled and closing[:1] == [None]:
            del closing[0]
        while closing and closing[-1] is None:
            closing.pop()
        return tuple(settled), Trivia(tuple(closing))

    def _gap(self, start: int, end: int) -> list[str | None]:
        """Take the comments from `start` to `end`, with `None` for blank lines around them."""
        found: list[str | None] = []
        place = start
        index = bisect_left(self._starts, start)
        while index < len(self._starts) and self._starts[index] < end:
            if self._free[index]:
                if self._text.count("\n", place, self._starts[index]) > 1:
                    found.append(None)
                found.append(self._take(index))
                place = self._ends[index]
            index += 1
        if self._text.count("\n", place, end) > 1:
            found.append(None)
        return found

    def _behind(self, start: int, end: int) -> tuple[str | None, int]:
        """Take the comment on the line of `start`, if any; return it, and where it ends."""
        index = bisect_left(self._starts, start)
        if index < len(self._starts) and self._starts[index] < end and self._free[index]:
            between = self._text[start : self._starts[index]]
            if not between.strip(" \t"):
                return self._take(index), self._ends[index]
        return None, start

    def _take(self, index: int) -> str:
        self._free[index] = False
        return self._text[self._starts[index] + 1 : self._ends[index]].rstrip()
