from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tensormap.diagnostics import CheckpointError
from tensormap.runtime.casts import cast_into, numpy_dtype

NARROW = ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"]


def cast(values, dtype):
    source = np.atleast_1d(np.asarray(values))
    target = np.empty(source.shape, numpy_dtype(dtype))
    cast_into(target, dtype, source, "`t`")
    return target


def nearest(value: Fraction, dtype: str) -> set[float]:
    """The values of a dtype that are nearest, ties to the even pattern, by looking at all of them."""
    kind = np.uint8 if dtype.startswith("float8") else np.uint16
    patterns = np.arange(np.iinfo(kind).max + 1, dtype=kind)
    with np.errstate(all="ignore"):
        numbers = patterns.view(numpy_dtype(dtype)).astype(np.float64)
    finite = np.isfinite(numbers)
    numbers, patterns = numbers[finite], patterns[finite]
    order = np.argsort(numbers, kind="stable")
    numbers, patterns = numbers[order], patterns[order]
    at = int(np.searchsorted(numbers, float(value)))
    near = range(max(0, at - 3), min(len(numbers), at + 4))
    least = min(abs(Fraction(float(numbers[k])) - value) for k in near)
    close = [k for k in near if abs(Fraction(float(numbers[k])) - value) == least]
    if len({float(numbers[k]) for k in close}) > 1:
        close = [k for k in close if patterns[k] % 2 == 0]
    return {float(numbers[k]) for k in close}


@pytest.mark.parametrize("dtype", NARROW)
@given(st.floats(-400, 400))
def test_float64_is_rounded_once(dtype, value):
    assert float(cast(np.float64(value), dtype)[0]) in nearest(Fraction(value), dtype)


def test_a_float64_beside_a_tie_does_not_become_the_tie():
    assert cast(np.float64(1 + 2**-8 + 2**-40), "bfloat16")[0] == 1 + 2**-7
    assert cast(np.float64(1 + 2**-8), "bfloat16")[0] == 1
    assert cast(np.float64(1 + 2**-4 + 2**-40), "float8_e4m3fn")[0] == 1.125
    assert cast(np.float64(-(1 + 2**-8 + 2**-40)), "bfloat16")[0] == -(1 + 2**-7)


@pytest.mark.parametrize("value", [2**60 + 2**52 + 1, -(2**60 + 2**52 + 1), 2**53 + 1, 2**24 + 1, 257, -(2**63)])
def test_integers_are_rounded_once(value):
    assert float(cast(np.int64(value), "bfloat16")[0]) == round_bfloat16(value)


def round_bfloat16(value: int) -> float:
    sign, size = (-1, -value) if value < 0 else (1, value)
    shift = max(0, size.bit_length() - 8)
    quotient, rest = divmod(size, 1 << shift)
    if 2 * rest > 1 << shift or (2 * rest == 1 << shift and quotient % 2):
        quotient += 1
    return float(sign * (quotient << shift))


def test_special_values_survive():
    values = np.array([np.inf, -np.inf, np.nan, -0.0, 5e-324, 1e300])
    with np.errstate(all="ignore"):
        out = cast(values, "bfloat16").astype(np.float64)
    assert out[0] == np.inf
    assert out[1] == -np.inf
    assert np.isnan(out[2])
    assert np.signbit(out[3])
    assert out[3] == out[4] == 0
    assert out[5] == np.inf


def every(dtype: str) -> np.ndarray:
    """Every number of a dtype; of float32 those beside and between the numbers of the narrower ones."""
    if dtype != "float32":
        kind = np.uint8 if dtype.startswith("float8") else np.uint16
        return np.arange(np.iinfo(kind).max + 1, dtype=kind).view(numpy_dtype(dtype))
    low = np.array([0, 1, 0xFFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return ((np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] | low).reshape(-1).view(np.float32)


@pytest.mark.parametrize("dtype", [*NARROW, "float32"])
@pytest.mark.parametrize("source", [*NARROW, "float32"])
def test_casts_are_those_of_torch(source, dtype):
    """Bit by bit, but for what a NaN carries, and for float8_e4m3fn, which has no infinity: where torch may say 448 it is NaN."""
    values = every(source)
    found = cast(values, dtype)
    raw = torch.from_numpy(values.view(f"i{values.itemsize}").copy()).view(getattr(torch, source))
    torchs = raw.to(getattr(torch, dtype))
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32}[found.itemsize]
    same = found.view(f"i{found.itemsize}") == torchs.view(bits).numpy()
    nan = np.isnan(found.astype(np.float32))
    both = nan & torchs.float().isnan().numpy()
    with np.errstate(all="ignore"):
        too_large = np.abs(values.astype(np.float32)) > (464 if dtype == "float8_e4m3fn" else np.inf)
    assert (same | both | too_large).all()
    assert nan[too_large].all()
    assert (nan == (np.isnan(values.astype(np.float32)) | too_large)).all()


def test_float_to_integer_rounds_to_even():
    assert cast(np.array([0.5, 1.5, 2.5, -0.5]), "int32").tolist() == [0, 2, 2, 0]
    assert cast(np.array([2.5], ml_dtypes.bfloat16), "int8").tolist() == [2]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([300], np.int64), "uint8"),
        (np.array([-1], np.int32), "uint64"),
        (np.array([np.nan]), "int32"),
        (np.array([2.0**63]), "int64"),
        (np.array([2**64 - 1], np.uint64), "int64"),
    ],
)
def test_what_an_integer_cannot_hold_is_refused(values, dtype):
    with pytest.raises(CheckpointError) as caught:
        cast(values, dtype)
    assert caught.value.diagnostics[0].slug == "value-out-of-range"
    assert "`t`" in caught.value.diagnostics[0].message


def test_the_ends_of_an_integer_fit():
    assert cast(np.array([-(2.0**63)]), "int64")[0] == -(2**63)
    assert cast(np.array([2**63 - 1], np.int64), "int64")[0] == 2**63 - 1


def test_packed_dtypes_are_not_computed_with():
    with pytest.raises(CheckpointError) as caught:
        numpy_dtype("float4_e2m1fn_x2")
    assert caught.value.diagnostics[0].slug == "packed-elements"
