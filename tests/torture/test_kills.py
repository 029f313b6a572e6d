"""A run that is killed, at any moment: the target is as it was or complete, and the run can be gone on with to the same bytes."""

from __future__ import annotations

import json
import os
import pickle
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tensormap
from tensormap.diagnostics import MappingError
from tensormap.runtime.execute import run
from tests.torture.workloads import OLD, Workload, beside, plant, to_safetensors, tree

ROOT = Path(tensormap.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
KILLED = -signal.SIGKILL


class Forge:
    """Runs in processes of their own, to be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.forge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=ENVIRONMENT,
        )

    def __call__(self, work: Workload, target: Path, *, overwrite: bool, kill: int = -1, **more: Any) -> dict[str, int]:
        path = self._folder / f"{work.name}.pickle"
        if not path.exists():
            path.write_bytes(pickle.dumps(work.plan))
        order = {"plan": str(path), "target": str(target), "overwrite": overwrite, "kill": kill, "calls": []}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order | more) + "\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    made = Forge(tmp_path_factory.mktemp("forge"))
    yield made
    made.close()


def prepared(folder: Path, *, overwrite: bool) -> Path:
    """Return a target alone in its directory, with something old in it where that is to be replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if overwrite:
        plant(folder / "target", OLD)
    return folder / "target"


def settle(work: Workload, target: Path, *, overwrite: bool) -> str:
    """Check what a killed run left, go on with it, and check what that gives. Returns how the target was found."""
    before = OLD if overwrite else None
    found = tree(target)
    assert found in (before, work.whole), "neither as it was nor complete"
    if found == work.whole:
        with pytest.raises(MappingError) as caught:
            run(work.plan, target, resume=True)
        assert caught.value.diagnostics[0].slug == "target-not-empty"
    else:
        go_on(work, target, overwrite=overwrite)
    assert tree(target) == work.whole
    assert beside(target) == []
    return "complete" if found == work.whole else "as it was"


def go_on(work: Workload, target: Path, *, overwrite: bool) -> tuple[str, ...]:
    """Resume; where nothing was begun there is no leave to overwrite either. Returns which files had been finished."""
    journal = target.parent / ".target.tensormap" / "journal"
    begun = journal.exists() and b"\n" in journal.read_bytes()
    return run(work.plan, target, resume=begun, overwrite=overwrite and not begun).resumed


def some(count: int, most: int, seed: str) -> list[int]:
    """Choose numbers below `count`: all, or `most` of them."""
    return list(range(count)) if count <= most else sorted(random.Random(seed).sample(range(count), most))


def kill_at_calls(forge: Forge, work: Workload, folder: Path, most: int, **more: Any) -> dict[str, int]:
    overwrite = bool(more.pop("overwrite"))
    count = forge(work, prepared(folder, overwrite=overwrite), overwrite=overwrite, **more)["count"]
    assert count > 100
    seen = {"complete": 0, "as it was": 0}
    for kill in some(count, most, f"{work.name} {overwrite} {more}"):
        target = prepared(folder, overwrite=overwrite)
        answer = forge(work, target, overwrite=overwrite, kill=kill, **more)
        if answer["status"] == 0:  # threads take turns differently: this time there were fewer calls
            assert tree(target) == work.whole
            continue
        assert answer["status"] == KILLED
        seen[settle(work, target, overwrite=overwrite)] += 1
    return seen


@pytest.mark.parametrize("when", ["before", "after", "torn"])
def test_a_kill_at_a_call(forge, work, overwrite, when, place):
    seen = kill_at_calls(forge, work, place / "p", 5, overwrite=overwrite, **{when: True})
    assert seen["as it was"]


@pytest.mark.torture
@pytest.mark.parametrize("when", ["before", "after", "torn"])
def test_a_kill_at_every_call(forge, work, overwrite, when, place):
    calls = ["close", "preadv", "pread", "fstat", "stat", "statvfs", "scandir", "flock"]
    seen = kill_at_calls(forge, work, place / "p", 10**6, overwrite=overwrite, calls=calls, **{when: True})
    assert seen["as it was"]
    assert seen["complete"]


def test_finished_files_are_not_made_again(forge, work, place):
    """The kills above would be survived by throwing all away, too."""
    resumed = []
    count = forge(work, prepared(place / "p", overwrite=False), overwrite=False)["count"]
    for kill in range(count * 2 // 3, count, 9):
        target = prepared(place / "p", overwrite=False)
        if forge(work, target, overwrite=False, kill=kill)["status"] == KILLED and tree(target) is None:
            resumed.append(len(go_on(work, target, overwrite=False)))
    assert max(resumed) == len(work.plan.outputs)


def test_sums_survive_a_kill(forge, work, place):
    """They are taken by two runs, and are right for sha256sum."""
    count = forge(work, prepared(place / "p", overwrite=False), overwrite=False, checksum=True)["count"]
    resumed = 0
    for kill in some(count, 6, f"sums {work.name}"):
        target = prepared(place / "p", overwrite=False)
        assert forge(work, target, overwrite=False, checksum=True, kill=kill)["status"] in (0, KILLED)
        if tree(target) is None:
            resumed += len(run(work.plan, target, resume=True, checksum=True).resumed)
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=target, check=True)
        files = tree(target)
        assert files is not None
        assert len(files.pop("SHA256SUMS").splitlines()) == len(work.whole)
        assert files == work.whole
    assert resumed


def test_a_kill_where_names_cannot_be_swapped(forge, work, place):
    """Between two renames nothing has the target's name, but the old one is whole and the next run gives its name back."""
    folder = place / "p"
    count = forge(work, prepared(folder, overwrite=True), overwrite=True, exchange=False)["count"]
    missing = 0
    for kill in range(count - 14, count):
        target = prepared(folder, overwrite=True)
        if forge(work, target, overwrite=True, kill=kill, exchange=False)["status"] == 0:
            continue
        if tree(target) is None:
            missing += 1
            assert tree(folder / ".target.tensormap" / "old") == OLD
            with pytest.raises(tensormap.BusyError):
                run(work.plan, target)
            assert tree(target) == OLD
        settle(work, target, overwrite=True)
    assert missing


def test_a_kill_at_a_random_time(forge, work, overwrite, place):
    random_ = random.Random(f"{work.name} {overwrite}")
    for _ in range(5):
        target = prepared(place / "p", overwrite=overwrite)
        forge(work, target, overwrite=overwrite, microseconds=random_.randrange(1, 60_000))
        settle(work, target, overwrite=overwrite)


@pytest.mark.parametrize("kills", [6, pytest.param(500, marks=pytest.mark.torture)])
def test_500_kills_of_the_command(place, kills):
    """Whole processes, from the command line, at random times from when they take the target's lock.

    What had ended before it could be killed does not count.
    """
    work = to_safetensors(place / "work", layers=6, width=16)
    random_ = random.Random(500)
    seen: dict[str, int] = {}
    done = begun = number = 0
    took = 0.03  # from the lock to the latest kill, in seconds
    while done < kills:
        number += 1
        overwrite = bool(number % 2)
        target = prepared(place / "p", overwrite=overwrite)
        lock = target.parent / ".target.tensormap-lock"
        arguments = command(work, target, *(["--overwrite"] if overwrite else []))
        process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not lock.exists() and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(random_.uniform(0, took))
        process.kill()
        process.communicate()
        if process.returncode == KILLED:
            done += 1
            begun += (target.parent / ".target.tensormap").exists()
        else:
            assert process.returncode == 0
        how = settle(work, target, overwrite=overwrite)
        seen[how] = seen.get(how, 0) + 1
        took = max(took / 1.2, 0.002) if how == "complete" else min(took * 1.2, 1)  # so that about half come too late
    assert kills < 500 or (begun > kills / 4 and min(seen.values()) > 10), (begun, seen)


def command(work: Workload, target: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "tensormap", "apply", work.mapping, str(work.source), str(target)),
        *work.options,
        *more,
    ]


