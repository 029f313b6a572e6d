"""Name templates: literal text and holes whose integer arithmetic is affine in the indices.

A template formats names for positions, and reads positions off names. Two names with the same skeleton differ only in their
numbers, so templates are looked up by skeleton and never tried one after the other. Knows nothing of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import gcd
from operator import itemgetter
from typing import Any, TypeAlias

from tensormap.diagnostics import Span
from tensormap.language.polynomial import Polynomial

_DIGITS = re.compile("[0-9]+")
_RUNS = re.compile("([0-9]+)")


@dataclass(frozen=True, slots=True)
class NumberHole:
    """A hole with a number: `offset` plus, for each index, its position times a stride. For an index in `ragged` the
    stride is the size of what stands behind it at each position, and its part is the sum over the positions before.
    Where it stands for digits and holes side by side, `joined` are the holes, each with what its last digit counts for, and the
    digit before its first; 0 where there is none.
    """

    offset: Polynomial
    parts: tuple[tuple[str, Polynomial], ...]
    ragged: tuple[str, ...] = ()
    width: int = 0
    span: Span | None = field(default=None, compare=False, repr=False)
    joined: tuple[tuple[NumberHole, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class WordHole:
    """A hole with one of the words of an enumerated index."""

    index: str
    words: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


Part: TypeAlias = str | NumberHole | WordHole


@dataclass(frozen=True, slots=True)
class Template:
    """A resolved name. `wild`: `*` in it stands for any text (only in rules that drop)."""

    parts: tuple[Part, ...]
    wild: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def indices(self) -> tuple[str, ...]:
        """The indices of the holes, each once, in order."""
        seen: dict[str, None] = {}
        for part in self.parts:
            if isinstance(part, NumberHole):
                seen.update((index, None) for index, _ in part.parts)
            elif isinstance(part, WordHole):
                seen[part.index] = None
        return tuple(seen)

    @property
    def virtual(self) -> bool:
        """Whether this names a tensor that no file holds (`$embed`)."""
        return bool(self.parts) and isinstance(self.parts[0], str) and self.parts[0].startswith("$")

    def __str__(self) -> str:
        return "".join(_show(part) for part in self.parts)


def _show(part: Part) -> str:
    match part:
        case str():
            return part
        case WordHole(index=index):
            return "{" + index + "}"
        case NumberHole(offset=offset, parts=parts, width=width):
            shown = [_step(index, stride) for index, stride in parts]
            if offset.terms or not shown:
                shown.insert(0 if any(each.startswith("-") for each in shown) else len(shown), str(offset))
            return "{" + " + ".join(shown).replace("+ -", "- ") + (f":0{width}" if width else "") + "}"


def _step(index: str, stride: Polynomial) -> str:
    value = stride.value
    if value is None:
        return f"({stride})*{index}"
    return {1: index, -1: f"-{index}"}.get(value, f"{value}*{index}")


def skeleton(name: str) -> tuple[str, tuple[int, ...]]:
    """Split a name into its text with `#` for every run of digits, and the numbers. A `#` of the name itself becomes `#0`."""
    return _blank(name), numbers(name)


def skeletons(names: Sequence[str]) -> list[str]:
    """Return the text of the skeleton of every name. All are looked through at once, which takes a fifth of the time."""
    joined = "\n".join(names)
    if joined.count("\n") < len(names) and "#" not in joined:
        return _DIGITS.sub("#", joined).split("\n") if names else []
    return [_blank(name) for name in names]


def numbers(name: str) -> tuple[int, ...]:
    """Return the numbers in a name; -1 for one that is too long to be a position."""
    return tuple([int(each) if len(each) < 19 else -1 for each in _DIGITS.findall(name)])


def digits(text: str) -> list[str]:
    """Return all runs of digits in a text."""
    return list(_DIGITS.findall(text))


def _blank(text: str) -> str:
    return "#0".join([_DIGITS.sub("#", part) for part in text.split("#")])


@dataclass(frozen=True, slots=True)
class Shape:
    """One way a template can look: its skeleton, the words chosen, and what each number must be: a literal or a hole."""

    text: str
    words: tuple[tuple[str, int], ...]  # (index, position)
    slots: tuple[int | NumberHole, ...]


def shapes(template: Template) -> Iterator[Shape]:
    """List the skeletons that a template's names can have, one for each choice of words."""
    holes = [part for part in template.parts if isinstance(part, WordHole)]
    indices = list(dict.fromkeys(hole.index for hole in holes))
    choices = [range(len(next(h.words for h in holes if h.index == index))) for index in indices]
    for chosen in product(*choices):
        position = dict(zip(indices, chosen, strict=True))
        text: list[str] = []
        slots: list[int | NumberHole] = []
        for run in _runs(template.parts, position):
            if isinstance(run, str):
                text.append(run.replace("#", "#0"))
                continue
            joined = _joined(run)
            text.append("#" * len(joined))
            slots.extend(joined)
        yield Shape("".join(text), tuple(position.items()), tuple(slots))


def _runs(parts: Sequence[Part], position: Mapping[str, int]) -> Iterator[str | list[str | NumberHole]]:
    """Yield a template's text without digits, and between it what makes one run of digits in its names."""
    run: list[str | NumberHole] = []
    for part in parts:
        if isinstance(part, NumberHole):
            run.append(part)
            continue
        piece = part if isinstance(part, str) else part.words[position[part.index]]
        for number, each in enumerate(_RUNS.split(piece)):
            if number % 2:
                run.append(each)
            elif each:
                if run:
                    yield run
                    run = []
                yield each
    if run:
        yield run


