"""The operators and functions of expressions on plain values. Knows no tree, no span and no config.

Total on purpose: integers have 63 bits and a sign, lists have a limit, nothing recurses into user code. What cannot be
computed raises a `EvaluationError`, which `expressions` turns into a finding at the right place.
"""

from __future__ import annotations

import math
import operator as python
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "int | float | str | Sequence[Value] | Mapping[str, Value] | None"
"""A number, true or false, a string, none, a list of values; a table of a config is only looked into and compared."""

Real: TypeAlias = int | float

LIMIT = 2**63
LONGEST = 1_000_000  # items of a list, characters of a string
_SHOWN = 200
_NUMBER_TEXT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


class EvaluationError(Exception):
    """What cannot be computed, with the slug it is reported under."""

    def __init__(self, slug: str, message: str) -> None:
        super().__init__(slug, message)
        self.slug = slug
        self.message = message


def is_number(value: Value) -> bool:
    """Say whether a value is an int or a float; true and false are not numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(left: Value, right: Value) -> bool:
    """Compare as `==` does: `1.0 == 1`, but `true` is not 1 and values of different kinds are just different."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


def show(value: Value) -> str:
    """Write a value as the language writes it, long ones cut short."""
    match value:
        case None:
            text = "none"
        case bool():
            text = "true" if value else "false"
        case str():
            text = f'"{value}"'
        case list() | tuple():
            text = "[" + ", ".join(show(each) for each in value[:_SHOWN]) + "]"
        case Mapping():
            text = "{" + ", ".join(f"{key}: {show(value[key])}" for key in list(value)[:_SHOWN]) + "}"
        case _:
            text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def kind(value: Value) -> str:
    """Name the kind of a value in words."""
    match value:
        case None:
            return "none"
        case bool():
            return "a truth value"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "a table"
        case _:
            return "a list"


def checked(value: Value) -> Value:
    """Return the value; an integer beyond 63 bits or a text or list beyond the limit is an EvaluationError."""
    if isinstance(value, int) and not -LIMIT < value < LIMIT:
        raise EvaluationError("overflow", "the number does not fit into 63 bits")
    if isinstance(value, (str, list, tuple)) and len(value) > LONGEST:
        raise EvaluationError("overflow", f"the list or string is longer than {LONGEST}")
    return value


def negate(value: Value) -> Value:
    """Return `-value`."""
    return checked(-_number("-", value))


def invert_truth(value: Value) -> bool:
    """Return `not value`."""
    return not truth("not", value)


def truth(word: str, value: Value) -> bool:
    """Return the value if it is true or false; `word` is what asked for it."""
    if isinstance(value, bool):
        return value
    raise EvaluationError("type-mismatch", f"`{word}` needs true or false, not {kind(value)}")


def operate(operator: str, left: Value, right: Value) -> Value:
    """Return `left operator right` for every operator but `??`, `and` and `or`, which are lazy."""
    match operator:
        case "==":
            return same(left, right)
        case "!=":
            return not same(left, right)
        case "in":
            if isinstance(right, (list, tuple)):
                return any(same(left, each) for each in right)
            raise EvaluationError("type-mismatch", f"`in` needs a list behind it, not {kind(right)}")
        case "+" if isinstance(left, str) and isinstance(right, str):
            return checked(left + right)
        case "+" if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            return checked((*left, *right))
        case "*" if isinstance(left, (list, tuple)) and isinstance(right, int) and not isinstance(right, bool):
            if len(left) * right > LONGEST:
                raise EvaluationError("overflow", f"the list is longer than {LONGEST}")
            return tuple(left) * right
        case _:
            return _numeric(operator, left, right)


