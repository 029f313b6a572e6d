"""Positive integers as products of powers of pairwise coprime numbers, and their exact roots; no floats, no primes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import gcd


def coprime_base(values: Iterable[int]) -> tuple[int, ...]:
    """Return pairwise coprime numbers above 1 of which every value is a product.

    >>> coprime_base([12, 18, 35])
    (2, 3, 35)
    """
    base: list[int] = []
    waiting = [value for value in values if value > 1]
    while waiting:
        value = waiting.pop()
        for position, each in enumerate(base):
            shared = gcd(value, each)
            if shared > 1:
                del base[position]
                waiting.extend(part for part in (value // shared, each // shared, shared) if part > 1)
                break
        else:
            base.append(value)
    return tuple(sorted(base))


def exponents(value: int, base: Iterable[int]) -> dict[int, int]:
    """Return how often each number of a coprime base divides a value, by its position; those that do not are left out."""
    found: dict[int, int] = {}
    for position, each in enumerate(base):
        while value % each == 0:
            value //= each
            found[position] = found.get(position, 0) + 1
    return found


def product(powers: Mapping[int, Fraction], base: tuple[int, ...], limit: int) -> int | None:
    """Return the product of powers of a coprime base if it is an integer of at most `limit`, or None."""
    total = 1
    for position, power in sorted(powers.items()):
        root = exact_root(base[position], power.denominator)
        if root is None or power < 0 or (root.bit_length() - 1) * power.numerator > limit.bit_length():
            return None
        total *= root**power.numerator
    return total if total <= limit else None


def exact_root(value: int, degree: int) -> int | None:
    """Return the positive integer whose power of that degree is the value, or None.

    >>> exact_root(4096, 3), exact_root(4096, 5)
    (16, None)
    """
    if degree == 1 or value < 2:
        return value
    if degree >= value.bit_length():
        return None
    low, high = 1, 1 << -(-value.bit_length() // degree)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**degree == value else None
