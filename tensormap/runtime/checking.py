"""What a run refuses before it does anything: functions that are not there, sources and targets that do not go together."""

from __future__ import annotations

import os
from pathlib import Path

from tensormap import externs
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic, MappingError
from tensormap.lowering.plan import Compute, Plan
from tensormap.runtime.staging import check_paths


def check(plan: Plan, target: Path) -> None:
    """Refuse, with a MappingError, a plan that cannot be run to this target."""
    check_places(plan, target)
    _check_functions(plan)


def check_places(plan: Plan, target: Path) -> None:
    """Refuse, with a MappingError, names that lead out of the target, and a target that does not go with the source."""
    check_paths(plan)
    _check_apart(plan, target)


def _check_functions(plan: Plan) -> None:
    """Refuse, with a MappingError, functions that are not there."""
    steps = [step for output in plan.outputs for step in output.steps if isinstance(step, Compute)]
    formulas = [each.formula for each in steps] + [each.formula for each in plan.verifications]
    if formulas:
        from tensormap.runtime import arithmetic

        for formula in formulas:
            arithmetic.check(formula)
    for tensor in plan.inputs:
        if tensor.call is not None:
            externs.registered(tensor.call.name)


def check_companions(plan: Plan) -> None:
    """Raise a CheckpointError that names every file to be copied that is not as it was when the plan was made."""
    findings: list[Diagnostic] = []
    for each in plan.companions:
        path = Path(plan.root, each.source)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            findings.append(Diagnostic("stale-plan", f"{shown(path)} is no longer there"))
            continue
        if size != each.size:
            findings.append(Diagnostic("stale-plan", f"{shown(path)} has {size} bytes, and had {each.size}"))
    if findings:
        raise CheckpointError(findings)


def _check_apart(plan: Plan, target: Path) -> None:
    """Refuse a target that is the source, or that has the source inside: replacing it would destroy what is read."""
    if not plan.sources and not plan.companions:
        return
    root = Path(os.path.realpath(plan.root))
    places = {root} | {Path(os.path.realpath(root / each.path)) for each in plan.sources}
    if any(place == target or target in place.parents for place in sorted(places)):
        raise MappingError(Diagnostic("target-is-source", f"{shown(target)} is where the plan reads from"))
    if root in target.parents and (len(plan.sources) > 1 or any("/" in each.path for each in plan.sources)):
        message = (
            f"{shown(target)} is inside of the source {shown(root)}: both would be one checkpoint to whatever reads it"
        )
        raise MappingError(Diagnostic("target-in-source", message, help=("write beside the source",)))
