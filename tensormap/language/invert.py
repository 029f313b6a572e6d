"""The inverse of a config line's side: which key to write, and what, so that the side reads as a given value. Guesses nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from tensormap.diagnostics import Diagnostic, Label, MappingError
from tensormap.language import arithmetic
from tensormap.language.arithmetic import Value
from tensormap.language.evaluate import (
    ABSENT,
    DEEPEST,
    Lookup,
    Missing,
    Scope,
    as_lookup,
    branches,
    error,
    evaluate,
    names,
    words,
)
from tensormap.language.syntax import Binary, Call, Expression, List, Name, Unary

_DASHED = re.compile(r"[A-Za-z_][\w.]*(-[A-Za-z_][\w.]*)+")

_CLOSE = 2.0**-50
_NOTHING: Mapping[str, Value] = MappingProxyType({})


def invert(expression: Expression, value: Value, scope: Scope = _NOTHING) -> tuple[str, Value] | None:
    """Return the config key to write, and what to write so that the expression reads as `value`; None for `_`.

    The first key of a `??` chain is written, also where the fallback says the same. Names that `scope` knows are constants.
    A side without a key must equal `value` already. MappingError `not-invertible` where no inverse is known, where the exact
    one does not exist, or where reading back would give something else. No inverse guesses: `x // 2` lost a remainder.

    >>> invert(parse_expression("not (tie_word_embeddings ?? false)"), False)
    ('tie_word_embeddings', True)
    """
    known = as_lookup(scope)
    if isinstance(expression, Name) and expression.text == ABSENT:
        return None
    written = _invert(expression, value, known, 0)
    if written is not None:
        key, new = written
        again = evaluate(expression, _with(key, new, known))
        if not _reads_as(again, value):
            read = "nothing" if isinstance(again, Missing) else arithmetic.show(again)
            raise _not(f"{key} = {arithmetic.show(new)} would be read as {read}", expression, value)
    return written


def _invert(expression: Expression, value: Value, scope: Lookup, depth: int) -> tuple[str, Value] | None:
    if depth > DEEPEST:
        raise error("expression-too-deep", "the expression nests too deeply", expression)
    if _is_constant(expression, scope):
        if not _says(expression, value, scope):
            raise _not("it holds no config key to write", expression, value)
        return None
    match expression:
        case Name():
            return expression.text, value
        case Unary(operator="not") if isinstance(value, bool):
            return _invert(expression.operand, not value, scope, depth + 1)
        case Unary(operator="-") if arithmetic.is_number(value):
            return _invert(expression.operand, arithmetic.negate(value), scope, depth + 1)
        case Binary(operator="??"):
            first = expression.right if _is_constant(expression.left, scope) else expression.left
            return _invert(first, value, scope, depth + 1)
        case Binary():
            return _invert_binary(expression, value, scope, depth)
        case Call(function="float", arguments=(argument,)) if arithmetic.is_number(value):
            return _invert(argument, value, scope, depth + 1)
        case Call(function="int", arguments=(argument,)) if isinstance(value, int) and not isinstance(value, bool):
            return _invert(argument, value, scope, depth + 1)
        case Call(function="select"):
            return _invert_select(expression, value, scope, depth)
        case List() if isinstance(value, (list, tuple)) and len(value) == len(expression.items):
            return _invert_list(expression, value, scope, depth)
    raise _not("no inverse is known for it", expression, value)


def _with(key: str, value: Value, scope: Lookup) -> Lookup:
    return lambda name: value if name == key else scope(name)


def _says(expression: Expression, value: Value, scope: Lookup) -> bool:
    return _is_constant(expression, scope) and _reads_as(evaluate(expression, scope), value)


def _is_constant(expression: Expression, scope: Lookup) -> bool:
    return not any(isinstance(scope(name), Missing) for name in names(expression))


def _invert_list(
    expression: List, value: list[Value] | tuple[Value, ...], scope: Lookup, depth: int
) -> tuple[str, Value] | None:
    found = [_invert(item, each, scope, depth + 1) for item, each in zip(expression.items, value, strict=True)]
    written = [each for each in found if each is not None]
    if any(each[0] != written[0][0] for each in written):
        raise _not("more than one name in it could have any value", expression, value)
    return written[0] if written else None


def _invert_select(expression: Call, value: Value, scope: Lookup, depth: int) -> tuple[str, Value] | None:
    """Try to choose an arm that is the value already, then to write into an arm; the first that reads back is taken."""
    condition, yes, no = branches(expression)
    choices: list[tuple[Expression, Value]] = [(yes, value), (no, value)]
    if _says(yes, value, scope):
        choices.insert(0, (condition, True))
    elif _says(no, value, scope):
        choices.insert(0, (condition, False))
    for target, wanted in choices:
        try:
            written = _invert(target, wanted, scope, depth + 1)
            if written is not None and _reads_as(evaluate(expression, _with(*written, scope)), value):
                return written
        except MappingError:
            continue
    raise _not("no arm of it can be made to say so", expression, value)


def _invert_binary(expression: Binary, value: Value, scope: Lookup, depth: int) -> tuple[str, Value] | None:
    left, right = expression.left, expression.right
    if _is_constant(right, scope):
        unknown, constant, first = left, evaluate(right, scope), True
    elif _is_constant(left, scope):
        unknown, constant, first = right, evaluate(left, scope), False
    else:
        raise _not("more than one name in it could have any value", expression, value, _dashed(expression))
    if expression.operator in {"==", "!="} and isinstance(value, bool) and not isinstance(constant, Missing):
        if value == (expression.operator == "=="):
            return _invert(unknown, constant, scope, depth + 1)
        if isinstance(constant, bool):
            return _invert(unknown, not constant, scope, depth + 1)
    if _numeric(value) and not isinstance(constant, Missing) and _numeric(constant):
        solved = _solve(expression.operator, value, constant, first=first)
        if solved is not None:
            return _invert(unknown, solved, scope, depth + 1)
    raise _not("no exact inverse is known for it", expression, value)


def _numeric(value: Value) -> bool:
    return arithmetic.is_number(value) and isinstance(value, (int, float)) and math.isfinite(value)


def _solve(operator: str, value: Value, constant: Value, *, first: bool) -> int | float | None:
    """Solve `x operator constant = value` (`constant operator x` unless `first`) for x; integers stay integers."""
    v, c = Fraction(repr(value)), Fraction(repr(constant))  # the decimal that is written, not the binary one near it
    match operator:
        case "+":
            exact = v - c
        case "-":
            exact = v + c if first else c - v
        case "*" if c:
            exact = v / c
        case "/" if first and c:
            exact = v * c
        case "/" if not first and v:
            exact = c / v
        case "//" if first and abs(c) == 1:
            exact = v * c
        case _:
            return None
    whole = isinstance(constant, int) and (isinstance(value, int) or (operator == "/" and exact.denominator == 1))
    if whole:
        return int(exact) if exact.denominator == 1 and abs(exact) < arithmetic.LIMIT else None
    try:
        return float(exact)
    except OverflowError:
        return None


def _reads_as(read: Value | Missing, value: Value) -> bool:
    """Say whether a value that was read is the one that was to be written; floats may differ in their last bits."""
    if isinstance(read, Missing):
        return value is None
    if isinstance(read, (int, float)) and isinstance(value, (int, float)) and _numeric(read) and _numeric(value):
        return read == value or (float in {type(read), type(value)} and math.isclose(read, value, rel_tol=_CLOSE))
    if isinstance(read, float) and isinstance(value, float) and math.isnan(read):
        return math.isnan(value)
    return arithmetic.same(read, value)


def _dashed(expression: Binary) -> str:
    """Return what a key was meant that was written with a dash, or nothing."""
    text = words(expression)
    return f"`-` subtracts; in a key it is written `_`: `{text.replace('-', '_')}`" if _DASHED.fullmatch(text) else ""


def _not(why: str, expression: Expression, value: Value, help: str = "") -> MappingError:
    message = f"`{words(expression)}` cannot be made to read as {arithmetic.show(value)}: {why}"
    return MappingError(Diagnostic("not-invertible", message, (Label(expression.span),), help=(help,) if help else ()))
