"""Bind a mapping to a checkpoint: give every dimension one value, choose the rules that hold, from evidence alone.

Reads names, shapes and configs, never data. Everything that disagrees or stays open is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from tensormap.checkpoints.catalog import Catalog
from tensormap.diagnostics import MARK, Diagnostic, Label, MappingError, unmarked
from tensormap.language import mapping as m
from tensormap.language.expressions import names as names_in
from tensormap.language.layout import atoms
from tensormap.language.names import NumberHole
from tensormap.language.polynomial import Polynomial
from tensormap.lowering import evidence
from tensormap.lowering.conclude import conclude, idle
from tensormap.lowering.interpretation import interpret
from tensormap.lowering.known import Known
from tensormap.lowering.matching import Names
from tensormap.lowering.observe import read_config, read_generators, read_ranges, read_shapes, read_virtual, solve_all
from tensormap.lowering.ranges import refuse_endless
from tensormap.lowering.solve import Equation, Witness
from tensormap.lowering.state import State, active, word
from tensormap.lowering.variants import infer_variants, take_default
from tensormap.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Bound:
    """A mapping, turned so that it reads from left to right, with a value for everything it needs for one checkpoint."""

    mapping: m.Mapping
    catalog: Catalog
    names: Names
    known: Known
    rules: tuple[m.Rule, ...]  # those with something to do whose conditions hold, apart from conditions on positions
    config: Map[str, Any]
    config_name: str
    notes: tuple[str, ...] = ()


def bind(
    mapping: m.Mapping,
    catalog: Catalog,
    *,
    config: Map[str, Any],
    config_name: str,
    settings: Map[str, Any],
    trust: str = "",
    preset: Map[str, Any] | None = None,
) -> Bound:
    """Return the binding. MappingError: a setting is unknown or a choice is missing; CheckpointError: evidence disagrees, is too
    little, or a `require` fails. `preset` holds params that the files themselves decided.
    """
    catalog = interpret(mapping, catalog)
    names = Names.of(catalog.tensors.values())
    state = State(mapping, catalog, names, Known(mapping, sizes=_least_sizes(mapping)), trust)
    state.config = config
    _settings(state, settings)
    for name, value in (preset or {}).items():
        state.known.values.setdefault(name, value)
        state.inferred.add(name)
    while _step(state, config, config_name):
        pass
    conclude(state)
    held = (rule for rule in mapping.rules if active(rule.guards, state.known) is not False)
    rules = tuple(rule for rule in held if not idle(rule, state))
    refuse_endless(mapping, rules, state.known, catalog)
    return Bound(mapping, catalog, names, state.known, rules, config, config_name, tuple(map(unmarked, state.notes)))


def _step(state: State, config: Map[str, Any], config_name: str) -> bool:
    """Learn what can be learnt from what is known; say whether anything new was."""
    new = infer_variants(state)
    new |= read_config(state, config, config_name)
    new |= read_shapes(state)
    new |= read_generators(state)
    new |= read_virtual(state)
    new |= solve_all(state)
    if new:
        return True
    return read_ranges(state) or take_default(state)


def _settings(state: State, settings: Map[str, Any]) -> None:
    mapping, known = state.mapping, state.known
    findings: list[Diagnostic] = []
    allowed = _dimensions(mapping)
    settings = {each: value for name, value in settings.items() for each in _meant(name, allowed, mapping) or (name,)}
    least = known.sizes
    for name, value in settings.items():
        state.set_by_user.add(name)
        param = mapping.params.get(name)
        if param is not None and param.variants:
            text = word(value)
            if text not in param.variants:
                hint = did_you_mean(text, param.variants)
                findings.append(
                    Diagnostic(
                        "unknown-variant",
                        f"`{name}` has no variant `{text}`",
                        (Label(param.span, f"its variants are {', '.join(param.variants)}"),),
                        help=(f"did you mean `{hint}`?",) if hint else (),
                    )
                )
            known.put(name, text)
        elif param is None and name not in allowed:
            names = tuple(dict.fromkeys([*mapping.params, *sorted(map(unmarked, allowed))]))
            hint = did_you_mean(name, names)
            findings.append(
                Diagnostic(
                    "unknown-setting",
                    f"the mapping has no param or dimension `{name}`",
                    notes=(f"it has {', '.join(names) or 'none'}",),
                    help=(f"did you mean `{hint}`?",) if hint else (),
                )
            )
        elif name in least and not _is_size(value, least[name]):
            wanted = f"a whole number of at least {least[name]}"
            findings.append(Diagnostic("bad-setting", f"`{name}` is a size: {wanted}, not `{word(value)}`"))
        elif isinstance(value, int) and not isinstance(value, bool):
            witness = Witness(f"--set {name}={value}", None, evidence.SETTING)
            size = mapping.indices[name].size if name in mapping.indices else Polynomial.dimension(name)
            state.equations.append(Equation(size, value, witness))
            if not size.dimensions or name not in mapping.indices:
                known.put(name, value)
        else:
            known.put(name, value)
    if findings:
        raise MappingError(findings)


def _meant(name: str, allowed: set[str], mapping: m.Mapping) -> tuple[str, ...]:
    """Return what a setting is for: a name of the mapping, or else of the files that it includes, with the path of one before it or
    without. None where there is no such name.
    """
    if name in mapping.params or name in allowed:
        return (name,)
    path, _, own = name.rpartition(":")
    return tuple(
        each
        for each in sorted(allowed)
        if MARK in each and unmarked(each) == own and path in ("", mapping.included[int(each.partition(MARK)[2]) - 1])
    )


def _is_size(value: Any, least: int) -> bool:
    """Say whether a setting can be a size, or a list of sizes."""
    if isinstance(value, tuple | list):
        return all(_is_size(each, least) for each in value)
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _least_sizes(mapping: m.Mapping) -> dict[str, int]:
    """Return the names that are sizes whatever a config says, with the least that they can be: axes may be empty, ranges not."""
    found: dict[str, int] = {}
    for rule in mapping.rules:
        for tensor in (tensor for term in (*rule.left, *rule.right) for tensor in term.tensors):
            for atom in atoms(tensor.layout):
                found.update(dict.fromkeys(atom.size.dimensions, 0))
    for index in mapping.indices.values():
        found.update(dict.fromkeys(index.size.dimensions, 1))
    return {name: least for name, least in found.items() if name.isidentifier()}


def _dimensions(mapping: m.Mapping) -> set[str]:
    """Collect every name that a user may set: dimensions of layouts and indices, and names that the config lines give."""
    found: set[str] = set(mapping.indices)
    for rule in mapping.rules:
        for term in (*rule.left, *rule.right):
            for tensor in term.tensors:
                for part in tensor.template.parts:
                    if isinstance(part, NumberHole):
                        found.update(part.offset.dimensions)
                for atom in atoms(tensor.layout):
                    found.update(atom.size.dimensions)
            if isinstance(term.content, m.Fixed) and term.content.layout is not None:
                for atom in atoms(term.content.layout):
                    found.update(atom.size.dimensions)
    for index in mapping.indices.values():
        found.update(index.size.dimensions)
    for line in mapping.config:
        if line.value is not None:
            found.update(names_in(line.value))
    for value in (*mapping.lets.values(), *mapping.derived.values()):
        found.update(names_in(value))
    found.update(name.partition("[")[0] for name in tuple(found) if name.endswith("]"))
    return {name for name in found if unmarked(name).isidentifier()} - set(mapping.lets)
