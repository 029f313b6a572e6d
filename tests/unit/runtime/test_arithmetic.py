from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tensormap.diagnostics import MappingError
from tensormap.lowering.plan import Function, Operand, Scalar
from tensormap.runtime.arithmetic import check, evaluate
from tensormap.runtime.casts import numpy_dtype

X, Y, Z = Operand(0), Operand(1), Operand(2)


def value(formula, operands, dtype):
    shape = operands[0].shape if operands else (2,)
    target = np.empty(shape, numpy_dtype(dtype))
    evaluate(formula, operands, [str(each.dtype) for each in operands], target, dtype, "`t`")
    return target


def bf16(*numbers):
    return np.array(numbers, ml_dtypes.bfloat16)


def test_computes_in_float32_and_rounds_once():
    # in bfloat16 256 + 1 would be 256, and subtracting 256 would give 0
    formula = Function("-", (Function("+", (X, Scalar(1))), Scalar(256)))
    assert value(formula, [bf16(256)], "bfloat16")[0] == 1


def test_computes_in_float64_where_an_operand_is():
    formula = Function("-", (Function("+", (X, Scalar(2**-40))), Scalar(1)))
    assert value(formula, [np.array([1.0])], "float64")[0] == 2**-40
    assert value(formula, [np.array([1.0], np.float32)], "float64")[0] == 2**-40
    assert value(formula, [np.array([1.0], np.float32)], "float32")[0] == 0


def test_negative_exponential():
    out = value(Function("neg", (Function("exp", (X,)),)), [np.array([0, 1], np.float32)], "float32")
    assert np.allclose(out, [-1, -np.e])


def test_integers_stay_exact():
    big = 2**53
    out = value(Function("+", (X, Scalar(1))), [np.array([big, -big - 2])], "int64")
    assert out.tolist() == [big + 1, -big - 1]
    unsigned = value(Function("+", (X, Scalar(1))), [np.array([2**64 - 2], np.uint64)], "uint64")
    assert unsigned.tolist() == [2**64 - 1]


def test_a_fraction_makes_integers_wide_floats():
    assert value(Function("*", (X, Scalar(0.5))), [np.array([3, 5])], "int64").tolist() == [2, 2]
    assert value(Function("/", (X, Scalar(4))), [np.array([3])], "float64")[0] == 0.75


def test_sum_takes_any_number():
    assert value(Function("sum", (X, Y, Z)), [bf16(1), bf16(2), bf16(4)], "bfloat16")[0] == 7


def test_mean_of_equal_bits_is_those_bits():
    nan = np.array([0x7F81, 0x3F80], np.uint16).view(ml_dtypes.bfloat16)
    out = value(Function("mean", (X, Y)), [nan, nan.copy()], "bfloat16")
    assert out.view(np.uint16).tolist() == [0x7F81, 0x3F80]


def test_mean_of_different_values_is_rounded_once():
    out = value(Function("mean", (X, Y, Z)), [bf16(1), bf16(2), bf16(6)], "bfloat16")
    assert out[0] == 3
    three = [np.array([each], np.float32) for each in (0.1, 0.1, 0.1)]
    assert value(Function("mean", (X, Y, Z)), three, "float32")[0] == np.float32(0.1)


def test_constants_alone_fill_the_shape():
    assert value(Scalar(3), [], "int64").tolist() == [3, 3]
    assert value(Function("neg", (Scalar(0.5),)), [], "float32").tolist() == [-0.5, -0.5]


def test_a_bare_operand_keeps_its_bits():
    nan = np.array([0xFF81], np.uint16).view(ml_dtypes.bfloat16)
    assert value(X, [nan], "bfloat16").view(np.uint16)[0] == 0xFF81


def test_complex_is_computed_as_such():
    out = value(Function("*", (X, Scalar(2))), [np.array([1 + 2j], np.complex64)], "complex64")
    assert out[0] == 2 + 4j


def test_operands_may_be_broadcast_views():
    scale = np.broadcast_to(np.array([2], np.float32), (3,))
    out = value(Function("*", (X, Y)), [np.arange(3, dtype=np.float32), scale], "float32")
    assert out.tolist() == [0, 2, 4]


def test_unknown_functions_are_refused_by_name():
    with pytest.raises(MappingError) as caught:
        check(Function("+", (X, Function("dequantise", (Y,)))))
    assert caught.value.diagnostics[0].slug == "unknown-function"
    assert "`dequantise`" in caught.value.diagnostics[0].message
