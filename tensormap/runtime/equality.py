"""Boxes compared element by element, in bounded memory: the verify steps of a plan, and any two stored tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.checkpoints.refusal import shown
from tensormap.dtypes import BY_NAME
from tensormap.lowering.plan import Input, Operand
from tensormap.runtime import arithmetic
from tensormap.runtime.boxes import starts_of
from tensormap.runtime.casts import numpy_dtype, raw_dtype
from tensormap.runtime.kernels import Renderer
from tensormap.runtime.parts import Comparison, Place

Array = NDArray[Any]

_TILE = 1 << 17  # elements


@dataclass(frozen=True, slots=True)
class Difference:
    """The first element that differs, where it lies in the expected tensor, and the two values in words."""

    coordinates: tuple[int, ...]
    found: str
    expected: str


def first_difference(comparison: Comparison, renderer: Renderer, expected: Input) -> Difference | None:
    """Return the first difference, in the order of the expected tensor; None where all is equal."""
    places = (*comparison.places, comparison.expected)
    names = [each.dtype for each in comparison.places]
    dtype = comparison.expected.dtype
    exact = isinstance(comparison.formula, Operand) and names[comparison.formula.index] == dtype
    exact = exact and not comparison.verify.ulps
    for starts, arrays in tiles(renderer, places, comparison.sizes):
        wanted = arrays[-1]
        if exact:
            raw = raw_dtype(wanted.dtype.itemsize)
            formula = comparison.formula
            assert isinstance(formula, Operand)
            value = arrays[formula.index]
            unequal = value.view(raw) != wanted.view(raw)
        else:
            value = np.empty(wanted.shape, numpy_dtype(dtype))
            what = " and ".join(shown(each.name) for each in comparison.places)
            arithmetic.evaluate(comparison.formula, arrays[:-1], names, value, dtype, what)
            unequal = distance(value, wanted, dtype) > comparison.verify.ulps
        if unequal.any():
            where = np.unravel_index(int(np.argmax(unequal)), unequal.shape)
            position = tuple(start + int(each) for start, each in zip(starts, where, strict=True))
            found, other = words(value[where], wanted[where])
            return Difference(_coordinates(comparison.expected, position, expected), found, other)
    return None


def tiles(
    renderer: Renderer, places: Sequence[Place], sizes: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], list[Array]]]:
    """Yield a box of several places in tiles, as where each starts and its elements of each place."""
    tile = [1] * len(sizes)
    budget = _TILE
    for axis in range(len(sizes) - 1, -1, -1):
        tile[axis] = min(sizes[axis], max(1, budget))
        budget //= tile[axis]
    for starts in starts_of(sizes, tile):
        counts = tuple(min(most, size - start) for start, most, size in zip(starts, tile, sizes, strict=True))
        for part_starts, part_sizes in renderer.bounded(places, starts, counts):
            yield part_starts, renderer.gather(places, part_starts, part_sizes)


def distance(left: Array, right: Array, dtype: str) -> Array:
    """Return how many representable values lie between the elements; equal NaNs are 0 apart, a NaN and a number very far."""
    kind = BY_NAME[dtype].kind
    size = left.dtype.itemsize
    raw = raw_dtype(size)
    far = np.uint64(1 << 62)
    if kind in ("complex", "bool"):
        return np.where(left.view(raw) == right.view(raw), np.uint64(0), far)
    if kind == "float":
        signed = dtype != "float8_e8m0fnu"
        a, b = _ordered(left.view(raw), size, signed=signed), _ordered(right.view(raw), size, signed=signed)
        nan_left, nan_right = np.isnan(left), np.isnan(right)
        return np.where(
            nan_left & nan_right, np.uint64(0), np.where(nan_left | nan_right, far, np.where(a > b, a - b, b - a))
        )
    if size < 8:
        return np.asarray(np.abs(left.astype(np.int64) - right.astype(np.int64)).astype(np.uint64))
    return np.maximum(left, right).astype(np.uint64) - np.minimum(left, right).astype(np.uint64)


def _ordered(bits: Array, size: int, *, signed: bool) -> Array:
    """Map floating-point bits to unsigned integers in the order of the values; both zeros to one number."""
    wide = bits.astype(np.uint64)
    if not signed:
        return wide
    sign = np.uint64(1 << (8 * size - 1))
    middle = np.uint64(1 << 63)
    magnitude = wide & (sign - np.uint64(1))
    return np.where(wide & sign != 0, middle - magnitude, middle + magnitude)


def words(left: Any, right: Any) -> tuple[str, str]:
    """Return two values as text; with their bits where the numbers would look equal."""
    texts = _number(left), _number(right)
    if texts[0] != texts[1]:
        return texts
    return f"{texts[0]} (0x{left.tobytes()[::-1].hex()})", f"{texts[1]} (0x{right.tobytes()[::-1].hex()})"


def _number(value: Any) -> str:
    kind = value.dtype.kind
    if kind == "b":
        return "true" if value else "false"
    if kind in "iu":
        return str(int(value))
    if kind == "c":
        return str(complex(value))
    return repr(float(value))


def _coordinates(place: Place, position: Sequence[int], tensor: Input) -> tuple[int, ...]:
    """Return the index of an element of `place` in its tensor."""
    begin = tensor.offset if place.is_stored and place.encoded is None else 0
    byte = place.offset - begin + sum(each * stride for each, stride in zip(position, place.strides, strict=True))
    flat = byte // place.item
    if tensor.strides is not None:
        axes = sorted(range(len(tensor.shape)), key=lambda axis: -tensor.strides[axis])  # type: ignore[index]
        found = [0] * len(tensor.shape)
        for axis in axes:
            if tensor.strides[axis] and tensor.shape[axis] > 1:
                found[axis], flat = divmod(flat, tensor.strides[axis])
        return tuple(found)
    return unravel(flat, tensor.shape)


def unravel(flat: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the coordinates of the flat row-major position `flat`."""
    found: list[int] = []
    for size in reversed(shape):
        flat, index = divmod(flat, size)
        found.append(index)
    return tuple(reversed(found))
