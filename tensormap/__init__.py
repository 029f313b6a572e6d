"""tensormap: mapping files for model checkpoints, tensor equations that convert both ways.

    plan = tensormap.plan("neox/llama", "run/", to="hf", set={"gqa": "flat"})
    print(plan)
    tensormap.apply(plan, "out/")

The names are loaded when they are first used, so that importing a part of the package costs that part alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tensormap.version import VERSION

if TYPE_CHECKING:
    from tensormap.api import Mapping, Plan, apply, finalize, load, loads, open, plan
    from tensormap.diagnostics import BusyError, CheckpointError, Diagnostic, MappingError, TensormapError
    from tensormap.runtime.execute import Report

__version__ = VERSION

_HOMES = {
    "tensormap.api": ("Mapping", "Plan", "apply", "finalize", "load", "loads", "open", "plan"),
    "tensormap.runtime.execute": ("Report",),
    "tensormap.diagnostics": ("BusyError", "CheckpointError", "Diagnostic", "MappingError", "TensormapError"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BusyError",
    "CheckpointError",
    "Diagnostic",
    "Mapping",
    "MappingError",
    "Plan",
    "Report",
    "TensormapError",
    "__version__",
    "apply",
    "finalize",
    "load",
    "loads",
    "open",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module `tensormap` has no attribute `{name}`")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
