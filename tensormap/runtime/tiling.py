"""From a file's steps to tiles: which bytes of a target are rendered together and written at once.

Three shapes of work. `Moves` are long stretches of source bytes that are copied as they are. A `Mosaic` is a range of bytes
without holes: tiles are cut from it in order, every part that reaches into a tile is rendered there, one write each; many small
tensors side by side, and parts that interleave, are mosaics. `Blocks` are boxes of one part that has long runs on both sides but
in another order (a transpose): tiles are boxes, written run by run.
Tiles of a file never overlap, so their order does not matter. Reads nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from typing import NamedTuple, TypeAlias

from tensormap.checkpoints.catalog import Piece
from tensormap.collection import uncollected
from tensormap.dtypes import BY_NAME
from tensormap.lowering.plan import Copy, Input, Output, Step
from tensormap.runtime.boxes import common_run, contiguous_run, is_contiguous, starts_of
from tensormap.runtime.buffers import Limits
from tensormap.runtime.parts import Extent, Part, Place, prepare
from tensormap.runtime.windows import GAP, window

LONG = 256 << 10  # runs of a target that are worth a write of their own
STRETCH = 64 << 10  # runs on both sides that the system can move by itself as fast as longer ones
SHORT = 2 << 10  # runs of a transposed tile that still are, because rendering them in order would cost more

CALL = 8 << 10  # bytes that are moved in the time of one read or write
GOOD = 2.5  # what a byte may cost without a search for a better tile, see `_cost`

Item: TypeAlias = Extent | Part | Piece


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Bytes `low` to `high` of a target, all of them written; `items` lie in it, by their first byte. `ends[k]` is the largest
    end of the first k + 1 items.
    """

    low: int
    high: int
    step: int
    items: tuple[Item, ...]
    lows: tuple[int, ...]
    ends: tuple[int, ...]

    @staticmethod
    def of(low: int, high: int, step: int, items: Sequence[Item]) -> Mosaic:
        """Return the mosaic of items that are sorted by their first byte."""
        lows = tuple(map(item_low, items))
        ends = tuple(accumulate(map(item_end, items), max))
        return Mosaic(low, high, step, tuple(items), lows, ends)

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Yield the tiles as (first byte, end)."""
        for low in range(self.low, self.high, self.step):
            yield low, min(low + self.step, self.high)

    def within(self, low: int, high: int) -> list[Item]:
        """Return the items that reach into bytes `low` to `high`."""
        first, last = bisect_right(self.ends, low), bisect_left(self.lows, high)
        return [item for item in self.items[first:last] if item_end(item) > low]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Parts of one shape, cut into boxes of at most `tile` elements along each of their first axes. Along the others, if any, and
    from part to part the elements lie side by side: together they fill cells of `cell` bytes.
    """

    parts: tuple[Part, ...]
    cell: int
    tile: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the axes that are cut."""
        return self.parts[0].sizes[: len(self.tile)]

    def tiles(self) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Yield the tiles as (starts, sizes)."""
        sizes = self.sizes
        for starts in starts_of(sizes, self.tile):
            yield (
                starts,
                tuple(min(most, size - start) for start, most, size in zip(starts, self.tile, sizes, strict=True)),
            )


@dataclass(frozen=True, slots=True)
class Moves:
    """Stretches of one size that are copied as they are: `first`, and others along `axes`, each (count, bytes apart in the source,
    bytes apart in the target), in the order of the source bytes.
    """

    first: Extent
    axes: tuple[tuple[int, int, int], ...] = ()

    def extents(self) -> Iterator[Extent]:
        """Yield the stretches."""
        first = self.first
        for steps in product(*(range(count) for count, _, _ in self.axes)):
            start, low = first.start, first.low
            for step, (_, source, target) in zip(steps, self.axes, strict=True):
                start += step * source
                low += step * target
            yield Extent(low, first.size, first.file, start)


Work: TypeAlias = Mosaic | Blocks | Moves


def item_low(item: Item) -> int:
    """Return an item's first byte in the target."""
    return item.low if isinstance(item, Extent) else item.offset


