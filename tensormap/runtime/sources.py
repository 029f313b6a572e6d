"""Source files: are they the ones that were planned with, and positioned reads that are whole or an error. Never a memory map."""

from __future__ import annotations

import os
import resource
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tensormap.checkpoints.catalog import SourceFile
from tensormap.checkpoints.crc import combine, crc32
from tensormap.checkpoints.descriptors import close, named
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.diagnostics import CheckpointError, Diagnostic

_CHUNK = 512 << 10
_WORTH = 32 << 10  # bytes of a read whose crc32 is kept until the record is complete
_BATCH = 512  # buffers to one preadv: half of what Linux takes


class Sources:
    """The source files of one run: of each checkpoint the root and its files, numbered through. Opened by `Handles`, one for each
    thread.
    """

    def __init__(self, *checkpoints: tuple[str | os.PathLike[str], Sequence[SourceFile]]) -> None:
        self.files = tuple(file for _, files in checkpoints for file in files)
        self.paths = tuple(os.path.join(root, file.path) for root, files in checkpoints for file in files)

    def check(self) -> None:
        """Raise a CheckpointError that names every file that is not as it was when the plan was made."""
        findings = [
            Diagnostic(
                "stale-plan", f"{shown(path)} {problem}", notes=("the plan was made from another state of this file",)
            )
            for path, file in zip(self.paths, self.files, strict=True)
            if (problem := _difference(path, file)) is not None
        ]
        if findings:
            raise CheckpointError(findings)

    def check_unchanged(self) -> None:
        """Raise a CheckpointError where a file was changed while it was read."""
        findings = [
            Diagnostic(
                "source-changed",
                f"{shown(path)} was changed while it was read: {problem}",
                notes=("nothing was published",),
            )
            for path, file in zip(self.paths, self.files, strict=True)
            if (problem := _difference(path, file)) is not None
        ]
        if findings:
            raise CheckpointError(findings)


def _difference(path: str, file: SourceFile) -> str | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is no longer there"
    return _status_difference(status, file)


def _status_difference(status: os.stat_result, file: SourceFile) -> str | None:
    if status.st_size != file.size:
        return f"has {status.st_size} bytes, and had {file.size}"
    if status.st_mtime_ns != file.mtime_ns:
        return "was written to since"
    return None


