"""Long stretches that the system copies itself: asked for where they may be, never a wrong byte where it does not."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tensormap
from tensormap.diagnostics import CheckpointError
from tensormap.runtime import yard
from tensormap.runtime.writing import Writing

SIZE = 600_000  # numbers of a tensor: more than a call copies


@pytest.fixture
def plan(tmp_path):
    random = np.random.default_rng(0)
    tensors = {name: random.standard_normal(SIZE, np.float32) for name in ("x", "y")}
    (tmp_path / "source").mkdir()
    save_file(tensors, tmp_path / "source" / "model.safetensors")
    mapping = tensormap.loads("x [n] <-> z [n]\ny [n] <-> w [n]")
    return tensormap.plan(mapping, tmp_path / "source", max_shard_size=SIZE * 4)  # a file for each tensor


def apply(plan, tmp_path, **options):
    """Convert, compare, and return how many bytes were read."""
    report = tensormap.apply(plan, tmp_path / "target", **options)
    before = load_file(tmp_path / "source" / "model.safetensors")
    after = {}
    for path in sorted((tmp_path / "target").glob("*.safetensors")):
        after |= load_file(path)
    assert after.keys() == {"z", "w"}
    assert np.array_equal(after["z"], before["x"])
    assert np.array_equal(after["w"], before["y"])
    return report


@pytest.fixture
def calls(monkeypatch):
    """Count the bytes that go by each call."""
    counts = {"copy_file_range": 0, "preadv": 0, "asked": 0}
    copy, read = os.copy_file_range, os.preadv

    def copied(*arguments):
        counts["asked"] += 1
        done = copy(*arguments)
        counts["copy_file_range"] += done
        return done

    def reading(descriptor, buffers, offset):
        done = read(descriptor, buffers, offset)
        counts["preadv"] += done
        return done

    monkeypatch.setattr(os, "copy_file_range", copied)
    monkeypatch.setattr(os, "preadv", reading)
    return counts


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_alone_in_a_file_lets_the_system_copy(plan, tmp_path, calls, workers):
    report = apply(plan, tmp_path, workers=workers)
    assert report.bytes_read == 2 * 4 * SIZE
    if workers == 1:
        assert (calls["copy_file_range"], calls["preadv"]) == (2 * 4 * SIZE, 0)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EIO, errno.ENOSPC])
def test_where_the_system_does_not_copy_bytes_are_read_and_written(plan, tmp_path, calls, monkeypatch, number):
    asked = []

    def refuse(*_):
        asked.append(1)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    report = apply(plan, tmp_path, workers=1)
    assert report.bytes_read == calls["preadv"] == 2 * 4 * SIZE
    assert len(asked) == 1  # of this source nothing is asked again


@pytest.mark.parametrize("most", [1000, 70_000])
def test_what_is_copied_in_small_pieces_goes_on(plan, tmp_path, monkeypatch, most):
    copy = os.copy_file_range
    monkeypatch.setattr(os, "copy_file_range", lambda a, b, count, *rest: copy(a, b, min(count, most), *rest))
    assert apply(plan, tmp_path, workers=1).bytes_read == 2 * 4 * SIZE


def test_what_is_copied_in_part_is_read_and_written_from_there(plan, tmp_path, calls, monkeypatch):
    copy = os.copy_file_range
    answers = iter([copy])

    def once(source, target, count, *rest):
        answer = next(answers, None)
        return 0 if answer is None else answer(source, target, 5, *rest)

    monkeypatch.setattr(os, "copy_file_range", once)
    assert apply(plan, tmp_path, workers=1).bytes_read == 2 * 4 * SIZE
    assert calls["preadv"] == 2 * 4 * SIZE - 5


def test_a_full_disk_names_the_target(plan, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="full") as caught:
        apply(plan, tmp_path)
    assert ".safetensors" in caught.value.filename
    assert "source" not in caught.value.filename
    assert not (tmp_path / "target").exists()


def test_a_source_that_becomes_shorter_meanwhile_is_named(plan, tmp_path, monkeypatch):
    source = tmp_path / "source" / "model.safetensors"
    copy = os.copy_file_range

    def shorten(*arguments):
        os.truncate(source, 5000)
        return copy(*arguments)

    monkeypatch.setattr(os, "copy_file_range", shorten)
    with pytest.raises(CheckpointError, match=r"model\.safetensors` ends at byte 5000, inside a tensor"):
        apply(plan, tmp_path, workers=1)
    assert not (tmp_path / "target").exists()


def test_long_rows_of_a_larger_tensor_are_copied_one_by_one(tmp_path, calls):
    """Two halves of each row change places: runs of 80 KB on both sides."""
    rows, half = 7, 20_000
    source = np.random.default_rng(0).standard_normal((rows, 2, half), np.float32)
    (tmp_path / "source").mkdir()
    save_file({"x": source}, tmp_path / "source" / "model.safetensors")
    mapping = tensormap.loads("x [r p h] <-> y [p r h]")
    tensormap.apply(tensormap.plan(mapping, tmp_path / "source"), tmp_path / "target", workers=1)
    assert np.array_equal(load_file(tmp_path / "target" / "model.safetensors")["y"], source.swapaxes(0, 1))
    assert calls["copy_file_range"] == source.nbytes
    assert calls["asked"] == 2 * rows


def test_a_worker_that_is_alone_stays_so_from_job_to_job(plan, tmp_path, calls, monkeypatch):
    monkeypatch.setattr(yard, "_CARRIED", 300_000)
    apply(plan, tmp_path, workers=1)
    assert (calls["copy_file_range"], calls["preadv"]) == (2 * 4 * SIZE, 0)


def test_where_others_copy_to_the_same_file_bytes_are_read_and_written(plan, tmp_path, calls, monkeypatch):
    make = Writing.__init__

    def shared(writing, *arguments, **options):
        make(writing, *arguments, **options)
        writing.hands = 1  # as if one of them never came to its end

    monkeypatch.setattr(Writing, "__init__", shared)
    apply(plan, tmp_path, workers=2)
    assert (calls["copy_file_range"], calls["preadv"]) == (0, 2 * 4 * SIZE)


@pytest.mark.parametrize("shard", [SIZE * 4, SIZE * 8])
def test_large_writes_go_one_at_a_time(plan, tmp_path, monkeypatch, shard):
    """To different files, and to one."""
    plan = tensormap.plan(
        tensormap.loads("x [n] <-> z [n]\ny [n] <-> w [n]"), tmp_path / "source", max_shard_size=shard
    )
    write, now, most, threads = os.pwrite, [0], [0], set()

    def writing(descriptor, data, offset):
        now[0] += 1
        most[0] = max(most[0], now[0])
        if len(data) > 1000:
            threads.add(threading.get_ident())
            time.sleep(0.005)
        done = write(descriptor, data, offset)
        now[0] -= 1
        return done

    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    monkeypatch.setattr(yard, "_CARRIED", 300_000)
    monkeypatch.setattr(os, "pwrite", writing)
    apply(plan, tmp_path, workers=3)
    assert len(threads) > 1
    assert most == [1]


def test_records_of_a_zip_are_looked_at_unless_they_are_trusted(tmp_path, calls):
    torch = pytest.importorskip("torch")
    (tmp_path / "source").mkdir()
    torch.save({"x": torch.arange(SIZE)}, tmp_path / "source" / "pytorch_model.bin")
    mapping = tensormap.loads("x [n] <-> z [n]")
    plan = tensormap.plan(mapping, tmp_path / "source")
    tensormap.apply(plan, tmp_path / "checked", workers=1)
    assert calls["copy_file_range"] == 0
    tensormap.apply(plan, tmp_path / "trusted", workers=1, trust_crc=True)
    assert calls["copy_file_range"] == 8 * SIZE
    for name in ("checked", "trusted"):
        assert np.array_equal(load_file(tmp_path / name / "model.safetensors")["z"], np.arange(SIZE))


class Interrupted(BaseException):
    """What a signal raises in the thread that waits."""


@pytest.mark.parametrize("often", [1, 4])
def test_signals_while_files_wait_for_the_disk(tmp_path, monkeypatch, often):
    """Nothing uses a file any more when the error is raised, no thread is left, and the target is as it was."""
    (tmp_path / "source").mkdir()
    save_file({f"x{k}": np.arange(1000) for k in range(40)}, tmp_path / "source" / "model.safetensors")
    mapping = tensormap.loads("x{k} [n] <-> y{k} [n]")
    plan = tensormap.plan(mapping, tmp_path / "source", max_shard_size=8000)
    sync, states = os.fsync, []

    def slow(descriptor):
        states.append("begun")
        if len(states) == 7:
            for _ in range(often):
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.1)
        time.sleep(0.02)
        sync(descriptor)  # of a file that is open
        states.append("ended")

    def stop(*_):
        raise Interrupted

    monkeypatch.setattr(os, "fsync", slow)
    before = signal.signal(signal.SIGUSR1, stop)
    threads = set(threading.enumerate())
    try:
        with pytest.raises(Interrupted):
            tensormap.apply(plan, tmp_path / "target", workers=2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert states.count("begun") == states.count("ended")
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive()
    assert not (tmp_path / "target").exists()
