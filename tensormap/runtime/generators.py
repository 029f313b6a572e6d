"""Tensors that no file holds, computed element by element at any set of flat positions, so that tiles stay bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.lowering import generator_shapes
from tensormap.lowering.plan import Generator

Positions = NDArray[np.int64]
Values = NDArray[Any]


def values(generator: Generator, positions: Positions) -> Values:
    """Return a generator's elements at flat row-major `positions` (any shape), in the generator's own dtype."""
    generator_shapes.shape(generator.name, generator.arguments)
    return _GENERATORS[generator.name](generator.arguments, positions)


def _rope_inv_freq(arguments: tuple[int | float, ...], positions: Positions) -> Values:
    """1 / base ** (2 i / dim), every step rounded to float32 as in transformers' `_compute_default_rope_parameters`:
    `1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim))`.
    """
    dim, base = arguments[0], arguments[1]
    exponent = (2 * positions).astype(np.float32) / np.float32(dim)
    power = np.power(float(base), exponent.astype(np.float64)).astype(np.float32)
    return np.float32(1.0) / power


def _llama3_rope_freqs(arguments: tuple[int | float, ...], positions: Positions) -> Values:
    """The number each frequency is divided by: 1 for short waves, `factor` for long ones, in between for those between.

    Every step in float32, and a number divided by a tensor as that times its reciprocal, as torch does it.
    https://github.com/ggml-org/llama.cpp/blob/master/conversion/llama.py (generate_extra_tensors)
    """
    frequencies = _rope_inv_freq(arguments, positions)
    factor, low, high, context = (np.float32(each) for each in arguments[2:6])
    one = np.float32(1)
    wave = one / frequencies * np.float32(2 * math.pi)
    apart = np.float32(arguments[4] - arguments[3])
    smooth = (one / wave * context - low) / apart if apart else np.zeros_like(wave)
    between = one / ((one - smooth) / factor + smooth)
    values: Values = np.where(wave < context / high, one, np.where(wave > context / low, factor, between))
    return values


def _llama3_rope_inv_freq(arguments: tuple[int | float, ...], positions: Positions) -> Values:
    """transformers' `_compute_llama3_parameters`: long waves divided by `factor`, those between interpolated, in float32."""
    frequencies = _rope_inv_freq(arguments, positions)
    factor, low, high, context = (float(each) for each in arguments[2:6])
    one = np.float32(1)
    wave = np.float32(2 * math.pi) / frequencies
    slowed = frequencies / np.float32(factor)
    smooth = (np.float32(context) / wave - np.float32(low)) / np.float32(high - low)
    between = (one - smooth) * slowed + smooth * frequencies
    scaled = np.where(wave > np.float32(context / low), slowed, frequencies)
    medium = ~(wave < np.float32(context / high)) & ~(wave > np.float32(context / low))
    return np.where(medium, between, scaled)


def _causal_mask(arguments: tuple[int | float, ...], positions: Positions) -> Values:
    size = int(arguments[0])
    return positions % size <= positions // size


def _sinusoids(arguments: tuple[int | float, ...], positions: Positions) -> Values:
    """Whisper's position table: sines in the first half of the channels, cosines in the second; float32 at every step.

    https://github.com/openai/whisper/blob/main/whisper/model.py (sinusoids)
    """
    channels = int(arguments[1])
    half = channels // 2
    row, column = np.divmod(positions, channels)
    step = np.float32(math.log(10000) / (half - 1))
    angles = (-step * (column % half).astype(np.float32)).astype(np.float32)
    inverse = np.exp(angles.astype(np.float64)).astype(np.float32)
    scaled = row.astype(np.float32) * inverse
    wide = scaled.astype(np.float64)
    return np.where(column < half, np.sin(wide), np.cos(wide)).astype(np.float32)


def _full(value: int | float, positions: Positions) -> Values:
    return np.full(positions.shape, value, np.float32)


_GENERATORS: dict[str, Callable[[tuple[int | float, ...], Positions], Values]] = {
    "rope_inv_freq": _rope_inv_freq,
    "llama3_rope_inv_freq": _llama3_rope_inv_freq,
    "llama3_rope_freqs": _llama3_rope_freqs,
    "causal_mask": _causal_mask,
    "arange": lambda _, positions: positions,
    "sinusoids": _sinusoids,
    "zeros": lambda _, positions: _full(0, positions),
    "ones": lambda _, positions: _full(1, positions),
    "full": lambda arguments, positions: _full(arguments[0], positions),
}