def item_end(item: Item) -> int:
    """Return the first byte of the target after an item."""
    if isinstance(item, Extent):
        return item.low + item.size
    return item.end if isinstance(item, Part) else item.offset + len(item.data)


class _Unit(NamedTuple):
    """Small things that are rendered together: bytes `low` to `high`. Bytes between units that are not `solid` may be others'."""

    low: int
    high: int
    items: tuple[Item, ...]
    solid: bool


def cut(
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    bases: Sequence[int],
    steps: Sequence[Step],
    pieces: Sequence[Piece],
    limits: Limits,
) -> list[Work]:
    """Return the work that fills a target where `outputs[k]` starts at byte `bases[k]`, in the order of the source bytes."""
    with uncollected():
        return _cut(inputs, outputs, bases, steps, pieces, limits)


def _cut(
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    bases: Sequence[int],
    steps: Sequence[Step],
    pieces: Sequence[Piece],
    limits: Limits,
) -> list[Work]:
    extents, parts = _classify(inputs, outputs, bases, steps)
    extents.sort()
    cutter = _Cutter(limits)
    rest: list[Extent] = []
    taken = 0
    for index in sorted(parts, key=lambda index: bases[index]):
        output = outputs[index]
        low, high = bases[index], bases[index] + tensor_bytes(output)
        first, last = bisect_left(extents, (low,)), bisect_left(extents, (high,))
        cutter.tensor(low, high, parts[index], extents[first:last])
        rest.extend(extents[taken:first])
        taken = last
    for extent in _joined([*rest, *extents[taken:]]):
        cutter.item(extent, solid=True)
    for piece in pieces:
        if piece.data:
            cutter.item(piece, solid=True)
    return sorted([*cutter.work, *cutter.clusters()], key=_source_order)


def tensor_bytes(output: Output) -> int:
    """Return how many bytes a row-major tensor takes."""
    return elements(output.shape) * BY_NAME[output.dtype].bits // 8


def elements(sizes: Sequence[int]) -> int:
    """Return how many elements a box has."""
    count = 1
    for size in sizes:
        count *= size
    return count


def _classify(
    inputs: Sequence[Input], outputs: Sequence[Output], bases: Sequence[int], steps: Sequence[Step]
) -> tuple[list[Extent], dict[int, list[Part]]]:
    """Part the steps into copies of one stretch of bytes, which are most of them, and others, by target tensor."""
    extents: list[Extent] = []
    parts: dict[int, list[Part]] = {}
    for step in steps:
        index = step.target.tensor
        output = outputs[index]
        if isinstance(step, Copy):
            source, target, sizes = step.source, step.target, step.sizes
            tensor = inputs[source.tensor]
            item = BY_NAME[output.dtype].size
            if tensor.dtype == output.dtype and item and tensor.file >= 0 and tensor.encoding is None:
                count = elements(sizes)
                whole = count if sizes == output.shape else elements(output.shape)
                if (
                    is_contiguous(sizes, source.strides, 1)
                    and (target.strides == source.strides or is_contiguous(sizes, target.strides, 1))
                    and 0 <= target.offset <= whole - count
                ):
                    if count:
                        low = bases[index] + target.offset * item
                        extents.append(Extent(low, count * item, tensor.file, tensor.offset + source.offset * item))
                    continue
        part = prepare(step, inputs, output, bases[index])
        if part is not None:
            parts.setdefault(index, []).append(part)
    return extents, parts


def _joined(extents: list[Extent]) -> Iterator[Extent]:
    """Yield sorted extents, those that continue each other on both sides as one."""
    if not extents:
        return
    low, size, file, start = extents[0]
    for extent in extents[1:]:
        if extent.low == low + size and extent.file == file and extent.start == start + size:
            size += extent.size
        else:
            yield Extent(low, size, file, start)
            low, size, file, start = extent
    yield Extent(low, size, file, start)


