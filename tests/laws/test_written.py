"""What the mappings write is what they wrote when the parity tests last verified it: configs key by key, tensors by a digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.laws.written import families, record, written

HOW = "if this is meant, let the parity tests of the family pass, and run `python -m tests.laws.written` for it"


def _changes(was: Mapping[str, Any], now: Mapping[str, Any], place: str) -> Iterator[str]:
    for key in dict.fromkeys((*was, *now)):
        one, other = was.get(key, "missing"), now.get(key, "missing")
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _changes(one, other, f"{place}, {key}")
        elif repr(one) != repr(other):
            yield f"{place}, {key}: {one} became {other}"


@pytest.mark.parametrize("name", families())
def test_what_is_written(name: str) -> None:
    changed = [
        each
        for header in families()[name]
        for each in _changes(record().get(header.name, {}), written(header), header.name)
    ]
    assert not changed, HOW


def test_nothing_else_is_on_record() -> None:
    assert sorted(record()) == sorted(each.name for held in families().values() for each in held), HOW
