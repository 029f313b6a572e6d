"""A failed reading in human words: what was expected, what is there, and what was probably meant.

Common mistakes first, each a function that returns None where it is not the one; then a general sentence. Never the name of
a token.
"""

from __future__ import annotations

import re
from itertools import pairwise

from tensormap.diagnostics import Diagnostic, Label
from tensormap.language.stop import LINE_END, TEXT_END, Stop, Word
from tensormap.language.wanted import ARROWS, CLAUSES, SIDE_LINES, STATEMENTS, wanted
from tensormap.suggest import did_you_mean

_ARROW_HELP = "write `<->` for an equation that is read both ways, `->` or `<-` for one that is read one way"
_SYNONYMS = {
    "if": "when",
    "elif": "when",
    "unless": "when",
    "for": "index",
    "range": "index",
    "repeat": "index",
    "include": "use",
    "import": "use",
    "from": "use",
    "assert": "require",
    "def": "let",
    "var": "let",
    "const": "let",
    "arg": "param",
    "maybe": "optional",
    "copies": "replicated",
}
_NOTARROWS = re.compile(r"<?[=~-]+>+|<[=~-]+|[→↔⇒⇔←⇐⟷⟶⟵]|:=|==?")
_CHARACTERS = {
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`",
    ";": "a statement ends with its line",
    "'": "strings stand in double quotes",
    "`": "strings stand in double quotes",
    "\u201c": "strings stand in double quotes",
    "\u201d": "strings stand in double quotes",
    "\u2018": "strings stand in double quotes",
    "\u2019": "strings stand in double quotes",
    "\xd7": "write `*`",
    "\xb7": "write `*`",
    "\u2212": "write `-`",
    "\u2013": "write `-`",
    "$": "a virtual tensor is written `$name`",
    ".": "a name begins with a letter, `_` or a hole; put any other name in quotes",
    "\\": "a line that begins with an arrow or a comma continues the one before",
    "\xa0": "write a plain space",
}


def explain(stop: Stop) -> Diagnostic:
    """Say why reading stopped."""
    for special in (
        _wrong_arrow,
        _stray_else,
        _unfinished_line,
        _unknown_character,
        _word_before_colon,
        _star,
        _comparison,
        _layout,
        _keyword_as_name,
        _unknown_word,
        _missing_arrow,
    ):
        if found := special(stop):
            return found
    return _general(stop)


def _here(stop: Stop) -> Label:
    """Label what was found, or the end of the line before it."""
    previous = stop.previous
    if stop.ends_line:
        end = previous.end if previous else stop.found.start
        seen = "the line ends here" if stop.text[end:].strip() else "the text ends here"
        if stop.part == "hole":
            seen = "the hole ends here"
        return Label(stop.span(end, end), seen)
    return Label(stop.span(stop.found.start, stop.found.end), f"found `{_shown(stop.found)}`")


def _shown(word: Word) -> str:
    text = word.text.strip()
    if word.kind == "ARROW":
        text = "<->" if text.endswith("<->") else text[-2:]
    elif word.kind == "_COMMA":
        text = ","
    return text if len(text) <= 40 else text[:37] + "..."


def _label(stop: Stop, word: Word, text: str = "", *, primary: bool = True) -> Label:
    start = word.end - len(_shown(word)) if word.kind in ("ARROW", "_COMMA") else word.start
    return Label(stop.span(start, word.end), text, primary)


# --- common mistakes


def _wrong_arrow(stop: Stop) -> Diagnostic | None:
    """Find `=>` and its like, which may have been read as several words."""
    words = [*stop.statement[-2:], stop.found]
    while any(before.end != after.start for before, after in pairwise(words)):
        del words[0]
    first = words[0]
    if not (arrow := _NOTARROWS.match(stop.text, first.start)) or arrow[0] in ("->", "<-", "<->"):
        first = stop.found
        arrow = _NOTARROWS.match(stop.text, first.start)
    if not arrow or arrow[0] in ("->", "<-", "<->") or arrow.end() < stop.found.end:
        return None
    if arrow[0] in ("=", "==") and (
        "ARROW" not in stop.expected or any(each.kind == "ARROW" for each in stop.statement)
    ):
        return None
    if arrow[0] == ":=" and "ARROW" not in stop.expected:
        return None
    if stop.part != "start" or (
        stop.statement and stop.statement[0].kind in ("PARAM", "LET", "REQUIRE", "INDEX", "USE", "WHEN")
    ):
        return None
    label = Label(stop.span(arrow.start(), arrow.end()))
    return Diagnostic("syntax", f"`{arrow[0]}` is not an arrow", (label,), help=(_ARROW_HELP,))


