"""Build models without data, and describe what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from tests.headers.header import Tensors


def on_meta(build: Callable[[], Any], dtype: str) -> Any:
    """Call something that builds a model, with parameters of this dtype and without data."""
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device("meta"):
            return build()
    finally:
        torch.set_default_dtype(torch.float32)


def described(state: Mapping[str, Any], keep: Mapping[str, str] | None = None) -> Tensors:
    """Return names, dtypes and shapes of tensors. `keep` gives those whose names end so another dtype."""
    found: Tensors = {}
    for name, tensor in state.items():
        kept = next((dtype for end, dtype in (keep or {}).items() if name.endswith(end)), None)
        found[name] = kept or str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    return found
