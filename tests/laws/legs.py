"""One way of a mapping, planned in memory from names, shapes and a config: nothing is read from a disk and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tensormap
from tensormap.api import settings_of
from tensormap.checkpoints.catalog import Catalog, TensorInfo
from tensormap.diagnostics import CheckpointError
from tensormap.language import mapping as m
from tensormap.lowering.bind import Bound, bind
from tensormap.lowering.configwrite import written_config
from tensormap.lowering.draft import Aimless
from tensormap.lowering.lower import Lowered, lower
from tensormap.lowering.plan import Compute, Copy, Fill, Region, Step
from tensormap.lowering.schedule import _main_dtype
from tests.laws.headers import Header, Tensors

FORMS = ("form",)
"""Params that say how files are cut: a reader sees them in the files, which are not there in memory."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One way: what is read, the steps, and what is written."""

    bound: Bound
    lowered: Lowered
    tensors: Tensors  # of the written side
    config: Mapping[str, Any]  # of the written side


@cache
def loaded(name: str) -> m.Mapping:
    """Load a mapping of the library once."""
    return tensormap.load(name).resolved


def plan_leg(
    mapping: m.Mapping, to: str, tensors: Tensors, config: Mapping[str, Any], settings: Mapping[str, Any]
) -> Leg:
    """Plan the way to side `to`. MappingError, CheckpointError: as `tensormap.plan` raises them."""
    catalog = Catalog(
        Path(),
        "memory",
        (),
        {name: TensorInfo(name, dtype, shape, -1, 0) for name, (dtype, shape) in tensors.items()},
    )
    bound = bind(
        mapping.towards(to),
        catalog,
        config=config,
        config_name="the config",
        settings=settings_of(settings),
    )
    lowered = lower(bound)
    for draft in lowered.drafts:
        draft.steps[:] = [_aimed(step) for step in draft.steps]
    main = _main_dtype(lowered.drafts)
    written = {draft.name: (draft.dtype or main, draft.shape) for draft in lowered.drafts}
    return Leg(bound, lowered, written, written_config(bound, {"dtype": main})[0])


def _aimed(step: Step | Aimless) -> Step:
    """Return a step with its target, which most copies get only in a plan."""
    if isinstance(step, (Copy, Fill, Compute)):
        return step
    sizes, source, offset, strides = step
    return Copy(sizes, source, Region(0, offset, strides))


def back_settings(settings: Mapping[str, Any], back: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to be said on the way back: as given, and what the files would have said."""
    return {name: value for name, value in settings.items() if name in FORMS} | dict(back)


def there_and_back(header: Header) -> tuple[Leg, Leg | None]:
    """Plan a case's way and the way back, None where the mapping has none. CheckpointError: something else is wrong with it."""
    mapping = loaded(header.mapping)
    there = plan_leg(mapping, header.to, header.tensors, header.config, header.set)
    settings = back_settings(header.set, header.back)
    try:
        return there, plan_leg(mapping, header.here, there.tensors, there.config, settings)
    except CheckpointError as error:
        if {each.slug for each in error.diagnostics} == {"one-way"}:
            return there, None
        raise


def forms(leg: Leg) -> dict[str, object]:
    """Return how a leg cuts the files that it writes."""
    return {name: leg.bound.known.values.get(name) for name in FORMS if name in leg.bound.mapping.params}
