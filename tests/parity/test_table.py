"""The page about the library says what is there."""

from __future__ import annotations

from tensormap import library
from tests.parity.table import README, table


def test_the_page_is_true() -> None:
    assert README.read_text("utf-8") == table(), "run `python -m tests.parity.table`"


def test_every_mapping_was_verified_by_something() -> None:
    assert len(library.bundled()) >= 40
    assert "nothing yet" not in table()
