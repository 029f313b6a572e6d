"""A change is made in every function that lives, also in one that another has made and returned."""

from __future__ import annotations

from types import FunctionType

import pytest

from tensormap.language import arithmetic
from tests.mutation.live import Functions
from tests.mutation.points import points

FILE = "tensormap/language/arithmetic.py"


@pytest.mark.parametrize(
    ("owner", "old", "function", "argument"),
    [("_extreme.body", "not items", "max", (1, 3, 2)), ("_isqrt", "number < 0", "isqrt", 9)],
)
def test_a_change_is_made(owner: str, old: str, function: str, argument: arithmetic.Value) -> None:
    point = next(
        each
        for each in points(FILE)
        if (each.mutant.owner, each.mutant.old, each.mutant.kind) == (owner, old, "condition")
    )
    functions = Functions.found()
    kept: list[tuple[FunctionType, object]] = [
        (each, each.__code__) for key, held in functions.held.items() if key[0].endswith(FILE) for each in held
    ]
    assert arithmetic.call(function, (argument,)) == 3
    try:
        assert functions.change(point)
        with pytest.raises(arithmetic.EvaluationError):
            arithmetic.call(function, (argument,))
    finally:
        for each, code in kept:
            each.__code__ = code  # type: ignore[assignment]
    assert arithmetic.call(function, (argument,)) == 3
