"""Several runs at once, and runs that differ in what must not matter."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tensormap
from tensormap.diagnostics import BusyError, MappingError
from tensormap.runtime import staging
from tensormap.runtime.execute import run
from tests.torture.shim import Call, hooked
from tests.torture.test_faults import faulty
from tests.torture.test_kills import ENVIRONMENT, command, prepared, settle
from tests.torture.workloads import OLD, Workload, beside, plant, to_safetensors, to_torch, tree

HOLDING = """
import os, sys, time
fsync = os.fsync
def slow(descriptor):
    while not os.path.exists(sys.argv[1]):
        open(sys.argv[1] + ".reached", "w").close()
        time.sleep(0.005)
    fsync(descriptor)
os.fsync = slow
from tensormap.cli import cli
cli(sys.argv[2:], prog_name="tensormap")
"""


def holding(work: Workload, target: Path, flag: Path) -> subprocess.Popen[str]:
    """Start a run that waits, holding its target, until the file `flag` is there."""
    arguments = [sys.executable, "-c", HOLDING, str(flag), *command(work, target)[3:]]
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not flag.with_name(f"{flag.name}.reached").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_a_second_run_stops_at_once(made, place, tmp_path):
    """Whatever it was asked to do about leftovers: it must not touch what a live run is making."""
    work = made["torch"]
    target = prepared(place / "p", overwrite=False)
    first = holding(work, target, tmp_path / "flag")
    for more in ({}, {"overwrite": True}, {"resume": True}, {"discard": True}):
        started = time.monotonic()
        with pytest.raises(BusyError) as caught:
            run(work.plan, target, **more)
        assert time.monotonic() - started < 1
        assert caught.value.diagnostics[0].slug == "locked"
        assert f"process {first.pid}" in caught.value.diagnostics[0].message
    second = subprocess.run(
        command(work, target), env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 5
    assert "error[locked]" in second.stderr
    (tmp_path / "flag").touch()
    assert first.communicate(timeout=60)[1] == ""
    assert first.returncode == 0
    assert tree(target) == work.whole
    assert beside(target) == []


def test_a_lock_dies_with_its_process(made, place, tmp_path):
    work = made["safetensors"]
    target = prepared(place / "p", overwrite=False)
    first = holding(work, target, tmp_path / "flag")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    lock = target.parent / ".target.tensormap-lock"
    assert lock.read_text().startswith(str(first.pid))  # what it left names a dead process, or by now another one
    assert settle(work, target, overwrite=False) == "as it was"


def test_a_number_in_a_lock_file_locks_nothing(made, place):
    work = made["torch"]
    target = prepared(place / "p", overwrite=False)
    (target.parent / ".target.tensormap-lock").write_text(f"{os.getpid()}\n")
    run(work.plan, target)
    assert beside(target) == []


def test_many_that_start_together(made, place):
    """One does it; the others say that it is being done, or that it was."""
    work = made["torch"]
    target = prepared(place / "p", overwrite=False)
    gate = place / "gate"
    program = """
import fcntl, sys
with open(sys.argv[1]) as gate:
    from tensormap.cli import cli
    import tensormap.api, tensormap.runtime.execute
    fcntl.flock(gate, fcntl.LOCK_SH)
cli(sys.argv[2:], prog_name="tensormap")
"""
    with gate.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        arguments = [sys.executable, "-c", program, str(gate), *command(work, target)[3:]]
        runs = [
            subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        time.sleep(0.8)
    said = [each.communicate(timeout=120)[1] for each in runs]
    codes = sorted(each.returncode for each in runs)
    assert codes[0] == 0, said
    assert set(codes[1:]) <= {2, 5}, said  # 2: the target is there already
    assert all("error[locked]" in each or "error[target-not-empty]" in each or not each for each in said)
    assert tree(target) == work.whole
    assert beside(target) == []


# --- locks that are seen on one machine only


@contextmanager
def interrupted(name: str, number: int, by: Callable[[], None]) -> Iterator[list[str]]:
    """Let `by` run before call `number` of that name. Gives the calls that were made up to then."""
    turn = threading.Lock()
    seen: list[str] = []
    done = False

    def hook(call: Call) -> Any:
        nonlocal done
        if done:  # threads of the other run wait for nothing here
            return call.do()
        with turn:
            if done:
                return call.do()
            seen.append(call.name)
            done = seen.count(name) > number
            if done:
                by()
            return call.do()

    with hooked(hook):
        yield seen


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every lock at once, as where another machine holds it and this one does not see it."""
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)


CALLS = {"open": 0, "pwrite": 5, "write": 3, "fsync": 3, "rename": 0, "mkdir": 2, "unlink": 0, "rmdir": 0}
"""Where another run comes in, as a matter of calls of the first one, and how many of them are at least made."""


