"""Rendering: the elements of parts, read from the sources and put in their places in a buffer in memory.

Knows nothing of target files. What a renderer holds is bounded by its `Limits`, whatever the size of a tensor or the spread
of its elements over a file: where a box's source window would be too large, the box is halved.

Measured (2 cores, ext4): runs of 16 KB and more are best read straight to their place; shorter ones through a window, with
gaps of up to a page read over. numpy transposes 16-bit elements in 0.9 ns each in blocks of 256 x 256, and in 0.4 ns where their
rows do not fight for the same lines of the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.checkpoints.refusal import shown
from tensormap.runtime import arithmetic, generators
from tensormap.runtime.boxes import common_run
from tensormap.runtime.buffers import Buffer, Limits
from tensormap.runtime.calling import Results
from tensormap.runtime.casts import cast_into, numpy_dtype, raw_dtype
from tensormap.runtime.decoding import Decoder
from tensormap.runtime.parts import Part, Place
from tensormap.runtime.sources import Handles
from tensormap.runtime.windows import window

Array = NDArray[Any]
Bounds = tuple[tuple[int, ...], tuple[int, ...]]

DIRECT = 16 << 10  # runs of this many bytes are read straight to their place
BLOCK = (512, 256)  # elements of a transposed block along the source's fastest axis, and along the target's
LINE = 64  # bytes of a line of the processor's cache
CROWDED = 4 * LINE  # rows that are multiples of this apart fill at most a quarter of the cache
SPREAD = 2 << 20  # bytes that may be held to spread them


class Renderer:
    """Renders parts for one thread."""

    def __init__(self, handles: Handles, limits: Limits, results: Results) -> None:
        self.handles = handles
        self.limits = limits
        self.results = results
        self._windows: list[Buffer] = []

    def render(
        self,
        part: Part,
        starts: tuple[int, ...],
        sizes: tuple[int, ...],
        target: Buffer,
        offset: int,
        strides: tuple[int, ...],
    ) -> None:
        """Write the sub-box of a part at `starts` of `sizes` into `target`, from byte `offset` on, `strides` bytes apart."""
        if part.moves_bytes and self._direct(part, starts, sizes, target, offset, strides):
            return
        axis = self._split(part.places, sizes, 1 if part.moves_bytes else 16)
        if axis is not None:
            for begin, count in _halves(starts, sizes, axis):
                shift = (begin[axis] - starts[axis]) * strides[axis]
                self.render(part, begin, count, target, offset + shift, strides)
            return
        if part.moves_bytes:
            raw = raw_dtype(part.item)
            view: Array = np.ndarray(sizes, raw, target.view, offset, strides)
            permute(view, self._gather(part.places[0], starts, sizes, 0, raw))
            return
        view = np.ndarray(sizes, numpy_dtype(part.dtype), target.view, offset, strides)
        what = shown(part.name)
        if part.value is not None:
            cast_into(view, part.dtype, np.asarray(part.value), what)
            return
        arrays = self.gather(part.places, starts, sizes)
        if part.formula is None:
            cast_into(view, part.dtype, arrays[0], what)
        else:
            arithmetic.evaluate(part.formula, arrays, [each.dtype for each in part.places], view, part.dtype, what)

    def bounded(self, places: Sequence[Place], starts: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[Bounds]:
        """Yield the parts of a sub-box that can be gathered at once, in order."""
        if self._split(places, sizes, 16) is None:
            yield starts, sizes
            return
        axis = next(axis for axis, size in enumerate(sizes) if size > 1)
        for half in _halves(starts, sizes, axis):
            yield from self.bounded(places, *half)

    def gather(self, places: Sequence[Place], starts: tuple[int, ...], sizes: tuple[int, ...]) -> list[Array]:
        """Return the sub-box's elements of each place, as arrays that hold until the next call."""
        return [
            self._gather(place, starts, sizes, index, numpy_dtype(place.dtype)) for index, place in enumerate(places)
        ]

    def _gather(
        self, place: Place, starts: tuple[int, ...], sizes: tuple[int, ...], index: int, dtype: np.dtype[Any]
    ) -> Array:
        begin = place.offset + sum(start * stride for start, stride in zip(starts, place.strides, strict=True))
        if place.generator is not None:
            positions = np.full(sizes, begin, np.int64)
            for axis, stride in enumerate(place.strides):
                shape = [1] * len(sizes)
                shape[axis] = sizes[axis]
                positions += (np.arange(sizes[axis], dtype=np.int64) * stride).reshape(shape)
            values = generators.values(place.generator, positions)
            return values if values.dtype == dtype else values.astype(dtype)
        if place.called is not None:
            result = self.results.get(place.called, place.dtype, self._whole)
            return np.ndarray(sizes, dtype, result.reshape(-1).view(np.uint8), begin, place.strides)
        while len(self._windows) <= index:
            self._windows.append(Buffer())
        run, loops, strides = window(place, sizes)
        total = run
        for size, _ in loops:
            total *= size
        held = self._windows[index].reserve(total)
        if not loops:
            self._reader(place).read(place.file, begin, held.view[:run])
        else:
            pieces = [
                (begin + sum(i * stride for i, (_, stride) in zip(position, loops, strict=True)), number * run, run)
                for number, position in enumerate(product(*(range(size) for size, _ in loops)))
            ]
            self._reader(place).scatter(place.file, pieces, held.view, 0)
        return np.ndarray(sizes, dtype, held.view, 0, strides)

    def _whole(self, place: Place, shape: tuple[int, ...]) -> Array:
        """Return all of a function's argument. What the function makes of it may be for several files."""
        argument: Array = np.empty(shape, numpy_dtype(place.dtype))
        with self.handles.serve(None):
            if argument.size and shape:
                reader = Renderer(self.handles, self.limits, self.results)  # this one's windows are in use
                for starts, sizes in reader.bounded([place], (0,) * len(shape), shape):
                    box = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
                    argument[box] = reader.gather([place], starts, sizes)[0]
            elif argument.size:
                argument[()] = Renderer(self.handles, self.limits, self.results).gather([place], (), ())[0]
        return argument

    def _reader(self, place: Place) -> Handles | Decoder:
        return self.handles if place.encoded is None else Decoder(self.handles, place.encoded)

    def _split(self, places: Sequence[Place], sizes: tuple[int, ...], per_element: int) -> int | None:
        """Return the axis to halve, where the windows or what is computed on the way would be too large."""
        limit = self.limits.window
        elements = 1
        for size in sizes:
            elements *= size
        if elements <= 1:
            return None
        total, worst, largest = 0, places[0] if places else None, -1
        for place in places:
            if place.is_stored:
                run, loops, _ = window(place, sizes)
                for size, _stride in loops:
                    run *= size
                total += run
                if run > largest:
                    largest, worst = run, place
        if total <= limit and (per_element == 1 or elements * per_element <= limit):
            return None
        strides = worst.strides if worst is not None else (0,) * len(sizes)
        return max((axis for axis in range(len(sizes)) if sizes[axis] > 1), key=lambda axis: (strides[axis], -axis))

    def _direct(
        self,
        part: Part,
        starts: tuple[int, ...],
        sizes: tuple[int, ...],
        target: Buffer,
        offset: int,
        strides: tuple[int, ...],
    ) -> bool:
        """Read runs that are long on both sides straight to their places; say whether they are."""
        place = part.places[0]
        axis, run = common_run(sizes, (strides, place.strides), part.item)
        if axis and run < DIRECT:
            return False
        begin = place.offset + sum(start * stride for start, stride in zip(starts, place.strides, strict=True))
        if not axis:
            self._reader(place).read(place.file, begin, target.view[offset : offset + run])
            return True
        pieces = [(begin, offset, run)]
        for size, source, into in zip(sizes[:axis], place.strides, strides, strict=False):
            pieces = [(low + i * source, put + i * into, run) for low, put, run in pieces for i in range(size)]
        self._reader(place).scatter(place.file, pieces, target.view, 0)
        return True


