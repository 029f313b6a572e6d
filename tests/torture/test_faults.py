"""Every call to the operating system fails once, or from then on: an error with the file's name, and the target as it was.

The matrix is fault x call x whether something is replaced x whether a run is resumed x format. `make torture` goes through all of
it; otherwise each pair of a call and a fault is tried at one place, which the seed chooses.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tensormap.diagnostics import BusyError, CheckpointError, MappingError
from tensormap.runtime import execute, journal
from tests.torture.shim import Call, hooked
from tests.torture.test_kills import go_on, prepared, some
from tests.torture.workloads import OLD, Workload, beside, tree

SHORT, EOF = "short", "eof"
Fault = int | str
FAULTS: dict[str, tuple[Fault, ...]] = {
    "open": (errno.EACCES, errno.EMFILE, errno.EIO, errno.ENOSPC),
    "close": (errno.EIO,),
    "pwrite": (errno.ENOSPC, errno.EIO, errno.EDQUOT, SHORT),
    "copy_file_range": (errno.ENOSPC, errno.EIO, errno.EXDEV, errno.EOPNOTSUPP, SHORT, EOF),
    "write": (errno.ENOSPC, errno.EIO, SHORT),
    "fsync": (errno.EIO, errno.ENOSPC),
    "posix_fallocate": (errno.ENOSPC, errno.EIO, errno.EOPNOTSUPP),
    "ftruncate": (errno.EIO,),
    "truncate": (errno.EIO,),
    "rename": (errno.EIO, errno.EACCES, errno.ENOSPC),
    "_exchange": (errno.EIO, errno.EACCES),
    "mkdir": (errno.EACCES, errno.ENOSPC, errno.EIO),
    "rmdir": (errno.EACCES, errno.EIO),
    "unlink": (errno.EACCES, errno.EIO),
    "chmod": (errno.EPERM,),
    "preadv": (errno.EIO, SHORT, EOF),
    "pread": (errno.EIO, SHORT, EOF),
    "stat": (errno.EACCES, errno.EIO),
    "fstat": (errno.EIO,),
    "lstat": (errno.EIO,),
    "scandir": (errno.EACCES, errno.EIO),
    "statvfs": (errno.EIO,),
    "flock": (errno.ENOLCK,),
}
TOLERATED = {("posix_fallocate", errno.EOPNOTSUPP)} | {(name, SHORT) for name in ("pwrite", "write", "preadv", "pread")}
TOLERATED |= {("copy_file_range", fault) for fault in FAULTS["copy_file_range"]}  # reads and writes take its place


def halved(buffers: list[memoryview]) -> list[memoryview]:
    """Return buffers for half of what fits, one byte at least."""
    first = buffers[0]
    return [first[: max(1, len(first) // 2)]]


def inject(call: Call, fault: Fault) -> Any:
    """Let a call fail."""
    first, *rest = call.arguments
    match call.name, fault:
        case _, int():
            if call.name == "close":
                call.do()  # a descriptor is gone whatever close says
            name = None if isinstance(first, int) else first
            raise OSError(fault, os.strerror(fault), name)
        case ("copy_file_range", _):
            return 0 if fault == EOF else call.original(first, rest[0], max(1, rest[1] // 2), *rest[2:])
        case ("preadv", _):
            return 0 if fault == EOF else call.original(first, halved(rest[0]), *rest[1:])
        case ("pread", _):
            return b"" if fault == EOF else call.original(first, max(1, rest[0] // 2), *rest[1:])
        case _:
            return call.original(first, rest[0][: max(1, len(rest[0]) // 2)], *rest[1:])


@contextmanager
def faulty(name: str, number: int, fault: Fault, *, lasting: bool) -> Iterator[list[str]]:
    """Let call `number` of that name fail, and all that follow where it is `lasting`. Gives the paths that were hit."""
    turn = threading.Lock()
    seen = 0
    hit: list[str] = []

    def hook(call: Call) -> Any:
        nonlocal seen
        if call.name != name:
            return call.do()
        with turn:
            mine, seen = seen, seen + 1
        if mine == number or (lasting and mine > number):
            hit.append(call.path)
            return inject(call, fault)
        return call.do()

    with hooked(hook):
        yield hit


def begun(work: Workload, folder: Path, *, overwrite: bool, resume: bool) -> Path:
    """Return a target to run to: with `resume` beside what a run left whose disk failed when it had finished some files."""
    target = prepared(folder, overwrite=overwrite)
    if resume:
        with faulty("fsync", 8, errno.EIO, lasting=True):
            assert attempt(work, target, overwrite=overwrite, resume=False) is not None
        assert (target.parent / ".target.tensormap" / "journal").exists()
    return target


def calls_of(work: Workload, folder: Path, *, overwrite: bool, resume: bool) -> Counter[str]:
    """Count the calls of a run that nothing disturbs."""
    counted: Counter[str] = Counter()

    def hook(call: Call) -> Any:
        counted[call.name] += 1
        return call.do()

    target = begun(work, folder, overwrite=overwrite, resume=resume)
    with hooked(hook):
        assert attempt(work, target, overwrite=overwrite, resume=resume) is None
    return counted


def attempt(
    work: Workload, target: Path, *, overwrite: bool, resume: bool
) -> OSError | CheckpointError | BusyError | None:
    """Run, and return what was raised. A run that resumes has the leave to overwrite of the one before."""
    try:
        execute.run(work.plan, target, overwrite=overwrite and not resume, resume=resume)
    except (OSError, CheckpointError, BusyError) as error:
        return error
    return None


def try_fault(
    work: Workload,
    folder: Path,
    name: str,
    number: int,
    fault: Fault,
    *,
    lasting: bool,
    overwrite: bool,
    resume: bool,
) -> bool:
    """Run with a fault, check what it leaves, and go on from there. Tells whether the fault was met."""
    target = begun(work, folder, overwrite=overwrite, resume=resume)
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    with faulty(name, number, fault, lasting=lasting) as hit:
        error = attempt(work, target, overwrite=overwrite, resume=resume)
    if not hit:
        return False  # threads take turns differently: this time there were fewer calls
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    found = tree(target)
    if error is None:
        assert found == work.whole
    elif isinstance(error, OSError):
        assert fault in (error.errno, EOF), error
        assert error.filename, error
    elif isinstance(error, BusyError):
        assert error.diagnostics[0].slug == "lock-lost"
        assert (name, fault) == ("pread", EOF)  # an empty lock file is not the one that was written
    else:
        assert fault == EOF or error.diagnostics[0].slug in ("source-changed", "stale-plan"), error
    if (name, fault) in TOLERATED:
        assert error is None, error
    if found != work.whole:
        assert found == (OLD if overwrite else None)
        go_on(work, target, overwrite=overwrite)
    else:  # what is left beside a complete target goes when somebody comes by
        with pytest.raises(MappingError) as caught:
            execute.run(work.plan, target)
        assert caught.value.diagnostics[0].slug == "target-not-empty"
    assert tree(target) == work.whole
    assert beside(target) == []
    return True


PAIRS = [(name, fault, lasting) for name, faults in FAULTS.items() for fault in faults for lasting in (False, True)]


def test_a_fault_somewhere(made, place):
    """Each call with each of its faults, once and lasting, somewhere in one of the eight kinds of run."""
    random_ = random.Random(2)
    kinds = list(itertools.product(made.values(), (False, True), (False, True)))
    counts = [calls_of(work, place / "p", overwrite=overwrite, resume=resume) for work, overwrite, resume in kinds]
    tried = set()
    for name, fault, lasting in PAIRS:
        kind = random_.choice([number for number, count in enumerate(counts) if count[name]])
        work, overwrite, resume = kinds[kind]
        number = random_.randrange(counts[kind][name])
        if try_fault(work, place / "p", name, number, fault, lasting=lasting, overwrite=overwrite, resume=resume):
            tried.add(name)
    assert tried == FAULTS.keys()


@pytest.mark.torture
@pytest.mark.parametrize("resume", [False, True], ids=["anew", "resumed"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_a_fault_everywhere(work, overwrite, lasting, resume, place):
    counts = calls_of(work, place / "p", overwrite=overwrite, resume=resume)
    for name, faults in FAULTS.items():
        for fault in faults:
            for number in range(counts[name]):
                try_fault(work, place / "p", name, number, fault, lasting=lasting, overwrite=overwrite, resume=resume)


# --- a fault that lasts over the run that resumes

STUBBORN: dict[str, tuple[int, ...]] = {
    "open": (errno.EMFILE,),
    "pwrite": (errno.ENOSPC, errno.EIO),
    "write": (errno.ENOSPC,),
    "fsync": (errno.EIO,),
    "rename": (errno.EIO,),
    "_exchange": (errno.EIO,),
    "preadv": (errno.EIO,),
    "pread": (errno.EIO,),
}


def try_stubborn(
    work: Workload, folder: Path, name: str, number: int, fault: int, *, again: int, overwrite: bool
) -> str | None:
    """Run with a fault that lasts, resume while it does, with `again` calls that go well, and resume when it is gone.

    Tells how the second run ended; None where the first one did not meet the fault.
    """
    target = prepared(folder, overwrite=overwrite)
    before = OLD if overwrite else None
    kept: set[str] = set()
    ends = ""
    for calls in (number, again):
        resume = ends != "" and _waits(target)
        with faulty(name, calls, fault, lasting=True) as hit:
            error = attempt(work, target, overwrite=overwrite and not resume, resume=resume)
        if not ends and not hit:
            return None
        found = tree(target)
        if found == work.whole:
            assert error is None or isinstance(error, OSError)  # of the last sync, when the target has its name
            return "complete"
        assert isinstance(error, OSError), error
        assert error.errno == fault
        assert error.filename
        assert found == before
        assert kept <= _finished(target), "a file that had been finished is not any more"
        kept = _finished(target)
        ends = "failed"
    waits = _waits(target)
    report = execute.run(work.plan, target, overwrite=overwrite and not waits, resume=waits)
    assert set(report.resumed) >= kept
    assert tree(target) == work.whole
    assert beside(target) == []
    return f"resumed with {'some' if kept else 'no'} files"


def _waits(target: Path) -> bool:
    path = target.parent / ".target.tensormap" / "journal"
    return path.exists() and b"\n" in path.read_bytes()


def _finished(target: Path) -> set[str]:
    record = journal.read(target.parent / ".target.tensormap" / "journal")
    return set(record.done) if record is not None else set()


def stubborn(work: Workload, folder: Path, most: int, *, overwrite: bool) -> Counter[str | None]:
    counts = calls_of(work, folder, overwrite=overwrite, resume=False)
    seen: Counter[str | None] = Counter()
    for name, faults in STUBBORN.items():
        for fault, number, again in itertools.product(faults, some(counts[name], most, f"{work.name} {name}"), (0, 4)):
            seen[try_stubborn(work, folder, name, number, fault, again=again, overwrite=overwrite)] += 1
    return seen


@pytest.mark.parametrize("name", ["torch", "safetensors", "gguf"])
def test_a_fault_that_outlasts_a_run_that_resumes(formats, name, overwrite, place):
    seen = stubborn(formats[name], place / "p", 3, overwrite=overwrite)
    assert seen["resumed with some files"], seen
    assert seen["resumed with no files"], seen


@pytest.mark.torture
@pytest.mark.parametrize("name", ["torch", "safetensors", "gguf"])
def test_a_fault_that_outlasts_a_run_that_resumes_everywhere(formats, name, overwrite, place):
    assert stubborn(formats[name], place / "p", 10**6, overwrite=overwrite)["resumed with some files"]