def _numeric(operator: str, left: Value, right: Value) -> Value:
    if not (is_number(left) and is_number(right)):
        raise EvaluationError("type-mismatch", f"`{operator}` does not take {kind(left)} and {kind(right)}")
    a, b = _number(operator, left), _number(operator, right)
    if operator in COMPARISONS:
        return COMPARISONS[operator](a, b)
    if operator in {"/", "//", "%"} and b == 0:
        raise EvaluationError("division-by-zero", f"`{operator}` divides by zero")
    try:
        result = OPERATORS[operator](a, b)
    except OverflowError:
        raise EvaluationError("overflow", "the number is too large") from None
    if isinstance(result, float) and math.isinf(result) and math.isfinite(a) and math.isfinite(b):
        raise EvaluationError("overflow", "the number is too large")
    return checked(result)


def _divide(a: Real, b: Real) -> Real:
    """Divide; two integers give an integer where that is exact."""
    return a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else a / b


def _power(base: Real, exponent: Real) -> Real:
    if base == 0 and exponent < 0:
        raise EvaluationError("division-by-zero", "zero has no negative power")
    if base < 0 and isinstance(exponent, float) and not exponent.is_integer():
        raise EvaluationError("bad-argument", "a negative number has no power that is not whole")
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) < 2:
            return base if exponent % 2 else base * base if exponent else 1
        if (abs(base).bit_length() - 1) * exponent >= LIMIT.bit_length() - 1:
            raise OverflowError
        return int(base**exponent)
    return float(float(base) ** exponent)


OPERATORS: dict[str, Callable[[Real, Real], Real]] = {
    "+": python.add,
    "-": python.sub,
    "*": python.mul,
    "/": _divide,
    "//": python.floordiv,
    "%": python.mod,
    "**": _power,
}
COMPARISONS: dict[str, Callable[[Real, Real], bool]] = {
    "<": python.lt,
    "<=": python.le,
    ">": python.gt,
    ">=": python.ge,
}


# --- functions --------------------------------------------------------------------------------------------------------


def call(function: str, arguments: Sequence[Value]) -> Value:
    """Return `function(arguments)`; `select` is lazy and not among them."""
    if function not in FUNCTIONS:
        raise EvaluationError("unknown-function", f"there is no function `{function}`")
    least, most, body = FUNCTIONS[function]
    if not least <= len(arguments) <= most:
        expected = f"{least}" if least == most else f"{least} or more" if most == LONGEST else f"{least} to {most}"
        raise EvaluationError("bad-argument", f"`{function}` takes {expected} arguments, not {len(arguments)}")
    try:
        return checked(body(*arguments))
    except OverflowError:
        raise EvaluationError("overflow", "the number is too large") from None


def _number(word: str, value: Value) -> Real:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise EvaluationError("type-mismatch", f"`{word}` needs a number, not {kind(value)}")


def _integer(word: str, value: Value) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise EvaluationError("type-mismatch", f"`{word}` needs an integer, not {kind(value)}")


def _list(word: str, value: Value) -> Sequence[Value]:
    if isinstance(value, (list, tuple)):
        return value
    raise EvaluationError("type-mismatch", f"`{word}` needs a list, not {kind(value)}")


def _strings(word: str, *values: Value) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise EvaluationError("type-mismatch", f"`{word}` needs strings, not {kind(value)}")
    return [str(value) for value in values]


def _round_up(value: Value, multiple: Value) -> Value:
    return _quotient("round_up", value, multiple) * _integer("round_up", multiple)


def _ceil_div(value: Value, by: Value) -> Value:
    return _quotient("ceil_div", value, by)


