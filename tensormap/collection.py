"""Python's search for garbage, left out where it would only walk through what is kept, again and again."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Pause:
    """Collection is one for all threads: it goes on when the last that wanted none has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        self._was_on = False

    def begin(self) -> None:
        with self._lock:
            if not self._wanted:
                self._was_on = gc.isenabled()
                gc.disable()
            self._wanted += 1

    def end(self) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted or not self._was_on:
                return
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


_PAUSE = _Pause()


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from looking for garbage: a plan is a million small objects, none of them garbage, and running it makes none.

    To freeze and thaw gives what was made to the oldest generation, unseen: else the next object that anyone makes would have all
    of them looked through. Where the caller has frozen objects, these are to stay so.
    """
    _PAUSE.begin()
    try:
        yield
    finally:
        _PAUSE.end()
