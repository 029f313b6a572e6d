"""The same kills from outside: strace ends a run at a call to the system, whoever in the process makes it, Python or not."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.test_kills import ENVIRONMENT, KILLED, ROOT, prepared, settle
from tests.torture.workloads import Workload, tree

CALLS = (
    *(
        "openat",
        "close",
        "pwrite64",
        "write",
        "fsync",
        "copy_file_range",
        "fallocate",
        "ftruncate",
        "rename",
        "renameat2",
        "mkdir",
    ),
    *("unlink", "unlinkat", "rmdir", "chmod", "flock", "sync_file_range", "preadv,preadv2", "pread64", "newfstatat"),
)
STRACE = shutil.which("strace")


def traced(plan: Path, target: Path, call: str, number: int, *, overwrite: bool) -> int:
    """Run under strace, to be killed as it enters that call for that time; return the exit status."""
    assert STRACE is not None
    arguments = [sys.executable, "-m", "tests.torture.waiting", str(plan), str(target), "yes" if overwrite else "no"]
    run = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT
    )
    assert run.stdin is not None
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    inject = f"inject={call}:signal=KILL:when={number}"
    tracer = subprocess.Popen(
        [STRACE, "-f", "-p", str(run.pid), "-o", "/dev/null", "-e", f"trace={call}", "-e", inject],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    run.stdin.write("go\n")
    run.stdin.flush()
    run.communicate(timeout=60)
    tracer.communicate(timeout=60)
    return run.returncode


def can_trace() -> bool:
    """Tell whether strace is there, and may attach to a process."""
    if STRACE is None:
        return False
    done = subprocess.run([STRACE, "-e", "inject=getppid:signal=KILL", "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.torture
@pytest.mark.skipif(not can_trace(), reason="needs strace; `test_kills.py` kills at every call that Python makes")
@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_every_call_to_the_system(made, overwrite, call, place):
    work: Workload = made["safetensors"]
    plan = place / "plan.pickle"
    plan.write_bytes(pickle.dumps(work.plan))
    number = 0
    step = 1
    while True:
        number += step
        target = prepared(place / "p", overwrite=overwrite)
        status = traced(plan, target, call, number, overwrite=overwrite)
        if status == 0:
            assert tree(target) == work.whole
            break
        assert status == KILLED
        settle(work, target, overwrite=overwrite)
        step = 1 + number // 12  # the first ones each, then fewer: most are tiles and files that are like others
    used = {"renameat2": overwrite, "chmod": overwrite, "rename": not overwrite, "ftruncate": True}
    assert number > 1 or not used.get(call, call not in ("sync_file_range", "unlink", "rmdir", "unlinkat"))
