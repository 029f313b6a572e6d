"""Steps made ready to run: canonical boxes with strides and offsets in bytes. Knows a plan's steps, but reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic
from tensormap.dtypes import BY_NAME, DType
from tensormap.lowering.plan import Compute, Copy, Fill, Formula, Generator, Input, Output, Region, Step, Verify
from tensormap.runtime.boxes import canonical, extent, row_major


class Extent(NamedTuple):
    """Bytes that are copied as they are: `size` bytes from byte `start` of source file `file` to byte `low` of the target."""

    low: int
    size: int
    file: int
    start: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """How the elements of a tensor are packed, and the byte of its file where its first block lies."""

    encoding: str
    start: int


@dataclass(frozen=True, slots=True)
class Called:
    """A call that is ready to be made: `arguments` are places, each a whole tensor of its shape."""

    key: str
    function: str
    arguments: tuple[tuple[Any, tuple[int, ...]], ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part's source elements lie: from byte `offset` of file `file`, `strides` bytes apart. For a generator the file is
    -1, and offset and strides count elements; for an encoded tensor they count bytes of what it decodes to, for a called
    function bytes of what it returns.
    """

    name: str
    dtype: str
    item: int
    file: int
    offset: int
    strides: tuple[int, ...]
    generator: Generator | None
    encoded: Encoded | None = None
    called: Called | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the elements are read from a file, and nothing has to be computed first but decoding."""
        return self.generator is None and self.called is None


@dataclass(frozen=True, slots=True)
class Part:
    """One step's box in its target: from byte `offset` on, `strides` bytes apart, the largest stride first. `formula` is None
    for a copy of bytes and for a cast; `value` is set for a fill, which has no places.
    """

    name: str
    dtype: str
    item: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    places: tuple[Place, ...]
    formula: Formula | None = None
    value: int | float | None = None

    @property
    def end(self) -> int:
        """The first byte of the target after the box's last element."""
        return self.offset + extent(self.sizes, self.strides, self.item)

    @property
    def moves_bytes(self) -> bool:
        """Whether the elements are moved without looking at them."""
        if len(self.places) != 1 or self.formula is not None:
            return False
        return self.places[0].dtype == self.dtype and self.places[0].is_stored

    @property
    def elements(self) -> int:
        """How many elements the box has."""
        count = 1
        for size in self.sizes:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Comparison:
    """A verify step made ready: a formula over places that must equal the elements of `expected`, all over one box."""

    sizes: tuple[int, ...]
    places: tuple[Place, ...]
    formula: Formula
    expected: Place
    verify: Verify


def prepare(step: Step, inputs: Sequence[Input], output: Output, base: int) -> Part | None:
    """Return a step as a canonical part of a target whose tensor starts at byte `base`; None where there is nothing to do.

    CheckpointError: a region leaves its tensor, or cuts a byte of packed elements.
    """
    if 0 in step.sizes:
        return None
    dtype = BY_NAME[output.dtype]
    _inside(step, output)
    if isinstance(step, Fill):
        sources: tuple[Region, ...] = ()
    elif isinstance(step, Copy):
        sources = (step.source,)
    else:
        sources = step.sources
    sizes, strides = canonical(step.sizes, (step.target.strides, *(region.strides for region in sources)))
    if dtype.size == 0:
        return _packed(step, inputs, output, base, sizes, strides)
    places = tuple(
        place(region, axis_strides, region.tensor, inputs)
        for region, axis_strides in zip(sources, strides[1:], strict=True)
    )
    item = dtype.size
    return Part(
        output.name,
        output.dtype,
        item,
        sizes,
        tuple(stride * item for stride in strides[0]),
        base + step.target.offset * item,
        places,
        step.formula if isinstance(step, Compute) else None,
        step.value if isinstance(step, Fill) else None,
    )


def prepare_comparison(verify: Verify, inputs: Sequence[Input]) -> Comparison | None:
    """Return a verify step as a canonical box over its sources and the expected tensor; None where there is nothing to do."""
    if 0 in verify.sizes:
        return None
    regions = (verify.expected, *verify.sources)
    sizes, strides = canonical(verify.sizes, tuple(region.strides for region in regions))
    places = tuple(
        place(region, axis_strides, region.tensor, inputs)
        for region, axis_strides in zip(regions, strides, strict=True)
    )
    return Comparison(sizes, places[1:], verify.formula, places[0], verify)