def _halves(starts: tuple[int, ...], sizes: tuple[int, ...], axis: int) -> tuple[Bounds, Bounds]:
    """Return a sub-box as two, halved along an axis."""
    half = sizes[axis] // 2
    later = (*starts[:axis], starts[axis] + half, *starts[axis + 1 :])
    rest = (*sizes[:axis], sizes[axis] - half, *sizes[axis + 1 :])
    return (starts, (*sizes[:axis], half, *sizes[axis + 1 :])), (later, rest)


def permute(target: Array, source: Array) -> None:
    """Copy arrays of one shape, in blocks where their fastest axes differ: both then stay in cache.

    Columns of a source whose rows are a power of two apart, as most are, share a few sets of the cache and push each other out of
    it. Such blocks are first copied to rows that are an odd number of cache lines apart.
    """
    fast, into = _fastest(source), _fastest(target)
    if fast == into or source.shape[fast] <= 1 or source.shape[into] <= 1:
        target[...] = source
        return
    moved = np.moveaxis(target, (into, fast), (-1, -2))
    origin = np.moveaxis(source, (into, fast), (-1, -2))
    rows, columns = moved.shape[-2:]
    height, width = BLOCK
    spread = _spread_rows(origin, min(height, rows), min(width, columns))
    for row in range(0, rows, height):
        for column in range(0, columns, width):
            block = (..., slice(row, row + height), slice(column, column + width))
            piece = origin[block]
            if spread is not None:
                held = spread[..., : piece.shape[-2], : piece.shape[-1]]
                held[...] = piece
                piece = held
            moved[block] = piece


def _spread_rows(source: Array, height: int, width: int) -> Array | None:
    """Return an array for blocks of `source`, whose columns run along its last axis; None where its own rows lie well enough."""
    outer = source.shape[:-2]
    pitch = (-(-height * source.itemsize // LINE) | 1) * LINE
    if source.strides[-1] % CROWDED or width * pitch * math.prod(outer) > SPREAD:
        return None
    columns: Array = np.empty((*outer, width, pitch // source.itemsize), source.dtype)
    return columns[..., :height].swapaxes(-1, -2)


def _fastest(array: Array) -> int:
    """Return the axis with the smallest stride that moves."""
    axes = [(stride, axis) for axis, stride in enumerate(array.strides) if stride and array.shape[axis] > 1]
    return min(axes)[1] if axes else 0
