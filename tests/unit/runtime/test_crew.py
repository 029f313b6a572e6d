from __future__ import annotations

import threading
import time

import pytest

from tensormap.runtime.crew import Line


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