class Handles:
    """The source files that one thread has open: a bounded number, the least recently used closed first."""

    def __init__(self, sources: Sources, limit: int, records: Records | None = None) -> None:
        self._sources = sources
        self._limit = limit
        self._records = records or None
        self._open: OrderedDict[int, int] = OrderedDict()
        self._gap = bytearray(0)
        self.serving: str | None = None
        self.bytes_read = 0

    def close(self) -> None:
        """Close all files."""
        while self._open:
            close(self._open.popitem()[1])

    @contextmanager
    def serve(self, target: str | None) -> Iterator[None]:
        """Read for one target file, or for several."""
        before, self.serving = self.serving, target
        try:
            yield
        finally:
            self.serving = before

    def settle(self, serving: str | None = None) -> None:
        """Check the records that were read from, as far as that is open: those read for one target file or for several, or all.
        CheckpointError: a record's bytes were damaged.
        """
        if self._records is not None:
            self._records.settle(self, serving)

    def read(self, file: int, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of a file on. CheckpointError: the file ends before; OSError names the file."""
        self.read_into(file, offset, [buffer])

    def read_into(self, file: int, offset: int, buffers: list[memoryview]) -> None:
        """Fill buffers one after the other from byte `offset` of a file on."""
        descriptor = self.opened(file)
        wanted = sum(map(len, buffers))
        if self._records is not None:
            self._records.check(file, offset, offset + wanted, self)
        try:
            got = os.preadv(descriptor, buffers, offset)
            if got != wanted:
                self._continue(descriptor, file, offset, buffers, got)
        except OSError as error:
            raise named(error, self._sources.paths[file]) from error
        self.bytes_read += wanted
        if self._records is not None:
            self._records.take(file, offset, buffers, self._gap)

    def check(self, file: int, offset: int, size: int) -> None:
        """Check the records that hold bytes which are not read here. CheckpointError: a record's bytes were damaged."""
        if self._records is not None:
            self._records.check(file, offset, offset + size, self, now=True)

    def unseen(self, file: int) -> int | None:
        """Return a file that is open, for bytes of it that nobody here looks at; None where there are checksums to hold them to."""
        if self._records is not None and self._records.holds(file):
            return None
        return self.opened(file)

    def scatter(self, file: int, pieces: list[tuple[int, int, int]], target: memoryview, gap: int) -> None:
        """Read pieces, each (byte in the file, byte in `target`, size), with few calls: neighbours at most `gap` apart together."""
        pieces.sort()
        if len(self._gap) < gap:
            self._gap = bytearray(gap)
        waste = memoryview(self._gap)
        buffers: list[memoryview] = []
        begin = end = -1
        for start, into, size in pieces:
            if buffers and (not 0 <= start - end <= gap or len(buffers) >= _BATCH):
                self.read_into(file, begin, buffers)
                buffers = []
            if not buffers:
                begin = start
            elif start > end:
                buffers.append(waste[: start - end])
            buffers.append(target[into : into + size])
            end = start + size
        if buffers:
            self.read_into(file, begin, buffers)

    def _continue(self, descriptor: int, file: int, offset: int, buffers: list[memoryview], got: int) -> None:
        """Finish a read that came back short: some file systems and signals do that before the end of the file."""
        for buffer in buffers:
            done = min(got, len(buffer))
            got -= done
            while done < len(buffer):
                count = os.preadv(descriptor, [buffer[done:]], offset + done)
                if count == 0:
                    path = shown(self._sources.paths[file])
                    raise refusal("file-truncated", f"{path} ends at byte {offset + done}, inside a tensor")
                done += count
            offset += len(buffer)

    def opened(self, file: int) -> int:
        """Return a file that is open. Of bytes that are not read here `check` is to be asked."""
        descriptor = self._open.get(file)
        if descriptor is not None:
            self._open.move_to_end(file)
            return descriptor
        while len(self._open) >= self._limit:
            close(self._open.popitem(last=False)[1])
        path = self._sources.paths[file]
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._open[file] = descriptor
        try:
            status = os.fstat(descriptor)
        except OSError as error:
            raise named(error, path) from error
        problem = _status_difference(status, self._sources.files[file])
        if problem is not None:
            message = f"{shown(path)} was changed while it was read: {problem}"
            raise CheckpointError(Diagnostic("source-changed", message, notes=("nothing was published",)))
        return descriptor


def handle_limit(workers: int) -> int:
    """Return how many source files each of `workers` threads may keep open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        soft = 4096
    return max(2, min(256, (soft - 64) // (2 * workers)))


class Records:
    """The records of those source files that are zips, to be checked once each against the crc32 in the zip's directory.

    A record is checked when the first of its bytes is wanted, whole, by the thread that wants it. With `late` its bytes are taken
    as they are read, and put together; what they leave out is read when all is settled, before anything is published. A file
    that was settled rests on no check that is still going on: it may be all that a killed run leaves.
    """

    def __init__(self, sources: Sources, *, late: bool = False) -> None:
        self._late = late and combine is not None
        self._touched: dict[str | None, set[tuple[int, int]]] = {}  # by the target file they were read for
        self._stretches: dict[tuple[int, int], _Stretches] = {}
        self._again: frozenset[tuple[int, int]] = frozenset()  # what is read once more, to be settled
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._sources = sources
        self._records: dict[int, list[tuple[int, int, int, str]]] = {}
        self._starts: dict[int, list[int]] = {}
        for index, path in enumerate(sources.paths):
            records = _zip_records(path, sources.files[index].path)
            if records:
                self._records[index] = records
                self._starts[index] = [start for start, *_ in records]
        self._checked: set[tuple[int, int]] = set()

    def __bool__(self) -> bool:
        return bool(self._records)

    def holds(self, file: int) -> bool:
        """Tell whether a file is a zip."""
        return file in self._records

    def check(self, file: int, low: int, high: int, handles: Handles, *, now: bool = False) -> None:
        """Check the records that bytes `low` to `high` of a file touch, if not later then `now`. CheckpointError: a record's bytes
        were damaged.
        """
        late = self._late and not now
        for key in self._between(file, low, high):
            with self._lock:
                known = key in self._checked
                if late:
                    self._touched.setdefault(handles.serving, set()).add(key)
                else:
                    self._checked.add(key)
            if not known and not late:
                self._check(file, self._records[file][key[1]], handles)

    def take(self, file: int, offset: int, buffers: list[memoryview], waste: bytearray) -> None:
        """Take note of bytes that were read from `offset` on, but for what went to `waste`. CheckpointError: damaged."""
        if not self._late or file not in self._starts:
            return
        for buffer in buffers:
            if len(buffer) >= _WORTH and buffer.obj is not waste:
                self._put(file, offset, offset + len(buffer), crc32(buffer))
            offset += len(buffer)

    def settle(self, handles: Handles, serving: str | None) -> None:
        """Check what was touched, for one target file or for several, or all, and did not come together. CheckpointError: a
        record's bytes were damaged.
        """
        with self._settling:  # who comes meanwhile may need what is being checked
            with self._lock:
                owners = list(self._touched) if serving is None else [serving, None]
                touched = set().union(*(self._touched.get(each, ()) for each in owners))
                waiting = sorted(touched - self._checked)
                self._again = frozenset(waiting)
                known = {key: self._stretches.pop(key).known() for key in waiting if key in self._stretches}
            for file, position in waiting:
                self._check(file, self._records[file][position], handles, known.get((file, position), ()))
                with self._lock:
                    self._checked.add((file, position))

    def _between(self, file: int, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Yield the keys of the records that bytes `low` to `high` of a file touch."""
        starts = self._starts.get(file, ())
        position = max(0, bisect_right(starts, low) - 1)
        while position < len(starts) and starts[position] < high:
            yield file, position
            position += 1

    def _put(self, file: int, low: int, high: int, crc: int) -> None:
        key = (file, bisect_right(self._starts[file], low) - 1)
        start, size, expected, name = self._records[file][key[1]]
        if key[1] < 0 or high > start + size:
            return
        with self._lock:
            if key in self._checked or key in self._again:
                return
            found = self._stretches.setdefault(key, _Stretches()).put(low, high, crc)
            if found[:2] != (start, start + size):
                return
            del self._stretches[key]
            self._compare(file, name, found[2], expected)
            self._checked.add(key)

    def _check(
        self,
        file: int,
        record: tuple[int, int, int, str],
        handles: Handles,
        known: Iterable[tuple[int, int, int]] = (),
    ) -> None:
        """Check a record by reading it, but for stretches that are `known`: (first byte, end, crc32), by position."""
        start, size, expected, name = record
        buffer = memoryview(bytearray(min(size, _CHUNK)))
        crc, done = 0, start
        for low, high, of_stretch in (*known, (start + size, start + size, 0)):
            if low < done:
                continue
            while done < low:
                piece = buffer[: low - done]
                handles.read(file, done, piece)
                crc = crc32(piece, crc)
                done += len(piece)
            if high > low and combine is not None:
                crc = combine(crc, of_stretch, high - low)
                done = high
        self._compare(file, name, crc, expected)

    def _compare(self, file: int, name: str, crc: int, expected: int) -> None:
        if crc != expected:
            raise refusal(
                "record-damaged",
                f"{shown(self._sources.paths[file])}: the bytes of record {shown(name)} do not match their checksum",
                help=["the file was damaged after it was written: fetch it again"],
            )


class _Stretches:
    """Stretches of one record with the crc32 of each, neighbours together."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[int, int]] = {}  # by first byte: (end, crc32)
        self._starts: dict[int, int] = {}  # by end: first byte

    def put(self, low: int, high: int, crc: int) -> tuple[int, int, int]:
        """Add a stretch; return the one that it now is part of, as (first byte, end, crc32). Bytes that come twice are not added
        where they would begin or end as others do.
        """
        assert combine is not None
        before, after = self._starts.get(low), self._ends.get(high)
        if (before is None and low in self._ends) or (after is None and high in self._starts):
            return low, high, crc
        if before is not None:
            crc = combine(self._ends.pop(before)[1], crc, high - low)
            del self._starts[low]
            low = before
        if after is not None:
            del self._ends[high]
            crc = combine(crc, after[1], after[0] - high)
            high = after[0]
        self._ends[low] = (high, crc)
        self._starts[high] = low
        return low, high, crc

    def known(self) -> list[tuple[int, int, int]]:
        """Return the stretches, by position."""
        return sorted((low, high, crc) for low, (high, crc) in self._ends.items())


def _zip_records(path: str, name: str) -> list[tuple[int, int, int, str]]:
    """Return a zip's records as (first byte, size, crc32, name), by position; nothing for other files."""
    with Reader(Path(path), name) as file:
        if file.head(4) != b"PK\x03\x04":
            return []
        from tensormap.checkpoints.zip_records import open_archive

        records = open_archive(file).records
    return sorted((each.start, each.size, each.crc, name) for name, each in records.items())