class _Cutter:
    """Decides the shape of each piece of work."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.work: list[Work] = []
        self._small: list[_Unit] = []
        self._least = limits.tile // 2  # what is larger makes tiles of its own

    def item(self, item: Item, *, solid: bool) -> None:
        """Add an item that fills a range of the target alone."""
        low, high = item_low(item), item_end(item)
        if high - low <= self._least:
            self._small.append(_Unit(low, high, (item,), solid))
        elif isinstance(item, Extent):
            self.work.append(Moves(item))
        else:
            width = item.item if isinstance(item, Part) else 1
            step = self.limits.tile
            self.work.append(Mosaic.of(low, high, max(width, step - step % width), (item,)))

    def tensor(self, low: int, high: int, parts: list[Part], extents: list[Extent]) -> None:
        """Add a tensor at bytes `low` to `high` of the target, with all that fills it."""
        items: list[Item] = sorted([*parts, *extents], key=item_low)
        if high - low <= self._least:
            self._small.append(_Unit(low, high, tuple(items), solid=True))
            return
        moves = {id(part): found for part in parts if (found := _moves(part)) is not None}
        others = [part for part in parts if id(part) not in moves]
        blocks = {id(part): self._blocks(part) for part in others}
        if not all(_stands_alone(part, crossing=blocks[id(part)] is not None) for part in others):
            crossing = any(self._cost_in_order(part) >= GOOD for part in parts)
            step = _period(parts, self.limits.block if crossing else self.limits.tile)
            woven = self._woven(parts) if crossing and not extents else None
            self.work.append(woven or Mosaic.of(low, high, step, items))
            return
        for item in items:
            if id(item) in moves:
                self.work.append(moves[id(item)])
                continue
            block = blocks.get(id(item))
            if not isinstance(item, Part) or (
                _is_dense(item) and (block is None or item_end(item) - item_low(item) <= self._least)
            ):
                self.item(item, solid=False)
            else:
                budget = self.limits.tile // (item.item if item.moves_bytes else 16)
                self.work.append(Blocks((item,), item.item, block or _in_order(item.sizes, max(1, budget))))

    def clusters(self) -> Iterator[Mosaic]:
        """Yield the small units, neighbours together."""
        widest = min(GAP, self._least)  # anything else in a gap would be larger
        units = sorted(self._small, key=lambda unit: unit.low)
        items: list[Item] = []
        low = high = 0
        solid = False
        for unit in units:
            gap = unit.low - high
            joins = gap == 0 or (0 < gap <= widest and solid and unit.solid)
            if items and (not joins or unit.high - low > self.limits.tile):
                yield Mosaic.of(low, high, high - low, items)
                items = []
            if not items:
                low = unit.low
            items.extend(unit.items)
            high, solid = unit.high, unit.solid
        if items:
            yield Mosaic.of(low, high, high - low, items)

    def _cost_in_order(self, part: Part) -> float:
        """Return what a part's bytes cost where its target is written in order."""
        place = _main_place(part)
        width = part.item if part.moves_bytes else 16
        return 0 if place is None else _cost(place, _in_order(part.sizes, max(1, self.limits.tile // width)))

    def _blocks(self, part: Part) -> tuple[int, ...] | None:
        """Return the tile of a part whose source runs another way than its target, where boxes cost fewer calls than order."""
        place = _main_place(part)
        cost = self._cost_in_order(part)
        if place is None or cost < GOOD:
            return None
        tile = _square(part.sizes, place, max(1, self.limits.block // (part.item if part.moves_bytes else 16)))
        run = contiguous_run(tile, part.strides, part.item)
        return tile if _cost(place, tile) + CALL / run < cost else None

    def _woven(self, parts: list[Part]) -> Blocks | None:
        """Return parts that take turns, each with the same number of elements at a time, as blocks of all of them."""
        ordered = sorted(parts, key=lambda part: part.offset)
        first = ordered[0]
        run = contiguous_run(first.sizes, first.strides, first.item)
        cell = run * len(ordered)
        outer = sum(stride >= cell for stride in first.strides)
        alike = all(part.sizes == first.sizes and part.strides == first.strides for part in ordered)
        in_turn = all(part.offset == first.offset + number * run for number, part in enumerate(ordered))
        place = _main_place(first)
        if not (alike and in_turn and outer and first.strides[outer - 1] == cell and place is not None):
            return None
        budget = self.limits.block // (cell if all(part.moves_bytes for part in ordered) else 16 * cell // first.item)
        return Blocks(tuple(ordered), cell, _square(first.sizes[:outer], place, max(1, budget)))


def _stands_alone(part: Part, *, crossing: bool) -> bool:
    """Tell whether a part is written apart from its neighbours: it has no holes, or long runs."""
    run = contiguous_run(part.sizes, part.strides, part.item)
    return run == part.end - part.offset or run >= (SHORT if crossing else LONG)


def _moves(part: Part) -> Moves | None:
    """Return a part whose bytes lie in long stretches on both sides as those; None where they do not."""
    if not part.moves_bytes or part.places[0].encoded is not None:
        return None
    place = part.places[0]
    axis, run = common_run(part.sizes, (part.strides, place.strides), part.item)
    if axis and run < STRETCH:
        return None
    axes = zip(part.sizes[:axis], place.strides[:axis], part.strides[:axis], strict=True)
    ordered = sorted(axes, key=lambda each: each[1], reverse=True)
    return Moves(Extent(part.offset, run, place.file, place.offset), tuple(ordered))


def _is_dense(part: Part) -> bool:
    return contiguous_run(part.sizes, part.strides, part.item) == part.end - part.offset


def _period(parts: Sequence[Part], most: int) -> int:
    """Return a length of tiles, at most `most`, that cuts few boxes: whole rows of as many parts as possible."""
    item = max(part.item for part in parts)
    strides = [stride for part in parts for stride in part.strides if stride <= most]
    longest = max([item, *strides])
    return max(longest, most - most % longest)


def _in_order(sizes: tuple[int, ...], budget: int) -> tuple[int, ...]:
    """Return a tile of at most `budget` elements that takes the last axes whole."""
    return _grown(sizes, [1] * len(sizes), range(len(sizes) - 1, -1, -1), budget)


def _square(sizes: tuple[int, ...], place: Place, budget: int) -> tuple[int, ...]:
    """Return a tile of at most `budget` elements with long runs in the source and in the target."""
    outward = range(len(sizes) - 1, -1, -1)
    moving = sorted((stride, axis) for axis, stride in enumerate(place.strides[: len(sizes)]) if stride)
    by_source = [axis for _, axis in moving]
    side = 1 << (budget.bit_length() // 2)
    tile = list(_grown(sizes, [1] * len(sizes), by_source, side))
    tile = list(_grown(sizes, tile, outward, budget))
    return _grown(sizes, tile, by_source, budget)


def _main_place(part: Part) -> Place | None:
    """Return the stored place with the most elements; None where nothing is read."""
    return max(
        (each for each in part.places if each.is_stored),
        key=lambda each: elements([n for n, stride in zip(part.sizes, each.strides, strict=True) if stride]),
        default=None,
    )


def _grown(sizes: Sequence[int], tile: list[int], order: Sequence[int], budget: int) -> tuple[int, ...]:
    """Return a tile grown along the axes in `order`, each whole before the next, to at most `budget` elements."""
    for axis in order:
        most = budget // (elements(tile) // tile[axis])
        if most >= sizes[axis]:
            tile[axis] = sizes[axis]
            continue
        tile[axis] = max(tile[axis], most - most % 256 if most > 512 else most, 1)
        break
    return tuple(tile)


def _cost(place: Place, tile: tuple[int, ...]) -> float:
    """Return what reading a tile of one place costs, for each of its bytes, in bytes read; a call counts for `CALL` bytes."""
    run, loops, _ = window(place, tile)
    reads = elements([size for size, _ in loops])
    return reads * (run + CALL) / (elements(tile) * place.item)


def _source_order(work: Work) -> tuple[int, int, int]:
    """Return where a piece of work begins to read, so that disks read forward."""
    if isinstance(work, Moves):
        return work.first.file, work.first.start, work.first.low
    items: Sequence[Item] = work.items if isinstance(work, Mosaic) else work.parts
    for item in items:
        if isinstance(item, Extent):
            return item.file, item.start, item.low
        if isinstance(item, Part):
            for place in item.places:
                if place.file >= 0:
                    return place.file, place.offset if place.encoded is None else place.encoded.start, item.offset
    return -1, 0, item_low(items[0])
