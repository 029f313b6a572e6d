"""What each generator's tensor looks like: its shape and its dtype, without a value and without numpy.

The values are `runtime.generators`'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Number = int | float

# name -> (its parameters, for messages; its dtype)
SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
    "rope_inv_freq": (("dim", "base"), "float32"),
    "llama3_rope_inv_freq": (("dim", "base", "factor", "low_factor", "high_factor", "old_context"), "float32"),
    "llama3_rope_freqs": (("dim", "base", "factor", "low_factor", "high_factor", "old_context"), "float32"),
    "causal_mask": (("n",), "bool"),
    "arange": (("n",), "int64"),
    "sinusoids": (("length", "channels"), "float32"),
    "zeros": (("*shape",), "float32"),
    "ones": (("*shape",), "float32"),
    "full": (("value", "*shape"), "float32"),
}

_SHAPES: dict[str, Callable[[Sequence[int]], tuple[int, ...]]] = {
    "rope_inv_freq": lambda numbers: ((numbers[0] + 1) // 2,),
    "llama3_rope_inv_freq": lambda numbers: ((numbers[0] + 1) // 2,),
    "llama3_rope_freqs": lambda numbers: ((numbers[0] + 1) // 2,),
    "causal_mask": lambda numbers: (1, 1, numbers[0], numbers[0]),
    "arange": lambda numbers: (numbers[0],),
    "sinusoids": lambda numbers: (numbers[0], numbers[1]),
    "zeros": tuple,
    "ones": tuple,
    "full": lambda numbers: tuple(numbers[1:]),
}

_SIZES = {"n", "dim", "length", "channels", "*shape"}


def dtype(name: str) -> str:
    """Return the dtype a generator computes in, a name of `tensormap.dtypes`. KeyError: there is no such generator."""
    return SIGNATURES[name][1]


def shape(name: str, arguments: Sequence[Number]) -> tuple[int, ...]:
    """Return the shape of a generator's tensor. KeyError: there is no such generator; ValueError: it does not take these
    arguments, with a message for the user.

    >>> shape("causal_mask", (4,))
    (1, 1, 4, 4)
    """
    parameters = SIGNATURES[name][0]
    variadic = parameters[-1].startswith("*")
    if len(arguments) != len(parameters) and not (variadic and len(arguments) >= len(parameters) - 1):
        raise ValueError(f"`{name}` takes ({', '.join(parameters)}), and got {len(arguments)} numbers")
    sizes: list[int] = []
    for position, argument in enumerate(arguments):
        parameter = parameters[min(position, len(parameters) - 1)]
        if parameter not in _SIZES:
            sizes.append(0)
            continue
        whole = int(argument)
        if whole != argument or whole < 0:
            raise ValueError(
                f"`{name}` wants a whole number that is not negative for `{parameter}`, and got {argument}"
            )
        sizes.append(whole)
    if name == "sinusoids" and (sizes[1] % 2 or sizes[1] < 4):
        raise ValueError(f"`sinusoids` wants an even number of channels, 4 or more, and got {sizes[1]}")
    return _SHAPES[name](sizes)
