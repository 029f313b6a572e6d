from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tensormap.runtime.crew import Hand, Line


def test_all_jobs_are_done_also_those_added_meanwhile():
    done = []

    def job(number, worker):
        done.append(number)
        if number < 3:
            with line.lock:
                line.add(lambda worker: job(number + 10, worker))

    line = Line([iter([lambda worker, n=n: job(n, worker) for n in range(5)])])
    line.run([1, 2, 3], lambda: None)
    assert sorted(done) == [0, 1, 2, 3, 4, 10, 11, 12]


def test_jobs_that_the_iterator_adds_go_first():
    order = []

    def jobs():
        yield lambda worker: order.append("a")
        line.add(lambda worker: order.append("finish a"))
        yield lambda worker: order.append("b")
        line.add(lambda worker: order.append("finish b"))

    line = Line([jobs()])
    line.run([1], lambda: None)
    assert order == ["a", "finish a", "b", "finish b"]


def test_the_first_error_stops_the_line():
    done = []

    def fail(worker):
        raise ValueError("mine")

    jobs = iter([fail, *(done.append for _ in range(1000))])
    with pytest.raises(ValueError, match="mine"):
        Line([jobs]).run([1], lambda: None)
    assert done == []


def test_an_error_in_the_iterator_is_raised():
    def jobs():
        yield lambda worker: None
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        Line([jobs()]).run([1, 2], lambda: None)


def test_an_interruption_waits_for_the_jobs_that_run():
    started, ended = threading.Event(), threading.Event()

    def slow(worker):
        started.set()
        time.sleep(0.4)
        ended.set()

    def watch():
        if started.is_set():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Line([iter([slow])]).run([1], watch)
    assert ended.is_set()


class Interrupted(BaseException):
    """What a signal raises in the thread that waits."""


@pytest.fixture
def interrupt():
    """Give a function that interrupts the main thread."""

    def stop(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, stop)
    yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_a_second_interruption_waits_for_the_jobs_that_run_too(interrupt):
    """Also where it comes while a lane is advanced, which is done under the lock."""
    advancing, ended = threading.Event(), threading.Event()

    def lane():
        advancing.set()
        time.sleep(0.2)
        interrupt()
        time.sleep(0.4)
        ended.set()
        yield pytest.fail

    def watch():
        if advancing.is_set():
            raise Interrupted

    with pytest.raises(Interrupted):
        Line([lane()]).run(["a job was begun"], watch)
    assert ended.is_set()


@pytest.mark.parametrize("times", [1, 3])
def test_signals_wait_for_the_jobs_that_run(interrupt, times):
    """`Thread.join` would take the thread for ended. Two more workers have nothing to do and wait for jobs meanwhile."""
    begun, ended = threading.Event(), threading.Event()

    def slow(worker):
        begun.set()
        for _ in range(times):
            time.sleep(0.1)
            interrupt()
        time.sleep(0.4)
        ended.set()

    after = [lambda worker: pytest.fail("a job began after an interruption")] * 9
    with pytest.raises(Interrupted):
        Line([iter([slow]), iter([lambda worker: ended.wait(5), lambda worker: ended.wait(5), *after])]).run(
            [1, 2, 3], lambda: None
        )
    assert begun.is_set()
    assert ended.is_set()


def test_where_a_thread_cannot_be_started_the_others_are_stopped(monkeypatch):
    started = []
    start = threading.Thread.start

    def refuse(thread):
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    def endless():
        while True:
            yield lambda worker: time.sleep(0.001)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        Line([endless()]).run([1, 2, 3], lambda: None)
    assert len(started) == 2
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


def test_a_worker_keeps_its_lane_and_helps_where_all_are_taken():
    """Two lanes, two workers that wait for each other: each has the first jobs of one lane."""
    seen = {"a": [], "b": []}
    both = threading.Barrier(2, timeout=10)

    def first(lane, worker):
        seen[lane].append(worker)
        both.wait()

    def later(lane, worker):
        seen[lane].append(worker)
        time.sleep(0.002)

    def jobs(lane, count):
        yield lambda worker: first(lane, worker)
        for _ in range(count):
            yield lambda worker: later(lane, worker)

    Line([jobs("a", 3), jobs("b", 60)]).run([1, 2], lambda: None)
    assert len(set(seen["a"])) == 1
    assert seen["b"][0] not in seen["a"]
    assert set(seen["b"]) == {1, 2}
    assert (len(seen["a"]), len(seen["b"])) == (4, 61)


def test_jobs_that_the_last_ones_add_are_done_where_lanes_are_empty():
    """Chains of jobs, each added by the one before, when workers have begun to wait: none is lost, and nobody waits for ever."""
    done = []

    def chain(number, left):
        def job(worker):
            time.sleep(0.001)
            done.append(number)
            if left:
                with line.lock:
                    line.add(chain(number, left - 1))

        return job

    line = Line([iter([chain(number, 20)]) for number in range(3)] + [iter([])] * 5)
    runner = threading.Thread(target=line.run, args=([1, 2, 3, 4], lambda: None), daemon=True)
    runner.start()
    runner.join(20)
    assert not runner.is_alive()
    assert sorted(done) == sorted([*range(3)] * 21)


def test_an_error_in_one_lane_ends_the_others():
    def fail(worker):
        raise ValueError("mine")

    def endless():
        while True:
            yield lambda worker: time.sleep(0.001)

    with pytest.raises(ValueError, match="mine"):
        Line([endless(), iter([fail]), endless()]).run([1, 2, 3], lambda: None)


def test_the_end_of_a_thread_is_awaited_whatever_comes(interrupt):
    ended = threading.Event()

    def work():
        for _ in range(2):
            time.sleep(0.1)
            interrupt()
        time.sleep(0.3)
        ended.set()

    hand = Hand(work)
    hand.start()
    with pytest.raises(Interrupted):
        hand.wait()
    with pytest.raises(Interrupted):
        hand.await_end()
    assert ended.is_set()


def test_a_thread_that_was_never_started_is_not_awaited():
    Hand(pytest.fail).await_end()
