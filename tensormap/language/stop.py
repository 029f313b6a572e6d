"""Where reading stopped: the words so far, the one that does not fit, and what would."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tensormap.diagnostics import Source, Span

LINE_END = "_NL"
TEXT_END = "$END"
_PUNCTUATION = re.compile(r'[^\s\w"(){}\[\],]{1,3}|.', re.DOTALL)
_BRACKETS = {"LPAR": "RPAR", "LSQB": "RSQB"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text; `kind` is its name in the grammar, empty for characters that the grammar does not know."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Stop:
    """A failed reading of `text`, which stands `offset` characters into `source`."""

    source: Source
    offset: int
    text: str
    part: Literal["start", "hole", "expression"]
    words: tuple[Word, ...]
    found: Word
    expected: frozenset[str]

    def span(self, start: int, end: int) -> Span:
        """Return the place of the text's characters `start` to `end`, without the newline put behind the source."""
        last = len(self.source.text)
        return Span(self.source, min(self.offset + start, last), min(self.offset + end, last))

    @property
    def statement(self) -> tuple[Word, ...]:
        """The words before the stop that belong to the same statement."""
        for place in range(len(self.words) - 1, -1, -1):
            if self.words[place].kind in (LINE_END, "LBRACE", "RBRACE"):
                return self.words[place + 1 :]
        return self.words

    @property
    def previous(self) -> Word | None:
        """The word of the same statement just before the stop."""
        return self.statement[-1] if self.statement else None

    @property
    def ends_line(self) -> bool:
        """Whether what stopped the reading is not on the line of the word before it."""
        if self.found.kind in (LINE_END, TEXT_END):
            return True
        return (
            self.part == "start"
            and self.previous is not None
            and "\n" in self.text[self.previous.end : self.found.start]
        )

    @property
    def body(self) -> str:
        """The kind of body around the stop: `config`, `side`, or `file`."""
        opened: list[str] = []
        for place, word in enumerate(self.words):
            if word.kind == "LBRACE":
                before = [each.kind for each in self.words[max(0, place - 2) : place]]
                opened.append("config" if before[-1:] == ["CONFIG"] else "side" if before[:1] == ["SIDE"] else "file")
            elif word.kind == "RBRACE" and opened:
                opened.pop()
        return opened[-1] if opened else "file"

    @property
    def level(self) -> tuple[Word, ...]:
        """The words of the statement that stand inside the same brackets as the stop; the opening bracket first."""
        levels: list[list[Word]] = [[]]
        for word in self.statement:
            if word.kind in _BRACKETS:
                levels.append([word])
            elif word.kind in _BRACKETS.values() and len(levels) > 1:
                levels.pop()
                levels[-1].append(word)
            else:
                levels[-1].append(word)
        return tuple(levels[-1])


def unknown(text: str, place: int) -> Word:
    """Return the characters at `place`, of which the grammar knows none, as a word."""
    found = _PUNCTUATION.match(text, place)
    end = place if found is None else found.end()
    return Word("", text[place:end], place, end)


def without_statement(stop: Stop) -> str | None:
    """Return the text with the statement around the stop blanked, so that reading it finds what comes after.

    A statement that opens a body keeps a body of its kind. None where the braces leave no way to do that.
    """
    words = stop.statement
    start = words[0].start if words else stop.found.start
    last = words[-1] if words and stop.ends_line else stop.found
    end = _line_end(stop.text, max(start, last.start))
    while (following := _continuation(stop.text, end)) is not None:
        end = following
    blanked = stop.text[start:end]
    bare = re.sub(r'"[^"\n]*"|#[^\n]*', lambda found: " " * len(found[0]), blanked)
    depth = bare.count("{") - bare.count("}")
    if not bare.strip() or bare.lstrip().startswith("}") or bare.count("(") != bare.count(")"):
        return None
    stand_in = ""
    if depth == 1 and bare.rstrip().endswith("{"):
        stand_in = (
            "config {" if re.match(r"config\b", bare) else "side _ {" if re.match(r"side\b", bare) else "when _ {"
        )
        if re.match(r"else\b", bare):
            stand_in = "else {"
    elif depth != 0:
        return None
    if len(stand_in) > len(blanked):
        return None
    blank = "".join(each if each == "\n" else " " for each in blanked[len(stand_in) :])
    return stop.text[:start] + stand_in + blank + stop.text[end:]


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _continuation(text: str, end: int) -> int | None:
    """Return the end of the next line if it continues the one that ends at `end`."""
    match = re.compile(r"(?:[ \t\r\n]|#[^\n]*\n)*(?:<->|->|<-|,)").match(text, end)
    return _line_end(text, match.end()) if match else None