def place(region: Region, strides: tuple[int, ...], index: int, inputs: Sequence[Input]) -> Place:
    """Return where a region of input `index` lies, in bytes."""
    tensor = inputs[index]
    if tensor.generator is not None:
        return Place(tensor.name, tensor.dtype, 1, -1, region.offset, strides, tensor.generator)
    item = whole_bytes(BY_NAME[tensor.dtype], tensor.name)
    offset, scaled = region.offset * item, tuple(each * item for each in strides)
    if tensor.call is not None:
        arguments = tuple(
            (place(Region(each, 0, ()), inputs[each].strides or row_major(shape), each, inputs), shape)
            for each, shape in tensor.call.arguments
        )
        called = Called(tensor.name, tensor.call.name, arguments, tensor.shape)
        return Place(tensor.name, tensor.dtype, item, -1, offset, scaled, None, None, called)
    if tensor.encoding is not None:
        encoded = Encoded(tensor.encoding, tensor.offset)
        return Place(tensor.name, tensor.dtype, item, tensor.file, offset, scaled, None, encoded)
    return Place(tensor.name, tensor.dtype, item, tensor.file, tensor.offset + offset, scaled, None)


def whole_bytes(dtype: DType, name: str) -> int:
    """Return an element's size in bytes. CheckpointError: it is smaller than a byte."""
    if dtype.size == 0:
        message = f"elements of `{dtype.name}` in {shown(name)} are smaller than a byte: they can only be moved as whole bytes"
        raise CheckpointError(Diagnostic("packed-elements", message))
    return dtype.size


def _inside(step: Step, output: Output) -> None:
    target = step.target
    count = 1
    for size in output.shape:
        count *= size
    last = target.offset + sum((size - 1) * stride for size, stride in zip(step.sizes, target.strides, strict=True))
    if target.offset < 0 or last >= count or any(stride < 0 for stride in target.strides):
        message = f"a step of the plan leaves its target tensor {shown(output.name)}"
        raise CheckpointError(Diagnostic("plan-out-of-bounds", message))


def _packed(
    step: Step,
    inputs: Sequence[Input],
    output: Output,
    base: int,
    sizes: tuple[int, ...],
    strides: tuple[tuple[int, ...], ...],
) -> Part:
    """Prepare a step on elements smaller than a byte, whose runs must be whole bytes on both sides."""
    bits = BY_NAME[output.dtype].bits
    message = f"elements of `{output.dtype}` in {shown(output.name)} are smaller than a byte: they can only be moved as whole bytes"
    refused = CheckpointError(Diagnostic("packed-elements", message))
    if isinstance(step, Fill) and step.value == 0:
        regions = [step.target]
        tensors: list[Input] = []
    elif isinstance(step, Copy) and inputs[step.source.tensor].dtype == output.dtype:
        regions = [step.target, step.source]
        tensors = [inputs[step.source.tensor]]
    else:
        raise refused
    scaled: list[tuple[int, ...]] = []
    offsets: list[int] = []
    for region, axis_strides in zip(regions, strides, strict=True):
        outer = [stride * bits for stride in axis_strides[:-1]]
        if axis_strides[-1] != 1 or sizes[-1] * bits % 8 or region.offset * bits % 8 or any(each % 8 for each in outer):
            raise refused
        scaled.append((*(each // 8 for each in outer), 1))
        offsets.append(region.offset * bits // 8)
    places = tuple(
        Place(tensor.name, "uint8", 1, tensor.file, tensor.offset + offset, axis_strides, None)
        for tensor, offset, axis_strides in zip(tensors, offsets[1:], scaled[1:], strict=True)
    )
    value = step.value if isinstance(step, Fill) else None
    byte_sizes = (*sizes[:-1], sizes[-1] * bits // 8)
    return Part(output.name, "uint8", 1, byte_sizes, scaled[0], base + offsets[0], places, None, value)
