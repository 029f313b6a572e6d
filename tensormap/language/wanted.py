"""What would fit where reading stopped, as a phrase: the likeliest first, and never the name of a token."""

from __future__ import annotations

from collections.abc import Iterator

from tensormap.language.stop import LINE_END, TEXT_END, Stop

CLAUSES = ("when", "replicated", "optional", "block")
STATEMENTS = ("mapping", "side", "param", "index", "let", "require", "config", "use", "extern", *CLAUSES)
SIDE_LINES = ("files", "config", "path", "tag")

ARROWS = "an arrow `<->`, `->` or `<-`"

_OPERATORS = frozenset(
    [
        "PLUS",
        "MINUS",
        "STAR",
        "SLASH",
        "FLOOR",
        "PERCENT",
        "POWER",
        "DEFAULT",
        "COMPARE",
        "LESS",
        "IN",
        "AND",
        "OR",
        "NOT",
    ]
)
_OPERANDS = frozenset(["NAME", "STRING", "INT", "NUMBER", "LPAR", "LSQB", "MINUS", "NOT"])
_STRONG = frozenset(["_COMMA", "RPAR", "RSQB", "LBRACE", "RBRACE", LINE_END])
_WEAK = frozenset(["LPAR", "LSQB", "COLON", "MAYBE", "AS", "SLASH"])
"""What may nearly always follow a name, and is not worth naming beside something stronger."""
_NAMED = {
    "NAME": "a name",
    "STRING": "a string in quotes",
    "INT": "a number",
    "NUMBER": "a number",
    "_COMMA": "`,`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "LESS": "`<`",
    "IN": "`in`",
    "MAYBE": "`?`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "ELLIPSIS": "`...`",
    "SLASH": "`/`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "STAR": "`*`",
    LINE_END: "the end of the line",
}
_LARGER: tuple[tuple[frozenset[str], str, frozenset[str]], ...] = (
    (frozenset(["MAPPING"]), "a statement", frozenset([*(each.upper() for each in STATEMENTS), *_OPERANDS, LINE_END])),
    (
        frozenset(["FILES"]),
        "a line of the side (`files`, `config`, `path` or `tag`)",
        frozenset([*(each.upper() for each in SIDE_LINES), LINE_END]),
    ),
    (frozenset(["NAME", "STRING", "INT", "LSQB"]), "a value", _OPERANDS),
    (frozenset(["ELLIPSIS", "INT"]), "an axis", frozenset(["NAME", "INT", "LPAR", "ELLIPSIS"])),
    (frozenset(["NAME", "STRING", "INT", "LPAR"]), "a tensor", _OPERANDS),
    (frozenset(["NAME", "INT"]), "a name or a number", frozenset(["NAME", "INT", "LPAR"])),
    (frozenset(["NAME", "STRING"]), "a name", frozenset(["NAME", "STRING"])),
)
"""What may begin, known by the words on the left, and the words that it begins with; the first that fits."""


def wanted(stop: Stop) -> str:
    """List what would fit, the likeliest first."""
    left = set(stop.expected)
    phrases = list(_beginnings(left))
    if TEXT_END in left:
        left -= {TEXT_END, "COLON"}
        phrases += {"hole": ["the end of the hole"], "expression": ["the end"], "start": []}[stop.part]
    if "ARROW" in left:
        phrases.append(ARROWS)
        left -= {"ARROW", "EQUAL", LINE_END}
    if {"WHEN", "REPLICATED"} <= left:
        phrases += ["`{`"] if "LBRACE" in left else []
        phrases.append("a clause (`when`, `replicated`, `optional` or `block`)")
        left -= {"EQUAL", *(each.upper() for each in CLAUSES)}
    operators = left & _OPERATORS if left & {"PLUS", "OR"} else set()
    left -= operators
    if left & _STRONG or len(phrases) > 0:
        left -= _WEAK
    phrases += [phrase for kind, phrase in _NAMED.items() if kind in left and phrase not in phrases]
    phrases += [f"`{each.lower()}`" for each in sorted(left - set(_NAMED)) if each.isalpha()]
    if operators and len(phrases) < 3:
        phrases.insert(0, "an operator")
    phrases = phrases[:5]
    return " or ".join(filter(None, (", ".join(phrases[:-1]), *phrases[-1:]))) or "something else"


def _beginnings(left: set[str]) -> Iterator[str]:
    """Name the larger thing that could begin here, and take the words it begins with from `left`."""
    for kinds, phrase, taken in _LARGER:
        if kinds <= left:
            yield phrase
            left -= taken
            return
