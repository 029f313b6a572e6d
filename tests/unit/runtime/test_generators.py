from __future__ import annotations

import math

import numpy as np
import pytest

from tensormap.lowering import generator_shapes
from tensormap.lowering.plan import Generator
from tensormap.runtime.generators import values

torch = pytest.importorskip("torch")


def generate(name, *arguments):
    shape = generator_shapes.shape(name, arguments)
    count = math.prod(shape)
    out = values(Generator(name, arguments), np.arange(count)).reshape(shape)
    assert str(out.dtype) == generator_shapes.dtype(name)
    return out


def apart(left, right):
    """How many float32 values lie between two arrays of positive numbers, at most."""
    return int(np.abs(left.view(np.int32).astype(np.int64) - right.view(np.int32)).max())


@pytest.mark.parametrize("dim", [32, 64, 96, 128])
@pytest.mark.parametrize("base", [10000, 10000.0, 500000.0, 1e6])
def test_rope_inv_freq_is_torchs(dim, base):
    exponent = torch.arange(0, dim, 2, dtype=torch.int64).float() / dim
    expected = (1.0 / (base**exponent)).numpy()
    out = generate("rope_inv_freq", dim, base)
    assert apart(out, expected) <= 1  # torch's power is a unit off here and there, and not everywhere in the same way
    assert (out == expected).mean() > 0.9


def test_causal_mask_is_torchs():
    expected = torch.tril(torch.ones((5, 5), dtype=torch.bool)).view(1, 1, 5, 5).numpy()
    assert (generate("causal_mask", 5) == expected).all()


def test_plain_generators():
    assert generate("arange", 4).tolist() == [0, 1, 2, 3]
    assert generate("zeros", 2, 2).tolist() == [[0, 0], [0, 0]]
    assert generate("ones", 2).tolist() == [1, 1]
    assert generate("full", -1e9, 2).tolist() == [-1e9, -1e9]
    assert generate("zeros").shape == ()


def test_sinusoids_are_whispers():
    length, channels = 64, 16
    increment = math.log(10000) / (channels // 2 - 1)
    inverse = torch.exp(-increment * torch.arange(channels // 2))
    scaled = torch.arange(length).view(-1, 1) * inverse.view(1, -1)
    expected = torch.cat([scaled.sin(), scaled.cos()], dim=1).numpy()
    assert np.abs(generate("sinusoids", length, channels) - expected).max() < 1e-5


def llama3(dim, base, factor, low, high, context):
    """transformers' `_compute_llama3_parameters`, with the frequencies before."""
    inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim))
    wavelen = 2 * math.pi / inv_freq
    scaled = torch.where(wavelen > context / low, inv_freq / factor, inv_freq)
    smooth = (context / wavelen - low) / (high - low)
    smoothed = (1 - smooth) * scaled / factor + smooth * scaled
    medium = ~(wavelen < context / high) * ~(wavelen > context / low)
    return inv_freq.numpy(), torch.where(medium, smoothed, scaled).numpy()


def test_llama3_frequencies_are_transformers():
    arguments = (128, 500000.0, 8, 1, 4, 8192)
    plain, expected = llama3(*arguments)
    assert apart(generate("llama3_rope_inv_freq", *arguments), expected) <= 4
    factors = generate("llama3_rope_freqs", *arguments)
    assert np.allclose(plain / factors, expected, rtol=1e-5)
    assert factors[0] == 1
    assert factors[-1] == 8


def test_any_positions_in_any_shape():
    whole = generate("causal_mask", 4).reshape(-1)
    positions = np.array([[15, 1], [4, 0]])
    assert (values(Generator("causal_mask", (4,)), positions) == whole[positions]).all()


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("causal_mask", (), "takes (n), and got 0 numbers"),
        ("causal_mask", (2.5,), "wants a whole number that is not negative for `n`, and got 2.5"),
        ("arange", (-1,), "got -1"),
        ("sinusoids", (4, 5), "even number of channels"),
    ],
)
def test_wrong_arguments_are_said(name, arguments, says):
    with pytest.raises(ValueError) as caught:
        generator_shapes.shape(name, arguments)
    assert says in str(caught.value)
