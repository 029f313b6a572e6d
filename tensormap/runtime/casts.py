"""Element types as numpy sees them, and casts that round once, to nearest even. ml_dtypes is imported where a dtype needs it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.diagnostics import CheckpointError, Diagnostic
from tensormap.dtypes import BY_NAME

_RAW = {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8", 16: "<c16"}


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy dtype for computing with `name`; little-endian. Packed dtypes have none: CheckpointError."""
    dtype = BY_NAME[name]
    if dtype.size == 0:
        message = f"elements of `{name}` are smaller than a byte: they can be moved, not computed with"
        raise CheckpointError(Diagnostic("packed-elements", message))
    if dtype.numpy:
        return np.dtype(name).newbyteorder("<")
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return found


@cache
def raw_dtype(size: int) -> np.dtype[Any]:
    """Return a dtype of `size` bytes whose copies never look at a value."""
    return np.dtype(_RAW[size]) if size != 16 else np.dtype("V16")


def cast_into(target: NDArray[Any], target_dtype: str, source: NDArray[Any], what: str) -> None:
    """Write `source` into `target`, an array of `target_dtype`, rounding once.

    Floating values become integers by rounding to nearest even; a value that an integer dtype cannot hold is a
    CheckpointError that names `what`.
    """
    kind = BY_NAME[target_dtype].kind
    if kind in ("integer", "unsigned"):
        _to_integer(target, target_dtype, source, what)
    elif kind == "bool":
        target[...] = source != 0
    elif kind == "complex" or BY_NAME[target_dtype].numpy:
        with np.errstate(all="ignore"):
            np.copyto(target, source, casting="unsafe")
    else:
        with np.errstate(all="ignore"):
            np.copyto(target, to_narrow_ready(source), casting="unsafe")


def to_narrow_ready(source: NDArray[Any]) -> NDArray[Any]:
    """Return values that ml_dtypes converts with one rounding: it goes through float32, so wider values come rounded to odd."""
    if source.dtype.kind in "iu" and source.dtype.itemsize > 2:
        return to_odd(source.astype(np.float64)) if source.dtype.itemsize < 8 else _wide_integer(source)
    if source.dtype == np.float64:
        return to_odd(source)
    return source


def to_odd(source: NDArray[Any]) -> NDArray[Any]:
    """Round float64 to float32 so that a second, narrower rounding gives what one rounding would: inexact results get an odd
    last bit (Boldo and Melquiond, "When double rounding is odd").
    """
    with np.errstate(all="ignore"):
        rounded = source.astype(np.float32)
        back = rounded.astype(np.float64)
        inexact = (back != source) & ~np.isnan(source)
        away = inexact & (np.abs(back) > np.abs(source))
    bits = rounded.view(np.uint32)
    bits[away] -= np.uint32(1)  # one step towards zero, from infinity too
    bits[inexact] |= np.uint32(1)
    return rounded


def _wide_integer(source: NDArray[Any]) -> NDArray[Any]:
    """Round 64-bit integers to float32, to odd, without the detour over float64's own rounding."""
    negative = source < 0
    magnitude = np.where(negative, ~source.astype(np.uint64) + np.uint64(1), source.astype(np.uint64))
    low = magnitude & np.uint64(0x7FF)  # cut to 53 bits, with a sticky bit, so that float64 is exact
    wide = magnitude > np.uint64(1 << 53)
    sticky = (magnitude & ~np.uint64(0x7FF)) | np.where(low != 0, np.uint64(0x800), np.uint64(0))
    # a value above 2^53 keeps 42 bits or more above the cut: far more than float32's 24 and the sticky bit
    value = np.where(wide, sticky, magnitude).astype(np.float64)
    return to_odd(np.where(negative, -value, value))


def _to_integer(target: NDArray[Any], target_dtype: str, source: NDArray[Any], what: str) -> None:
    values = source
    if source.dtype.kind not in "iub":
        with np.errstate(all="ignore"):
            values = np.rint(source if source.dtype.kind == "f" else source.astype(np.float32))
    if values.dtype.kind != "b" and values.size:
        limits = np.iinfo(np.dtype(target_dtype))
        if values.dtype.kind == "f":  # max + 1 is a power of two, so exact
            fits = bool(((values >= float(limits.min)) & (values < float(limits.max + 1))).all())
        else:
            fits = int(values.min()) >= limits.min and int(values.max()) <= limits.max
        if not fits:
            message = f"{what} holds a value that `{target_dtype}` cannot hold"
            raise CheckpointError(Diagnostic("value-out-of-range", message))
    np.copyto(target, values, casting="unsafe")
