"""What libFuzzer says becomes a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.record import HEAD, RECORD, append, outcome, row
from tests.fuzz.targets import TARGETS

GOOD = """INFO: Running with entropic power schedule (0xFF, 100).
#15	INITED cov: 60 ft: 118 corp: 14/209b exec/s: 0 rss: 55Mb
#1840	DONE   cov: 61 ft: 119 corp: 15/1209Kb lim: 63 exec/s: 306 rss: 55Mb
Done 1840 runs in 6 second(s)
stat::number_of_executed_units: 1840
"""
BAD = """#2	INITED cov: 7 ft: 8 corp: 1/1b exec/s: 0 rss: 53Mb
==31826== ERROR: libFuzzer: fuzz target exited
artifact_prefix='build/fuzz/json-'; Test unit written to build/fuzz/json-crash-86f7
stat::number_of_executed_units: 3399
"""


@pytest.mark.parametrize(
    ("said", "cells"),
    [
        (GOOD, "1,840 | 61 | 15 | nothing found"),
        (BAD, "3,399 | 7 | 1 | found `json-crash-86f7`"),
        (GOOD.replace("Done", "Gone"), "1,840 | 61 | 15 | broke off"),
    ],
)
def test_a_run_becomes_a_row(said: str, cells: str, tmp_path: Path) -> None:
    run = outcome(said)
    assert run is not None
    line = row("2026-01-02", "0123abcd", "json", 6.4, run)
    assert line == f"| 2026-01-02 | 0123abcd | json | 6 | {cells} |\n"
    for _ in range(2):
        append(tmp_path / "record", line)
    assert (tmp_path / "record").read_text() == HEAD + line + line


def test_what_ran_nothing_is_no_run() -> None:
    assert outcome("Usage:\n") is None


def test_every_target_was_run_for_three_minutes_and_nothing_is_left() -> None:
    """The last run of each says that nothing was found."""
    rows = [[each.strip() for each in line.split("|")[1:-1]] for line in RECORD.read_text().splitlines()]
    last = {each[2]: each for each in rows if len(each) == 8 and each[2] in TARGETS and int(each[3]) >= 180}
    assert last.keys() == TARGETS.keys()
    assert {each[7] for each in last.values()} == {"nothing found"}
