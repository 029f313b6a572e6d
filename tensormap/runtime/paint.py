"""Tiles as bytes: what work of `tiling` puts where in its target. Used by everything that writes, compares or hands out tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tensormap.checkpoints.catalog import Piece
from tensormap.runtime.boxes import clip, contiguous_run, row_major
from tensormap.runtime.buffers import Buffer, Limits
from tensormap.runtime.calling import Results
from tensormap.runtime.parts import Extent, Part
from tensormap.runtime.sources import Handles
from tensormap.runtime.tiling import Blocks, Mosaic, Moves, Work, elements
from tensormap.runtime.windows import GAP

if TYPE_CHECKING:
    from tensormap.runtime.kernels import Renderer


class Painter:
    """Paints tiles for one thread, in a buffer that it uses again."""

    def __init__(self, handles: Handles, limits: Limits, results: Results) -> None:
        self.handles = handles
        self._target = Buffer()
        self._limits = limits
        self._results = results

    @cached_property
    def renderer(self) -> Renderer:
        """What renders parts. Copies of whole stretches need none, and so no numpy, which takes as long to import as a gigabyte
        to copy in memory.
        """
        from tensormap.runtime.kernels import Renderer

        return Renderer(self.handles, self._limits, self._results)

    def mosaic(self, work: Mosaic, low: int, high: int) -> memoryview:
        """Return bytes `low` to `high` of a mosaic's target. They hold until the next call."""
        size = high - low
        target = self._target.reserve(size)
        extents: list[Extent] = []
        boxes: list[tuple[Part, tuple[int, ...], tuple[int, ...]]] = []
        pieces: list[Piece] = []
        covered = 0
        for item in work.within(low, high):
            if isinstance(item, Extent):
                begin, end = max(low, item.low), min(high, item.low + item.size)
                whole = end - begin == item.size
                extents.append(item if whole else Extent(begin, end - begin, item.file, item.start + begin - item.low))
                covered += end - begin
            elif isinstance(item, Piece):
                pieces.append(item)
            else:
                for starts, sizes in clip(item.sizes, item.strides, item.item, item.offset, low, high):
                    boxes.append((item, starts, sizes))
                    covered += elements(sizes) * item.item
        if covered < size:
            target.view[:size] = bytes(size)
        if extents:
            self._extents(extents, low, target)
        for part, starts, sizes in boxes:
            offset = part.offset - low + sum(start * stride for start, stride in zip(starts, part.strides, strict=True))
            self.renderer.render(part, starts, sizes, target, offset, part.strides)
        for piece in pieces:
            begin, end = max(low, piece.offset), min(high, piece.offset + len(piece.data))
            target.view[begin - low : end - low] = piece.data[begin - piece.offset : end - piece.offset]
        return target.view[:size]

    def stretch(self, extent: Extent, low: int) -> memoryview:
        """Return a tile of an extent from byte `low` of the target on. It holds until the next call."""
        done = low - extent.low
        size = min(self._limits.tile, extent.size - done)
        tile = self._target.reserve(size).view[:size]
        self.handles.read(extent.file, extent.start + done, tile)
        return tile

    def block(self, work: Blocks, starts: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[tuple[int, memoryview]]:
        """Yield the runs of one box, each with its first byte in the target. They hold until the next call."""
        first, count = work.parts[0], len(sizes)
        total = elements(sizes) * work.cell
        target = self._target.reserve(total)
        strides = row_major(sizes, work.cell)
        for part in work.parts:
            inner = part.sizes[count:]
            begin = (*starts, *(0 for _ in inner))
            places = (*strides, *part.strides[count:])
            self.renderer.render(part, begin, (*sizes, *inner), target, part.offset - first.offset, places)
        outer_strides = first.strides[:count]
        run = contiguous_run(sizes, outer_strides, work.cell)
        offsets = [first.offset + sum(start * stride for start, stride in zip(starts, outer_strides, strict=True))]
        outer = total // run
        for size, stride in zip(sizes, outer_strides, strict=True):
            if outer == 1:
                break
            offsets = [offset + index * stride for offset in offsets for index in range(size)]
            outer //= size
        for position, offset in enumerate(offsets):
            yield offset, target.view[position * run : (position + 1) * run]

    def _extents(self, extents: Sequence[Extent], low: int, target: Buffer) -> None:
        """Read extents whole into `target`, which begins at byte `low` of the target file."""
        files: dict[int, list[tuple[int, int, int]]] = {}
        for extent in extents:
            files.setdefault(extent.file, []).append((extent.start, extent.low - low, extent.size))
        for file, pieces in files.items():
            self.handles.scatter(file, pieces, target.view, GAP)


def runs(painter: Painter, work: Work) -> Iterator[tuple[int, memoryview]]:
    """Yield all bytes of a piece of work in runs, each with its first byte in the target. A run holds until the next."""
    if isinstance(work, Moves):
        for extent in work.extents():
            low = extent.low
            while low < extent.low + extent.size:
                tile = painter.stretch(extent, low)
                yield low, tile
                low += len(tile)
    elif isinstance(work, Mosaic):
        for low, high in work.tiles():
            yield low, painter.mosaic(work, low, high)
    else:
        for starts, sizes in work.tiles():
            yield from painter.block(work, starts, sizes)
