"""One run at a time on one target: a lock file beside it, held with flock, so that a dead process holds nothing."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import BusyError, Diagnostic


class Lock:
    """Hold `path` while the `with` block runs; BusyError at once where another process does."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target
        self._descriptor = -1

    def __enter__(self) -> Self:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(descriptor):
                    with suppress(OSError):  # the name is for messages only, and the disk may be full
                        os.ftruncate(descriptor, 0)
                        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                    self._descriptor = descriptor
                    return self
            except BlockingIOError:
                holder = _holder(descriptor)
                os.close(descriptor)
                who = f"process {holder}" if holder.isdigit() else holder
                message = f"{shown(self._target)} is being written by {who}"
                raise BusyError(Diagnostic("locked", message)) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its last holder removed the file between our open and our flock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with suppress(OSError):  # a lock file that nobody holds is no obstacle
                os.unlink(self.path)  # while it is still held: whoever waits for this file sees that it is gone
        finally:
            os.close(self._descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


def _holder(descriptor: int) -> str:
    """Return what the holder of a lock wrote into it."""
    try:
        return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "another process"
    except OSError:
        return "another process"
