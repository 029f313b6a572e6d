"""Tensors that registered functions return: computed whole from whole arguments, when the first of their elements is wanted.

This is the one place where a tensor is held in memory, because a function can be given nothing less.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from tensormap import externs
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import Diagnostic, MappingError
from tensormap.runtime.parts import Called

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"

_KEPT = 4  # results: steps of one tensor follow each other


class Results:
    """What functions returned, for all threads of a run: each is computed once, and the last few are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._kept: OrderedDict[str, Array] = OrderedDict()

    def get(self, called: Called, dtype: str, load: Callable[[Any, tuple[int, ...]], Array]) -> Array:
        """Return a call's result, row-major; `load` reads a whole argument. MappingError: the function returned something else."""
        with self._lock:
            busy = self._busy.setdefault(called.key, threading.Lock())
        with busy:
            with self._lock:
                found = self._kept.get(called.key)
                if found is not None:
                    self._kept.move_to_end(called.key)
                    return found
            made = _call(called, dtype, load)
            with self._lock:
                self._kept[called.key] = made
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return made


def _call(called: Called, dtype: str, load: Callable[[Any, tuple[int, ...]], Array]) -> Array:
    import numpy as np

    from tensormap.runtime.casts import cast_into, numpy_dtype

    function = externs.registered(called.function).function
    result = np.asarray(function(*(load(place, shape) for place, shape in called.arguments)))
    gc.collect(1)  # what the function left may hold tensors, and Python does not look for garbage while a plan is run
    if result.shape != called.shape:
        message = (
            f"{shown(called.function)} returned shape {list(result.shape)} for {shown(called.key)}; "
            f"its signature says {list(called.shape)}"
        )
        raise MappingError(Diagnostic("extern-result", message))
    wanted = numpy_dtype(dtype)
    if result.dtype == wanted:
        return np.ascontiguousarray(result).reshape(called.shape)
    made: Array = np.empty(called.shape, wanted)
    flat = made.reshape(-1)
    cast_into(flat, dtype, result.reshape(-1), shown(called.key))
    return made
