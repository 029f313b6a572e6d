"""The end of binding: what contradicts, what has to be chosen, what stays open, and which requirements fail."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Map
from itertools import islice, product
from typing import Any

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic, Label, MappingError
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing
from tensormap.language.expressions import names as names_in
from tensormap.language.layout import Leaf, Sum, atoms
from tensormap.language.layout import size as axis_size
from tensormap.language.names import NumberHole, shapes, skeleton
from tensormap.language.printer import print_expression
from tensormap.lowering.direction import fit
from tensormap.lowering.evidence import OVERRULED
from tensormap.lowering.solve import Contradiction
from tensormap.lowering.state import State, active, position_names, undecided
from tensormap.lowering.unsaid import choice, open_sizes, unknown_values
from tensormap.suggest import did_you_mean

MOST_PLACES = 100_000
"""How many positions a requirement is tried at."""


def conclude(state: State) -> None:
    """Report contradictions, choices that are missing, dimensions that stay open, and requirements that fail."""
    findings = list(state.findings)
    if any(each.slug == "wrong-model" for each in findings):
        raise CheckpointError(
            _unique([each for each in findings if each.slug == "wrong-model"])
        )  # all else follows from it
    if state.catalog.tensors and not any(_present(rule, state) for rule in state.mapping.rules):
        raise CheckpointError(_unknown(state))
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
        lacking = {rule.number: rule for rule in open_names.values() if _is_absent(rule, state)}
        sized = {name: rule for name, rule in open_names.items() if rule.number not in lacking}
        absent = [_absent(rule, state) for rule in lacking.values()]  # and not the sizes that only they have
        raise CheckpointError([*absent, *([open_sizes(sized, state)] if sized else [])])


def _unknown(state: State) -> Diagnostic:
    """Report a source that no rule knows a name of: everything else that could be said follows from it."""
    here, there = (side.name for side in state.mapping.sides)
    first = next(iter(state.catalog.tensors))
    read = [tensor for rule in state.mapping.rules for term in rule.left for tensor in term.tensors]
    forms = {shape.text: tensor for tensor in reversed(read) for shape in shapes(tensor.template)}
    near = did_you_mean(skeleton(first)[0], tuple(forms))
    backwards = fit(state.mapping.inverse, state.catalog.tensors) > 0
    return Diagnostic(
        "wrong-model",
        f"no tensor of the source has a name that `{state.mapping.name}` knows as {here}",
        (Label(forms[near].span, "the nearest rule"),) if near else (),
        (f"the first of them is {shown(first)}",),
        (f"there are names of {there}: convert it with `--to {here}`",) if backwards else (),
    )


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
        for chosen in islice(product(*(range(min(count or 0, MOST_PLACES)) for count in counts)), MOST_PLACES)
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
        if idle(rule, state) or (not any(term.tensors for term in rule.right) and not _present(rule, state)):
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
            if tensor.template.virtual or tensor.template.wild:
                return True
            for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
                for shape in shapes(template):
                    if state.names.groups.get(shape.text):
                        return True
    return False


def idle(rule: m.Rule, state: State) -> bool:
    """Say whether a rule for the other direction has nothing here that it would write there: no size of it matters."""
    return rule.arrow == "<-" and not _present(rule, state)


def _is_absent(rule: m.Rule, state: State) -> bool:
    """Say whether a rule reads tensors, at all positions, and the source has none that is called like them."""
    reads = any(term.tensors for term in rule.left)
    return reads and not _present(rule, state) and not any(position_names(each, state.mapping) for each in rule.guards)


def _absent(rule: m.Rule, state: State) -> Diagnostic:
    tensor = next(tensor for term in rule.left for tensor in term.tensors)
    wanted = next(shapes(tensor.template)).text
    near = did_you_mean(wanted, tuple(state.names.groups)) if len(state.names.groups) < 5000 else None
    called = next((name for name in state.catalog.tensors if near and skeleton(name)[0] == near), None)
    return Diagnostic(
        "missing-tensor",
        f"the source has no tensor that is called like `{tensor.template}`",
        (Label(tensor.span, "read here"),),
        help=(f"there is `{called}`",) if called else (),
    )
