"""Functions of the user that mappings call: `extern f([a b]) -> [a]` names one, `register` gives it.

A function takes numpy arrays of the shapes that its signature says and returns one array. It is the only code of a user's that
tensormap runs, and it runs only where a mapping that was asked for calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensormap.diagnostics import Diagnostic, MappingError
from tensormap.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Registered:
    """A function and the dtype of what it returns; None: that of its first argument."""

    function: Callable[..., Any]
    dtype: str | None


_registered: dict[str, Registered] = {}


def register(name: str, function: Callable[..., Any], dtype: str | None = None) -> None:
    """Give a name in mappings to a function. A name can be given again, as modules are loaded again."""
    _registered[name] = Registered(function, dtype)


def registered(name: str) -> Registered:
    """Return what is registered under a name. MappingError if nothing is."""
    found = _registered.get(name)
    if found is None:
        hint = did_you_mean(name, tuple(sorted(_registered)))
        raise MappingError(
            Diagnostic(
                "unregistered-extern",
                f"no function is registered for the extern `{name}`",
                help=(f"did you mean `{hint}`?",)
                if hint
                else (
                    f'`tensormap.externs.register("{name}", function)` before the plan is made, or `--extern FILE.py`',
                ),
            )
        )
    return found
