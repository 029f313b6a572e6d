"""Sizes compute as numbers do, and print in one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensormap.language.polynomial import LIMIT, Polynomial

a, b, c = map(Polynomial.dimension, "abc")
number = Polynomial.number

TERMS = st.lists(
    st.tuples(st.sampled_from(["", "a", "b", "ab", "aa", "abb"]), st.integers(-3, 3)),
    max_size=4,
)
VALUES = {"a": 3, "b": 7, "c": -2}


def _made(terms: list[tuple[str, int]]) -> tuple[Polynomial, int]:
    """Return a polynomial, and what it is for `VALUES`, computed without it."""
    total, plain = number(0), 0
    for names, coefficient in terms:
        product, value = number(coefficient), coefficient
        for name in names:
            product, value = product * Polynomial.dimension(name), value * VALUES[name]
        total, plain = total + product, plain + value
    return total, plain


@given(TERMS, TERMS)
def test_they_compute_as_their_values_do(one: list[tuple[str, int]], other: list[tuple[str, int]]) -> None:
    (p, x), (q, y) = _made(one), _made(other)
    assert p.evaluate(VALUES) == x
    assert (p + q).evaluate(VALUES) == x + y
    assert (p - q).evaluate(VALUES) == x - y
    assert (p * q).evaluate(VALUES) == x * y
    assert p.substitute(VALUES).value == x
    assert p.substitute({"a": 3}).evaluate({"b": 7}) == x
    assert p + q == q + p
    assert p * q == q * p
    assert (p + q) - q == p
    assert (p - p).terms == ()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (number(0), "0"),
        (number(-4), "-4"),
        (a, "a"),
        (a * number(-1), "-a"),
        (number(2) * a, "2*a"),
        (a * a * b, "a**2*b"),
        (a + number(1), "a + 1"),
        (a - number(1), "a - 1"),
        (b * a - number(3) * c, "-3*c + a*b"),
        (a - a, "0"),
    ],
)
def test_text(size: Polynomial, text: str) -> None:
    assert str(size) == text


def test_value_and_dimensions() -> None:
    assert number(0).value == 0
    assert number(5).value == 5
    assert a.value is None
    assert (a + number(1)).value is None
    assert (a - a + number(2)).value == 2
    assert (c * a + b).dimensions == ("a", "b", "c")
    assert number(3).dimensions == ()


def test_what_is_no_size_of_anything() -> None:
    assert number(LIMIT - 1).bounded
    assert number(1 - LIMIT).bounded
    assert not number(LIMIT).bounded
    assert not number(-LIMIT).bounded
    power = number(1)
    for _ in range(64):
        power = power * a
    assert power.bounded
    assert not (power * b).bounded
    assert not (number(2) + power * b).bounded


def test_a_dimension_that_is_not_known_stays() -> None:
    size = number(2) * a * b + a
    assert size.substitute({"b": 3}) == number(7) * a
    assert size.substitute({"b": 0}) == a
    with pytest.raises(KeyError):
        size.evaluate({"a": 1})
