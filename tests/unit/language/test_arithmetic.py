"""Operators and functions on plain values: results, borders, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tensormap.language.arithmetic import LIMIT, LONGEST, EvaluationError, call, checked, kind, operate, same, show


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (True, True, True),
        (0, False, False),
        ("1", 1, False),
        (None, None, True),
        (None, 0, False),
        ([1, 2], (1, 2), True),
        ([1, 2], [1, 2, 3], False),
        ([1, True], [1, 1], False),
        ([], (), True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 1, "b": 1}, False),
        ({"a": [1]}, {"a": (1,)}, True),
    ],
)
def test_same(left: Any, right: Any, equal: bool) -> None:  # noqa: FBT001
    assert same(left, right) is equal
    assert same(right, left) is equal
    assert operate("==", left, right) is equal
    assert operate("!=", left, right) is not equal


@pytest.mark.parametrize(
    ("value", "text", "name"),
    [
        (None, "none", "none"),
        (True, "true", "a truth value"),
        (False, "false", "a truth value"),
        (3, "3", "an integer"),
        (0.5, "0.5", "a number"),
        ("a", '"a"', "a string"),
        ([1, None], "[1, none]", "a list"),
        ((), "[]", "a list"),
        ({"a": True}, "{a: true}", "a table"),
    ],
)
def test_words_for_values(value: Any, text: str, name: str) -> None:
    assert show(value) == text
    assert kind(value) == name


def test_long_values_are_cut() -> None:
    assert show("a" * 198) == '"' + "a" * 198 + '"'
    assert show("a" * 199) == '"' + "a" * 199 + "..."
    assert show(list(range(1000))) == ("[" + ", ".join(map(str, range(200))))[:200] + "..."
    assert show({str(k): k for k in range(1000)}).endswith("...")


@pytest.mark.parametrize(
    ("function", "arguments", "value"),
    [
        ("round_up", (0, 4), 0),
        ("round_up", (1, 4), 4),
        ("round_up", (4, 4), 4),
        ("round_up", (5, 1), 5),
        ("ceil_div", (9, 4), 3),
        ("ceil_div", (-3, 2), -1),
        ("int", (2.9,), 2),
        ("int", ("-12",), -12),
        ("int", (True,), 1),
        ("float", ("1e3",), 1000.0),
        ("float", (2,), 2.0),
        ("str", (12,), "12"),
        ("str", (True,), "true"),
        ("str", ("x",), "x"),
        ("isqrt", (0,), 0),
        ("isqrt", (24,), 4),
        ("isqrt", (25,), 5),
        ("sqrt", (0,), 0.0),
        ("exp", (0,), 1.0),
        ("log", (1,), 0.0),
        ("min", (3, 1, 2), 1),
        ("max", ([3, 1, 2],), 3),
        ("min", ([7],), 7),
        ("abs", (-3,), 3),
        ("len", ("abc",), 3),
        ("len", ({"a": 1, "b": 2},), 2),
        ("sum", ([],), 0),
        ("sum", ([1, 2.5],), 3.5),
        ("index", ([4, True, 1], 1), 2),
        ("count", ([1, 1.0, True], 1), 2),
        ("gcd", (12, 18), 6),
        ("starts_with", ("abc", "ab"), True),
        ("starts_with", ("abc", "bc"), False),
        ("ends_with", ("abc", "bc"), True),
        ("ends_with", ("abc", "ab"), False),
        ("contains", ("abc", "b"), True),
        ("contains", ("abc", "ac"), False),
        ("contains", ([1, 2], 2.0), True),
        ("contains", ([1, 2], True), False),
        ("range", (3,), (0, 1, 2)),
        ("range", (1, 3), (1, 2)),
        ("range", (3, 1), ()),
    ],
)
def test_functions(function: str, arguments: tuple[Any, ...], value: Any) -> None:
    found = call(function, arguments)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("function", "arguments", "slug", "message"),
    [
        ("none", (), "unknown-function", "there is no function `none`"),
        ("gcd", (1,), "bad-argument", "`gcd` takes 2 arguments, not 1"),
        ("gcd", (1, 2, 3), "bad-argument", "`gcd` takes 2 arguments, not 3"),
        ("min", (), "bad-argument", "`min` takes 1 or more arguments, not 0"),
        ("range", (1, 2, 3), "bad-argument", "`range` takes 1 to 2 arguments, not 3"),
        ("ceil_div", (3, 0), "bad-argument", "`ceil_div` needs a positive second argument, not 0"),
        ("ceil_div", (3, -1), "bad-argument", "`ceil_div` needs a positive second argument, not -1"),
        ("ceil_div", (3.0, 1), "type-mismatch", "`ceil_div` needs an integer, not a number"),
        ("round_up", (True, 1), "type-mismatch", "`round_up` needs an integer, not a truth value"),
        ("int", ("1.5",), "bad-argument", '"1.5" is not an integer'),
        ("int", (math.inf,), "bad-argument", "inf is not an integer"),
        ("int", (None,), "type-mismatch", "`int` needs a number, not none"),
        ("float", ("1x",), "bad-argument", '"1x" is not a number'),
        ("str", ([],), "type-mismatch", "`str` needs a number, not a list"),
        ("str", (None,), "type-mismatch", "`str` needs a number, not none"),
        ("isqrt", (-1,), "bad-argument", "`isqrt` is not defined for -1"),
        ("sqrt", (-1,), "bad-argument", "`sqrt` is not defined for -1"),
        ("log", (0,), "bad-argument", "`log` is not defined for 0"),
        ("exp", (1000,), "overflow", "the number is too large"),
        ("min", ([],), "bad-argument", "`min` of an empty list"),
        ("len", (3,), "type-mismatch", "`len` needs a list or a string, not an integer"),
        ("index", ([1], 2), "bad-argument", "2 is not in the list"),
        ("sum", ("ab",), "type-mismatch", "`sum` needs a list, not a string"),
        ("starts_with", ("a", 1), "type-mismatch", "`starts_with` needs strings, not an integer"),
        ("contains", ("a", 1), "type-mismatch", "`contains` needs strings, not an integer"),
        ("range", (LONGEST + 1,), "overflow", f"`range` gives at most {LONGEST} numbers"),
    ],
)
def test_refused(function: str, arguments: tuple[Any, ...], slug: str, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        call(function, arguments)
    assert (caught.value.slug, caught.value.message) == (slug, message)


def test_the_longest_range_is_made() -> None:
    made = call("range", (LONGEST,))
    assert isinstance(made, tuple)
    assert len(made) == LONGEST


@pytest.mark.parametrize("value", [LIMIT - 1, 1 - LIMIT, "a" * LONGEST, (0,) * LONGEST, True, None, 1e300])
def test_within_the_limits(value: Any) -> None:
    assert checked(value) is value


@pytest.mark.parametrize("value", [LIMIT, -LIMIT, "a" * (LONGEST + 1), (0,) * (LONGEST + 1)])
def test_beyond_the_limits(value: Any) -> None:
    with pytest.raises(EvaluationError) as caught:
        checked(value)
    assert caught.value.slug == "overflow"


@pytest.mark.parametrize(
    ("left", "operator", "right", "value"),
    [
        (6, "/", 3, 2),
        (7, "/", 2, 3.5),
        (6.0, "/", 3, 2.0),
        (7, "//", 2, 3),
        (7, "%", 4, 3),
        (2, "**", 0, 1),
        (0, "**", 0, 1),
        (0, "**", 3, 0),
        (1, "**", 10**9, 1),
        (-1, "**", 10**9 + 1, -1),
        (-1, "**", 10**9, 1),
        (2, "**", 62, 2**62),
        (-2, "**", 3, -8),
        (2, "**", -1, 0.5),
        (4, "**", 0.5, 2.0),
        (-2.0, "**", 2.0, 4.0),
        (2, "in", [1, 2.0], True),
        (2, "in", [], False),
        ([1], "+", (2,), (1, 2)),
        ("a", "+", "b", "ab"),
        ([1, 2], "*", 2, (1, 2, 1, 2)),
        ([1], "*", 0, ()),
        ([1], "*", LONGEST, (1,) * LONGEST),
        (1, "<", 1, False),
        (1, "<=", 1, True),
        (1, ">", 1, False),
        (1, ">=", 1, True),
    ],
)
def test_operators(left: Any, operator: str, right: Any, value: Any) -> None:
    found = operate(operator, left, right)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("left", "operator", "right", "slug"),
    [
        (1, "/", 0, "division-by-zero"),
        (1, "//", 0, "division-by-zero"),
        (1, "%", 0.0, "division-by-zero"),
        (0, "**", -1, "division-by-zero"),
        (-2, "**", 0.5, "bad-argument"),
        (2, "**", 63, "overflow"),
        (-2, "**", 63, "overflow"),
        (2, "**", 10**12, "overflow"),
        (1e300, "*", 1e300, "overflow"),
        (LIMIT - 1, "+", 1, "overflow"),
        (2, "in", "a", "type-mismatch"),
        ([1], "*", True, "type-mismatch"),
        ([1], "*", LONGEST + 1, "overflow"),
        ([1], "+", 1, "type-mismatch"),
        ("a", "+", 1, "type-mismatch"),
        (True, "+", 1, "type-mismatch"),
        (1, "<", None, "type-mismatch"),
    ],
)
def test_operators_refuse(left: Any, operator: str, right: Any, slug: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        operate(operator, left, right)
    assert caught.value.slug == slug


def test_infinity_stays() -> None:
    assert operate("*", math.inf, 2) == math.inf
    assert operate("-", 1, math.inf) == -math.inf


ONE = ("int", "float", "str", "sqrt", "isqrt", "log", "exp", "abs", "len", "sum")
TWO = ("round_up", "ceil_div", "index", "count", "gcd", "starts_with", "ends_with", "contains")


@pytest.mark.parametrize(
    ("function", "takes", "counts"),
    [
        *((name, "1", (0, 2, 3)) for name in ONE),
        *((name, "2", (0, 1, 3)) for name in TWO),
        ("range", "1 to 2", (0, 3)),
        ("min", "1 or more", (0,)),
        ("max", "1 or more", (0,)),
    ],
)
def test_how_many_arguments(function: str, takes: str, counts: tuple[int, ...]) -> None:
    for count in counts:
        with pytest.raises(EvaluationError) as caught:
            call(function, (1,) * count)
        assert caught.value.slug == "bad-argument"
        assert caught.value.message == f"`{function}` takes {takes} arguments, not {count}"
