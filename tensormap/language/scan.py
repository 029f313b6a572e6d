"""The pass before the parser: refuse characters, sizes and brackets that would only confuse it.

Knows comments, strings and brackets, and nothing else of the language. What passes is small enough to parse, nests no deeper
than `MAX_DEPTH`, and has every bracket closed.
"""

from __future__ import annotations

import re

from tensormap.diagnostics import Diagnostic, Label, MappingError, Source, Span

MAX_BYTES = 1 << 20
MAX_WORDS = 40_000
MAX_DEPTH = 64
"""Brackets, parentheses and braces inside one another."""

_MAX_FINDINGS = 10
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\ud800-\udfff]"
    "|\r(?!\n)"
)
_WORD = re.compile(r'#[^\n]*|"[^"\n]*"|[\w.~]+|<?->|<-|[^\s\w.~"#]|"')
_TOKEN = re.compile(r'#[^\n]*|"[^"\n]*"?|[(){}\[\]]|<?->|\n')
_DECLARATION = re.compile(r"^[ \t]*(?:let|require|index|param|mapping|side|use|extern)[ \t]+[\w\"(]", re.MULTILINE)
_CLOSER = {"(": ")", "[": "]", "{": "}"}
_BEFORE_HOLE = re.compile(r"(?:[A-Za-z0-9_.~$}]|(?:^|\n|->|<-|,)[ \t]*)\Z")


def scan(source: Source) -> None:
    """Check size, characters and brackets of `source`; raise `MappingError` at what is wrong."""
    scan_characters(source)
    words(source)
    _match_brackets(source)


def words(source: Source) -> int:
    """Count the words of a text, comments left out and those in quotes included; `MappingError` for too many."""
    count = 0
    for found in _WORD.finditer(source.text):
        text = found[0]
        if text[0] == "#":
            continue
        count += 1 if text[0] != '"' else 1 + len(_WORD.findall(text[1:-1]))
        if count > MAX_WORDS:
            label = _at(source, found.start(), found.end())
            raise MappingError(Diagnostic("too-long", f"a mapping file holds at most {MAX_WORDS} words", (label,)))
    return count


def scan_characters(source: Source) -> None:
    """Check size and characters alone: of a name, brackets are letters like others."""
    text = source.text
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise MappingError(
            Diagnostic("too-long", f"a mapping file holds at most {MAX_BYTES} bytes", (_at(source, 0, 0),))
        )
    if bad := [_refuse(source, found) for found in _take(_FORBIDDEN, text)]:
        raise MappingError(bad)