def _stray_else(stop: Stop) -> Diagnostic | None:
    words = [*stop.statement, stop.found]
    if (
        words[0].text != "else"
        or words[0].kind != "NAME"
        or any(each.kind == "ARROW" for each in words)
        or stop.part != "start"
    ):
        return None
    before = stop.words[: len(stop.words) - len(stop.statement)]
    if len(before) > 1 and before[-1].kind == LINE_END and before[-2].kind == "RBRACE":
        labels = (_label(stop, words[0]), _label(stop, before[-2], "its block ends here", primary=False))
        return Diagnostic(
            "syntax", "`else` stands on the line of the `}` before it", labels, help=("write `} else {`",)
        )
    return Diagnostic("syntax", "this `else` has no `when` before it", (_label(stop, words[0]),))


def _unfinished_line(stop: Stop) -> Diagnostic | None:
    """Find a declaration that was read as part of the line before, because that line is not finished."""
    for before, word in pairwise((*stop.statement, stop.found)):
        between = stop.text[before.end : word.start]
        if word.text in STATEMENTS and "\n" in between and not stop.text[word.end : word.end + 1].strip():
            label = (Label(stop.span(before.end, before.end), "the line ends here"),)
            return Diagnostic("syntax", f"a statement is not finished after `{_shown(before)}`", label)
    return None


def _unknown_character(stop: Stop) -> Diagnostic | None:
    if stop.found.kind:
        return None
    text = stop.found.text
    if text[0] == "{" or text[0] == "}":
        return None
    span = stop.span(stop.found.start, stop.found.end)
    help = _CHARACTERS.get(text[0])
    if text[0].isascii():
        message = f"`{text}` means nothing here"
        slug = "syntax"
    else:
        message = (
            "a no-break space stands here"
            if text[0] == "\xa0"
            else f"`{text}` cannot stand outside strings and comments"
        )
        slug = "bad-character"
    seen = "" if text[0].isascii() else f"U+{ord(text[0]):04X}"
    return Diagnostic(slug, message, (Label(span, seen),), help=(help,) if help else ())


def _word_before_colon(stop: Stop) -> Diagnostic | None:
    """Find `:` where `=` or `<` belongs."""
    if stop.found.kind != "COLON":
        return None
    label = (_label(stop, stop.found),)
    if "EQUAL" in stop.expected and stop.statement[0].kind != "NAME":
        return Diagnostic("syntax", "expected `=`, not `:`", label)
    if stop.body == "config":
        return Diagnostic(
            "syntax", "expected `=`, not `:`", label, help=("a config line reads `value = left <-> right`",)
        )
    if "LESS" in stop.expected and stop.statement[0].kind == "INDEX":
        return Diagnostic("syntax", "expected `<` or `in`, not `:`", label)
    if stop.part == "start" and ("ARROW" in stop.expected or any(each.kind == "ARROW" for each in stop.statement)):
        help = "a tag is a plain name before a tensor or an axis; a name that holds `:` stands in quotes"
        return Diagnostic("syntax", "`:` ends a tag, and none stands before it", label, help=(help,))
    return None


def _star(stop: Stop) -> Diagnostic | None:
    """Find `norm.*`, where `*` was meant to stand for many names."""
    star = stop.previous
    if star is None or star.kind != "STAR" or stop.part != "start" or stop.body != "file":
        return None
    if stop.text[star.start - 1 : star.start] not in (".", "_") and stop.found.kind not in (
        "ARROW",
        TEXT_END,
        LINE_END,
    ):
        return None
    help = (
        "what one rule says of many names has an index: `norm.{s}` with `index s in weight, bias`",
        'a name with `*` stands in quotes, and only where tensors are dropped: `"norm.*" -> _`',
    )
    return Diagnostic("syntax", "`*` multiplies here, and is no part of a name", (_label(stop, star),), help=help)


