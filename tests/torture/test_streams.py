"""stdin, stdout and stderr that are closed, full or gone: what is said may be lost, but not what is written."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

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


@pytest.mark.parametrize("encoding", ["ascii", "ascii:surrogateescape", "latin-1", "utf-8:strict"])
def test_a_name_that_stdout_cannot_spell(tmp_path: Path, encoding: str) -> None:
    """Neither in its encoding nor, for bytes that are no text, in any: it is shown in another way, and nothing ends for it."""
    (tmp_path / "tiny.tmap").write_text('a <-> "\N{SNOWMAN}"\n', "utf-8")
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    target = os.fsencode(tmp_path) + b"/\xff\xe9"
    tensormap = [os.fsencode(sys.executable), b"-m", b"tensormap"]
    environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}

    def run(*arguments: bytes) -> bytes:
        done = subprocess.run(
            [*tensormap, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(b"apply", b"tiny.tmap", b"a.safetensors", target, b"--to", b"right").startswith(b"wrote ")
    assert b"float32" in run(b"inspect", target)
    plan = run(b"plan", b"tiny.tmap", b"a.safetensors", b"--to", b"right", b"--full")
    (tmp_path / "plan.json").write_bytes(plan)
    run(b"apply", b"--plan", b"plan.json", b"again")
    text = subprocess.run(
        [*tensormap, b"fmt", b"-"],
        input=(tmp_path / "tiny.tmap").read_bytes(),
        env=environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert text.stdout.decode("utf-8") == (tmp_path / "tiny.tmap").read_text("utf-8")


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
