"""Formulas on numpy arrays: float32, or wider where an operand or the result is; integers stay exact; one rounding at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import Diagnostic, MappingError
from tensormap.dtypes import BY_NAME
from tensormap.lowering.plan import Formula, Function, Operand, Scalar
from tensormap.runtime.casts import cast_into, raw_dtype

Array = NDArray[Any]


def _sigmoid(value: Array) -> Array:
    one = value.dtype.type(1)
    result: Array = one / (one + np.exp(-value))
    return result


def _total(*arrays: Array) -> Array:
    return reduce(np.add, arrays)


def _mean(*arrays: Array) -> Array:
    first = arrays[0]
    equal = reduce(np.logical_and, (each == first for each in arrays[1:]), np.ones(first.shape, bool))
    mean = _total(*arrays) / first.dtype.type(len(arrays))
    return np.where(equal, first, mean)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "neg": np.negative,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "square": np.square,
    "abs": np.abs,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "round": np.rint,
    "rsqrt": lambda value: value.dtype.type(1) / np.sqrt(value),
    "softplus": lambda value: np.logaddexp(value.dtype.type(0), value),
    "min": lambda *arrays: reduce(np.minimum, arrays),
    "max": lambda *arrays: reduce(np.maximum, arrays),
    "sum": _total,
    "mean": _mean,
}

_EXACT = frozenset({"+", "-", "*", "neg", "abs", "square", "min", "max", "sum"})


def check(formula: Formula) -> None:
    """Refuse, with a MappingError, a formula with a function that is not there."""
    for function in _functions(formula):
        if function.name not in FUNCTIONS:
            raise MappingError(Diagnostic("unknown-function", f"there is no function {shown(function.name)}"))


def evaluate(
    formula: Formula, operands: Sequence[Array], dtypes: Sequence[str], target: Array, dtype: str, what: str
) -> None:
    """Write the formula's value into `target`, an array of `dtype`; `operands[k]`, of `dtypes[k]`, have its shape.

    A bare operand of the target's dtype is copied as bytes. `what` names the tensor in errors.
    """
    if isinstance(formula, Scalar):
        cast_into(target, dtype, np.asarray(formula.value), what)
        return
    if isinstance(formula, Operand):
        index = formula.index
        if dtypes[index] == dtype:
            raw = raw_dtype(target.dtype.itemsize)
            np.copyto(target.view(raw), operands[index].view(raw))
        else:
            cast_into(target, dtype, operands[index], what)
        return
    working = _working_dtype(formula, dtypes, dtype)
    with np.errstate(all="ignore"):
        cast_into(target, dtype, _value(formula, operands, working, target.shape), what)
    match formula:
        case Function("mean", arguments):
            _keep_equal_bits(arguments, operands, dtypes, target, dtype)
        case _:
            pass


def _keep_equal_bits(
    arguments: Sequence[Formula], operands: Sequence[Array], dtypes: Sequence[str], target: Array, dtype: str
) -> None:
    """Where all arguments of a mean are bitwise equal, give the first one's bits: NaN payloads survive."""
    indices = [each.index for each in arguments if isinstance(each, Operand)]
    if len(indices) != len(arguments) or any(dtypes[index] != dtype for index in indices):
        return
    raw = raw_dtype(target.dtype.itemsize)
    first = operands[indices[0]].view(raw)
    equal = reduce(
        np.logical_and, (operands[index].view(raw) == first for index in indices[1:]), np.ones(target.shape, bool)
    )
    np.copyto(target.view(raw), first, where=equal)


def _working_dtype(formula: Formula, dtypes: Sequence[str], dtype: str) -> np.dtype[Any]:
    used = [BY_NAME[dtypes[index]] for index in sorted(set(_operands(formula)))] + [BY_NAME[dtype]]
    if any(each.kind == "complex" for each in used):
        wide = any(each.name in ("complex128", "float64") or _is_wide(each.name) for each in used)
        return np.dtype(np.complex128 if wide else np.complex64)
    whole = all(each.kind in ("integer", "unsigned", "bool") for each in used)
    exact = all(function.name in _EXACT for function in _functions(formula))
    if whole and exact and all(isinstance(each.value, int) for each in _scalars(formula)):
        return np.dtype(np.uint64 if any(each.name == "uint64" for each in used) else np.int64)
    wide = any(each.name == "float64" or _is_wide(each.name) for each in used)
    return np.dtype(np.float64 if wide else np.float32)


def _is_wide(name: str) -> bool:
    return BY_NAME[name].kind in ("integer", "unsigned") and BY_NAME[name].bits > 16


def _value(formula: Formula, operands: Sequence[Array], working: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    match formula:
        case Operand(index):
            return operands[index].astype(working)
        case Scalar(value):
            return np.full(shape, value, working)
        case Function(name, arguments):
            values = [_argument(each, operands, working, shape) for each in arguments]
            if all(np.ndim(each) == 0 for each in values) and shape:
                values[0] = np.full(shape, values[0], working)
            return np.asarray(FUNCTIONS[name](*values))


def _argument(formula: Formula, operands: Sequence[Array], working: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    if isinstance(formula, Scalar):
        return working.type(formula.value)
    return _value(formula, operands, working, shape)


def _functions(formula: Formula) -> Iterator[Function]:
    if isinstance(formula, Function):
        yield formula
        for each in formula.arguments:
            yield from _functions(each)


def _operands(formula: Formula) -> Iterator[int]:
    if isinstance(formula, Operand):
        yield formula.index
    elif isinstance(formula, Function):
        for each in formula.arguments:
            yield from _operands(each)


def _scalars(formula: Formula) -> Iterator[Scalar]:
    if isinstance(formula, Scalar):
        yield formula
    elif isinstance(formula, Function):
        for each in formula.arguments:
            yield from _scalars(each)
