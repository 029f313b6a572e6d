"""From a term's arithmetic to the formula of a step: scalars evaluated, the target's side solved for its tensor."""

from __future__ import annotations

from collections.abc import Mapping as Map

from tensormap.diagnostics import Diagnostic, Label, MappingError
from tensormap.language import mapping as m
from tensormap.language.expressions import Missing
from tensormap.language.functions import INVERSES
from tensormap.language.inverse import tensor_count
from tensormap.lowering import plan
from tensormap.lowering.known import Known, indices_in

_NEGATE = {"+": "-", "-": "+", "*": "/", "/": "*"}


def forward(formula: m.Formula, known: Known, positions: Map[str, int], start: int = 0) -> plan.Formula:
    """Return a term's formula with its scalars as numbers; operands count from `start`."""
    match formula:
        case m.Operand(index=index):
            return plan.Operand(index + start)
        case m.Scalar(expression=expression):
            return plan.Scalar(number(expression, known, positions))
        case m.Function(name=name, arguments=arguments):
            return plan.Function(name, tuple(forward(each, known, positions, start) for each in arguments))


def number(expression: object, known: Known, positions: Map[str, int]) -> int | float:
    """Evaluate a scalar. MappingError if it is not a number."""
    value = known.evaluate(expression, positions)  # type: ignore[arg-type]
    if isinstance(value, Missing | bool) or not isinstance(value, (int, float)):
        span = getattr(expression, "span", None)
        what = f"`{', '.join(value.names)}` is not known" if isinstance(value, Missing) else "this is not a number"
        raise MappingError(Diagnostic("unknown-value", what, (Label(span),) if span else ()))
    return value


def moving(formula: m.Formula, mapping: m.Mapping) -> frozenset[str]:
    """Return the indices on whose positions a term's formula depends."""
    match formula:
        case m.Operand():
            return frozenset()
        case m.Scalar(expression=expression):
            return indices_in(expression, mapping)
        case m.Function(arguments=arguments):
            return frozenset().union(*(moving(each, mapping) for each in arguments))


def backward(formula: m.Formula, value: plan.Formula, known: Known, positions: Map[str, int]) -> plan.Formula:
    """Return the formula for the single tensor of `formula`, given what the whole is equal to."""
    match formula:
        case m.Operand():
            return value
        case m.Function(name="+" | "-" | "*" | "/" as name, arguments=(left, right)):
            if tensor_count(left):
                other = forward(right, known, positions)
                _not_zero(name, other, right)
                return backward(left, plan.Function(_NEGATE[name], (value, other)), known, positions)
            other = forward(left, known, positions)
            _not_zero(name, other, left)
            match name:
                case "+":
                    inner = plan.Function("-", (value, other))
                case "*":
                    inner = plan.Function("/", (value, other))
                case _:  # other - x = value, other / x = value
                    inner = plan.Function(name, (other, value))
            return backward(right, inner, known, positions)
        case m.Function(name=name, arguments=(argument,)) if name in INVERSES:
            return backward(argument, plan.Function(INVERSES[name], (value,)), known, positions)
        case _:
            raise ValueError("no inverse")


def _not_zero(name: str, other: plan.Formula, written: m.Formula) -> None:
    """Refuse a product with zero, or a quotient by it, which nothing undoes."""
    if name in ("*", "/") and isinstance(other, plan.Scalar) and other.value == 0:
        span = getattr(getattr(written, "expression", None), "span", None)
        raise MappingError(
            Diagnostic("not-invertible", f"`{name}` with 0 cannot be undone", (Label(span),) if span else ())
        )


def substitute(formula: plan.Formula, operands: tuple[plan.Formula, ...]) -> plan.Formula:
    """Replace every operand by a formula."""
    match formula:
        case plan.Operand(index=index):
            return operands[index]
        case plan.Function(name=name, arguments=arguments):
            return plan.Function(name, tuple(substitute(each, operands) for each in arguments))
        case _:
            return formula


def shift(formula: plan.Formula, by: int) -> plan.Formula:
    """Count operands from `by` on."""
    match formula:
        case plan.Operand(index=index):
            return plan.Operand(index + by)
        case plan.Function(name=name, arguments=arguments):
            return plan.Function(name, tuple(shift(each, by) for each in arguments))
        case _:
            return formula