def _comparison(stop: Stop) -> Diagnostic | None:
    """Find `=` for `==`, `==` for `=`, and chains."""
    found = stop.found
    if found.kind == "EQUAL" and "COMPARE" in stop.expected:
        return Diagnostic("syntax", "`=` does not compare", (_label(stop, found),), help=("write `==`",))
    twice = found.text == "=" and stop.previous and stop.previous.text == "=" and stop.previous.end == found.start
    if twice and stop.previous:
        label = (Label(stop.span(stop.previous.start, found.end)),)
        return Diagnostic("syntax", "expected `=`, not `==`", label, help=("`==` compares two values",))
    if found.text == "==" and "EQUAL" in stop.expected:
        return Diagnostic(
            "syntax", "expected `=`, not `==`", (_label(stop, found),), help=("`==` compares two values",)
        )
    if found.kind == "ARROW" and _shown(found) == "<-" and "LESS" in stop.expected and "ARROW" not in stop.expected:
        return Diagnostic("syntax", "`<-` is an arrow", (_label(stop, found),), help=("write `< -` to compare",))
    if found.kind in ("COMPARE", "LESS") or found.text == "in":
        earlier = [each for each in stop.level if each.kind in ("COMPARE", "LESS", "IN")]
        if earlier and "AND" in stop.expected:
            labels = (_label(stop, found, "second comparison"), _label(stop, earlier[-1], "first", primary=False))
            return Diagnostic("syntax", "comparisons do not chain", labels, help=("write `a < b and b < c`",))
    return None


def _layout(stop: Stop) -> Diagnostic | None:
    """Find mistakes inside `[ ]` and `( )` of a layout."""
    found = stop.found
    axes = "ELLIPSIS" in stop.expected and "STRING" not in stop.expected
    if found.kind == "_COMMA" and axes:
        return Diagnostic("syntax", "axes are separated by spaces, not commas", (_label(stop, found),))
    if found.kind == "STAR" and (axes or ("RSQB" in stop.expected and "COLON" in stop.expected)):
        message = "axes side by side multiply; `*` is not written in a layout"
        return Diagnostic("syntax", message, (_label(stop, found),), help=("write `(a b)`",))
    if found.kind == "PLUS" and "RSQB" in stop.expected and axes:
        message = "a sum of axes stands in parentheses"
        return Diagnostic("syntax", message, (_label(stop, found),), help=("write `[(a + b)]`",))
    level = stop.level
    if found.kind in ("NAME", "INT") and "RPAR" in stop.expected and len(level) == 2 and level[0].kind == "LPAR":
        before = stop.words[stop.words.index(level[0]) - 1]
        if before.kind == "NAME" and "_COMMA" in stop.expected and stop.body == "file":
            labels = (
                _label(stop, found, f"found `{_shown(found)}`"),
                _label(stop, level[0], "opened here", primary=False),
            )
            help = f"a layout stands in square brackets: `{_shown(before)} [{_shown(level[1])} {_shown(found)}]`"
            return Diagnostic("syntax", "expected `,` or `)` between arguments", labels, help=(help,))
    return None


def _keyword_as_name(stop: Stop) -> Diagnostic | None:
    words = stop.statement
    if len(words) != 1 or words[0].text not in STATEMENTS + SIDE_LINES or words[0].kind == "NAME":
        return None
    if stop.found.kind not in ("ARROW", "LSQB") or stop.ends_line or stop.part != "start":
        return None
    help = f'a tensor of this name is written in quotes: `"{words[0].text}"`'
    message = f"`{words[0].text}` begins a statement, and this is none"
    return Diagnostic("syntax", message, (_label(stop, words[0]),), help=(help,))


def _unknown_word(stop: Stop) -> Diagnostic | None:
    """Find a misspelt keyword: at the start of a statement, in a side, or behind a rule."""
    if stop.part != "start":
        return None
    found, words = stop.found, stop.statement
    if (
        stop.body == "side"
        and not words
        and "FILES" in stop.expected
        and found.kind not in (TEXT_END, LINE_END, "RBRACE")
    ):
        return _unknown(stop, found, SIDE_LINES, "does not begin a line of a side")
    if "WHEN" in stop.expected and "MAPPING" not in stop.expected and _is_word(found) and not stop.ends_line:
        if stop.body == "side":
            return _unknown(stop, found, ("at", "under", "as", "with", "when"), "is no part of a `files` line")
        if (
            words
            and words[0].text in CLAUSES
            and did_you_mean(found.text, CLAUSES) is None
            and found.text not in _SYNONYMS
        ):
            return None
        note = () if "_COMMA" not in stop.expected else ("another tensor needs a comma before it",)
        return _unknown(stop, found, CLAUSES, "is not a clause", note)
    if (
        len(words) == 1
        and words[0].kind == "NAME"
        and _is_word(words[0])
        and not stop.ends_line
        and stop.body == "file"
    ):
        word = words[0]
        if word.text in ("files", "path", "tag") and found.kind == "STRING":
            help = "write `side NAME {` around it"
            return Diagnostic("syntax", f"`{word.text}` stands inside a side", (_label(stop, word),), help=(help,))
        known = word.text in _SYNONYMS or did_you_mean(word.text, STATEMENTS) is not None
        if found.kind == "LBRACE" or (known and found.kind in ("NAME", "STRING", "INT", "NOT")):
            return _unknown(stop, word, STATEMENTS, "does not begin a statement")
    return None


