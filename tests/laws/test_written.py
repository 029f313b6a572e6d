"""What the mappings write is what they wrote when the parity tests last verified it: configs key by key, tensors by a digest."""

from __future__ import annotations

import pytest

from tests.laws.cases import cases
from tests.laws.written import record, written

HOW = "if this is meant, let the parity tests of the family pass, and run `python -m tests.laws.written` for it"


@pytest.mark.parametrize("name", sorted(cases()))
def test_what_is_written(name: str) -> None:
    for header in cases()[name]:
        assert written(header) == record().get(header.name), f"{header.name}: {HOW}"


def test_nothing_else_is_on_record() -> None:
    assert sorted(record()) == sorted(each.name for held in cases().values() for each in held), HOW
