"""Many names as few: `model.layers.{0..31}.norm.weight`. Exact: what is shown stands for the names given, and for no other.

Knows strings only.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Key = TypeVar("Key", bound=Hashable)
Tail: TypeAlias = tuple[str, ...]

_NUMBER = re.compile(r"[0-9]+")
_BOUNDARY = frozenset("._-/:[]{}()")
_LONGEST = 18  # digits of a number that is looked at
_MOST = 32  # numbers in a name that is looked at
_FEW = 4
"""So many numbers right after a letter are an index (`h0` to `h11`); fewer are part of a word (`w1`, `w3`)."""


@dataclass(frozen=True, slots=True)
class Family(Generic[Key]):
    """Names that differ in numbers only and have the same key: the pattern that they are shown as, and where each of them stands
    in what was given.
    """

    pattern: str
    key: Key
    members: tuple[int, ...]


def collapse(names: Iterable[tuple[str, Key]]) -> list[Family[Key]]:
    """Gather names with equal keys into families, in the order of their first members. Linear in the number of names.

    >>> [each.pattern for each in collapse([("a.0.w", 1), ("a.1.w", 1), ("a.2.w", 2), ("b.w", 1)])]
    ['a.{0..1}.w', 'a.2.w', 'b.w']
    """
    groups: dict[tuple[tuple[str, ...], Key], list[tuple[int, Tail]]] = {}
    for place, (name, key) in enumerate(names):
        words, numbers = _split(name)
        groups.setdefault((words, key), []).append((place, numbers))
    found = []
    for (words, key), members in groups.items():
        for pattern, places in _families(words, members):
            found.append(Family(pattern, key, tuple(places)))
    return sorted(found, key=lambda each: each.members[0])


def pattern(names: Iterable[str]) -> str:
    """Return the patterns of names, separated by commas."""
    return ", ".join(each.pattern for each in collapse((name, None) for name in dict.fromkeys(names)))


def skeleton(name: str) -> tuple[str, ...]:
    """Return what is left of a name without its numbers: the same for all names that may be of one family."""
    return tuple(_NUMBER.split(name))


def _split(name: str) -> tuple[tuple[str, ...], Tail]:
    return tuple(_NUMBER.split(name)), tuple(_NUMBER.findall(name))


def _families(words: tuple[str, ...], members: Sequence[tuple[int, Tail]]) -> Iterator[tuple[str, list[int]]]:
    """Yield the families of names with the same words between their numbers."""
    if len(members) == 1 or len(words) > _MOST:
        yield from ((_join(words, numbers), [place]) for place, numbers in members)
        return
    fixed = [k for k in range(len(words) - 1) if not _is_index(words, k, members)]
    arms: dict[Tail, list[tuple[int, Tail]]] = {}
    for place, numbers in members:
        arms.setdefault(tuple(numbers[k] for k in fixed), []).append((place, numbers))
    for arm in arms.values():
        places: dict[Tail, list[int]] = {}
        for place, numbers in arm:
            places.setdefault(numbers, []).append(place)
        for product in _products(tuple(places)):
            inside = [place for numbers in _walk(product) for place in places[numbers]]
            yield _join(words, [_range(each) for each in product]), sorted(inside)


def _is_index(words: tuple[str, ...], k: int, members: Sequence[tuple[int, Tail]]) -> bool:
    """Tell whether the k-th number counts something: it stands alone, or is one of many behind a letter."""
    before, after = words[k][-1:], words[k + 1][:1]
    if after and after not in _BOUNDARY:
        return False
    if not before or before in _BOUNDARY:
        return True
    seen = set()
    for _, numbers in members:
        seen.add(numbers[k])
        if len(seen) >= _FEW:
            return True
    return False


def _products(tuples: Sequence[Tail]) -> list[tuple[tuple[str, ...], ...]]:
    """Write tuples of numbers as few products of sets: numbers with the same tails stand together."""
    if not tuples[0]:
        return [()]
    tails: dict[str, list[Tail]] = {}
    for head, *tail in tuples:
        tails.setdefault(head, []).append(tuple(tail))
    heads: dict[tuple[Tail, ...], list[str]] = {}
    for head, below in tails.items():
        heads.setdefault(tuple(sorted(below)), []).append(head)
    return [(tuple(same), *rest) for below, same in heads.items() for rest in _products(below)]


def _walk(product: Sequence[tuple[str, ...]]) -> Iterator[Tail]:
    if not product:
        yield ()
        return
    for head in product[0]:
        for tail in _walk(product[1:]):
            yield (head, *tail)


def _join(words: Sequence[str], numbers: Sequence[str]) -> str:
    parts = [words[0]]
    for number, word in zip(numbers, words[1:], strict=True):
        parts += (number, word)
    return "".join(parts)


def _range(numbers: Sequence[str]) -> str:
    """Return numbers as `{0..3,5}`; one as it is. Leading zeros stay."""
    if len(numbers) == 1:
        return numbers[0]
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda each: (len(each), each)):
        if runs and _follows(runs[-1][-1], number):
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return f"{{{','.join('..'.join(run) for run in runs)}}}"


def _follows(before: str, number: str) -> bool:
    """Tell whether a number is the next one, written the same way."""
    if len(number) > _LONGEST or int(number) != int(before) + 1:
        return False
    return len(number) == len(before) or not ((before.startswith("0") and len(before) > 1) or number.startswith("0"))