def _is_word(word: Word) -> bool:
    return re.fullmatch(r"[A-Za-z_]+", word.text) is not None


def _unknown(stop: Stop, word: Word, known: tuple[str, ...], complaint: str, notes: tuple[str, ...] = ()) -> Diagnostic:
    text = _shown(word)
    meant = _SYNONYMS.get(text) or did_you_mean(text, known)
    listed = ", ".join(f"`{each}`" for each in known[:-1]) + f" and `{known[-1]}`"
    help = (f"did you mean `{meant}`?",) if meant in known else ()
    notes = () if help else (f"there are {listed}", *notes)
    return Diagnostic("unknown-clause", f"`{text}` {complaint}", (_label(stop, word),), notes, help)


def _missing_arrow(stop: Stop) -> Diagnostic | None:
    words = stop.statement
    if "ARROW" not in stop.expected or not words or any(each.kind == "ARROW" for each in words):
        return None
    kind = words[0].kind
    if stop.body == "config":
        between = "between the two keys of this config line"
    elif kind == "MAPPING":
        between = "between the two sides of the mapping"
    elif kind == "EXTERN":
        between = "between what this function takes and gives"
    elif any(each.kind == "BLOCK" for each in words):
        between = "between the two prefixes of this block"
    else:
        between = "between the two sides of this rule"
    help: tuple[str, ...] = ()
    if stop.body == "config" and any(each.text == "==" for each in words):
        help = ("`==` compares two values; a config line reads `value = left <-> right`",)
    elif stop.body == "config":
        help = ("`_` stands where a side has no such key: `n = num_layers <-> _`",)
    elif (
        kind not in ("MAPPING", "EXTERN", "BLOCK")
        and stop.body == "file"
        and any(each.kind == "EQUAL" for each in words)
    ):
        help = ("`=` ties two names of one tensor; `<->` stands between the sides",)
    return Diagnostic("syntax", f"expected {ARROWS} {between}", (_here(stop),), help=help)


# --- everything else


def _general(stop: Stop) -> Diagnostic:
    """Name what would fit."""
    found, previous = stop.found, stop.previous
    if found.kind == "ARROW" and (earlier := [each for each in stop.statement if each.kind == "ARROW"]):
        both = (_label(stop, found), _label(stop, earlier[0], "the first arrow", primary=False))
        return Diagnostic("syntax", "a second arrow in one statement", both)
    labels = (_here(stop),)
    fitting = wanted(stop)
    where = "here"
    if previous and len(_shown(previous)) <= 24:
        where = f"after `{_shown(previous)}`"
    help: tuple[str, ...] = ()
    if found.text.startswith("{") and "NAME" in stop.expected:
        help = ("a hole holds a small sum of names and numbers on one line, as in `{i + 2}` or `{n:02}`",)
    if found.kind == "NAME" and stop.statement and stop.statement[0].text in CLAUSES and "LBRACE" in stop.expected:
        help = ("clauses stand behind a rule, or before `{ }` around several",)
    if found.kind in ("INT", "NUMBER") and stop.statement and stop.statement[0].kind == "INDEX":
        help = ("an index that is a range has a size, `index i < 12`; `in` lists words: `index s in weight, bias`",)
    elif found.kind in ("INT", "NUMBER") and "STRING" in stop.expected:
        help = (f'a value that is no name stands in quotes: `"{_shown(found)}"`',)
    if stop.part == "hole":
        help = ("a hole holds sums and products of names and numbers, or `(a b)`, which numbers pairs",)
    return Diagnostic("syntax", f"expected {fitting} {where}", labels, help=help)
