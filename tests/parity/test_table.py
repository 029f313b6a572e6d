"""The page about the library says what is there."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tensormap import library
from tests.parity.table import OTHER_SIDE, README, table


def test_the_page_is_true() -> None:
    assert README.read_text("utf-8") == table(), "run `python -m tests.parity.table`"


def test_every_mapping_was_verified_by_something() -> None:
    assert len(library.bundled()) >= 40
    assert "nothing yet" not in table()


def test_every_other_side_was_held_against_something() -> None:
    """A case alone goes there and back, and two mistakes that cancel pass it."""
    names = tuple(library.bundled())
    assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in OTHER_SIDE)] == []
    assert [pattern for pattern in OTHER_SIDE if not any(fnmatchcase(name, pattern) for name in names)] == []
