"""The cases of the parity tests: a module for each family, with a tuple `CASES`."""

from __future__ import annotations

import importlib
import pkgutil

from tests.parity.harness import Case


def all_cases() -> list[Case]:
    """Collect the cases of every module of this folder, in the order of their names."""
    found: list[Case] = []
    for module in sorted(each.name for each in pkgutil.iter_modules(__path__)):
        found += importlib.import_module(f"{__name__}.{module}").CASES
    assert len({str(case) for case in found}) == len(found), "two cases have one name"
    return found
