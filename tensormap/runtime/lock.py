"""One run at a time on one target: a lock file beside it, held with flock, so that a dead process holds nothing.

The parts of a divided run share it. Some network file systems have locks that other machines do not see; so whoever takes the lock
writes a mark of its own into the file, and looks again before each step that counts.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
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
        self._mark = b""  # what is in the file while it is ours alone, if it could be written

    def __enter__(self) -> Self:
        patience = time.monotonic() + _PATIENCE
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                self._refuse_foreign(descriptor)
                fcntl.flock(descriptor, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                if self._is_current(descriptor):
                    self._descriptor = descriptor
                    self._sign()
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
        ours = True
        try:
            with suppress(OSError):  # a lock file that nobody holds is no obstacle
                if self._shared:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the last of them removes it
                ours = self._is_ours()
                if ours:
                    os.unlink(self.path)  # while it is still held: whoever waits for this file sees that it is gone
        finally:
            close(self._descriptor)
        if not ours and isinstance(error, OSError):  # files that another run has removed, most likely
            raise self._lost() from error

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

    def check(self) -> None:
        """Raise a BusyError where the lock is ours no longer: another machine has taken it, or somebody removed the file."""
        if not self._is_ours():
            raise self._lost()

    def _lost(self) -> BusyError:
        message = f"{shown(self._target)} was taken over: its lock file is no longer that of this run"
        help_ = "see that one run at a time writes there: this file system does not show locks to other machines"
        return BusyError(Diagnostic("lock-lost", message, help=(help_,)))

    def _refuse_foreign(self, descriptor: int) -> None:
        """Refuse to write into what somebody else has put in the lock's place: a pipe, or a second name of another file."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise FileExistsError(errno.EEXIST, "not a lock file of tensormap", str(self.path))

    def _sign(self) -> None:
        """Write into the file who holds it."""
        who = f"{os.getpid()} on {os.uname().nodename}\n{os.urandom(8).hex()}"
        mark = f"{_PARTS if self._shared else who}\n".encode()
        with suppress(OSError):  # the disk may be full
            os.ftruncate(self._descriptor, 0)
            if os.pwrite(self._descriptor, mark, 0) == len(mark):
                self._mark = mark

    def _is_ours(self) -> bool:
        """Tell whether the lock file is the one we hold, and says what we wrote. Opened anew, since a server may know better."""
        if self._shared or not self._mark:
            return self._is_current(self._descriptor)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            found = b""
            while part := os.pread(descriptor, len(self._mark) + 1 - len(found), len(found)):
                found += part
        except OSError as error:
            raise named(error, self.path) from error
        finally:
            close(descriptor)
        return found == self._mark

    def _busy(self, holder: str) -> BusyError:
        who = f"process {holder}" if holder[:1].isdigit() else holder
        return BusyError(Diagnostic("locked", f"{self._what}{shown(self._target)} is being written by {who}"))

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


def _holder(descriptor: int) -> str:
    """Return who wrote into a lock that they hold it."""
    try:
        said = os.pread(descriptor, 128, 0).decode("ascii", "replace")
        return said.partition("\n")[0].strip() or "another process"
    except OSError:
        return "another process"
