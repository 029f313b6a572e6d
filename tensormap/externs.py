"""Functions of the user that mappings call: `extern f([a b]) -> [a]` names one, `register` gives it.

A function takes numpy arrays of the shapes that its signature says and returns one array. It is the only code of a user's that
tensormap runs, and it runs only where a mapping that was asked for calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensormap.diagnostics import Diagnostic, MappingError, TensormapError
from tensormap.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Registered:
    """A function and the dtype of what it returns; None: that of its first argument."""

    name: str
    given: Callable[..., Any]
    dtype: str | None

    def function(self, *arrays: Any) -> Any:
        """Call the function. MappingError (`extern-failed`) where it raises, or returns what is no array."""
        import numpy as np

        try:
            result = np.asarray(self.given(*arrays))
        except TensormapError:
            raise
        except Exception as error:
            raised = f"{type(error).__name__}: {error}".strip(": ")
            note = "the error itself is the cause of this one, with the place where it was raised"
            raise MappingError(
                Diagnostic("extern-failed", f"the extern `{self.name}` raised {raised}", notes=(note,))
            ) from error
        if result.dtype.kind in "OSUMm":
            message = f"`{self.name}` returned what are no numbers, but of numpy's dtype `{result.dtype}`"
            raise MappingError(Diagnostic("extern-result", message))
        return result


_registered: dict[str, Registered] = {}


def register(name: str, function: Callable[..., Any], dtype: str | None = None) -> None:
    """Give a name in mappings to a function. A name can be given again, as modules are loaded again."""
    _registered[name] = Registered(name, function, dtype)


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
