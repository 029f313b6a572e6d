"""Threads that take jobs from lanes. Knows nothing of what a job does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Generic, TypeVar

Worker = TypeVar("Worker")


def insist(action: Callable[[], object]) -> None:
    """Do something that raises nothing by itself; if an interruption comes meanwhile, do it once more, and raise that then."""
    interruption: BaseException | None = None
    while True:
        try:
            action()
            break
        except BaseException as error:  # noqa: BLE001 - raised below
            interruption = interruption or error
    if interruption is not None:
        raise interruption


class Hand:
    """A thread that does one thing. What `threading.Thread` says of its end cannot be trusted where a signal may come: a `join`
    that one interrupts takes the thread for ended, whatever it does (CPython 3.11).
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._begun = False
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin. RuntimeError: the system gives no more threads."""
        threading.Thread(target=self._do, daemon=True).start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of what was started, and tell whether it has come."""
        return self._ended.wait(seconds)

    def await_end(self) -> None:
        """Wait until the work, which was told to stop, has ended; an interruption meanwhile is raised then.

        Files are closed next: a thread that still used their numbers could write into whatever is opened after. One that has not
        begun will find that it is to stop.
        """
        if self._begun:
            insist(self._ended.wait)

    def _do(self) -> None:
        self._begun = True
        try:
            self._work()
        finally:
            self._ended.set()


class Line(Generic[Worker]):
    """Jobs from lanes, and jobs that others added meanwhile, which go first. A worker stays in its lane until that is empty, then
    takes the next, and where all are taken, helps in one. Lanes are only advanced under the line's lock.
    """

    def __init__(self, lanes: Iterable[Iterator[Callable[[Worker], None]]]) -> None:
        self.lock = threading.Condition()
        self._lanes = iter(lanes)
        self._taken: deque[Iterator[Callable[[Worker], None]]] = deque()
        self._added: deque[Callable[[Worker], None]] = deque()
        self._running = 0
        self._error: BaseException | None = None
        self._stopped = False

    def add(self, job: Callable[[Worker], None]) -> None:
        """Add a job. The lock must be held, and a job or a lane be running."""
        self._added.append(job)
        self.lock.notify()

    def stop(self, error: BaseException | None = None) -> None:
        """Let no further job begin. The first error is what `run` raises."""
        with self.lock:
            self._stopped = True
            self._error = self._error or error
            self.lock.notify_all()

    def run(self, workers: list[Worker], watch: Callable[[], None]) -> None:
        """Do all jobs, one thread for each worker, and call `watch` a few times a second from this one."""
        hands = [Hand(partial(self._work, worker)) for worker in workers]
        try:
            for hand in hands:
                hand.start()
            for hand in hands:
                while not hand.wait(0.1):
                    watch()
        except BaseException as error:
            # without the lock, for which another interruption could come while it is waited for: who waits in `_take` is
            # woken by the jobs that run
            self._error = self._error or error
            self._stopped = True
            with ExitStack() as stack:
                for hand in hands:
                    stack.callback(hand.await_end)
            raise
        self.check()

    def check(self) -> None:
        """Raise the first error there was."""
        if self._error is not None:
            raise self._error

    def _work(self, worker: Worker) -> None:
        lane: Iterator[Callable[[Worker], None]] | None = None
        while True:
            try:
                job, lane = self._take(lane)
                if job is None:
                    return
                job(worker)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                self.stop(error)
                return
            with self.lock:
                self._running -= 1
                if not self._running:
                    self.lock.notify_all()

    def _take(
        self, lane: Iterator[Callable[[Worker], None]] | None
    ) -> tuple[Callable[[Worker], None] | None, Iterator[Callable[[Worker], None]] | None]:
        """Return the next job for a worker in `lane`, None at the end, and the lane it is in then."""
        with self.lock:
            while not self._stopped:
                if not self._added:
                    lane = self._draw(lane)
                if self._added:
                    self._running += 1
                    return self._added.popleft(), lane
                if not self._running:
                    self.lock.notify_all()
                    return None, lane
                self.lock.wait()
            return None, lane

    def _draw(self, lane: Iterator[Callable[[Worker], None]] | None) -> Iterator[Callable[[Worker], None]] | None:
        """Take a job out of a worker's lane, or of the next one that has any, behind what the lanes themselves add."""
        while lane is not None or (lane := self._next_lane()) is not None:
            job = next(lane, None)
            if job is not None:
                self._added.append(job)
                return lane
            if lane in self._taken:
                self._taken.remove(lane)
            lane = None
            if self._added:
                break
        return None

    def _next_lane(self) -> Iterator[Callable[[Worker], None]] | None:
        lane = next(self._lanes, None)
        if lane is not None:
            self._taken.append(lane)
        elif self._taken:
            self._taken.rotate(-1)
            lane = self._taken[-1]
        return lane
