"""Mapping files that nobody wrote: changes of those that somebody did, and what the grammar makes by chance."""

from __future__ import annotations

import json
import random
import re
from functools import cache
from pathlib import Path

from lark import Lark
from lark.grammar import NonTerminal, Rule, Symbol

from tensormap.language.parser import GRAMMAR

HERE = Path(__file__).parents[1]
_LONG = 300  # words, from which on the shortest way to an end is taken
_WORD = re.compile(r'\s+|"[^"\n]*"|[\w.~]+|<->|->|<-|\?\?|.', re.DOTALL)
_ODD = [
    "0",
    "1",
    "2",
    "64",
    "4294967296",
    "1000000000000",
    "9223372036854775807",
    "1.0e300",
    "-1",
    "_",
    "true",
    "none",
    "...",
    "$w",
]
_ODD += [
    "{i}",
    "{i + 1}",
    "{2 * i}",
    "{(i j)}",
    "{i:02}",
    "'",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "<->",
    "->",
    "<-",
    "??",
    "**",
    "//",
    "\n",
]


@cache
def texts() -> tuple[str, ...]:
    """Return the mapping files of the library, and the mappings in the corpus and the reference."""
    found = [each.read_text("utf-8") for each in sorted((HERE.parent / "mappings").rglob("*.tmap"))]
    for page in (*sorted((HERE / "corpus").glob("*.md")), HERE.parent / "docs" / "language.md"):
        found += re.findall(r"^```tmap\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    found += [each["equation"] for each in json.loads((HERE / "corpus" / "equations.json").read_text("utf-8"))]
    return tuple(found)


@cache
def vocabulary() -> tuple[str, ...]:
    """Return the words of all texts, and some that none of them has."""
    words = {word for text in texts() for word in _WORD.findall(text) if not word.isspace()}
    return (*sorted(words), *_ODD)


def mutated(text: str, dice: random.Random) -> str:
    """Return a text with one to four changes of bytes, words or lines, or with lines of another text."""
    for _ in range(dice.randint(1, 4)):
        text = dice.choice((_bytes, _words, _words, _words, _lines, _lines, _splice))(text, dice)
    return text


def _bytes(text: str, dice: random.Random) -> str:
    data = bytearray(text.encode("utf-8", "surrogateescape"))
    at = dice.randrange(len(data) + 1)
    match dice.randrange(4):
        case 0 if at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        case 1 if at < len(data):
            data[at] = dice.randrange(256)
        case 2:
            del data[at : at + dice.randint(1, 20)]
        case _:
            data[at:at] = dice.randbytes(dice.randint(1, 5))
    return data.decode("utf-8", "surrogateescape")


def _words(text: str, dice: random.Random) -> str:
    words = _WORD.findall(text) or [""]
    places = [k for k, word in enumerate(words) if not word.isspace()] or [0]
    at, other = dice.choice(places), dice.choice(places)
    match dice.randrange(6):
        case 0:
            words[at] = dice.choice(vocabulary())
        case 1:
            words[at] = dice.choice(_ODD)
        case 2:
            del words[at]
        case 3:
            words[at], words[other] = words[other], words[at]
        case 4:
            words.insert(at, words[other] + " ")
        case _:
            words[at:at] = words[min(at, other) : min(at, other) + dice.randint(1, 12)]
    return "".join(words)


def _lines(text: str, dice: random.Random) -> str:
    lines = text.split("\n")
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    match dice.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines = lines[: at + 1]
    return "\n".join(lines)


def _splice(text: str, dice: random.Random) -> str:
    lines, others = text.split("\n"), dice.choice(texts()).split("\n")
    at, start = dice.randrange(len(lines) + 1), dice.randrange(len(others))
    lines[at:at] = others[start : start + dice.randint(1, 6)]
    return "\n".join(lines)


# --- what the grammar makes

_PLAIN = [
    "a",
    "b",
    "w",
    "x",
    "y",
    "e",
    "f",
    "g",
    "i",
    "j",
    "r",
    "n",
    "tp",
    "left",
    "right",
    "heads",
    "true",
    "none",
    "dtype",
]
_PLAIN += ["exp", "sqrt", "select", "min", "causal_mask", "arange"]
_NAMES = [*_PLAIN, "_", "$v", "a.{i}", "b.{j}.w", "w.{i + 1}", "{r}.a", "l.{(i j)}", "e'"]
_SAMPLES: dict[str, list[str]] = {
    "NAME": _NAMES,
    "INT": ["0", "1", "2", "3", "4", "12", "128", "9223372036854775807"],
    "NUMBER": ["0.5", "1.0e-5", "1e3"],
    "STRING": ['"a.{i}"', '"x*"', '"model.safetensors"', '"*.json"', '"some words"', '""', '"common/experts.tmap"'],
    "ARROW": ["<->", "<->", "<->", "->", "<-"],
    "COMPARE": ["==", "!=", "<=", ">=", ">"],
    "_COMMA": [","],
    "_NL": ["\n"],
}


class Generator:
    """Derives texts from the rules of `grammar.lark`."""

    def __init__(self) -> None:
        lark = Lark(GRAMMAR.read_text("utf-8"), parser="lalr", start="start")
        self._samples = {each.name: _SAMPLES.get(each.name) or [str(each.pattern.value)] for each in lark.terminals}
        self._rules: dict[str, list[Rule]] = {}
        for rule in lark.rules:
            self._rules.setdefault(str(rule.origin.name), []).append(rule)
        self._depths: dict[str, int] = {}
        changed = True
        while changed:
            changed = False
            for name, rules in self._rules.items():
                depth = min(map(self._depth, rules))
                if depth < self._depths.get(name, 1 << 30):
                    self._depths[name] = depth
                    changed = True

    def _depth(self, rule: Rule) -> int:
        inner = [self._depths.get(str(each.name), 1 << 30) for each in rule.expansion if isinstance(each, NonTerminal)]
        return 1 + max(inner, default=0)

    def text(self, dice: random.Random) -> str:
        """Return a text that the grammar allows; what a word is, and where lines end, is left to chance."""
        out: list[str] = []
        for _ in range(dice.randint(1, 8)):
            self._derive(NonTerminal("statement"), dice, dice.randint(8, 40), out)
            out.append("\n")
        return " ".join(out)

    def _derive(self, symbol: Symbol, dice: random.Random, depth: int, out: list[str], within: str = "") -> None:
        name = str(symbol.name)
        if not isinstance(symbol, NonTerminal):
            plain = name == "NAME" and within != "name" and dice.random() < 0.98
            if name == "ARROW" and within in ("mapping", "clause"):
                out.append("<->")
                return
            out.append(dice.choice(_PLAIN if plain else self._samples[name]))
            return
        rules = self._rules[name]
        fitting = [each for each in rules if self._depth(each) <= depth and len(out) < _LONG] or [
            min(rules, key=self._depth)
        ]
        for each in dice.choice(fitting).expansion:
            self._derive(each, dice, depth - 1, out, name)
