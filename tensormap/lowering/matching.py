"""The names of a checkpoint by skeleton, and what a template says about them. Linear in the number of names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.language.names import NumberHole, Shape, digits, numbers, skeletons
from tensormap.language.polynomial import Polynomial

Sizer = Callable[[Polynomial], int | None]

_NO_INDEX: Mapping[str, int] = {}


class Entry(NamedTuple):
    """A tensor's name with the numbers in it."""

    numbers: tuple[int, ...]
    info: TensorInfo


@dataclass(slots=True)
class Names:
    """A catalog's names, grouped by skeleton. The numbers in them are read where they are asked for: most never are."""

    groups: dict[str, list[TensorInfo]] = field(default_factory=dict)
    _entries: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    _lasts: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    _forms: dict[tuple[str, tuple[int | None, ...]], tuple[Entry, ...]] = field(default_factory=dict)

    @staticmethod
    def of(tensors: Collection[TensorInfo]) -> Names:
        groups: dict[str, list[TensorInfo]] = {}
        for text, info in zip(skeletons([info.name for info in tensors]), tensors, strict=True):
            held = groups.get(text)
            if held is None:
                groups[text] = [info]
            else:
                held.append(info)
        return Names(groups)

    def entries(self, text: str) -> tuple[Entry, ...]:
        """Return the names of a skeleton with their numbers."""
        if text not in self._entries:
            self._entries[text] = tuple([Entry(numbers(info.name), info) for info in self.groups.get(text, ())])
        return self._entries[text]

    def lasts(self, text: str) -> tuple[Entry, ...]:
        """Return for each place in a skeleton the first name with the largest number there. Many names have few numbers."""
        if text not in self._lasts:
            infos = self.groups[text]
            found = digits("\n".join([info.name for info in infos]))
            count = len(found) // len(infos)
            lasts = []
            for place in range(count):
                column = found[place::count]
                info = infos[column.index(max(dict.fromkeys(column), key=lambda each: numbers(each)[0]))]
                lasts.append(Entry(numbers(info.name), info))
            self._lasts[text] = tuple(lasts)
        return self._lasts[text]

    def forms(self, text: str, fixed: tuple[int | None, ...]) -> tuple[Entry, ...]:
        """Return one entry for each distinct shape of a skeleton, the first of its kind; `fixed` are the numbers it must have."""
        key = (text, fixed)
        if key not in self._forms:
            seen: dict[tuple[int, ...], Entry] = {}
            free = all(number is None for number in fixed)
            for info in self.groups.get(text, ()):
                if info.shape in seen:
                    continue
                entry = Entry(numbers(info.name), info)
                if free or all(a is None or a == b for a, b in zip(fixed, entry.numbers, strict=True)):
                    seen[info.shape] = entry
            self._forms[key] = tuple(seen.values())
        return self._forms[key]

    def has(self, shape: Shape, size: Sizer) -> bool:
        """Say whether any name can be of this shape, as far as its holes are known."""
        infos = self.groups.get(shape.text)
        if not infos:
            return False
        if not shape.slots or all(isinstance(slot, NumberHole) and slot.parts for slot in shape.slots):
            return True
        return any(fits(shape, numbers(info.name), size) for info in infos)


def fits(shape: Shape, numbers: tuple[int, ...], size: Sizer) -> bool:
    """Say whether numbers agree with a shape's literals, and with holes that hold no index."""
    for slot, number in zip(shape.slots, numbers, strict=True):
        if isinstance(slot, int):
            if slot != number:
                return False
        elif not slot.parts:
            wanted = size(slot.offset)
            if wanted is not None and wanted != number:
                return False
    return True


def positions(
    shape: Shape, numbers: tuple[int, ...], size: Sizer, count: Callable[[str], int | None]
) -> Mapping[str, int] | None:
    """Return the position of every index that makes these numbers, or None if there is none or it cannot be told yet."""
    return reader(shape, size, count)(numbers)


def reader(
    shape: Shape, size: Sizer, count: Callable[[str], int | None]
) -> Callable[[tuple[int, ...]], Mapping[str, int] | None]:
    """Return `positions` for any numbers of one shape: its sizes are looked up once, which counts for ten thousands of names."""
    slots = [_slot(slot, size, count) for slot in shape.slots]

    def read(numbers: tuple[int, ...]) -> Mapping[str, int] | None:
        found: dict[str, int] = dict(shape.words)
        for slot, number in zip(slots, numbers, strict=True):
            places = slot(number)
            if places is None:
                return None
            for index, position in places.items():
                if found.setdefault(index, position) != position:
                    return None
        return found

    return read


def _slot(
    slot: int | NumberHole, size: Sizer, count: Callable[[str], int | None]
) -> Callable[[int], Mapping[str, int] | None]:
    """Return a function from a number in a name to the positions that make it."""
    if isinstance(slot, int):
        return lambda number: _NO_INDEX if number == slot else None
    offset = size(slot.offset)
    if offset is None or slot.ragged:
        return lambda _: None
    if not slot.parts:
        return lambda number: _NO_INDEX if number == offset else None
    if len(slot.parts) > 1:
        return lambda number: _mixed(slot, number - offset, size, count)
    index, stride = slot.parts[0]
    step, limit = size(stride), count(index)
    if not step:
        return lambda _: None

    def read(number: int) -> Mapping[str, int] | None:
        position, left = divmod(number - offset, step)
        return {index: position} if not left and position >= 0 and (limit is None or position < limit) else None

    return read


def _mixed(hole: NumberHole, rest: int, size: Sizer, count: Callable[[str], int | None]) -> dict[str, int] | None:
    """Read `(a b c)`: strides fall, and each is the size of what stands behind it."""
    steps = [(index, size(stride), count(index)) for index, stride in hole.parts]
    steps.sort(key=lambda each: -(each[1] or 0))
    found: dict[str, int] = {}
    for index, step, limit in steps:
        if step is None or step <= 0 or rest < 0:
            return None
        position = rest // step
        if limit is not None and position >= limit:
            return None
        found[index] = position
        rest -= position * step
    return found if rest == 0 else None
