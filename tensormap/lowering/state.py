"""What binding has found out so far, and the questions that every part of it asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Any

from tensormap.checkpoints.catalog import Catalog
from tensormap.diagnostics import Diagnostic
from tensormap.language import mapping as m
from tensormap.language.expressions import Missing
from tensormap.language.names import Shape, Template, shapes
from tensormap.lowering.known import Known, indices_in
from tensormap.lowering.matching import Names
from tensormap.lowering.solve import Equation, Solution


@dataclass(slots=True)
class State:
    mapping: m.Mapping
    catalog: Catalog
    names: Names
    known: Known
    trust: str
    equations: list[Equation] = field(default_factory=list)
    done: dict[tuple[int, str], set[tuple[int, ...]]] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    inferred: set[str] = field(default_factory=set)
    set_by_user: set[str] = field(default_factory=set)
    config: Map[str, Any] = field(default_factory=dict)
    config_done: set[int] = field(default_factory=set)
    generated: set[int] = field(default_factory=set)
    joined: set[int] = field(default_factory=set)
    virtual: dict[str, m.Tensor] = field(default_factory=dict)
    solution: Solution | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Use:
    """A source tensor of a rule in one of the forms that its names can have."""

    rule: m.Rule
    tensor: m.Tensor
    template: Template
    shape: Shape


def active(guards: Iterable[m.Guard], known: Known, place: Map[str, int] | None = None) -> bool | None:
    """Say whether all conditions of a rule hold; None where that is not known, or depends on a position."""
    return _hold(guards, known, {**known.nowhere, **place} if place else known.nowhere)


def says(line: m.ConfigRule, known: Known) -> bool | None:
    """Say whether all conditions of a config line hold; None where that is not known. It stands at no position: what an index that
    nothing declares is called is its size.
    """
    return _hold(line.guards, known, {})


def _hold(guards: Iterable[m.Guard], known: Known, place: Map[str, Any]) -> bool | None:
    result: bool | None = True
    for guard in guards:
        value = known.evaluate(guard.condition, place)
        if isinstance(value, Missing):
            result = None
        elif bool(value) == guard.negated:
            return False
    return result


def position_names(guard: m.Guard, mapping: m.Mapping) -> tuple[str, ...]:
    """List the indices that a condition depends on."""
    return tuple(sorted(indices_in(guard.condition, mapping)))


def undecided(rule: m.Rule, state: State) -> bool:
    """Say whether a condition of a rule is still open for a reason other than a position."""
    for guard in rule.guards:
        places = position_names(guard, state.mapping)
        value = state.known.evaluate(guard.condition, dict.fromkeys(places, 0))
        if isinstance(value, Missing):
            return True
    return False


def uses_of(state: State) -> Iterator[Use]:
    """List the source tensors of all rules whose conditions do not fail."""
    for rule in state.mapping.rules:
        if active(rule.guards, state.known) is False:
            continue
        for term in rule.left:
            for tensor in term.tensors:
                for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
                    if template.virtual or template.wild:
                        continue
                    for shape in shapes(template):
                        yield Use(rule, tensor, template, shape)


def word(value: Any) -> str:
    """Return a value as the word that names a variant."""
    named = {True: "true", False: "false", None: "none"}
    return named[value] if value is None or isinstance(value, bool) else str(value)
