"""The shapes of tensors that no file holds, and the numbers that they are not made of."""

from __future__ import annotations

import pytest

from tensormap.lowering.generator_shapes import dtype, shape


@pytest.mark.parametrize(
    ("name", "arguments", "made"),
    [
        ("arange", (3,), (3,)),
        ("arange", (0,), (0,)),
        ("arange", (3.0,), (3,)),
        ("causal_mask", (4,), (1, 1, 4, 4)),
        ("rope_inv_freq", (8, 10000.0), (4,)),
        ("sinusoids", (5, 4), (5, 4)),
    ],
)
def test_shapes(name: str, arguments: tuple[float, ...], made: tuple[int, ...]) -> None:
    assert shape(name, arguments) == made


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("arange", (), "`arange` takes (n), and got 0 numbers"),
        ("arange", (1, 2), "`arange` takes (n), and got 2 numbers"),
        ("arange", (2.5,), "`arange` wants a whole number that is not negative for `n`, and got 2.5"),
        ("arange", (-1,), "`arange` wants a whole number that is not negative for `n`, and got -1"),
        ("rope_inv_freq", (8,), "`rope_inv_freq` takes (dim, base), and got 1 numbers"),
        ("sinusoids", (5, 3), "`sinusoids` wants an even number of channels, 4 or more, and got 3"),
        ("sinusoids", (5, 2), "`sinusoids` wants an even number of channels, 4 or more, and got 2"),
    ],
)
def test_numbers_that_make_nothing(name: str, arguments: tuple[float, ...], says: str) -> None:
    with pytest.raises(ValueError) as caught:
        shape(name, arguments)
    assert str(caught.value) == says


def test_a_generator_that_is_none() -> None:
    for ask in (dtype, lambda name: shape(name, (1,))):
        with pytest.raises(KeyError):
            ask("sevens")