def _quotient(word: str, value: Value, by: Value) -> int:
    a, b = _integer(word, value), _integer(word, by)
    if b <= 0:
        raise EvaluationError("bad-argument", f"`{word}` needs a positive second argument, not {b}")
    return -(-a // b)


def _int(value: Value) -> Value:
    if isinstance(value, str):
        if re.fullmatch(r"[-+]?[0-9]{1,19}", value) is None:
            raise EvaluationError("bad-argument", f'"{value}" is not an integer')
        return int(value)
    number = int(value) if isinstance(value, bool) else _number("int", value)
    if isinstance(number, float) and not math.isfinite(number):
        raise EvaluationError("bad-argument", f"{number} is not an integer")
    return int(number)


def _float(value: Value) -> Value:
    if isinstance(value, str):
        if _NUMBER_TEXT.fullmatch(value) is None:
            raise EvaluationError("bad-argument", f'"{value}" is not a number')
        return float(value)
    return float(_number("float", value))


def _str(value: Value) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return show(value)
    raise EvaluationError("type-mismatch", f"`str` needs a number, not {kind(value)}")


def _real(word: str, function: Callable[[float], float], least: float, *, strict: bool) -> Callable[[Value], Value]:
    def body(value: Value) -> Value:
        number = _number(word, value)
        if number < least or (strict and number == least):
            raise EvaluationError("bad-argument", f"`{word}` is not defined for {number}")
        return function(number)

    return body


def _isqrt(value: Value) -> Value:
    number = _integer("isqrt", value)
    if number < 0:
        raise EvaluationError("bad-argument", f"`isqrt` is not defined for {number}")
    return math.isqrt(number)


def _extreme(word: str, choose: Callable[[Sequence[float]], float]) -> Callable[..., Value]:
    def body(*values: Value) -> Value:
        items = _list(word, values[0]) if len(values) == 1 else values
        if not items:
            raise EvaluationError("bad-argument", f"`{word}` of an empty list")
        return choose([_number(word, each) for each in items])

    return body


def _abs(value: Value) -> Value:
    return abs(_number("abs", value))


def _len(value: Value) -> Value:
    if isinstance(value, (str, list, tuple, Mapping)):
        return len(value)
    raise EvaluationError("type-mismatch", f"`len` needs a list or a string, not {kind(value)}")


def _sum(values: Value) -> Value:
    return sum(_number("sum", each) for each in _list("sum", values))


def _index(values: Value, value: Value) -> Value:
    for position, each in enumerate(_list("index", values)):
        if same(each, value):
            return position
    raise EvaluationError("bad-argument", f"{show(value)} is not in the list")


def _count(values: Value, value: Value) -> Value:
    return sum(same(each, value) for each in _list("count", values))


def _gcd(left: Value, right: Value) -> Value:
    return math.gcd(_integer("gcd", left), _integer("gcd", right))


def _starts_with(text: Value, start: Value) -> Value:
    whole, part = _strings("starts_with", text, start)
    return whole.startswith(part)


def _ends_with(text: Value, end: Value) -> Value:
    whole, part = _strings("ends_with", text, end)
    return whole.endswith(part)


def _contains(values: Value, value: Value) -> Value:
    if isinstance(values, str):
        whole, part = _strings("contains", values, value)
        return part in whole
    return any(same(each, value) for each in _list("contains", values))


def _range(first: Value, second: Value = None) -> Value:
    start, stop = (0, first) if second is None else (first, second)
    positions = range(_integer("range", start), _integer("range", stop))
    if positions.stop - positions.start > LONGEST:
        raise EvaluationError("overflow", f"`range` gives at most {LONGEST} numbers")
    return tuple(positions)


FUNCTIONS: dict[str, tuple[int, int, Callable[..., Value]]] = {
    "round_up": (2, 2, _round_up),
    "ceil_div": (2, 2, _ceil_div),
    "int": (1, 1, _int),
    "float": (1, 1, _float),
    "str": (1, 1, _str),
    "sqrt": (1, 1, _real("sqrt", math.sqrt, 0, strict=False)),
    "isqrt": (1, 1, _isqrt),
    "log": (1, 1, _real("log", math.log, 0, strict=True)),
    "exp": (1, 1, _real("exp", math.exp, -math.inf, strict=False)),
    "min": (1, LONGEST, _extreme("min", min)),
    "max": (1, LONGEST, _extreme("max", max)),
    "abs": (1, 1, _abs),
    "len": (1, 1, _len),
    "sum": (1, 1, _sum),
    "index": (2, 2, _index),
    "count": (2, 2, _count),
    "gcd": (2, 2, _gcd),
    "starts_with": (2, 2, _starts_with),
    "ends_with": (2, 2, _ends_with),
    "contains": (2, 2, _contains),
    "range": (1, 2, _range),
}
"""Each function with the least and the most arguments it takes."""
