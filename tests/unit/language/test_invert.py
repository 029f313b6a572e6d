"""Which config value makes an expression read as a given one: kinds that do not fit are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tensormap.diagnostics import MappingError
from tensormap.language.expressions import invert
from tensormap.language.parser import parse_expression


@pytest.mark.parametrize(
    ("text", "value", "written"),
    [
        ("-x", 3, ("x", -3)),
        ("not x", True, ("x", False)),
        ("float(x)", 2.0, ("x", 2.0)),
        ("int(x)", 2, ("x", 2)),
        ("x ?? 3", 4, ("x", 4)),
        ("3 * x", 6, ("x", 2)),
        ("x == 1", True, ("x", 1)),
        ("_", 3, None),
        ("3", 3, None),
    ],
)
def test_written(text: str, value: Any, written: Any) -> None:
    assert invert(parse_expression(text), value) == written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-x", "a"),
        ("-x", True),
        ("not x", 1),
        ("float(x)", "a"),
        ("float(x)", True),
        ("int(x)", 2.5),
        ("int(x)", True),
        ("3", 4),
        ("x + y", 3),
        ("[x, 1]", [2, 2]),
        ("[x, 1]", [2]),
    ],
)
def test_refused(text: str, value: Any) -> None:
    with pytest.raises(MappingError) as caught:
        invert(parse_expression(text), value)
    assert [each.slug for each in caught.value.diagnostics] == ["not-invertible"]
