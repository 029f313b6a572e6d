"""One output file while it is written: preallocated, tiles put in their places, checksums patched in, then made durable.

Data goes out by positioned writes, never through a memory map.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tensormap.checkpoints.catalog import Checksum
from tensormap.checkpoints.crc import crc32
from tensormap.checkpoints.descriptors import close, named
from tensormap.lowering.plan import OutputFile
from tensormap.runtime.clones import Clones, keeps_reservations, share_file
from tensormap.runtime.parts import Extent

_CHUNK = 512 << 10
_PIECE = 256 << 10
_SEND = 32 << 20
_SEND_RUNS = 128 << 20
_SYNC_FILE_RANGE_WRITE = 2


class Writing:
    """An output file that is being written. `pending`, `issued`, and `hands`, the workers that copy to it, belong to whoever hands
    out its tiles.
    """

    def __init__(self, output: OutputFile, path: Path, *, sync: bool = True) -> None:
        self.output = output
        self.path = path
        self.pending = 0
        self.issued = False
        self.hands = 0
        self.turn = threading.Lock()
        self._descriptor = -1
        self._unsent = 0
        self._sync = sync

    def allocate(self) -> None:
        """Make the file, of its full size, all zeros, so that a full disk is known before the first byte."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            size = self.output.layout.size
            if size and not (keeps_reservations(descriptor) and _reserved(descriptor, size)):
                os.ftruncate(descriptor, size)
        except OSError as error:
            raise named(error, self.path) from error
        finally:
            close(descriptor)

    def open(self) -> None:
        """Open the file that `allocate` made."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def share(self, clones: Clones, source: int, extent: Extent) -> tuple[int, int]:
        """Share what can be of a stretch of an open source file; return its bytes here, (first, end)."""
        try:
            return clones.share(source, extent.start, self._descriptor, extent.low, extent.size)
        except OSError as error:
            raise named(error, self.path) from error

    def carry(self, source: int, start: int, low: int, size: int) -> int:
        """Let the system copy `size` bytes of an open source file from byte `start` on to byte `low`; return how many it did.

        What it left, because it cannot or because of an error, is for the caller to read and write, who then meets the error with
        the name of its file. From page to page is one copy; reads and writes are two.
        """
        done = 0
        with suppress(OSError, AttributeError):  # of an operating system that has no such call
            while done < size:
                count = os.copy_file_range(source, self._descriptor, size - done, start + done, low + done)
                if not count:
                    break
                done += count
        return done

    def write(self, offset: int, data: memoryview) -> None:
        """Put `data` at byte `offset`, in calls of 256 KB: for larger ones the system looks for whole stretches of memory, which
        takes as long again where files fill it (measured: 1.5 s of CPU for 2.5 GB in calls of 512 KB, 0.75 s in these).
        """
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._descriptor, data[done : done + _PIECE], offset + done)
        except OSError as error:
            raise named(error, self.path) from error

    def hurry(self, size: int, *, whole: bool) -> None:
        """Count `size` bytes that were written, and set the disk to work now and then: otherwise all of it would be left to the
        fsync at the end (measured: 0.31 s against 0.22 s for 600 MB). Where they are no `whole` stretch, and so will share
        pages with what comes, this is done less often.
        """
        if not self._sync:
            return
        self._unsent += size  # two threads may lose a count: it only matters that some are made
        if self._unsent >= (_SEND if whole else _SEND_RUNS):
            self._unsent = 0
            _start_writing(self._descriptor)

    def patch(self, checksums: Sequence[Checksum], buffer: memoryview) -> None:
        """Read the checksums' bytes again, just written and so in memory, and put their crc32 where it belongs.

        zlib has no combination of two crc32 in Python's module, and tiles are not written in order; the crc itself costs more
        than reading once more.
        """
        for checksum in checksums:
            crc = 0
            for offset in range(checksum.start, checksum.start + checksum.size, len(buffer)):
                piece = buffer[: min(len(buffer), checksum.start + checksum.size - offset)]
                self._read(offset, piece)
                crc = crc32(piece, crc)
            data = memoryview(crc.to_bytes(4, "little"))
            for offset in checksum.into:
                self.write(offset, data)

    def sha256(self, buffer: memoryview) -> str:
        """Read the file again, just written and so in memory, and return its digest: tiles are not written in order."""
        known = hashlib.sha256()
        size = self.output.layout.size
        for offset in range(0, size, len(buffer)):
            piece = buffer[: min(len(buffer), size - offset)]
            self._read(offset, piece)
            known.update(piece)
        return known.hexdigest()

    def finish(self) -> os.stat_result:
        """Make the file durable, if that was asked for, and close it; return its final status."""
        try:
            if self._sync:
                os.fsync(self._descriptor)
            return os.fstat(self._descriptor)
        except OSError as error:
            raise named(error, self.path) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, whatever its state."""
        if self._descriptor >= 0:
            close(self._descriptor)
            self._descriptor = -1

    def _read(self, offset: int, buffer: memoryview) -> None:
        try:
            done = 0
            while done < len(buffer):
                count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
                if count == 0:
                    raise OSError(errno.EIO, "the file became shorter while it was written")  # noqa: TRY301
                done += count
        except OSError as error:
            raise named(error, self.path) from error


def _reserved(descriptor: int, size: int) -> bool:
    if not _can_reserve(descriptor):
        return False
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def _can_reserve(descriptor: int) -> bool:
    """Tell whether the file system reserves space itself. glibc's posix_fallocate never says that it does not: it reads and writes
    a byte of every page instead, and so everything is written twice (measured on ramfs: 2 s to a GB; NFS before 4.2 is alike).
    """
    import ctypes  # numpy has it already

    libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if function is None:
        return True
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    refused: int = function(descriptor, 0, 0, 1)
    return not refused or ctypes.get_errno() not in (errno.EOPNOTSUPP, errno.ENOSYS)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes  # numpy has it already

    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    found: Callable[[int, int, int, int], int] = function
    return found


def _start_writing(descriptor: int) -> None:
    """Ask the system to begin writing a file's new bytes to the disk. No promise is made, so no error matters."""
    function = _sync_file_range()
    if function is not None:
        function(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def write_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a small file and, with `sync`, make it durable."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if sync:
            os.fsync(descriptor)
    except OSError as error:
        raise named(error, path) from error
    finally:
        close(descriptor)


def _read(descriptor: int, offset: int, path: Path) -> bytes:
    try:
        return os.pread(descriptor, _CHUNK, offset)
    except OSError as error:
        raise named(error, path) from error


def copy_file(source: Path, target: Path, *, sync: bool = True) -> int:
    """Copy a file's bytes, or share them, and nothing else of it, with `sync` make them durable, and return their number."""
    total = 0
    reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            if share_file(reader, writer):
                total = os.fstat(writer).st_size
            while data := _read(reader, total, source):
                view = memoryview(data)
                total += len(view)
                while view:
                    view = view[os.write(writer, view) :]
            if sync:
                os.fsync(writer)
        except OSError as error:
            raise named(error, target) from error
        finally:
            close(writer)
    finally:
        close(reader)
    return total
