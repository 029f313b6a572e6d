"""A target's lock: held by one, or shared by the parts of a divided run."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tensormap.diagnostics import BusyError
from tensormap.runtime.lock import Lock


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "lock"


def locked(path: Path, *, shared: bool = False) -> Lock:
    return Lock(path, Path("out"), shared=shared)


def test_it_is_held_by_one(path):
    with locked(path), pytest.raises(BusyError), locked(path):
        pass
    with locked(path):
        pass
    assert not path.exists()


def test_it_is_shared_by_many_and_removed_by_the_last(path):
    first, second = locked(path, shared=True), locked(path, shared=True)
    first.__enter__()
    second.__enter__()
    for _ in range(2):
        with pytest.raises(BusyError, match="parts of a divided run"), locked(path):
            pass
    first.__exit__(None, None, None)
    assert path.exists()
    with pytest.raises(BusyError), locked(path):
        pass
    with locked(path, shared=True):
        pass
    second.__exit__(None, None, None)
    assert not path.exists()
    with locked(path):
        pass


def test_a_part_stops_at_once_where_a_run_is_on(path):
    began = time.monotonic()
    with locked(path), pytest.raises(BusyError, match="process"), locked(path, shared=True):
        pass
    assert time.monotonic() - began < 5


def test_a_part_waits_for_another_that_has_it_alone_for_a_moment(path):
    entered, seen = threading.Event(), []

    def other():
        entered.wait()
        with locked(path, shared=True):
            seen.append(time.monotonic())

    thread = threading.Thread(target=other)
    thread.start()
    with locked(path, shared=True) as lock:
        with lock.alone():
            entered.set()
            time.sleep(0.2)
            left = time.monotonic()
        thread.join()
    assert seen[0] >= left
    assert not path.exists()


def test_nobody_has_it_alone_while_others_share_it(path):
    with locked(path, shared=True), locked(path, shared=True) as lock, pytest.raises(BusyError), lock.alone():
        pass


def test_a_file_that_nobody_holds_is_no_obstacle(path):
    for shared in (True, False):
        path.write_text("4711 on elsewhere\n")
        with locked(path, shared=shared):
            pass
        assert not path.exists()
