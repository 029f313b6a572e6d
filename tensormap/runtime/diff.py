"""Two checkpoints compared tensor by tensor, element by element, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensormap.checkpoints.catalog import Catalog, TensorInfo
from tensormap.checkpoints.refusal import shown
from tensormap.dtypes import BY_NAME
from tensormap.runtime.boxes import row_major
from tensormap.runtime.buffers import Limits
from tensormap.runtime.casts import numpy_dtype, raw_dtype
from tensormap.runtime.crew import Line
from tensormap.runtime.equality import tiles, unravel, words
from tensormap.runtime.parts import Encoded, Place
from tensormap.runtime.progress import Callback, Progress
from tensormap.runtime.sources import Sources
from tensormap.runtime.tiling import elements
from tensormap.runtime.worker import Worker, hire

Array: TypeAlias = NDArray[Any]
Reason: TypeAlias = Literal["missing", "added", "dtype", "shape", "values"]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How one tensor differs. "missing" is in the left checkpoint only, "added" in the right one only.

    `left` and `right` are shapes, dtypes, or the values of the first element that differs, at `coordinates`; `count` of
    `elements` differ in their bits, by at most `largest` (None where that says nothing).
    """

    name: str
    reason: Reason
    left: str = ""
    right: str = ""
    coordinates: tuple[int, ...] = ()
    count: int = 0
    elements: int = 0
    largest: float | None = None

    def __str__(self) -> str:
        match self.reason:
            case "missing":
                return f"{shown(self.name)} is missing on the right"
            case "added":
                return f"{shown(self.name)} is missing on the left"
            case "values":
                place = f" first at [{', '.join(map(str, self.coordinates))}]," if self.coordinates else ""
                most = "" if self.largest is None else f" by at most {self.largest:g},"
                found = f"{self.count} of {self.elements} elements,{most}{place} {self.left} and {self.right}"
                return f"{shown(self.name)} differs in {found}"
            case _:
                return f"{shown(self.name)} has {self.reason} {self.left} on the left and {self.right} on the right"


class Tally:
    """Counts the elements of one tensor that differ, in whatever order they come."""

    def __init__(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self._name = name
        self._shape = shape
        self._packed = BY_NAME[dtype].size == 0
        self._dtype = np.dtype(np.uint8) if self._packed else numpy_dtype(dtype)
        self._elements = 0
        self._count = 0
        self._largest: float | None = None
        self._first: tuple[int, str, str] | None = None

    def add(self, left: Array, right: Array, first: int) -> None:
        """Compare elements that lie side by side from the flat position `first` on; both arrays are flat."""
        raw = raw_dtype(self._dtype.itemsize)
        left, right = left.view(self._dtype), right.view(self._dtype)
        self._elements += left.size
        unequal = left.view(raw) != right.view(raw)
        count = int(np.count_nonzero(unequal))
        if not count:
            return
        self._count += count
        where = int(np.argmax(unequal))
        if self._first is None or first + where < self._first[0]:
            self._first = (first + where, *words(left[where], right[where]))
        if self._dtype.kind != "b" and not self._packed:
            self._widen(left[unequal], right[unequal])

    def _widen(self, left: Array, right: Array) -> None:
        wide = np.complex128 if self._dtype.kind == "c" else np.float64
        with np.errstate(all="ignore"):
            apart = np.abs(left.astype(wide) - right.astype(wide))
        apart = apart[~np.isnan(apart)]
        if apart.size:
            self._largest = max(self._largest or 0.0, float(apart.max()))

    def result(self) -> TensorDifference | None:
        """Return what was found; None where all is equal."""
        if self._first is None:
            return None
        flat, left, right = self._first
        where = (flat,) if self._packed else unravel(flat, self._shape)
        return TensorDifference(self._name, "values", left, right, where, self._count, self._elements, self._largest)


def diff(
    left: Catalog, right: Catalog, *, workers: int = 2, memory: int = 64 << 20, progress: Callback | None = None
) -> tuple[TensorDifference, ...]:
    """Compare all tensors of two checkpoints by name: which there are, shapes, dtypes, then every element's bits.

    Nothing found means equal, NaN payloads and signed zeros included. CheckpointError: a file changed or is truncated.
    """
    sources = Sources((left.root, left.files), (right.root, right.files))
    sources.check()
    names = list(dict.fromkeys([*left.tensors, *right.tensors]))
    found: dict[str, TensorDifference] = {}
    finished: list[str] = []

    def jobs() -> Iterator[Callable[[Worker], None]]:
        for name in names:
            yield partial(_compare, left, right, name, found, finished)

    def watch() -> None:
        if progress is not None:
            progress(Progress("verify", len(finished), len(names), 0, 0))

    with hire(sources, Limits.of(memory, workers, None), workers, trust_crc=True) as staff:
        Line([jobs()]).run(staff, watch)
    sources.check_unchanged()
    return tuple(found[name] for name in names if name in found)


def _compare(
    left: Catalog, right: Catalog, name: str, found: dict[str, TensorDifference], finished: list[str], worker: Worker
) -> None:
    one, other = left.tensors.get(name), right.tensors.get(name)
    result = header_difference(name, one, other)
    if result is None and one is not None and other is not None:
        result = _values(one, other, len(left.files), worker)
    if result is not None:
        found[name] = result
    finished.append(name)


def header_difference(name: str, left: TensorInfo | None, right: TensorInfo | None) -> TensorDifference | None:
    """Return what differs before a value is read."""
    if right is None:
        return TensorDifference(name, "missing")
    if left is None:
        return TensorDifference(name, "added")
    if left.shape != right.shape:
        return TensorDifference(name, "shape", str(list(left.shape)), str(list(right.shape)))
    if left.dtype != right.dtype:
        return TensorDifference(name, "dtype", left.dtype, right.dtype)
    return None


def _values(left: TensorInfo, right: TensorInfo, shift: int, worker: Worker) -> TensorDifference | None:
    if 0 in left.shape:
        return None
    tally = Tally(left.name, left.dtype, left.shape)
    sizes, one = whole(left, 0)
    sizes, other = whole(right, shift)
    strides = row_major(sizes)
    for starts, (values, others) in tiles(worker.painter.renderer, (one, other), sizes):
        first = sum(start * stride for start, stride in zip(starts, strides, strict=True))
        tally.add(values.reshape(-1), others.reshape(-1), first)
    return tally.result()


def whole(tensor: TensorInfo, shift: int) -> tuple[tuple[int, ...], Place]:
    """Return a stored tensor as a box and where it lies, files being counted from `shift` on; bytes where elements are smaller."""
    dtype = BY_NAME[tensor.dtype]
    file = shift + tensor.file
    if dtype.size == 0:
        sizes: tuple[int, ...] = (elements(tensor.shape) * dtype.bits // 8,)
        return sizes, Place(tensor.name, "uint8", 1, file, tensor.offset, (1,), None)
    sizes = tensor.shape or (1,)
    strides = row_major(sizes) if tensor.strides is None else tensor.strides or (1,)
    scaled = tuple(stride * dtype.size for stride in strides)
    if tensor.encoding is not None:
        encoded = Encoded(tensor.encoding, tensor.offset)
        return sizes, Place(tensor.name, tensor.dtype, dtype.size, file, 0, scaled, None, encoded)
    return sizes, Place(tensor.name, tensor.dtype, dtype.size, file, tensor.offset, scaled, None)
