"""The workers of a run: each a thread's own open files and buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tensormap.diagnostics import CheckpointError
from tensormap.runtime.buffers import Buffer, Limits
from tensormap.runtime.calling import Results
from tensormap.runtime.paint import Painter
from tensormap.runtime.sources import Handles, Records, Sources, handle_limit

_OF_VALUES = ("not-equal", "value-out-of-range")  # what damaged bytes look like to who reads them


@dataclass(frozen=True, slots=True)
class Terms:
    """How work is to be done: by how many threads, which share `memory` bytes for tiles, unless `tile` bounds one."""

    workers: int
    memory: int
    tile: int | None = None
    checksum: bool = False
    trust_crc: bool = False
    sync: bool = True

    @property
    def limits(self) -> Limits:
        """What each thread may hold."""
        return Limits.of(self.memory, self.workers, self.tile)


@dataclass(frozen=True, slots=True)
class Work:
    """What was done: comparisons made, bytes moved; those that are shared with a source count as written, not as read."""

    verified: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_shared: int = 0


class Worker:
    """What one thread works with. The counts are only written by that thread; bytes that are shared with a source are done, too."""

    def __init__(self, handles: Handles, limits: Limits, results: Results) -> None:
        self.painter = Painter(handles, limits, results)
        self.scratch = Buffer()
        self.bytes_done = 0
        self.bytes_shared = 0


@contextmanager
def hire(sources: Sources, limits: Limits, count: int, *, trust_crc: bool, late: bool = True) -> Iterator[list[Worker]]:
    """Give `count` workers, whose files are closed at the end. The records of zips are checked by then, and without `late` before
    any of their bytes is given out. CheckpointError: one was damaged; that is said in place of what looks wrong because of it.
    """
    records = None if trust_crc else Records(sources, late=late)
    most = handle_limit(count)
    results = Results()
    staff = [Worker(Handles(sources, most, records), limits, results) for _ in range(count)]
    try:
        yield staff
        staff[0].painter.handles.settle()
    except CheckpointError as error:
        if error.diagnostics[0].slug in _OF_VALUES:
            staff[0].painter.handles.settle()
        raise
    finally:
        for worker in staff:
            worker.painter.handles.close()


def counted(staff: list[Worker], verified: int, written: int) -> Work:
    """Return what workers have done together."""
    read = sum(worker.painter.handles.bytes_read for worker in staff)
    return Work(verified, read, written, sum(worker.bytes_shared for worker in staff))
