"""One run at a time on one target: a lock file beside it, held with flock, so that a dead process holds nothing.

The parts of a divided run share it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tensormap.checkpoints.descriptors import close, named
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import BusyError, Diagnostic

_PARTS = "parts of a divided run"
_PATIENCE = 10.0  # seconds


class Lock:
    """Hold `path` while the `with` block runs, alone or `shared`; BusyError at once where another process does.

    `what` says in messages what of the target it is for: "part 3/16 of ".
    """

    def __init__(self, path: Path, target: Path, *, shared: bool = False, what: str = "") -> None:
        self.path = path
        self._target = target
        self._shared = shared
        self._what = what
        self._descriptor = -1

    def __enter__(self) -> Self:
        patience = time.monotonic() + _PATIENCE
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                if self._is_current(descriptor):
                    name = _PARTS if self._shared else f"{os.getpid()} on {os.uname().nodename}"
                    with suppress(OSError):  # the name is for messages only, and the disk may be full
                        os.ftruncate(descriptor, 0)
                        os.pwrite(descriptor, f"{name}\n".encode(), 0)
                    self._descriptor = descriptor
                    return self
            except BlockingIOError:
                holder = _holder(descriptor)
                close(descriptor)
                if not self._shared or holder != _PARTS or time.monotonic() > patience:
                    raise self._busy(holder) from None
                time.sleep(0.02)  # another part has it alone, for a moment
                continue
            except OSError as error:
                close(descriptor)
                raise named(error, self.path) from error
            except BaseException:
                close(descriptor)
                raise
            close(descriptor)  # its last holder removed the file between our open and our flock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with suppress(OSError):  # a lock file that nobody holds is no obstacle
                if self._shared:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the last of them removes it
                os.unlink(self.path)  # while it is still held: whoever waits for this file sees that it is gone
        finally:
            close(self._descriptor)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a shared lock alone for a moment. BusyError where others share it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._busy(_PARTS) from None
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def _busy(self, holder: str) -> BusyError:
        who = f"process {holder}" if holder[:1].isdigit() else holder
        return BusyError(Diagnostic("locked", f"{self._what}{shown(self._target)} is being written by {who}"))

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


def _holder(descriptor: int) -> str:
    """Return what the holder of a lock wrote into it."""
    try:
        return os.pread(descriptor, 128, 0).decode("ascii", "replace").strip() or "another process"
    except OSError:
        return "another process"
