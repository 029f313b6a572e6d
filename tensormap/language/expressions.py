"""What can be asked of an expression without a value: its names, its config keys, its polynomial; and a config as a scope.

`evaluate` and `invert` are the two passes over expressions; they are offered here too.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensormap.language.arithmetic import LIMIT, Value
from tensormap.language.evaluate import ABSENT, CONSTANTS, DEEPEST, Lookup, Missing, Scope, evaluate, names
from tensormap.language.invert import invert
from tensormap.language.polynomial import Polynomial
from tensormap.language.syntax import Binary, Expression, Integer, Name, Unary

__all__ = ["Missing", "Scope", "Value", "evaluate", "invert", "keys", "names", "nested", "polynomial"]

_WIDEST = 4096  # products of monomials in one multiplication


def keys(expression: Expression) -> tuple[str, ...]:
    """Return the config keys that one side of a config line reads, in order: there, every name is a key."""
    return names(expression)


def nested(config: Mapping[str, Value]) -> Lookup:
    """Make a scope of a config: a dotted name looks into tables, or is a key with dots; dashes equal underscores."""
    cache: dict[int, dict[str, Value]] = {}

    def spelled(table: Mapping[str, Value]) -> dict[str, Value]:
        if id(table) not in cache:  # the tables live as long as `config` does
            plain = {key.replace("-", "_"): value for key, value in table.items()}
            cache[id(table)] = plain | dict(table)
        return cache[id(table)]

    def find(table: Mapping[str, Value], parts: list[str]) -> Value | Missing:
        keys = spelled(table)
        for count in range(len(parts), 0, -1):
            key = ".".join(parts[:count])
            key = key if key in keys else key.replace("-", "_")
            if key not in keys:
                continue
            if count == len(parts):
                return keys[key]
            inner = keys[key]
            found = find(inner, parts[count:]) if isinstance(inner, Mapping) else Missing(())
            if not isinstance(found, Missing):
                return found
        return Missing(())

    def lookup(name: str) -> Value | Missing:
        found = find(config, name.split("."))
        return Missing((name,)) if isinstance(found, Missing) else found

    return lookup


def polynomial(expression: Expression, let: Mapping[str, Expression]) -> Polynomial | None:
    """Return the expression as a polynomial in dimensions, with the lets put in, or None if it is not one.

    Sums, products and constant powers of integers and plain names are; a list, a division or a config key (a name with a
    dot) is not, nor is what would grow beyond reason.

    >>> str(polynomial(parse_expression("(kv + 1) * d"), {}))
    'kv*d + d'
    """
    return _Expansion(let).of(expression, 0)


class _Expansion:
    """Polynomials of expressions under lets, each let expanded once; a let that needs itself has none."""

    def __init__(self, let: Mapping[str, Expression]) -> None:
        self._let = let
        self._known: dict[str, Polynomial | None] = {}

    def of(self, expression: Expression, depth: int) -> Polynomial | None:
        if depth > DEEPEST:
            return None
        match expression:
            case Integer():
                return _bounded(Polynomial.number(expression.value))
            case Name():
                return self._name(expression.text, depth)
            case Unary(operator="-"):
                return self._combine("*", Polynomial.number(-1), self.of(expression.operand, depth + 1))
            case Binary(operator="+" | "-" | "*"):
                left = self.of(expression.left, depth + 1)
                return self._combine(expression.operator, left, self.of(expression.right, depth + 1))
            case Binary(operator="**"):
                base, power = self.of(expression.left, depth + 1), self.of(expression.right, depth + 1)
                return self._power(base, None if power is None else power.value)
            case _:
                return None

    def _name(self, name: str, depth: int) -> Polynomial | None:
        if name in CONSTANTS or name == ABSENT or "." in name:
            return None
        if name not in self._let:
            return Polynomial.dimension(name)
        if name not in self._known:
            self._known[name] = None  # the answer while it is being expanded
            self._known[name] = self.of(self._let[name], depth + 1)
        return self._known[name]

    def _combine(self, operator: str, left: Polynomial | None, right: Polynomial | None) -> Polynomial | None:
        if left is None or right is None or len(left.terms) * len(right.terms) > _WIDEST:
            return None
        return _bounded(left + right if operator == "+" else left - right if operator == "-" else left * right)

    def _power(self, base: Polynomial | None, exponent: int | None) -> Polynomial | None:
        if base is None or exponent is None or not 0 <= exponent < LIMIT.bit_length():
            return None
        result: Polynomial | None = Polynomial.number(1)
        for _ in range(exponent):
            result = self._combine("*", result, base)
        return result


def _bounded(size: Polynomial) -> Polynomial | None:
    return size if size.bounded else None