def _take(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Return the first matches, as many as are worth a report."""
    found = []
    for each in pattern.finditer(text):
        found.append(each)
        if len(found) == _MAX_FINDINGS:
            break
    return found


def _at(source: Source, start: int, end: int, text: str = "", *, primary: bool = True) -> Label:
    return Label(Span(source, start, end), text, primary)


def _refuse(source: Source, found: re.Match[str]) -> Diagnostic:
    """Say which character stands at a place where it may not."""
    code = ord(found[0])
    label = (_at(source, found.start(), found.end(), f"U+{code:04X}"),)
    slug = "bad-character"
    if code == 0xFEFF and found.start() == 0:
        message = "the file begins with a byte order mark"
        return Diagnostic(slug, message, label, help=("save it as UTF-8 without one",))
    if code == 0:
        message = "a NUL byte cannot stand in a mapping file"
        return Diagnostic(slug, message, label, help=("save the file as UTF-8",))
    if code == 0x0D:
        message = "a carriage return without a line feed cannot end a line"
        return Diagnostic(slug, message, label, help=("end lines with a line feed",))
    if 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or code in (0x200E, 0x200F, 0x061C):
        return Diagnostic(slug, "a bidirectional control character would show the text in another order", label)
    if 0xD800 <= code <= 0xDFFF:
        return Diagnostic(slug, "the file is not valid UTF-8", label)
    kind = "an invisible character" if code > 0x9F else "a control character"
    return Diagnostic(slug, f"{kind} cannot stand in a mapping file", label)


def _match_brackets(source: Source) -> None:
    """Close every bracket with its partner, on the way down no deeper than `MAX_DEPTH`."""
    text = source.text
    opened: list[int] = []
    for found in _TOKEN.finditer(text):
        token, place = found[0], found.start()
        if token in _CLOSER:
            opened.append(place)
            if len(opened) > MAX_DEPTH:
                message = f"brackets stand inside one another more than {MAX_DEPTH} deep"
                raise MappingError(Diagnostic("too-deep", message, (_at(source, place, place + 1),)))
        elif token in (")", "]", "}"):
            if not opened:
                message = f"this `{token}` closes nothing"
                raise MappingError(Diagnostic("unclosed", message, (_at(source, place, place + 1),)))
            if _CLOSER[text[opened[-1]]] != token:
                raise MappingError(_mismatch(source, opened, place))
            opened.pop()
        elif token[0] == '"' and (len(token) == 1 or token[-1] != '"'):
            end = place + len(token.rstrip())
            labels = (
                _at(source, place, place + 1, "opened here"),
                _at(source, end, end, "the line ends here", primary=False),
            )
            raise MappingError(Diagnostic("unclosed", "this string is not closed", labels))
        elif opened and token == "\n" and _is_open_hole(text, opened[-1], place):
            raise MappingError(_unclosed(source, opened[-1], place, "the line ends here"))
        elif opened and token[-1] == ">" and text[opened[-1]] in "([":
            raise MappingError(_unclosed(source, opened[-1], place, "this arrow stands inside it", len(token)))
    if opened:
        raise MappingError(_unclosed(source, opened[-1], len(text.rstrip()), "the text ends here"))


def _is_open_hole(text: str, start: int, end: int) -> bool:
    """Tell whether the `{` at `start`, open at the end of its line, was meant as a hole and not as a body."""
    if text[start] != "{" or "\n" in text[start:end] or text[start + 1 : start + 2].isspace():
        return False
    line = text[text.rfind("\n", 0, start) + 1 : start]
    return _BEFORE_HOLE.search(line) is not None


def _mismatch(source: Source, opened: list[int], place: int) -> Diagnostic:
    """Report the closing bracket at `place`, which is not the one that the last opening bracket waits for."""
    text = source.text
    token, start = text[place], opened[-1]
    wanted = _CLOSER[text[start]]
    if any(_CLOSER[text[each]] == token for each in opened) and (text[start] != "{" or "\n" not in text[start:place]):
        return _unclosed(source, start, place, f"`{wanted}` expected before this", 1)
    if text[start] == "{" and "\n" in text[start:place]:
        return Diagnostic("unclosed", f"this `{token}` closes nothing", (_at(source, place, place + 1),))
    labels = (
        _at(source, place, place + 1, f"expected `{wanted}`"),
        _at(source, start, start + 1, "opened here", primary=False),
    )
    return Diagnostic("unclosed", f"a `{text[start]}` is closed by `{token}`", labels)


def _unclosed(source: Source, start: int, end: int, seen: str, width: int = 0) -> Diagnostic:
    """Report the bracket at `start` as open at `end`, or at the declaration before that it cannot reach across."""
    text = source.text
    bracket = text[start]
    if bracket != "{" and (declaration := _DECLARATION.search(text, text.find("\n", start, end) + 1 or end, end)):
        end, width, seen = len(text[: declaration.start()].rstrip()), 0, "the line ends here"
    what = "hole" if bracket == "{" and "\n" not in text[start:end].rstrip() and seen == "the line ends here" else ""
    message = f"this {what or f'`{bracket}`'} is not closed"
    if end > 0 and text[end - 1 : end] == "\r":
        end -= 1
    labels = (_at(source, start, start + 1, "opened here"), _at(source, end, end + width, seen, primary=False))
    return Diagnostic("unclosed", message, labels)
