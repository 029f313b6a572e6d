"""Several runs at once, and runs that differ in what must not matter."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tensormap
from tensormap.diagnostics import BusyError
from tensormap.runtime.execute import run
from tests.torture.test_kills import ENVIRONMENT, command, prepared, settle
from tests.torture.workloads import Workload, beside, to_safetensors, to_torch, tree

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
