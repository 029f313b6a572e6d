"""A plan's tensors in memory, one after the other: for `load_state_dict` and the like, nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.dtypes import BY_NAME
from tensormap.lowering.plan import OutputFile, Plan, Step
from tensormap.runtime.buffers import Limits
from tensormap.runtime.casts import numpy_dtype
from tensormap.runtime.paint import Painter, runs
from tensormap.runtime.sources import Sources
from tensormap.runtime.tiling import Work, cut, tensor_bytes
from tensormap.runtime.verifying import verify
from tensormap.runtime.worker import hire


def iter_tensors(plan: Plan, *, memory: int = 64 << 20, trust_crc: bool = False) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each output tensor's name and values, file by file; besides the tensor, at most `memory` bytes are held.

    Elements smaller than a byte come as their bytes, a flat uint8 array. Raises what `execute.run` raises for the sources; that
    they did not change meanwhile is known when the last tensor was taken.
    """
    sources = Sources((plan.root, plan.sources))
    sources.check()
    limits = Limits.of(memory, 1, None)
    with hire(sources, limits, 1, trust_crc=trust_crc, late=False) as staff:
        verify(plan, staff, None)
        for output in plan.outputs:
            bases = [0] * len(output.tensors)
            for tensor, steps in zip(output.tensors, steps_by_tensor(output), strict=True):
                works = cut(plan.inputs, output.tensors, bases, steps, (), limits)
                yield tensor.name, _painted(staff[0].painter, works, tensor.dtype, tensor.shape, tensor_bytes(tensor))
    sources.check_unchanged()


def steps_by_tensor(output: OutputFile) -> list[list[Step]]:
    """Return the steps of each tensor of a file."""
    steps: list[list[Step]] = [[] for _ in output.tensors]
    for step in output.steps:
        steps[step.target.tensor].append(step)
    return steps


def _painted(painter: Painter, works: list[Work], dtype: str, shape: tuple[int, ...], size: int) -> NDArray[Any]:
    packed = BY_NAME[dtype].size == 0
    array: NDArray[Any] = np.empty(size, np.uint8) if packed else np.empty(shape, numpy_dtype(dtype))
    target = array.reshape(-1).view(np.uint8) if size else array
    for work in works:
        for low, data in runs(painter, work):
            target[low : low + len(data)] = np.frombuffer(data, np.uint8)
    return array
