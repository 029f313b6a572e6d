"""One output file while it is written: preallocated, tiles put in their places, checksums patched in, then made durable.

Data goes out by positioned writes, never through a memory map.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from tensormap.checkpoints.catalog import Checksum
from tensormap.lowering.plan import OutputFile

_CHUNK = 512 << 10


class Writing:
    """An output file that is being written. `pending` and `issued` belong to whoever hands out its tiles."""

    def __init__(self, output: OutputFile, path: Path) -> None:
        self.output = output
        self.path = path
        self.pending = 0
        self.issued = False
        self._descriptor = -1

    def allocate(self) -> None:
        """Make the file, of its full size, all zeros, so that a full disk is known before the first byte."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            size = self.output.layout.size
            if size:
                try:
                    os.posix_fallocate(descriptor, 0, size)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                        raise
                    os.ftruncate(descriptor, size)
        except OSError as error:
            raise named(error, self.path) from error
        finally:
            os.close(descriptor)

    def open(self) -> None:
        """Open the file that `allocate` made."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, offset: int, data: memoryview) -> None:
        """Put `data` at byte `offset`."""
        try:
            done = os.pwrite(self._descriptor, data, offset)
            while done < len(data):
                done += os.pwrite(self._descriptor, data[done:], offset + done)
        except OSError as error:
            raise named(error, self.path) from error

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
                crc = zlib.crc32(piece, crc)
            data = memoryview(crc.to_bytes(4, "little"))
            for offset in checksum.into:
                self.write(offset, data)

    def finish(self) -> os.stat_result:
        """Make the file durable and close it; return its final status."""
        try:
            os.fsync(self._descriptor)
            return os.fstat(self._descriptor)
        except OSError as error:
            raise named(error, self.path) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file, whatever its state."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
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


def write_file(path: Path, data: bytes) -> None:
    """Write a small file and make it durable."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError as error:
        raise named(error, path) from error
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> int:
    """Copy a file's bytes, and nothing else of it, make them durable, and return their number."""
    total = 0
    reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            while data := os.pread(reader, _CHUNK, total):
                view = memoryview(data)
                total += len(view)
                while view:
                    view = view[os.write(writer, view) :]
            os.fsync(writer)
        except OSError as error:
            raise named(error, target) from error
        finally:
            os.close(writer)
    finally:
        os.close(reader)
    return total


def named(error: OSError, path: Path | str) -> OSError:
    """Return the error with the file's name, where it has none."""
    if error.filename is None:
        error.filename = str(path)
    return error