@pytest.mark.parametrize("how", ["discard", "overwrite", "resume", "plain"])
def test_two_runs_whose_locks_do_not_meet(made, place, monkeypatch, how):
    """Another machine does the same target from beginning to end, at any time: one of both is published, whole."""
    blind(monkeypatch)
    first, second = made["torch"], made["safetensors"] if how in ("discard", "overwrite") else made["torch"]
    more = {how: True} if how != "plain" else {}
    ends: Counter[str] = Counter()

    def other() -> None:
        ends["begun"] += 1
        with suppress(BusyError, MappingError, OSError):
            run(second.plan, target, **more)
            assert tree(target) == second.whole
            ends["other"] += 1

    for name, least in CALLS.items():
        target = prepared(place / "p", overwrite=False)
        with interrupted(name, 10**6, other) as seen:
            run(first.plan, target)
        count = seen.count(name)
        assert count >= least
        for number in range(0, count, 1 + count // 4):
            target = prepared(place / "p", overwrite=False)
            before = ends["other"]
            try:
                with interrupted(name, number, other):
                    run(first.plan, target)
            except BusyError as error:
                ends[error.diagnostics[0].slug] += 1
            except MappingError as error:
                ends[type(error).__name__] += 1
            else:
                ends["first"] += 1
                assert ends["other"] == before or how == "overwrite"
            found = tree(target)
            assert found in (first.whole, second.whole) or (found is None and ends["other"] == before)
            with suppress(BusyError):
                run(first.plan, target, overwrite=True)  # cleans up
            assert tree(target) == first.whole
            assert beside(target) == []
    assert ends.keys() <= {
        "begun",
        "other",
        "first",
        "lock-lost",
        "target-appeared",
        "MappingError",
        "FileNotFoundError",
    }
    assert ends["lock-lost"], ends
    assert ends["other"], ends


def test_a_run_that_lost_its_target_leaves_the_other_one_alone(made, place, monkeypatch):
    """The other one is still at work, when the first one sees that the target is not its own."""
    blind(monkeypatch)
    first, second = made["torch"], made["safetensors"]
    target = prepared(place / "p", overwrite=False)
    went, may = threading.Event(), threading.Event()
    original = staging.Staging.publish

    def publish(self: staging.Staging) -> None:
        if threading.current_thread() is thread:
            went.set()
            assert may.wait(60)
        original(self)

    monkeypatch.setattr(staging.Staging, "publish", publish)
    thread = threading.Thread(target=lambda: run(second.plan, target, discard=True))

    def other() -> None:
        thread.start()
        assert went.wait(60)

    with pytest.raises(BusyError) as caught, interrupted("pwrite", 3, other):
        run(first.plan, target)
    assert caught.value.diagnostics[0].slug == "lock-lost"
    assert (target.parent / ".target.tensormap-lock").exists()
    may.set()
    thread.join(60)
    assert tree(target) == second.whole
    assert beside(target) == []


def test_a_lock_file_that_is_gone_stops_a_run(made, place):
    """Without it the next one would not be stopped. What was finished stays, to go on from."""
    work = made["safetensors"]
    target = prepared(place / "p", overwrite=False)
    with pytest.raises(BusyError) as caught, interrupted("fsync", 9, (place / "p/.target.tensormap-lock").unlink):
        run(work.plan, target)
    assert caught.value.diagnostics[0].slug == "lock-lost"
    assert run(work.plan, target, resume=True).resumed
    assert tree(target) == work.whole
    assert beside(target) == []


# --- what comes into being meanwhile


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_a_target_that_appears_meanwhile_is_not_replaced(made, place, overwrite, single):
    """Unless there is leave for it. Nothing is lost, and `--resume` publishes when it is gone."""
    plan = made["safetensors"].plan
    if single:
        plan = replace(plan, outputs=(replace(plan.outputs[0], path=""),), texts=(), companions=())
    target = prepared(place / "p", overwrite=False)

    def appear() -> None:
        if single:
            target.write_bytes(b"mine")
        else:
            plant(target, OLD)

    with interrupted("fsync", 4 if not single else 1, appear):
        if overwrite:
            run(plan, target, overwrite=True)
        else:
            with pytest.raises(BusyError) as caught:
                run(plan, target)
            assert caught.value.diagnostics[0].slug == "target-appeared"
    if not overwrite:
        if single:
            assert target.read_bytes() == b"mine"
            target.unlink()
        else:
            assert tree(target) == OLD
            shutil.rmtree(target)
        assert run(plan, target, resume=True).resumed
    assert target.is_file() if single else tree(target) == made["safetensors"].whole
    assert beside(target) == []


# --- directories that are made on the way


@pytest.mark.parametrize("kept", [False, True])
def test_a_run_that_fails_leaves_no_directories_that_it_made(made, place, kept):
    """But those that were there, and those with something in them: finished files, or what others put there."""
    work = made["safetensors"]
    (place / "there").mkdir()
    target = place / "there" / "a" / "b" / "target"
    with faulty("pwrite", 0, errno.ENOSPC, lasting=True), pytest.raises(OSError, match="No space"):
        run(work.plan, target)
    assert list(place.iterdir()) == [place / "there"]
    assert list((place / "there").iterdir()) == []
    with pytest.raises(tensormap.CheckpointError):
        run(replace(work.plan, sources=tuple(replace(each, size=1) for each in work.plan.sources)), target)
    assert list((place / "there").iterdir()) == []
    with faulty("fsync", 12, errno.EIO, lasting=True), pytest.raises(OSError, match="error"):
        run(work.plan, target)
    assert (target.parent / ".target.tensormap" / "journal").exists()
    if kept:
        (place / "there" / "a" / "note").touch()
    run(work.plan, target, resume=True)
    assert tree(target) == work.whole


def test_directories_that_cannot_all_be_made_are_removed(place, made):
    target = place / "a" / "b" / "c" / "target"
    with faulty("mkdir", 2, errno.EACCES, lasting=False), pytest.raises(OSError, match="denied"):
        run(made["torch"].plan, target)
    assert list(place.iterdir()) == []


# --- what must not matter


def digest(files: dict[str, bytes] | None) -> str:
    assert files is not None
    known = hashlib.sha256()
    for name in sorted(files):
        known.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return known.hexdigest()


CASES = [
    {"workers": 1},
    {"workers": 2, "tile": 64},
    {"workers": 4, "memory": 1 << 18},
    {"workers": 3, "tile": 1000},
    {"workers": 4, "tile": 1 << 20},
    {"workers": 1, "memory": 1 << 30},
]


def test_workers_and_tiles_do_not_matter(tmp_path, place):
    for make in (to_torch, to_safetensors):
        work = make(tmp_path / make.__name__, layers=3, width=4)
        for number, case in enumerate(CASES):
            run(work.plan, place / f"{make.__name__}-{number}", **case)
            assert digest(tree(place / f"{make.__name__}-{number}")) == digest(work.whole), case


SURROUNDINGS: list[dict[str, Any]] = [
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Tokyo", "cwd": "/", "umask": 0o022, "more": ["--workers", "1"]},
    {"PYTHONHASHSEED": "2", "LC_ALL": "tr_TR.UTF-8", "TZ": "America/Caracas", "cwd": ".", "umask": 0o027, "more": []},
    {
        "PYTHONHASHSEED": "3",
        "PYTHONUTF8": "1",
        "TZ": "UTC",
        "cwd": "source",
        "umask": 0o077,
        "more": ["--workers", "4"],
    },
]


@pytest.mark.parametrize("number", range(len(SURROUNDINGS)))
def test_surroundings_do_not_matter(work, place, number):
    case = SURROUNDINGS[number]
    folder = place / "elsewhere"
    folder.mkdir()
    target = folder / "target"
    cwd = {"/": Path("/"), ".": folder, "source": work.source}[case["cwd"]]
    arguments = command(work, Path(os.path.relpath(target, cwd)), "--memory", f"{number + 1}MB", *case["more"])
    arguments[5] = os.path.relpath(work.source, cwd)
    variables = {name: value for name, value in case.items() if name.isupper()}
    subprocess.run(
        arguments, cwd=cwd, env=ENVIRONMENT | variables, umask=case["umask"], check=True, capture_output=True
    )
    assert digest(tree(target)) == digest(work.whole)
    for each in [target, *target.rglob("*")]:
        expected = 0o777 if each.is_dir() else 0o666
        assert stat.S_IMODE(each.stat().st_mode) == expected & ~case["umask"], each


def test_a_plan_does_not_depend_on_the_time(made, place):
    """Files of the source are named by size and header in what is written, never by their time: a copy gives the same bytes."""
    work = made["torch"]
    for number, time_ in enumerate((1, 2_000_000_000)):
        copy = place / f"copy-{number}"
        copy.mkdir()
        for each in work.source.iterdir():
            (copy / each.name).write_bytes(each.read_bytes())
            os.utime(copy / each.name, (time_, time_))
        tensormap.apply("neox/llama", copy, place / f"out-{number}", "neox", {"tp": 2})
        assert digest(tree(place / f"out-{number}")) == digest(work.whole)
