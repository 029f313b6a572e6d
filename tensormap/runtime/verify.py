"""Is an existing checkpoint what a plan would write? The mapping is computed again and compared, element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from tensormap.checkpoints.catalog import Catalog, TensorInfo
from tensormap.lowering.plan import Output, OutputFile, Plan, Step
from tensormap.runtime.boxes import clip, row_major
from tensormap.runtime.buffers import Buffer, Limits
from tensormap.runtime.crew import Line
from tensormap.runtime.diff import Tally, TensorDifference, header_difference, whole
from tensormap.runtime.iterate import steps_by_tensor
from tensormap.runtime.paint import runs
from tensormap.runtime.progress import Callback, Progress
from tensormap.runtime.sources import Sources
from tensormap.runtime.tiling import cut, tensor_bytes
from tensormap.runtime.verifying import verify
from tensormap.runtime.worker import Worker, hire


def compare(
    plan: Plan, catalog: Catalog, *, workers: int = 2, memory: int = 64 << 20, progress: Callback | None = None
) -> tuple[TensorDifference, ...]:
    """Compare what `plan` would write ("left") with the tensors of `catalog` ("right"), by name; nothing found means equal bits.

    Raises what `execute.run` raises for the sources.
    """
    sources = Sources((plan.root, plan.sources), (catalog.root, catalog.files))
    sources.check()
    limits = Limits.of(memory, workers, None)
    found: dict[int, TensorDifference] = {}
    finished: list[int] = []
    wanted = [(output, tensor) for output in plan.outputs for tensor in output.tensors]
    numbers = range(len(wanted))

    def jobs() -> Iterator[Callable[[Worker], None]]:
        number = 0
        for output in plan.outputs:
            for index, steps in enumerate(steps_by_tensor(output)):
                stored = catalog.tensors.get(output.tensors[index].name)
                yield partial(_compare, plan, output, index, steps, stored, limits, number, found, finished)
                number += 1

    def watch() -> None:
        if progress is not None:
            progress(Progress("verify", len(finished), len(wanted), 0, len(plan.outputs)))

    with hire(sources, limits, workers, trust_crc=True) as staff:
        verify(plan, staff, None)
        Line([jobs()]).run(staff, watch)
    sources.check_unchanged()
    names = {tensor.name for _, tensor in wanted}
    added = [TensorDifference(name, "added") for name in catalog.tensors if name not in names]
    return (*(found[number] for number in numbers if number in found), *added)


def _compare(  # noqa: PLR0913, PLR0917 - a job has what it needs
    plan: Plan,
    output: OutputFile,
    index: int,
    steps: list[Step],
    stored: TensorInfo | None,
    limits: Limits,
    number: int,
    found: dict[int, TensorDifference],
    finished: list[int],
    worker: Worker,
) -> None:
    tensor = output.tensors[index]
    made = TensorInfo(tensor.name, tensor.dtype, tensor.shape, 0, 0)
    result = header_difference(tensor.name, made, stored)
    if result is None and stored is not None and tensor_bytes(tensor):
        result = _values(plan, output, steps, tensor, stored, limits, worker)
    if result is not None:
        found[number] = result
    finished.append(number)


def _values(
    plan: Plan,
    output: OutputFile,
    steps: list[Step],
    tensor: Output,
    stored: TensorInfo,
    limits: Limits,
    worker: Worker,
) -> TensorDifference | None:
    tally = Tally(tensor.name, tensor.dtype, tensor.shape)
    reader = _FlatReader(stored, len(plan.sources), worker)
    for work in cut(plan.inputs, output.tensors, [0] * len(output.tensors), steps, (), limits):
        for low, data in runs(worker.painter, work):
            other = reader.read(low, low + len(data))
            tally.add(np.frombuffer(data, np.uint8), np.frombuffer(other, np.uint8), low // reader.item)
    return tally.result()


class _FlatReader:
    """Reads bytes of a stored tensor as if it were row-major."""

    def __init__(self, tensor: TensorInfo, shift: int, worker: Worker) -> None:
        self._sizes, self._place = whole(tensor, shift)
        self.item = self._place.item
        self._straight = tensor.strides is None and tensor.encoding is None
        self._worker = worker
        self._buffer = Buffer()

    def read(self, low: int, high: int) -> memoryview:
        """Return bytes `low` to `high`; they hold until the next call."""
        target = self._buffer.reserve(high - low)
        if self._straight:
            self._worker.painter.handles.read(self._place.file, self._place.offset + low, target.view[: high - low])
            return target.view[: high - low]
        position = 0
        renderer = self._worker.painter.renderer
        for starts, sizes in clip(self._sizes, row_major(self._sizes, self.item), self.item, 0, low, high):
            for begin, count in renderer.bounded([self._place], starts, sizes):
                data = renderer.gather([self._place], begin, count)[0].tobytes()
                target.view[position : position + len(data)] = data
                position += len(data)
        return target.view[: high - low]
