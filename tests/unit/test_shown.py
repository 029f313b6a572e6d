"""Sizes, counts and names as people read them."""

from __future__ import annotations

import pytest

from tensormap import shown


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (1234, "1.23 KB"),
        (999_499, "999 KB"),
        (999_500, "1 MB"),
        (13_476_831_232, "13.5 GB"),
        (2 * 10**15, "2 PB"),
        (1234 * 10**15, "1,234 PB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert shown.size(count) == text


def test_counted() -> None:
    assert [shown.counted(count, "file") for count in (0, 1, 1200)] == ["0 files", "1 file", "1,200 files"]
    assert shown.counted(2, "copy", "copies") == "2 copies"


@pytest.mark.parametrize(
    ("text", "safe"),
    [("a é 語", "a é 語"), ("a\x1b[31m\n", "a\\x1b[31m\\n"), ("\u202e\x7f", "\\u202e\\x7f"), ("\udc80", "\\udc80")],
)
def test_plain(text: str, safe: str) -> None:
    assert shown.plain(text) == safe
