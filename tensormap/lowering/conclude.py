"""The end of binding: what contradicts, what has to be chosen, what stays open, and which requirements fail."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Map
from itertools import islice, product
from typing import Any

from tensormap.diagnostics import CheckpointError, Diagnostic, Label, MappingError
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing
from tensormap.language.expressions import names as names_in
from tensormap.language.layout import Leaf, Sum, atoms
from tensormap.language.layout import size as axis_size
from tensormap.language.names import NumberHole, shapes
from tensormap.language.printer import print_expression
from tensormap.lowering.evidence import OVERRULED
from tensormap.lowering.solve import Contradiction
from tensormap.lowering.state import State, active, position_names, undecided
from tensormap.lowering.unsaid import choice, open_sizes, unknown_values

MOST_PLACES = 100_000
"""How many positions a requirement is tried at."""


def conclude(state: State) -> None:
    """Report contradictions, choices that are missing, dimensions that stay open, and requirements that fail."""
    findings = list(state.findings)
    if any(each.slug == "wrong-model" for each in findings):
        raise CheckpointError(
            _unique([each for each in findings if each.slug == "wrong-model"])
        )  # all else follows from it
    solution = state.solution
    if solution is not None:
        failed = _requirements(state)
        if failed:  # what follows from sizes that are not allowed explains nothing
            raise CheckpointError(_unique([*findings, *failed]))
        for each in solution.contradictions:
            if state.trust == "shapes" and _overruled(each):
                state.notes.append(f"overruled by the shapes: {each.message}")
            else:
                findings.append(_contradiction(each))
    if findings:
        raise CheckpointError(_unique(findings))
    missing = _choices(state)
    if missing:
        raise MappingError(missing)
    open_names = _open(state)
    if open_names:
        raise CheckpointError(open_sizes(open_names, state))


def _overruled(each: Contradiction) -> bool:
    """Say whether it is the config alone that disagrees."""
    return each.witnesses[0].strength == OVERRULED


def _unique(findings: list[Diagnostic]) -> list[Diagnostic]:
    return list(dict.fromkeys(findings))


def _contradiction(each: Contradiction) -> Diagnostic:
    labels = []
    for k, witness in enumerate(each.witnesses):
        if witness.span is not None:
            labels.append(Label(witness.span, witness.text, k == 0))
    notes = [witness.text for witness in each.witnesses if witness.span is None]
    return Diagnostic(each.slug, each.message, tuple(labels), tuple(notes))


def _requirements(state: State) -> list[Diagnostic]:
    """Report every requirement that fails, at the first positions where it does."""
    found: list[Diagnostic] = []
    for each in state.mapping.requirements:
        for place in _places(each, state):
            if active(each.guards, state.known, place) is not True:
                continue
            value = state.known.evaluate(each.condition, place)
            if not isinstance(value, Missing) and not value:
                found.append(_failed(each, place, state))
                break
    return found


def _places(each: m.Requirement, state: State) -> Iterator[dict[str, int]]:
    """Yield the positions of the indices that a requirement or its conditions depend on."""
    mapping = state.mapping
    own = m.Guard(each.condition, False, 0)
    needed = sorted({name for guard in (*each.guards, own) for name in position_names(guard, mapping)})
    counts = [state.known.count(name) for name in needed]
    yield from (
        dict(zip(needed, chosen, strict=True))
        for chosen in islice(product(*(range(count or 0) for count in counts)), MOST_PLACES)
    )


def _failed(each: m.Requirement, place: Map[str, int], state: State) -> Diagnostic:
    used = [
        f"{name} = {shown}"
        for name in dict.fromkeys(_leaves(each.condition, state))
        if not isinstance(shown := state.known.evaluate(_leaf(name, each), place), Missing)
    ]
    return Diagnostic(
        "requirement",
        each.text or f"`{print_expression(each.condition)}` does not hold",
        (Label(each.span, "required here"),),
        ("with " + ", ".join(used),) if used else (),
    )


def _leaf(name: str, requirement: m.Requirement) -> Any:
    return syntax.Name(name, requirement.span)


def _leaves(expression: Any, state: State) -> list[str]:
    found: list[str] = []
    for name in names_in(expression):
        found.append(name)
        if name in state.mapping.lets:
            found.extend(_leaves(state.mapping.lets[name], state))
    return found


def _choices(state: State) -> list[Diagnostic]:
    """Report the params without which some condition or size cannot be decided."""
    needed: dict[str, m.Rule] = {}
    for rule in state.mapping.rules:
        if active(rule.guards, state.known) is False or not undecided(rule, state):
            continue
        for guard in rule.guards:
            value = state.known.evaluate(guard.condition, dict.fromkeys(position_names(guard, state.mapping), 0))
            if isinstance(value, Missing):
                for name in value.names:
                    needed.setdefault(name, rule)
    needed = _causes(needed, state)
    found: list[Diagnostic] = []
    unsaid = {name: rule for name, rule in needed.items() if name not in state.mapping.params}
    if unsaid:
        found.append(unknown_values(unsaid, state))
    params = (state.mapping.params.get(name) for name in needed)
    found.extend(choice(param, state) for param in params if param is not None)
    return found


def _causes(needed: Map[str, m.Rule], state: State) -> dict[str, m.Rule]:
    """Replace the params whose defaults wait for other values by these."""
    found: dict[str, m.Rule] = {}
    waiting = dict(needed)
    seen: set[str] = set()
    while waiting:
        name = next(iter(waiting))
        rule = waiting.pop(name)
        seen.add(name)
        param = state.mapping.params.get(name)
        value = state.known.evaluate(param.default) if param is not None and param.default is not None else None
        if isinstance(value, Missing):
            waiting.update({each: rule for each in value.names if each not in seen})
        else:
            found[name] = rule
    return found or dict(needed)


def _open(state: State) -> dict[str, m.Rule]:
    """List the dimensions without a value that rules which hold depend on."""
    found: dict[str, m.Rule] = {}
    for rule in state.mapping.rules:
        if active(rule.guards, state.known) is False or (rule.optional and not _present(rule, state)):
            continue
        if not any(term.tensors for term in rule.right) and not _present(rule, state):
            continue
        for term in (*rule.left, *rule.right):
            layouts = [tensor.layout for tensor in term.tensors]
            if isinstance(term.content, m.Fixed) and term.content.layout is not None:
                layouts.append(term.content.layout)
            sizes = [axis_size(axis) for layout in layouts for axis in layout.axes if isinstance(axis, Leaf | Sum)]
            sizes.extend(atom.size for layout in layouts for atom in atoms(layout))
            for tensor in term.tensors:
                for part in tensor.template.parts:
                    if isinstance(part, NumberHole):
                        sizes.append(part.offset)
                        sizes.extend(state.mapping.indices[index].size for index, _ in part.parts)
            for polynomial in sizes:
                for name in polynomial.dimensions:
                    if name.endswith("]"):
                        continue
                    if state.known.dimension(name) is None:
                        for leaf in _base_names(name, state):
                            found.setdefault(leaf, rule)
    return found


def _base_names(name: str, state: State) -> tuple[str, ...]:
    if name in state.mapping.derived:
        value = state.known.evaluate(state.mapping.derived[name])
        return value.names if isinstance(value, Missing) else ()
    if name in state.mapping.sums:
        _, inner = state.mapping.sums[name]
        return tuple(each for each in inner.dimensions if state.known.dimension(each, {}) is None)
    return (name,)


def _present(rule: m.Rule, state: State) -> bool:
    """Say whether any source tensor of a rule can be there."""
    for term in rule.left:
        for tensor in term.tensors:
            if tensor.template.virtual:
                return True
            for shape in shapes(tensor.template):
                if state.names.groups.get(shape.text):
                    return True
    return False
