"""Headers made longer, so that target files have their tensors in the same place within a block as the source has them.

File systems with reflinks share whole blocks only. A safetensors header may end in blanks, which moves all tensors of its file
together; no other format has such a place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tensormap.checkpoints.catalog import FileLayout, Piece
from tensormap.dtypes import BY_NAME
from tensormap.lowering.boxes import row_major
from tensormap.lowering.plan import Copy, Input, OutputFile, Plan

BLOCK = 4096
_UNIT = 8  # what a header's length is a multiple of


def align(plan: Plan) -> Plan:
    """Return the plan with up to 4 KB more in each safetensors header, where more bytes come to lie as in the source."""
    return replace(plan, outputs=tuple(_aligned(each, plan.inputs) for each in plan.outputs))


def _aligned(output: OutputFile, inputs: Sequence[Input]) -> OutputFile:
    if output.format != "safetensors" or len(output.layout.pieces) != 1:
        return output
    more = _shift(output, inputs)
    layout = output.layout
    return replace(
        output,
        layout=FileLayout(
            layout.size + more, (_longer(layout.pieces[0], more),), tuple(each + more for each in layout.offsets)
        ),
        tensors=tuple(each._replace(offset=each.offset + more) for each in output.tensors),
    )


def _shift(output: OutputFile, inputs: Sequence[Input]) -> int:
    """Return by how much to move a file's tensors, so that most bytes of long copies lie as in the source."""
    bytes_at: Counter[int] = Counter({0: 0})
    for step in output.steps:
        if not isinstance(step, Copy):
            continue
        source, target = inputs[step.source.tensor], output.tensors[step.target.tensor]
        item = BY_NAME[target.dtype].size
        if source.file < 0 or source.encoding is not None or source.dtype != target.dtype or not item:
            continue
        if _is_dense(step.sizes, step.source.strides) and _is_dense(step.sizes, step.target.strides):
            there = source.offset + step.source.offset * item
            here = output.layout.offsets[step.target.tensor] + step.target.offset * item
            bytes_at[(there - here) % BLOCK] += math.prod(step.sizes) * item
    return max((each for each in bytes_at if each % _UNIT == 0), key=lambda each: (bytes_at[each], -each))


def _is_dense(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Tell whether a box is one stretch; axes of size 1 do not matter."""
    moving = [(size, stride) for size, stride in zip(sizes, strides, strict=True) if size != 1]
    return tuple(stride for _, stride in moving) == row_major([size for size, _ in moving])


def _longer(header: Piece, more: int) -> Piece:
    size = int.from_bytes(header.data[:8], "little") + more
    return Piece(header.offset, size.to_bytes(8, "little") + header.data[8:] + b" " * more)
