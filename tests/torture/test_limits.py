"""Faults that the system itself makes, seen from the command line: a full disk, limits, permissions, a source that changes."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tensormap.diagnostics import CheckpointError
from tensormap.runtime.execute import run
from tests.torture.shim import Call, hooked
from tests.torture.test_kills import ENVIRONMENT, command, prepared
from tests.torture.workloads import OLD, Workload, beside, plant, to_torch, tree

Done = subprocess.CompletedProcess[str]


def apply(work: Workload, target: Path, *more: str, before: Callable[[], None] | None = None) -> Done:
    arguments = command(work, target, *more)
    return subprocess.run(
        arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120, preexec_fn=before
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """Four megabytes in twenty files."""
    return to_torch(tmp_path_factory.mktemp("large"), layers=6, width=12)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a part of the large workload."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=400k", "none", str(place)]
    if os.geteuid() != 0 or mount is None or subprocess.run([mount, *options], check=False).returncode != 0:
        pytest.skip("only root can mount a small disk; RLIMIT_FSIZE and the matrix of faults are tested in any case")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_small_disk_is_known_before_the_first_byte(large, small_disk):
    done = apply(large, small_disk / "target")
    assert done.returncode == 4
    assert "not enough space" in done.stderr
    assert "needed" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_target_in_a_lower_layer(made, tmp_path):
    """As in a container whose image has the directory. An empty one is taken; another has to be removed by hand."""
    work = made["torch"]
    lower, place = tmp_path / "lower", tmp_path / "merged"
    plant(lower / "target", OLD)
    (lower / "empty").mkdir()
    for each in ("upper", "work", "merged"):
        (tmp_path / each).mkdir()
    layers = f"lowerdir={lower},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'}"
    arguments = ["mount", "-t", "overlay", "overlay", "-o", layers, str(place)]
    if os.geteuid() != 0 or subprocess.run(arguments, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs root and overlay file systems")
    try:
        run(work.plan, place / "empty")
        assert tree(place / "empty") == work.whole
        with pytest.raises(OSError, match="remove it, and then resume") as caught:
            run(work.plan, place / "target", overwrite=True)
        assert caught.value.filename == str(place / "target")
        assert tree(place / "target") == OLD
        shutil.rmtree(place / "target")
        assert len(run(work.plan, place / "target", resume=True).resumed) == len(work.plan.outputs)
        assert tree(place / "target") == work.whole
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_fills_up_meanwhile(large, small_disk, overwrite, monkeypatch):
    """Somebody else fills the disk after the room was checked: the real error comes from the disk."""
    target = small_disk / "target"
    if overwrite:
        plant(target, OLD)
    monkeypatch.setattr("tensormap.runtime.staging.Staging.check_space", lambda self, needed: None)
    with pytest.raises(OSError, match="No space left") as caught:
        run(large.plan, target, overwrite=overwrite)
    assert caught.value.errno == errno.ENOSPC
    assert "target" in str(caught.value.filename)
    assert tree(target) == (OLD if overwrite else None)
    assert beside(target) == []  # files are made of full size before the first is finished


def test_a_disk_that_fails_late_says_how_to_go_on(made, place):
    """The printed command is run, on a disk that is well again."""
    program = """
import errno, itertools, os, sys
fsync, calls = os.fsync, itertools.count()
def fail(descriptor):
    if next(calls) >= 9:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return fsync(descriptor)