# --- signals that can be caught


SLOW = """
import os, sys, time
fsync = os.fsync
def slow(descriptor):
    time.sleep(0.05 * os.readlink(f"/proc/self/fd/{descriptor}").endswith(".safetensors"))
    fsync(descriptor)
os.fsync = slow
from tensormap.cli import cli
cli(sys.argv[1:], prog_name="tensormap")
"""


@pytest.mark.parametrize(("number", "code", "overwrite"), [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)])
def test_a_signal_says_how_to_go_on(made, overwrite, number, code, place):
    """The command that is printed is run as it is printed."""
    work = made["safetensors"]
    target = prepared(place / "p", overwrite=overwrite)
    arguments = command(work, target, *(["--overwrite"] if overwrite else []))[3:]
    journal = target.parent / ".target.tensormap" / "journal"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    deadline = time.monotonic() + 60
    while not (journal.exists() and b'"done"' in journal.read_bytes()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == code
    assert said[-2] == "the target is as it was; to go on from here:"
    assert tree(target) == (OLD if overwrite else None)
    again = [sys.executable, "-m", *shlex.split(said[-1])]
    done = subprocess.run(again, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "had been written before" in done.stdout
    assert tree(target) == work.whole
    assert beside(target) == []


def test_a_signal_before_a_file_is_finished_leaves_nothing(made, place):
    work = made["torch"]
    target = prepared(place / "p", overwrite=False)
    slow = SLOW.replace("fsync", "pwrite").replace("(descriptor)", "(descriptor, *rest)").replace(".safetensors", ".pt")
    slow = slow.replace("pwrite(descriptor, *rest)\nos", "return pwrite(descriptor, *rest)\nos")
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *command(work, target)[3:]], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    deadline = time.monotonic() + 60
    while not (target.parent / ".target.tensormap" / "content" / "global_step0").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert process.communicate()[1].splitlines()[-1] == "the target is as it was, and no file was finished"
    assert list(target.parent.iterdir()) == []
