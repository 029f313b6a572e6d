"""Where the output files of a run are made: which tiles are handed out, and when a file is finished.

Each worker has a file of its own as long as there are enough, and what need not be looked at the system copies there, from page
to page. Writes go one at a time: they ask for large stretches of memory, and wait for each other at that. Measured, two workers,
2.5 GB in and out of memory: in two files 0.33 s where the system copies (in one 0.80), 0.49 s where reads and writes take turns,
and 0.67 where they do not, with twice the CPU time; in one file 0.48 s in turns.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from tensormap.checkpoints.catalog import Checksum
from tensormap.lowering.plan import Plan
from tensormap.runtime.buffers import Limits
from tensormap.runtime.clones import Clones, may_fit
from tensormap.runtime.crew import Hand, Line, insist
from tensormap.runtime.parts import Extent
from tensormap.runtime.progress import Callback, Progress
from tensormap.runtime.tiling import Blocks, Mosaic, Moves, cut
from tensormap.runtime.worker import Worker
from tensormap.runtime.writing import Writing

Job: TypeAlias = Callable[[Worker], None]

_BATCH = 2 << 20  # bytes to one job, where tiles are smaller
_CARRIED = 8 << 20  # bytes to one job, where the system moves them
_CALL = 2 << 20  # bytes to one call of the system, of 64 MB took twice as long
_CHUNK = 512 << 10  # bytes to one read for a checksum
_WAITING = 16  # files that may wait to be made durable, each open


class Place(Protocol):
    """Where files are made: those that were finished before, and the digests of those that are, both by path."""

    finished: dict[str, list[int]]
    sums: dict[str, str]

    def path(self, relative: str) -> Path:
        """Return where to make a file."""

    def done(self, relative: str, status: os.stat_result, sha256: str | None) -> None:
        """Take a file that is whole and on the disk."""


class Yard:
    """The output files of one run, but those that an interrupted run finished."""

    def __init__(self, plan: Plan, place: Place, limits: Limits, *, checksum: bool = False, sync: bool = True) -> None:
        self._plan = plan
        self._place = place
        self._limits = limits
        self._checksum = checksum
        todo = [each for each in plan.outputs if each.path not in place.finished]
        self._writings = [Writing(each, place.path(each.path), sync=sync) for each in todo]
        self._total = sum(each.layout.size for each in todo)
        self._done = 0
        self._line: Line[Worker] = Line(map(self._jobs, self._writings))
        self._finished: queue.Queue[Writing | None] = queue.Queue(_WAITING)
        self._failed = False
        self._turn = threading.Lock()
        self._clones = Clones()
        self._strangers: set[int] = set()  # source files that the system does not copy from by itself

    @property
    def bytes_written(self) -> int:
        """The bytes of the files, all of which are new."""
        return self._total

    def write(self, staff: list[Worker], progress: Callback | None) -> None:
        """Fill all files and make them durable."""

        def watch() -> None:
            if progress is not None:
                done = min(self._total, sum(worker.bytes_done for worker in staff))
                progress(Progress("write", done, self._total, self._done, len(self._writings)))

        for writing in self._writings:
            writing.allocate()
        syncer = Hand(self._sync)
        try:
            syncer.start()
            self._line.run(staff, watch)
        except BaseException:
            self._failed = True
            raise
        finally:
            with ExitStack() as stack:
                for writing in self._writings:
                    stack.callback(writing.close)
                stack.callback(syncer.await_end)
                insist(partial(self._finished.put, None))
        self._line.check()
        watch()

    def _jobs(self, writing: Writing) -> Iterator[Job]:
        """Hand out the tiles of a file. Runs under the line's lock."""
        output = writing.output
        writing.open()
        works = cut(
            self._plan.inputs, output.tensors, output.layout.offsets, output.steps, output.layout.pieces, self._limits
        )
        for work in works:
            if isinstance(work, Moves):
                for extents in _loads(work):
                    writing.pending += 1
                    yield partial(self._serve, writing, partial(self._move, writing, extents))
            elif isinstance(work, Mosaic):
                for tiles in _batches(work.tiles(), _BATCH // work.step):
                    writing.pending += 1
                    yield partial(self._serve, writing, partial(self._mosaic, writing, work, tiles))
            else:
                for box in _batches(work.tiles(), 1):
                    writing.pending += 1
                    yield partial(self._serve, writing, partial(self._blocks, writing, work, box))
        writing.issued = True
        if not writing.pending:
            self._filled(writing)

    def _serve(self, writing: Writing, job: Job, worker: Worker) -> None:
        with worker.painter.handles.serve(writing.output.path):
            job(worker)

    def _move(self, writing: Writing, extents: list[Extent], worker: Worker) -> None:
        """Share with the source what can be shared, and copy the rest."""
        with self._line.lock:
            writing.hands += 1
        for extent in extents:
            first = end = extent.low
            if may_fit(extent.start, extent.low, extent.size):
                handles = worker.painter.handles
                first, end = writing.share(self._clones, handles.opened(extent.file), extent)
                if first < end:
                    handles.check(extent.file, extent.start + first - extent.low, end - first)
                worker.bytes_done += end - first
                worker.bytes_shared += end - first
            self._carry(writing, _between(extent, extent.low, first), worker)
            self._carry(writing, _between(extent, end, extent.low + extent.size), worker)
        with self._line.lock:
            writing.hands -= 1
        self._done_with(writing, self._filled)

    def _carry(self, writing: Writing, extent: Extent, worker: Worker) -> None:
        """Copy a stretch: the system does while this worker is alone in the file."""
        handles = worker.painter.handles
        low, high = extent.low, extent.low + extent.size
        source = None if extent.file in self._strangers else handles.unseen(extent.file)
        while low < high:
            if source is not None and writing.hands == 1:
                wanted = min(_CALL, high - low)
                with writing.turn:
                    done = writing.carry(source, extent.start + low - extent.low, low, wanted)
                    writing.hurry(done, whole=True)
                handles.bytes_read += done
                if done < wanted:
                    self._strangers.add(extent.file)
                    source = None
            else:
                data = worker.painter.stretch(extent, low)
                self._put(writing, low, data)
                done = len(data)
            worker.bytes_done += done
            low += done

    def _put(self, writing: Writing, low: int, data: memoryview) -> None:
        with writing.turn, self._turn:
            writing.write(low, data)
            writing.hurry(len(data), whole=True)

    def _mosaic(self, writing: Writing, work: Mosaic, tiles: list[tuple[int, int]], worker: Worker) -> None:
        for low, high in tiles:
            data = worker.painter.mosaic(work, low, high)
            self._put(writing, low, data)
            worker.bytes_done += high - low
        self._done_with(writing, self._filled)

    def _blocks(
        self, writing: Writing, work: Blocks, boxes: list[tuple[tuple[int, ...], tuple[int, ...]]], worker: Worker
    ) -> None:
        for starts, sizes in boxes:
            runs = list(worker.painter.block(work, starts, sizes))
            with writing.turn:  # many small writes at once would only spin on the inode's lock
                for offset, data in runs:
                    writing.write(offset, data)
                size = sum(len(data) for _, data in runs)
                writing.hurry(size, whole=False)
            worker.bytes_done += size
        self._done_with(writing, self._filled)

    def _done_with(self, writing: Writing, then: Callable[[Writing], None]) -> None:
        with self._line.lock:
            writing.pending -= 1
            if writing.issued and not writing.pending:
                then(writing)

    def _filled(self, writing: Writing) -> None:
        """Go on with a file whose tensors are all written: its checksums, then the disk. The line's lock is held."""
        groups = list(_grouped(writing.output.layout.checksums))
        writing.pending = len(groups)
        for group in groups:
            self._line.add(partial(self._patch, writing, group))
        if not groups:
            self._line.add(partial(self._hand_over, writing))

    def _patch(self, writing: Writing, checksums: list[Checksum], worker: Worker) -> None:
        writing.patch(checksums, worker.scratch.reserve(_CHUNK).view)
        self._done_with(writing, lambda each: self._line.add(partial(self._hand_over, each)))

    def _hand_over(self, writing: Writing, worker: Worker) -> None:
        worker.painter.handles.settle(writing.output.path)  # before the file counts as finished
        if self._checksum:  # while its bytes are still in memory
            self._place.sums[writing.output.path] = writing.sha256(worker.scratch.reserve(_CHUNK).view)
        self._finished.put(writing)

    def _sync(self) -> None:
        """Make finished files durable, one after the other, while others are written; note each in the journal."""
        while (writing := self._finished.get()) is not None:
            if self._failed:
                continue
            try:
                path = writing.output.path
                self._place.done(path, writing.finish(), self._place.sums.get(path))
                self._done += 1
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                self._failed = True
                self._line.stop(error)


def _between(extent: Extent, low: int, high: int) -> Extent:
    """Return the part of an extent at bytes `low` to `high` of the target."""
    return Extent(low, high - low, extent.file, extent.start + low - extent.low)


def _loads(work: Moves) -> Iterator[list[Extent]]:
    """Yield stretches that are worth a job; long ones are cut at whole blocks of the target."""
    load: list[Extent] = []
    size = 0
    for extent in work.extents():
        low, high = extent.low, extent.low + extent.size
        while low < high:
            end = min(high, (low // _CARRIED + 1) * _CARRIED)
            load.append(_between(extent, low, end))
            size += end - low
            low = end
            if size >= _CARRIED:
                yield load
                load, size = [], 0
    if load:
        yield load


def _batches(tiles: Iterator[tuple[object, object]], count: int) -> Iterator[list]:  # type: ignore[type-arg]
    batch = []
    for tile in tiles:
        batch.append(tile)
        if len(batch) >= count:
            yield batch
            batch = []
    if batch:
        yield batch


def _grouped(checksums: tuple[Checksum, ...]) -> Iterator[list[Checksum]]:
    """Yield the checksums in groups that are worth a job."""
    group: list[Checksum] = []
    size = 0
    for checksum in checksums:
        group.append(checksum)
        size += checksum.size + 1024
        if size >= 4 << 20:
            yield group
            group, size = [], 0
    if group:
        yield group
