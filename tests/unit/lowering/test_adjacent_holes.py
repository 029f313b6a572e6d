"""Padded holes beside each other and beside digits: written, read back, and their ranges found in the names."""

from __future__ import annotations

import numpy as np
import pytest

import tensormap

NUMBERS = np.arange(2 * 13 * 3, dtype=np.float32).reshape(2, 13, 3)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("l{i:02}{j:02}", "l0000", "l0112"),
        ("l{i:02}{j:02}.b", "l0000.b", "l0112.b"),
        ("w7{i:02}.{j}", "w700.0", "w701.12"),
        ("w{j:02}7{i:02}", "w00700", "w12701"),
        ("w{i + 1:02}{2 * j:03}", "w01000", "w02024"),
        ("w{j:03}{i:01}{j:02}", "w000000", "w012112"),
    ],
)
def test_they_go_there_and_back(name: str, first: str, last: str) -> None:
    mapping = tensormap.loads(f"index i < n\nindex j < m\n{name} [e] <-> w [i j e]\n")
    parts = mapping.convert({"w": NUMBERS}, to="left")
    assert len(parts) == 26
    assert {first, last} <= set(parts)
    (whole,) = mapping.convert(parts, to="right").values()
    assert np.array_equal(whole, NUMBERS)


def test_what_may_meet_is_not_said_to_be_proved_apart() -> None:
    text = "index i < n\nindex j < m\nindex k < q\nw{i:02}{j:02} [e] <-> a [i j e]\nw{k:04} [e] <-> b [k e]\n"
    left = tensormap.loads(text).check().left
    assert any("do not meet" in each for each in left), left