os.fsync = fail
from tensormap.cli import cli
cli(sys.argv[1:], prog_name="tensormap")
"""
    work = made["safetensors"]
    target = prepared(place / "p", overwrite=False)
    arguments = [sys.executable, "-c", program, *command(work, target)[3:]]
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    said = done.stderr.splitlines()
    assert said[0].startswith("error[disk]: `")
    assert said[0].endswith("input/output error")
    assert said[-2] == "the target is as it was; to go on from here:"
    again = [sys.executable, "-m", *shlex.split(said[-1])]
    done = subprocess.run(again, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=60)
    assert "had been written before" in done.stdout
    assert tree(target) == work.whole


def test_a_limit_of_file_sizes(large, place):
    """SIGXFSZ is not what ends it."""
    target = prepared(place / "p", overwrite=True)
    done = apply(
        large, target, "--overwrite", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    )
    assert done.returncode == 4
    assert "file too large" in done.stderr
    assert done.stderr.endswith("the target is as it was, and no file was finished\n")
    assert ".pt`" in done.stderr
    assert tree(target) == OLD
    assert beside(target) == []


@pytest.mark.parametrize("count", [9, 24, 80])
def test_few_descriptors(made, place, count):
    """Work is done with few, or the error says what there was not enough for."""
    work = made["safetensors"]
    target = prepared(place / "p", overwrite=False)
    done = apply(work, target, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count)))
    if done.returncode == 0:
        assert tree(target) == work.whole
    else:
        assert done.returncode == 4, done.stderr
        assert "too many open files" in done.stderr
        assert tree(target) is None
    assert (done.returncode == 0) == (count > 20), done.stderr


def test_a_directory_that_may_not_be_written_to(made, place):
    """Permissions do not bind root, a file system that is mounted to be read does."""
    work = made["torch"]
    folder = prepared(place / "p", overwrite=False).parent
    if os.geteuid() != 0:
        os.chmod(folder, 0o555)
        says = "permission denied"
    elif subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], check=False).returncode == 0:
        says = "read-only file system"
    else:
        pytest.skip("root that may not mount")
    done = apply(work, folder / "target")
    left = list(folder.iterdir())
    if os.geteuid() != 0:
        os.chmod(folder, 0o755)
    else:
        subprocess.run(["umount", str(folder)], check=True)
    assert done.returncode == 4, done.stderr
    assert says in done.stderr
    assert left == []


# --- sources


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    os.replace(other, path)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"changed!")


@pytest.mark.parametrize("change", [truncate, replace, rewrite, Path.unlink])
def test_a_source_that_changes_meanwhile(tmp_path, place, change, overwrite):
    work = to_torch(tmp_path)
    target = prepared(place / "p", overwrite=overwrite)
    calls = itertools.count()

    def hook(call: Call) -> Any:
        if call.name == "pwrite" and next(calls) == 20:
            change(work.source / "model.safetensors")
        return call.do()

    with hooked(hook), pytest.raises(CheckpointError) as caught:
        run(work.plan, target, overwrite=overwrite, workers=1)
    finding = caught.value.diagnostics[0]
    assert finding.slug in ("source-changed", "file-truncated")
    assert "model.safetensors`" in finding.message
    assert tree(target) == (OLD if overwrite else None)
    assert beside(target) == []


def test_a_source_that_changes_meanwhile_ends_the_command(tmp_path, place):
    """An exit code, and no SIGBUS: a source is never mapped into memory."""
    program = """
import itertools, os, sys
pwrite, calls = os.pwrite, itertools.count()
def cut(*arguments):
    if next(calls) == 20:
        os.truncate(sys.argv[3] + "/model.safetensors", 3000)
    return pwrite(*arguments)
os.pwrite = cut
from tensormap.cli import cli
cli(sys.argv[1:], prog_name="tensormap")
"""
    work = to_torch(tmp_path)
    target = prepared(place / "p", overwrite=False)
    arguments = [sys.executable, "-c", program, *command(work, target, "--workers", "1")[3:]]
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "source-changed" in done.stderr or "file-truncated" in done.stderr
    assert list(target.parent.iterdir()) == []


def test_a_source_of_the_same_size_and_time_is_believed(tmp_path):
    """What this page of tests does not promise: a change that sets size and time back is not seen."""
    work = to_torch(tmp_path)
    path = work.source / "model.safetensors"
    status = path.stat()
    rewrite(path)
    with pytest.raises(CheckpointError):
        run(work.plan, tmp_path / "one")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    run(work.plan, tmp_path / "two")
