"""Values and the sizes that follow from them: lets, lists with a size for each position, sums over positions."""

from __future__ import annotations

from typing import Any

import pytest

import tensormap
from tensormap.language.parser import parse_expression
from tensormap.language.polynomial import Polynomial
from tensormap.lowering.known import Known, indices_in

TEXT = """
param stages
param m = 1
let twice = 2 * m
let far = twice * m + i
index p < len(stages)
index l < stages[p]
index i < twice
pp{p}.{l}.{i} [e] <-> x.{(p l)}.{i} [e]
"""


@pytest.fixture
def known() -> Known:
    return Known(tensormap.loads(TEXT).resolved)


def _size(text: str) -> Polynomial:
    return Polynomial.dimension(text)


def test_what_is_put_is_new_once(known: Known) -> None:
    assert known.put("m", 3)
    assert not known.put("m", 3)
    assert known.put("m", True)
    assert known.put("m", 1)
    assert known.put("m", 1.0)
    assert known.values["m"] == 1.0


def test_sizes_follow_from_values(known: Known) -> None:
    size = _size("m") * _size("m") + Polynomial.number(1)
    assert known.size(size) is None
    known.put("m", 3)
    assert known.size(size) == 10
    known.put("m", 4)
    assert known.size(size) == 17
    known.drop("m")
    assert known.size(size) is None


def test_lets_are_worked_out(known: Known) -> None:
    assert known.dimension("twice") is None
    known.put("m", 3)
    assert known.dimension("twice") == 6
    assert known.count("i") == 6
    assert known.evaluate(parse_expression("twice + 1")) == 7
    assert known.evaluate(parse_expression("far"), {"i": 2}) == 20


@pytest.mark.parametrize("value", ["a", True, 2.5, None, (1, 2)])
def test_what_is_no_size_is_none(known: Known, value: Any) -> None:
    known.put("m", value)
    assert known.dimension("m") is None


def test_a_size_for_each_position(known: Known) -> None:
    assert known.dimension("stages[p]", {"p": 0}) is None
    known.put("stages", (4, 2, True))
    assert known.dimension("stages[p]") is None
    assert known.dimension("stages[p]", {"p": 0}) == 4
    assert known.dimension("stages[p]", {"p": 1}) == 2
    assert known.dimension("stages[p]", {"p": 2}) is None
    assert known.dimension("stages[p]", {"p": 3}) is None
    assert known.count("p") == 3
    assert known.count("l") is None
    assert known.count("l", {"p": 1}) == 2


def test_sums_over_the_positions_before(known: Known) -> None:
    known.put("stages", [4, 2, 3])
    size = _size("stages[p]")
    assert [known.before("p", size, k) for k in range(4)] == [0, 4, 6, 9]
    assert known.before("p", size, 5) is None
    (total,) = known.mapping.sums
    assert known.dimension(total) == 9
    known.put("stages", [1, 1])
    assert known.dimension(total) == 2


def test_what_depends_on_a_position(known: Known) -> None:
    assert known.moving(_size("stages[p]")) == {"p"}
    assert known.moving(_size("stages[p]") * _size("m")) == {"p"}
    assert known.moving(_size("m")) == frozenset()
    assert known.moving(_size("far")) == {"i"}
    (total,) = known.mapping.sums
    assert known.moving(_size(total)) == frozenset()
    mapping = known.mapping
    assert indices_in(parse_expression("far + p"), mapping) == {"i", "p"}
    assert indices_in(parse_expression("twice"), mapping) == frozenset()
