"""Quantised blocks, decoded. How each kind of GGUF is packed is known by the `gguf` package, imported when it is needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tensormap.checkpoints.gguf_types import ENCODINGS, PAIRS
from tensormap.checkpoints.refusal import refusal, shown

if TYPE_CHECKING:
    import numpy as np


@cache
def require(encoding: str) -> Any:
    """Return gguf's own name of an encoding. CheckpointError: the package is not installed, or cannot decode it."""
    if encoding == PAIRS.name:
        return None
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError:
        raise refusal(
            "missing-extra",
            f"tensors are quantised as {shown(encoding)}, and the package that decodes them is not installed",
            help=["install it: `pip install tensormap[gguf]`"],
        ) from None
    kind = getattr(GGMLQuantizationType, encoding, None)
    if kind is None or kind not in quants._type_traits:  # noqa: SLF001 - there is no other way to ask
        raise refusal("gguf-unsupported", f"the installed `gguf` package does not decode {shown(encoding)}")
    return kind


def decode(encoding: str, blocks: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the elements of whole blocks that lie one after the other, as float32 in their order."""
    if encoding == PAIRS.name:
        pairs: np.ndarray[Any, np.dtype[np.float32]] = _pairs()[blocks].reshape(-1)
        return pairs
    kind = require(encoding)
    from gguf import quants

    stored = ENCODINGS[encoding]
    rows = blocks.reshape(1, -1)  # one row: the package takes rows in groups, and blocks within a row at once
    values: np.ndarray[Any, np.dtype[np.float32]] = quants.dequantize(rows, kind).reshape(-1)
    assert values.size == blocks.size // stored.size * stored.block
    return values


@cache
def _pairs() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the two numbers of each byte: a sign, two bits of exponent, one of mantissa (OCP Microscaling Formats 1.0, 5.3.3)."""
    import numpy as np

    magnitudes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    values = np.concatenate([magnitudes, -magnitudes])
    byte = np.arange(256)
    return np.stack([values[byte & 15], values[byte >> 4]], 1)
