"""Runs whose jobs an executor does: threads, processes, a Dask cluster whose workers die; one result."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import distributed
import numpy as np
import pytest

from tensormap import externs
from tensormap.diagnostics import BusyError, CheckpointError, MappingError
from tensormap.lowering import split
from tensormap.lowering.plan import Call, Copy, Input, Plan
from tensormap.runtime import delegate
from tensormap.runtime.execute import run
from tensormap.runtime.progress import Progress
from tests.unit.runtime.plans import Bench, digest, read_tensor, seven_files, whole


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def plan(bench, monkeypatch) -> Plan:
    """Seven files; a job for each or two of them."""
    monkeypatch.setattr(split, "_WORTH", 200_000)
    made = seven_files(bench)
    assert 5 <= sum(bool(job.files) for job in split.jobs(made)) <= 7
    return made


@pytest.fixture
def serial(bench, plan) -> str:
    run(plan, bench.root.parent / "serial", workers=1)
    return digest(bench.root.parent / "serial")


def target_of(bench: Bench):
    return bench.root.parent / "target"


def left_over(bench: Bench) -> list[str]:
    return sorted(each.name for each in bench.root.parent.iterdir() if each.name not in ("source", "target", "serial"))


def slug(caught) -> str:
    return caught.value.diagnostics[0].slug


class Here(Executor):
    """Does a job at once, in this thread; `before` is called with its order and may raise."""

    def __init__(self, before=lambda order: None) -> None:
        self.before = before
        self.orders = []

    def submit(self, function, /, order):
        future: Future = Future()
        try:
            self.before(order)
            future.set_result(function(order))
        except Exception as error:  # noqa: BLE001 - the caller of `result` gets it
            future.set_exception(error)
        self.orders.append(order)
        return future


# --- one result -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_threads(bench, plan, serial, workers):
    with ThreadPoolExecutor(3) as pool:
        report = run(plan, target_of(bench), executor=pool, workers=workers)
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []
    size = sum(each.layout.size for each in plan.outputs)
    assert (report.verified, report.bytes_written) == (2, size + 7)
    assert report.bytes_read > size - 2000


@pytest.mark.parametrize("start", ["spawn", "fork"])
@pytest.mark.filterwarnings("default:.*multi-threaded.*fork:DeprecationWarning")
def test_processes(bench, plan, serial, start):
    with ProcessPoolExecutor(2, multiprocessing.get_context(start)) as pool:
        run(plan, target_of(bench), executor=pool, checksum=True)
    (target_of(bench) / "SHA256SUMS").unlink()
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []


def test_checksums_are_those_of_one_run(bench, plan):
    run(plan, bench.root.parent / "serial", checksum=True)
    run(plan, target_of(bench), executor=Here(), checksum=True)
    assert digest(target_of(bench)) == digest(bench.root.parent / "serial")


def test_a_single_file_may_be_the_target(bench, plan):
    made = replace(plan, outputs=(replace(plan.outputs[0], path=""),), texts=(), companions=())
    run(made, target_of(bench), executor=Here())
    run(made, bench.root.parent / "serial")
    assert target_of(bench).read_bytes() == (bench.root.parent / "serial").read_bytes()
    assert left_over(bench) == []


def test_a_job_is_plain_data_and_small(bench, plan):
    here = Here()
    run(plan, target_of(bench), executor=here)
    for order in here.orders:
        assert isinstance(order.document, str)
        assert len(order.document) < 4000
        assert "tokenizer" not in order.document


def test_progress_counts_what_came_back(bench, plan):
    seen = []
    with ThreadPoolExecutor(1) as pool:
        run(plan, target_of(bench), executor=pool, progress=seen.append)
    assert (seen[-1].done, seen[-1].files_done) == (seen[-1].total, 7)


def doubled(array):
    return array + array


def test_functions_go_with_their_jobs(bench, monkeypatch):
    monkeypatch.setattr(externs, "_registered", {})
    externs.register("doubled", doubled)
    (index,) = bench.source("a.bin", {"a": np.arange(6, dtype=np.float32)})
    bench.inputs.append(Input("made", "float32", (6,), -1, 0, call=Call("doubled", ((index, (6,)),))))
    bench.output("out.bin", [("t", "float32", (6,))], [Copy((6,), whole(1, (6,)), whole(0, (6,)))])
    plan = bench.plan()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        run(plan, target_of(bench), executor=pool)
    assert read_tensor(plan, target_of(bench), 0, 0).tolist() == [0, 2, 4, 6, 8, 10]


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_job_that_is_done_twice_does_no_harm(bench, plan, serial):
    class Twice(Here):
        def submit(self, function, /, order):
            super().submit(function, order)
            return super().submit(function, order)

    run(plan, target_of(bench), executor=Twice())
    assert digest(target_of(bench)) == serial


def test_a_lost_job_is_sent_again(bench, plan, serial):
    def lose_two(order):
        if order.number in (2, 3) and order.attempt == 1:
            raise KeyError("a worker went away")

    here = Here(lose_two)
    run(plan, target_of(bench), executor=here)
    assert digest(target_of(bench)) == serial
    assert sorted(order.attempt for order in here.orders)[-3:] == [1, 2, 2]
    assert len(set(here.orders)) == len(here.orders)  # no executor may take one for another


def test_a_job_that_is_always_lost_ends_the_run_and_the_rest_can_be_resumed(bench, plan, serial):
    def lose(order):
        if order.number == 3:
            raise KeyError("a worker went away")

    with pytest.raises(ChildProcessError, match="the executor lost a job: 'a worker went away'") as caught:
        run(plan, target_of(bench), executor=Here(lose))
    assert caught.value.errno == errno.ECHILD
    with pytest.raises(BusyError) as waits:
        run(plan, target_of(bench), executor=Here())
    assert slug(waits) == "resumable"
    report = run(plan, target_of(bench), executor=Here(), resume=True)
    assert report.resumed
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []


def test_a_run_goes_on_in_this_process_where_an_executor_failed(bench, plan, serial):
    def lose(order):
        if order.number > 4:
            raise KeyError

    with pytest.raises(ChildProcessError):
        run(plan, target_of(bench), executor=Here(lose))
    assert run(plan, target_of(bench), resume=True).resumed
    assert digest(target_of(bench)) == serial


def test_an_executor_that_is_shut_down(bench, plan):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ChildProcessError):
        run(plan, target_of(bench), executor=pool)
    assert left_over(bench) == []


def slow_down() -> int:
    """Let each job of this process take a moment between making its first file and filling it; return the process."""
    original = delegate.Yard.write

    def write(self, staff, progress):
        for each in self._writings:
            each.allocate()
        time.sleep(0.4)
        return original(self, staff, progress)

    delegate.Yard.write = write
    return os.getpid()


def test_a_killed_process_breaks_its_pool_and_the_run_can_be_resumed(bench, plan, serial):
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=slow_down)

    def kill(progress):
        if progress.files_done:
            for process in list(pool._processes.values()):
                os.kill(process.pid, signal.SIGKILL)

    with pool, pytest.raises(ChildProcessError):
        run(plan, target_of(bench), executor=pool, progress=kill)
    with ThreadPoolExecutor(1) as threads:
        report = run(plan, target_of(bench), executor=threads, resume=True)
    assert report.resumed
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []


def test_errors_of_jobs_are_those_of_a_run(bench, plan):
    status = (bench.root / "1.bin").stat()
    os.truncate(bench.root / "1.bin", 5000)
    os.utime(bench.root / "1.bin", ns=(1, status.st_mtime_ns))
    sources = tuple(replace(each, size=5000) if each.path == "1.bin" else each for each in plan.sources)
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        pytest.raises(CheckpointError) as caught,
    ):
        run(replace(plan, sources=sources), target_of(bench), executor=pool)
    assert slug(caught) == "bad-plan"  # its inputs leave the file: whoever is given a part of a plan reads it first
    assert left_over(bench) == []


def test_a_bug_is_a_traceback_from_its_worker(bench, plan, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(delegate, "Yard", broken)
    with pytest.raises(ZeroDivisionError, match="oh") as caught:
        run(plan, target_of(bench), executor=Here())
    assert "in broken" in caught.value.__notes__[0]


def test_an_error_that_cannot_be_sent_is_told(bench, plan, monkeypatch):
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__("said")

    def broken(*_, **__):
        raise Odd(1, 2)

    monkeypatch.setattr(delegate, "Yard", broken)
    with pytest.raises(RuntimeError, match="Odd: said"):
        run(plan, target_of(bench), executor=Here())


def test_a_worker_that_writes_elsewhere_is_found_out(bench, plan):
    """As where each machine has a file system of its own under the same path."""

    class Elsewhere(Here):
        def submit(self, function, /, order):
            future = super().submit(function, order)
            for path in future.result().files:
                os.unlink(bench.root.parent / ".target.tensormap" / "content" / path)
            return future

    with pytest.raises(OSError, match="workers have to share the file system") as caught:
        run(plan, target_of(bench), executor=Elsewhere())
    assert caught.value.errno == errno.EIO
    assert left_over(bench) == []


def test_a_worker_that_does_not_see_the_target(bench, plan):
    class Elsewhere(Here):
        def submit(self, function, /, order):
            return super().submit(function, replace(order, target=order.target + "-not-here"))

    with pytest.raises(FileNotFoundError, match="it has to share the file system"):
        run(plan, target_of(bench), executor=Elsewhere())


def test_jobs_that_run_are_stopped_by_an_interruption(bench, plan, monkeypatch):
    """They see a moment later that nobody wants their files, and no thread is left writing."""
    running, ended = threading.Event(), []

    def endless(self, staff, progress):
        running.set()
        for _ in range(200):
            progress(Progress("write", 0, 1, 0, 1))
            time.sleep(0.1)
        ended.append(self)

    monkeypatch.setattr(delegate.Yard, "write", endless)

    def interrupt(_):
        if running.is_set():
            raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(KeyboardInterrupt):
            run(plan, target_of(bench), executor=pool, progress=interrupt)
        assert left_over(bench) == []
    assert ended == []
    assert left_over(bench) == []
    assert not target_of(bench).exists()


def test_what_a_dead_worker_left_is_removed_by_the_next(bench, plan, serial):
    """A job is killed as it writes; done again, it finds and removes its dead twin's files."""
    work = bench.root.parent / ".target.tensormap" / "work"

    def leave(order):
        if order.number == 3:
            dead = work / "job-3.elsewhere-1-x"
            dead.mkdir()
            (dead / "lock").touch()
            (dead / "content").write_bytes(b"x" * 1000)
        if order.number == 4:
            assert list(work.iterdir()) == []

    run(plan, target_of(bench), executor=Here(leave))
    assert digest(target_of(bench)) == serial


