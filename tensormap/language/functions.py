"""The functions that the language knows by name: generators of whole tensors, and elementwise functions with their inverses."""

from __future__ import annotations

GENERATORS: dict[str, tuple[str, ...]] = {
    "rope_inv_freq": ("dim", "base"),
    "llama3_rope_inv_freq": ("dim", "base", "factor", "low_factor", "high_factor", "old_context"),
    "llama3_rope_freqs": ("dim", "base", "factor", "low_factor", "high_factor", "old_context"),
    "causal_mask": ("n",),
    "arange": ("n",),
    "sinusoids": ("length", "channels"),
}
"""Generators with the names of their arguments."""

INVERSES: dict[str, str] = {
    "exp": "log",
    "log": "exp",
    "neg": "neg",
    "sqrt": "square",
    "square": "sqrt",
    "reciprocal": "reciprocal",
    "expm1": "log1p",
    "log1p": "expm1",
}
"""Elementwise functions of one argument, each with its inverse on the values where it has one."""

ONE_WAY: tuple[str, ...] = ("abs", "round", "tanh", "sigmoid", "softplus", "rsqrt")
"""Elementwise functions of one argument that have no inverse here."""

EXACT: tuple[str, ...] = ("neg",)
"""Functions that never round."""
