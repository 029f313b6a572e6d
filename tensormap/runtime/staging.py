"""The staging directory: everything is written there, beside the target, and gets its final name only when it is whole.

`.NAME.tensormap/` holds `content`, which becomes the target, a `journal`, and, for a moment where the file system cannot exchange
two names, the `old` target. A killed run leaves the target as it was, or, between two renames, where `recover` finds it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal, NoReturn

from tensormap.checkpoints.descriptors import close, named
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import BusyError, Diagnostic, MappingError
from tensormap.lowering.plan import Plan
from tensormap.runtime import journal
from tensormap.runtime.journal import Identity, Journal, Record
from tensormap.runtime.lock import Lock

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_TRIES = 10


class Staging:
    """The staging directory of one target. Made and used by the process that holds the target's lock."""

    def __init__(self, target: Path, *, sync: bool = True) -> None:
        self.target = target
        self.sync = sync
        self.root = target.parent / f".{target.name}.tensormap"
        self.lock = target.parent / f".{target.name}.tensormap-lock"
        self.content = self.root / "content"
        self.work = self.root / "work"  # of jobs in other processes, see `bay`
        self.journal = Journal(self.root / journal.NAME)
        self.finished: dict[str, list[int]] = {}
        self.sums: dict[str, str] = {}
        self.held: Lock | None = None
        self.overwrite = False

    def make_parents(self) -> None:
        """Make the directories above the target that are not there, durably if it is to last: its name could go with theirs."""
        for each in reversed(self._missing()):
            each.mkdir(exist_ok=True)
            if self.sync:
                sync_directory(each.parent)

    @contextmanager
    def parents(self) -> Iterator[None]:
        """Make the directories above the target, and if the block fails remove those that it leaves empty again."""
        missing = self._missing()
        try:
            self.make_parents()
            yield
        except BaseException:
            for each in missing:
                with suppress(OSError):  # it was not made, or something is in it
                    os.rmdir(each)
            raise

    def _missing(self) -> list[Path]:
        """List the directories above the target that are not there, the innermost first."""
        return [each for each in self.target.parents if not each.exists()]

    def check_target(self, *, overwrite: bool) -> None:
        """Refuse a target that holds something, unless it may be overwritten, or that cannot be replaced. MappingError."""
        if not _exists(self.target):
            return
        if os.path.ismount(self.target):
            message = (
                f"another file system is mounted at {shown(self.target)}: the name cannot be given to something else"
            )
            raise MappingError(Diagnostic("target-mounted", message, help=("write to a directory inside of it",)))
        if not (self.target.is_dir() or self.target.is_file()):
            message = f"{shown(self.target)} is neither a file nor a directory, and is not replaced"
            raise MappingError(Diagnostic("target-special", message))
        if overwrite:
            return
        if self.target.is_dir():
            if _is_empty(self.target):
                return
            message = f"{shown(self.target)} exists and is not empty"
        else:
            message = f"{shown(self.target)} exists"
        raise MappingError(
            Diagnostic("target-not-empty", message, help=("`--overwrite` replaces it, once the new one is complete",))
        )

    def refuse_leftover(self, record: Record) -> NoReturn:
        """Raise a BusyError: an interrupted run waits, and nothing says what to do with it."""
        count = len(record.done)
        left = f"left {count} finished file{'' if count == 1 else 's'}"
        if record.parts:
            message = f"a run to {shown(self.target)} in {record.parts} parts {left}, and was not finished"
            help_ = "`tensormap finalize` finishes it, `--resume` does what is missing here, `--discard` starts anew"
        else:
            message = f"an interrupted run to {shown(self.target)} {left}"
            help_ = "`--resume` continues it, `--discard` starts anew"
        raise BusyError(Diagnostic("resumable", message, help=(help_,)))

    def recover(self) -> Record | None:
        """Finish or undo what a killed run was doing when it published; return its journal where there is work to resume."""
        self.refuse_links()
        record = journal.read(self.root / journal.NAME)
        self._bring_back()
        if record is not None and record.published is not None and _inode(self.target) == record.published:
            record = None
        if record is None:
            self.remove()
        return record

    def refuse_links(self) -> None:
        """Refuse a staging directory with links in it, which no run has made: what is elsewhere is not to be touched."""
        for each in (self.root, self.content, self.work, self.root / "parts"):
            if each.is_symlink():
                raise FileExistsError(errno.EEXIST, "a link, which tensormap has not made", str(each))

    def stands(self) -> Literal["complete", "resumable", "nothing"]:
        """Tell how far a run that was stopped came: to its end, so far that it can be resumed, or nowhere. Changes nothing."""
        record = journal.read(self.root / journal.NAME)
        if record is None or not record.is_worth_keeping:
            return "nothing"
        complete = record.published is not None and _inode(self.target) == record.published
        return "complete" if complete else "resumable"

    def begin(self, identity: Identity, record: Record | None, *, overwrite: bool, folder: bool) -> None:
        """Make the directory, or take over that of an interrupted run, which `record` describes.

        BusyError: that one was another plan's or of other sources.
        """
        self.overwrite = overwrite
        if record is not None:
            differences = identity.differences(record.identity)
            if differences:
                message = f"the interrupted run to {shown(self.target)} cannot be resumed: it is not the same work"
                help_ = "`--discard` starts anew"
                raise BusyError(Diagnostic("resume-mismatch", message, notes=tuple(differences), help=(help_,)))
            self.finished = {
                path: status
                for path, status in record.done.items()
                if path in identity.outputs and self.is_whole(path, status)
            }
            self.sums = {path: known for path, known in record.sums.items() if path in self.finished}
            self.journal.resume(record)
            self._clear()
        else:
            self.remove()
            self.root.mkdir(mode=0o700)
            self.journal.start(identity, overwrite=overwrite, sync=self.lasting)
        if folder:
            self.content.mkdir(exist_ok=True)

    def path(self, relative: str) -> Path:
        """Return where a file of the target is staged, its directory made."""
        self._check_held()
        path = self.content / relative
        if relative:
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def done(self, relative: str, status: os.stat_result, sha256: str | None) -> None:
        """Note that a file is whole and on the disk. What is not waited for may yet be lost, so no run may rest on it."""
        if self.sync:
            self._check_held()
            self.journal.done(relative, status, sha256)

    @property
    def lasting(self) -> bool:
        """Whether all has to be on the disk when it is published: not where nobody waits for it, and nothing old could be lost."""
        return self.sync or self.overwrite

    def publish(self) -> None:
        """Give the content its final name, whole, and durably if it is to last. What else is staged may be removed then.

        BusyError: the target was taken over, or came into being meanwhile and may not be replaced.
        """
        if self.lasting:
            for folder, _, _ in self._walk():
                sync_directory(folder)
        self._check_held()
        self.journal.publishing(os.stat(self.content), sync=self.lasting)
        if not self.overwrite:
            self._refuse_newcomer()
        self._check_held()
        if not _exists(self.target):
            os.rename(self.content, self.target)
        else:
            if self.target.is_dir() and self.content.is_dir():
                os.chmod(self.content, stat.S_IMODE(self.target.stat().st_mode))
            self._replace()
        if self.lasting:
            sync_directory(self.target.parent)

    def give_up(self) -> None:
        """Remove what is staged, unless a later run could go on from it. Raises nothing: there is an error already."""
        with suppress(OSError, BusyError):
            record = journal.read(self.root / journal.NAME)
            if record is None or not record.is_worth_keeping:
                self.remove()

    def make(self) -> Path:
        """Make a directory that may become the staging directory. What becomes of it, `remove` removes."""
        return Path(tempfile.mkdtemp(".new", f"{self.root.name}-", self.root.parent))

    def remove(self) -> None:
        """Remove the staging directory with all that is in it; an old target that has no other name gets its own back."""
        self._check_held()
        self._bring_back()
        if self.root.is_symlink() or self.root.is_file():
            raise FileExistsError(errno.EEXIST, "not a staging directory of tensormap", str(self.root))
        if self.root.exists():
            with os.scandir(self.root) as found:
                others = [other for other in found if other.name != journal.NAME]
            for other in others:
                if other.is_dir(follow_symlinks=False):
                    shutil.rmtree(other.path)
                else:
                    os.unlink(other.path)
            shutil.rmtree(self.root)  # the journal last: if this is interrupted, it says that the target is complete
        begun = re.compile(re.escape(self.root.name) + "-[^.]+[.]new")
        for each in [each.name for each in os.scandir(self.root.parent) if begun.fullmatch(each.name)]:
            shutil.rmtree(self.root.parent / each)

    def check_space(self, needed: int) -> None:
        """Raise OSError (ENOSPC) where the file system has less room than `needed` bytes."""
        room = os.statvfs(self.target.parent)
        free = room.f_bavail * room.f_frsize
        if needed > free:
            message = f"not enough space: {_human(needed)} needed, {_human(free)} free"
            raise OSError(errno.ENOSPC, message, str(self.target))

    def _check_held(self) -> None:
        """Raise a BusyError where another run has taken the target: what is staged is that one's now."""
        if self.held is not None:
            self.held.check()

    def _refuse_newcomer(self) -> None:
        """Refuse to replace what got the target's name while the run was on: there was no leave for it."""
        try:
            self.check_target(overwrite=False)
        except MappingError as error:
            message = f"{shown(self.target)} came into being while it was written here, and is not replaced"
            help_ = "move it away, and `--resume` puts in its place what was written"
            raise BusyError(Diagnostic("target-appeared", message, help=(help_,))) from error

    def _replace(self) -> None:
        """Swap the content with what has the target's name. There is no moment at which neither is whole under some name."""
        folders = self.target.is_dir(), self.content.is_dir()
        if folders == (False, False) or (folders == (True, True) and _is_empty(self.target)):
            os.rename(self.content, self.target)
            return
        if _exchange(self.content, self.target):
            return
        sync_directory(self.root)  # if the power failed now, `old` must not be in a directory that never was
        sync_directory(self.target.parent)
        old = self.root / "old"
        os.rename(self.target, old)
        try:
            os.rename(self.content, self.target)
        except BaseException:
            os.rename(old, self.target)
            raise

    def _bring_back(self) -> None:
        """Give an old target its name again, where a run was stopped between taking it away and giving it to the new one."""
        old = self.root / "old"
        if _exists(old) and not _exists(self.target):
            os.rename(old, self.target)

    def clear_work(self) -> None:
        """Remove what jobs in other processes have begun. Those that still run see it, and stop."""
        for _ in range(_TRIES):
            if not self.work.exists():
                return
            shutil.rmtree(self.work, onerror=_raise_unless_gone)
            time.sleep(0.01)  # they may have made files meanwhile, or, over a network, hold some that are gone

    def _clear(self) -> None:
        """Remove what an interrupted run had begun and not finished."""
        self.clear_work()
        for folder, folders, names in self._walk():
            for name in names:
                if (folder / name).relative_to(self.content).as_posix() not in self.finished:
                    os.unlink(folder / name)
            for name in folders:
                if os.path.islink(folder / name):
                    os.unlink(folder / name)
                elif _is_empty(folder / name):
                    os.rmdir(folder / name)

    def _walk(self) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Yield the directories that are staged, the inner before the outer, with what is in them. OSError."""
        if self.content.is_dir():
            for folder, folders, names in os.walk(self.content, topdown=False, onerror=_raise):
                yield Path(folder), folders, names

    def is_whole(self, path: str, known: list[int]) -> bool:
        """Tell whether a finished file is as it was noted: size, time of its last change, inode, and no link on the way to it."""
        place = self.content / path
        try:
            status = os.lstat(place)
        except OSError:
            return False
        return journal.known(status) == known and stat.S_ISREG(status.st_mode) and os.path.realpath(place) == str(place)


def check_paths(plan: Plan) -> None:
    """Refuse, with a MappingError, file names that lead out of the target, or that two files share."""
    single = len(plan.outputs) == 1 and not plan.texts and not plan.companions and plan.outputs[0].path == ""
    seen: set[str] = set()
    for path in [
        *(each.path for each in plan.outputs),
        *(each.path for each in plan.texts),
        *(each.path for each in plan.companions),
    ]:
        pure = PurePosixPath(path)
        if (pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path) and not single:
            raise MappingError(Diagnostic("unsafe-path", f"{shown(path)} is not a file name inside the target"))
        if str(pure) in seen:
            raise MappingError(Diagnostic("output-twice", f"two output files are called {shown(path)}"))
        seen.add(str(pure))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot sync a directory have nothing to lose
            raise named(error, path) from error
    finally:
        close(descriptor)


def _exists(path: Path) -> bool:
    """Tell whether a name is taken, by a dangling link too. OSError where that cannot be known: `os.path` would say no."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _raise(error: OSError) -> NoReturn:
    raise error


def _raise_unless_gone(_call: object, _path: str, found: tuple[type[BaseException], BaseException, object]) -> None:
    error = found[1]
    if not (isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTEMPTY)):
        raise error


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _exchange(left: Path, right: Path) -> bool:
    """Swap two names at once; False where the system or the file system cannot."""
    import ctypes  # only here: it takes as long to import as a small run

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if rename(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):  # the last: sandboxes say so
        return False
    message = os.strerror(number)
    if number == errno.EXDEV:  # overlay file systems say so of a directory in a lower layer
        message = "it belongs to a lower layer of the file system and cannot be moved: remove it, and then resume"
    raise OSError(number, message, str(right))


def _human(size: int) -> str:
    """Return a size as people write it: decimal, three digits."""
    value = float(size)
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.2f} {unit}"
        value /= 1000
    raise AssertionError
