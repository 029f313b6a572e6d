"""Where one job makes its files: a directory of its own, out of which each goes to its place when it is whole.

The same job may run twice at once, where a scheduler took its first worker for dead: both write the same bytes under names of their
own, and whichever comes last is in the place. A bay is held with flock while its job runs, so that the next one finds what a
dead one left.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from tensormap.runtime.progress import Callback, Progress
from tensormap.runtime.staging import Staging

Note: TypeAlias = Callable[[str, os.stat_result, str | None], None]

_LOCK = "lock"


class Bay:
    """The files of job `name`, made apart from `staging`'s content; `note` is told of each that went there."""

    def __init__(self, staging: Staging, name: str, finished: dict[str, list[int]], note: Note) -> None:
        self.finished = finished
        self.sums: dict[str, str] = {}
        self._staging = staging
        self._name = name
        self._note = note
        self._folder = Path()
        self._descriptor = -1

    def __enter__(self) -> Self:
        work = self._staging.work
        work.mkdir(exist_ok=True)
        self._remove_dead(work)
        # made and locked under another name: whoever looks for dead ones must not find it before it is held
        made = Path(tempfile.mkdtemp(prefix="new-", dir=work))
        try:
            self._descriptor = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._folder = work / f"{self._name}.{os.uname().nodename}-{os.getpid()}-{made.name.removeprefix('new-')}"
            os.rename(made, self._folder)
        except BaseException:
            self._folder = made
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def path(self, relative: str) -> Path:
        """Return where a file is made, its directory made."""
        path = self._folder / "content" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def done(self, relative: str, status: os.stat_result, sha256: str | None) -> None:
        """Put a file that is whole and on the disk in its place."""
        os.rename(self._folder / "content" / relative, self._staging.content / relative)
        self._note(relative, status, sha256)

    def watch(self, progress: Callback | None) -> Callback:
        """Return what a run calls as it goes on: it stops where the bay is gone, for then nobody wants its files."""

        def call(seen: Progress) -> None:
            if not self._folder.exists():
                raise FileNotFoundError(errno.ENOENT, "the run was given up", str(self._folder))
            if progress is not None:
                progress(seen)

        return call

    def _leave(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _remove_dead(self, work: Path) -> None:
        """Remove what runs of this job left that were killed: their space is needed."""
        for folder in sorted(work.glob(f"{self._name}.*")):
            with suppress(OSError):  # a live one, or one that is just being removed
                descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(descriptor)
