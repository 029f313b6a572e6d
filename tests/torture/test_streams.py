"""stdin, stdout and stderr that are closed, full or gone: what is said may be lost, but not what is written."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.test_kills import ENVIRONMENT, command, prepared
from tests.torture.workloads import Workload, beside, tree


def shell(line: list[str], redirections: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, which can close what Python's subprocess cannot."""
    return subprocess.run(
        ["sh", "-c", f"{shlex.join(line)} {redirections}"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_streams_are_closed(work: Workload, place: Path, closed: str) -> None:
    """Their numbers are not given to files that are written, where a message of some library would end up."""
    target = prepared(place / "p", overwrite=False)
    done = shell(command(work, target), closed)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert tree(target) == work.whole
    assert beside(target) == []


def test_files_do_not_get_the_numbers_of_streams() -> None:
    program = """
import os
from tensormap.commands.terminal import open_streams
open_streams()
descriptor = os.open("/dev/null", os.O_WRONLY)
os._exit(descriptor)
"""
    assert shell([sys.executable, "-c", program], "<&- >&- 2>&-").returncode > 2


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_stdout_that_is_full_after_the_target_is_complete(
    made: dict[str, Workload], place: Path, more: list[str]
) -> None:
    work = made["torch"]
    target = prepared(place / "p", overwrite=False)
    done = shell(command(work, target, *more), ">/dev/full")
    assert done.returncode == 4
    assert "no space left" in done.stderr
    assert done.stderr.splitlines()[-1] == "the target is complete"
    assert "Traceback" not in done.stderr
    assert tree(target) == work.whole
    assert beside(target) == []


@pytest.mark.parametrize("what", ["plan", "inspect", "list", "check"])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_stdout_that_is_full_is_a_finding(made: dict[str, Workload], what: str, more: list[str]) -> None:
    work = made["torch"]
    about = {
        "plan": [work.mapping, str(work.source), *work.options],
        "inspect": [str(work.source)],
        "list": [],
        "check": [work.mapping],
    }
    done = shell([sys.executable, "-m", "tensormap", what, *about[what], *more], ">/dev/full")
    assert done.returncode == 4
    assert done.stderr.splitlines()[0] == "error[disk]: no space left on device"
    assert "Traceback" not in done.stderr


def test_a_finding_for_a_program_that_has_gone(made: dict[str, Workload], place: Path) -> None:
    """It is said on stderr then, with the same exit code."""
    target = prepared(place / "p", overwrite=True)
    work = made["torch"]
    reading, writing = os.pipe()
    os.close(reading)
    arguments = command(work, target, "--json")
    done = subprocess.run(arguments, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 2
    assert done.stderr.startswith("error[target-not-empty]")
    assert "Traceback" not in done.stderr


def test_too_little_memory_is_a_finding(made: dict[str, Workload], place: Path) -> None:
    work = made["torch"]
    target = prepared(place / "p", overwrite=False)
    program = """
import sys
from tensormap.lowering import schedule
def schedule_(*arguments, **more):
    raise MemoryError
import tensormap.api
tensormap.api.schedule = schedule_
from tensormap.cli import cli
cli(sys.argv[1:], prog_name="tensormap")
"""
    arguments = [sys.executable, "-c", program, *command(work, target, "--json")[3:]]
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    (found,) = json.loads(done.stdout)["diagnostics"]
    assert found["message"] == "not enough memory"
    assert beside(target) == []