def test_a_part_takes_no_executor():
    import tensormap

    plan = tensormap.Plan(None)
    with pytest.raises(TypeError):
        tensormap.apply(plan, "out", part=(1, 2), executor=Here())


def test_workers_are_checked(bench, plan):
    with pytest.raises(MappingError) as caught:
        run(plan, target_of(bench), executor=Here(), workers=0)
    assert slug(caught) == "bad-workers"


# --- a cluster --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def cluster():
    """Two worker processes of a thread each, on this machine."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs="ERROR"
        ) as made,
        distributed.Client(made) as client,
    ):
        yield client


def test_dask_with_a_worker_killed_midway(bench, plan, serial):
    work = bench.root.parent / ".target.tensormap" / "work"
    killed = []

    with cluster() as client:
        pids = sorted(client.run(slow_down).values())

        def kill(progress):
            """Once a file is done, and the first process is in the middle of another."""
            if progress.files_done and not killed and any(work.glob(f"job-*-{pids[0]}-*/content/sub/*")):
                os.kill(pids[0], signal.SIGKILL)
                killed.extend(work.glob(f"job-*-{pids[0]}-*"))

        report = run(plan, target_of(bench), executor=client.get_executor(), progress=kill)
    assert len(killed) == 1
    assert digest(target_of(bench)) == serial
    assert report.verified == 2
    assert left_over(bench) == []