def _joined(run: Sequence[str | NumberHole]) -> list[int | NumberHole]:
    """Return what the number is that literal digits and holes side by side make: `{i:02}{j:02}` is `{100 * i + j:04}`. Where one
    of no certain width follows another, it cannot be told, and each is a number of its own, as in no name.
    """
    if all(isinstance(each, str) for each in run):
        return [numbers("".join(map(str, run)))[0]]
    if len(run) == 1 or any(isinstance(each, NumberHole) and not each.width for each in run[1:]):
        return [numbers(each)[0] if isinstance(each, str) else each for each in run]
    offset = Polynomial.number(0)
    steps: dict[str, Polynomial] = {}
    ragged: dict[str, None] = {}
    width = 0
    holes: list[tuple[NumberHole, int, int]] = []
    for number, each in reversed(list(enumerate(run))):
        place = Polynomial.number(10**width)
        if isinstance(each, str):
            offset += place * Polynomial.number(int(each))
            width += len(each)
            continue
        holes.append((each, 10**width, 10 ** (width + each.width) if number else 0))
        offset += place * each.offset
        for index, stride in each.parts:
            steps[index] = steps.get(index, Polynomial.number(0)) + place * stride
        ragged.update(dict.fromkeys(each.ragged))
        width += each.width
    return [NumberHole(offset, tuple(reversed(steps.items())), tuple(ragged), width, joined=tuple(reversed(holes)))]


def apart(one: int | NumberHole, other: int | NumberHole) -> bool:
    """Say whether two slots never hold the same number, by what their numbers leave when divided: `{2*i}` and `{2*i + 1}`."""
    steps: list[int] = []
    offsets = []
    for slot in (one, other):
        if isinstance(slot, int):
            offsets.append(Polynomial.number(slot))
            continue
        if slot.ragged:
            return False
        offsets.append(slot.offset)
        steps.extend(coefficient for _, stride in slot.parts for _, coefficient in stride.terms)
    between = dict((offsets[0] - offsets[1]).terms)
    fixed = between.pop((), 0)
    step = gcd(*steps, *between.values())
    return fixed % step != 0 if step else fixed != 0


def formatter(
    template: Template,
    sizes: Mapping[str, int],
    value: Callable[[Polynomial], int],
    ragged: Callable[[str, Polynomial, int], int],
) -> Callable[[Mapping[str, int]], str]:
    """Return a function from positions to the name. `value` evaluates a size, `ragged(index, inner, position)` the sum of
    `inner` over the positions of `index` before this one.
    """
    texts: list[str] = []
    holes: list[tuple[Callable[[Mapping[str, int]], Any], Sequence[str] | _Written]] = []
    for part in template.parts:
        match part:
            case str():
                texts.append(part.replace("%", "%%"))
                continue
            case WordHole(index=index, words=words):
                holes.append((itemgetter(index), words))
            case NumberHole(parts=()):
                texts.append(_number(value(part.offset), part.width))
                continue
            case NumberHole(parts=((index, stride),), ragged=()) if index in sizes:
                start, step = value(part.offset), value(stride)
                holes.append((itemgetter(index), [_number(start + step * k, part.width) for k in range(sizes[index])]))
            case NumberHole():
                indices = tuple(index for index, _ in part.parts)
                holes.append((itemgetter(*indices), _Written(part, indices, value, ragged)))
        texts.append("%s")
    form = "".join(texts)
    if len(holes) == 1:  # names are written by the hundred thousand
        ((one, ones),) = holes
        return lambda positions: form % (ones[one(positions)],)
    if len(holes) == 2:
        (one, ones), (two, twos) = holes
        return lambda positions: form % (ones[one(positions)], twos[two(positions)])
    if len(holes) == 3:
        (one, ones), (two, twos), (three, threes) = holes
        return lambda positions: form % (ones[one(positions)], twos[two(positions)], threes[three(positions)])
    return lambda positions: form % tuple([table[at(positions)] for at, table in holes])


class _Written(dict[Any, str]):
    """What stands in a hole, by the positions of its indices, each number worked out once."""

    def __init__(
        self,
        hole: NumberHole,
        indices: tuple[str, ...],
        value: Callable[[Polynomial], int],
        ragged: Callable[[str, Polynomial, int], int],
    ) -> None:
        super().__init__()
        self._hole = hole
        self._indices = indices
        self._value = value
        self._ragged = ragged

    def __missing__(self, key: Any) -> str:
        positions = dict(zip(self._indices, key if len(self._indices) > 1 else (key,), strict=True))
        number = hole_value(self._hole, positions, self._value, self._ragged)
        self[key] = text = _number(number, self._hole.width)
        return text


def hole_value(
    hole: NumberHole,
    positions: Mapping[str, int],
    value: Callable[[Polynomial], int],
    ragged: Callable[[str, Polynomial, int], int],
) -> int:
    """Return the number that a hole holds at these positions."""
    total = value(hole.offset)
    for index, stride in hole.parts:
        if index in hole.ragged:
            total += ragged(index, stride, positions[index])
        else:
            total += value(stride) * positions[index]
    return total


def _number(value: int, width: int) -> str:
    return f"{value:0{width}d}" if width else str(value)


def glob(pattern: str, name: str) -> bool:
    """Say whether `name` is `pattern` with any text for each `*`. Linear in both; no regular expression is made."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    if not name.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found = name.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    last = rest[-1]
    return len(name) - at >= len(last) and name.endswith(last)
