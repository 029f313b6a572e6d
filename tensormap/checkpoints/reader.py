"""A file read by position. Never mapped into memory: a file cut short while we read is an error, not a signal."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from tensormap.checkpoints.catalog import SourceFile
from tensormap.checkpoints.descriptors import close, named
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.diagnostics import CheckpointError


class Reader:
    """An open regular file: `name` is what messages call it. Use as a context manager."""

    __slots__ = ("_descriptor", "_path", "mtime_ns", "name", "size")

    def __init__(self, path: Path, name: str) -> None:
        """Open `path`; CheckpointError where nothing or no regular file is there, OSError where it may not be read."""
        self.name = name
        self._path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        except (FileNotFoundError, NotADirectoryError):
            dangling = os.path.lexists(path)
            raise refusal(
                "file-missing", f"{shown(name)} {'is a dangling link' if dangling else 'does not exist'}"
            ) from None
        except ValueError:  # a NUL in the path
            raise refusal("file-missing", f"{shown(name)} is no possible file name") from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise refusal("file-missing", f"{shown(name)} is a link that leads back to itself") from None
            if error.errno == errno.ENAMETOOLONG:
                raise refusal("file-missing", f"{shown(name)} is too long for the name of a file") from None
            raise
        try:
            status = os.fstat(descriptor)
        except OSError as error:
            close(descriptor)
            raise named(error, path) from error
        if not stat.S_ISREG(status.st_mode):
            close(descriptor)
            raise refusal("file-not-regular", f"{shown(name)} is not a regular file")
        self._descriptor = descriptor
        self.size = status.st_size
        self.mtime_ns = status.st_mtime_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from byte `offset` on."""
        try:
            data = os.pread(self._descriptor, size, offset) if size else b""
        except OSError as error:
            raise named(error, self._path) from error
        if len(data) == size:
            return data
        if not data:
            raise self._short(offset, size)
        return data + self.read(offset + len(data), size - len(data))

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Read as many bytes as `buffer` has from byte `offset` on."""
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise named(error, self._path) from error
            if not got:
                raise self._short(offset + done, len(buffer) - done)
            done += got

    def _short(self, end: int, missing: int) -> CheckpointError:
        return refusal(
            "file-truncated",
            f"{shown(self.name)} ends at byte {end}, where {missing} more were expected",
            notes=["it was cut short while it was read"] if end + missing <= self.size else [],
        )

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes, or all of a shorter file."""
        return self.read(0, min(size, self.size))

    def source(self, header: str) -> SourceFile:
        """Return what a catalog says of this file; `header` as in `SourceFile`."""
        return SourceFile(self.name, self.size, self.mtime_ns, header)
