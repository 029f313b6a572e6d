"""Bind a mapping to a checkpoint: give every dimension one value, choose the rules that hold, from evidence alone.

Reads names, shapes and configs, never data. Everything that disagrees or stays open is reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping as Map
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from tensormap.checkpoints.catalog import Catalog
from tensormap.diagnostics import CheckpointError, Diagnostic, Label, MappingError, Span
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing, names as names_in
from tensormap.language.layout import Leaf, Node, Product, Rest, Sum, atoms
from tensormap.language.layout import size as axis_size
from tensormap.language.names import NumberHole, Shape, Template, WordHole, shapes
from tensormap.language.polynomial import Polynomial
from tensormap.language.printer import print_expression
from tensormap.lowering import evidence, generator_shapes
from tensormap.lowering.known import Known
from tensormap.lowering.matching import Entry, Names, fits, positions
from tensormap.lowering.solve import Contradiction, Equation, Solution, Witness, solve
from tensormap.suggest import did_you_mean


MOST_PLACES = 100_000
"""How many positions a requirement is tried at."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A mapping, turned so that it reads from left to right, with a value for everything it needs for one checkpoint."""

    mapping: m.Mapping
    catalog: Catalog
    names: Names
    known: Known
    rules: tuple[m.Rule, ...]  # those whose conditions hold, apart from conditions on positions
    config: Map[str, Any]
    config_name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Use:
    """A source tensor of a rule in one of the forms that its names can have."""

    rule: m.Rule
    tensor: m.Tensor
    template: Template
    shape: Shape


@dataclass(slots=True)
class _State:
    mapping: m.Mapping
    catalog: Catalog
    names: Names
    known: Known
    trust: str
    equations: list[Equation] = field(default_factory=list)
    done: set[tuple[int, str, tuple[int, ...]]] = field(default_factory=set)
    findings: list[Diagnostic] = field(default_factory=list)
    inferred: set[str] = field(default_factory=set)
    set_by_user: set[str] = field(default_factory=set)
    config_done: set[int] = field(default_factory=set)
    generated: set[int] = field(default_factory=set)
    solution: Solution | None = None
    notes: list[str] = field(default_factory=list)


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
    names = Names.of(catalog.tensors.values())
    state = _State(mapping, catalog, names, Known(mapping), trust)
    _settings(state, settings)
    for name, value in (preset or {}).items():
        state.known.values.setdefault(name, value)
        state.inferred.add(name)
    _virtual(state)
    while _step(state, config, config_name):
        pass
    _conclude(state)
    rules = tuple(rule for rule in mapping.rules if active(rule.guards, state.known) is not False)
    return Bound(mapping, catalog, names, state.known, rules, config, config_name, tuple(state.notes))


# --- one round ------------------------------------------------------------------------------------------------------------


def _step(state: _State, config: Map[str, Any], config_name: str) -> bool:
    """Learn what can be learnt from what is known; say whether anything new was."""
    if _variants(state) | _config(state, config, config_name) | _shapes(state) | _generated(state) | _solve(state):
        return True
    return _ranges(state) or _defaults(state)


def _settings(state: _State, settings: Map[str, Any]) -> None:
    mapping, known = state.mapping, state.known
    findings: list[Diagnostic] = []
    allowed = _dimensions(mapping)
    for name, value in settings.items():
        state.set_by_user.add(name)
        param = mapping.params.get(name)
        if param is not None and param.variants:
            text = _word(value)
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
            hint = did_you_mean(name, (*mapping.params, *sorted(allowed)))
            findings.append(
                Diagnostic(
                    "unknown-setting",
                    f"the mapping has no param or dimension `{name}`",
                    notes=(f"it has {', '.join([*mapping.params, *sorted(allowed)]) or 'none'}",),
                    help=(f"did you mean `{hint}`?",) if hint else (),
                )
            )
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


def _word(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _dimensions(mapping: m.Mapping) -> set[str]:
    """Collect every name that a user may set: dimensions of layouts and indices, and names that the config lines give."""
    found: set[str] = set(mapping.indices)
    for rule in mapping.rules:
        for term in (*rule.left, *rule.right):
            for tensor in _tensors(term):
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
    return {name for name in found if name.replace("~", "_").isidentifier()} - set(mapping.lets)


def _tensors(term: m.Term) -> tuple[m.Tensor, ...]:
    return term.content.tensors if isinstance(term.content, m.Stored) else ()


def _config(state: _State, config: Map[str, Any], config_name: str) -> bool:
    """Read the config lines whose conditions are known to hold, each once. No config says nothing, not even a fallback."""
    if not config:
        return False
    changed = False
    for number, line in enumerate(state.mapping.config):
        if number in state.config_done or active(line.guards, state.known) is not True:
            continue
        state.config_done.add(number)
        observed = evidence.from_config(line, config, config_name, state.known)
        if observed.equation is not None:
            state.equations.append(observed.equation)
            changed = True
        if observed.finding is not None:
            state.findings.append(observed.finding)
        if observed.binding is not None:
            changed |= _put(state, line, config_name, *observed.binding)
    return changed


def _put(state: _State, line: m.ConfigRule, config_name: str, name: str, value: Any) -> bool:
    """Take note of a value that a config line gives."""
    param = state.mapping.params.get(name)
    if param is not None and param.variants:
        value = _word(value)
        if value not in param.variants:
            state.findings.append(
                Diagnostic(
                    "unknown-variant",
                    f"{config_name} says `{value}`, and `{name}` has no such variant",
                    (Label(line.span, f"read here; the variants are {', '.join(param.variants)}"),),
                )
            )
            return False
    held = state.known.values.get(name)
    if name in state.known.values and held != value:
        if name in state.set_by_user or name in state.inferred:
            return False
        state.findings.append(
            Diagnostic(
                "contradiction",
                f"`{name}` has two values: {held} and {value}",
                (Label(line.span, f"{config_name} says so here"),),
            )
        )
    return state.known.put(name, value)


def _virtual(state: _State) -> None:
    """Both layouts of a virtual tensor have the same sizes."""
    seen: dict[str, m.Tensor] = {}
    for rule in state.mapping.rules:
        if active(rule.guards, state.known) is False:
            continue
        for term in (*rule.left, *rule.right):
            for tensor in _tensors(term):
                if not tensor.template.virtual:
                    continue
                key = "|".join(sorted(shape.text for shape in shapes(tensor.template)))
                if key in seen:
                    state.equations.extend(evidence.layout_equal(seen[key].layout, tensor.layout, tensor.span))
                else:
                    seen[key] = tensor


def active(guards: Iterable[m.Guard], known: Known, place: Map[str, int] | None = None) -> bool | None:
    """Say whether all conditions hold; None where that is not known, or depends on a position."""
    result: bool | None = True
    for guard in guards:
        value = known.evaluate(guard.condition, place or {})
        if isinstance(value, Missing):
            result = None
        elif bool(value) == guard.negated:
            return False
    return result


def position_names(guard: m.Guard, mapping: m.Mapping) -> tuple[str, ...]:
    """List the indices that a condition depends on."""
    found: dict[str, None] = {}
    pending = list(names_in(guard.condition))
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in mapping.indices:
            found[name] = None
        elif name in mapping.lets:
            pending.extend(names_in(mapping.lets[name]))
    return tuple(sorted(found))


def _undecided(rule: m.Rule, state: _State) -> bool:
    """Say whether a condition of a rule is still open for a reason other than a position."""
    for guard in rule.guards:
        places = position_names(guard, state.mapping)
        value = state.known.evaluate(guard.condition, dict.fromkeys(places, 0))
        if isinstance(value, Missing):
            return True
    return False


def _uses(state: _State) -> Iterator[_Use]:
    """List the source tensors of all rules whose conditions do not fail."""
    for rule in state.mapping.rules:
        if active(rule.guards, state.known) is False:
            continue
        for term in rule.left:
            for tensor in _tensors(term):
                for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
                    if template.virtual or template.wild:
                        continue
                    for shape in shapes(template):
                        yield _Use(rule, tensor, template, shape)


# --- shapes ---------------------------------------------------------------------------------------------------------------


def _shapes(state: _State) -> bool:
    """Read the sizes of every source tensor that is known to be meant by a rule that holds."""
    uses = list(_uses(state))
    shared: dict[str, int] = {}
    slots: dict[str, set[tuple[Any, ...]]] = {}
    for use in uses:
        key = tuple(slot if isinstance(slot, int) else "#" for slot in use.shape.slots)
        slots.setdefault(use.shape.text, set()).add((use.rule.number, key))
    for text, kinds in slots.items():
        shared[text] = len(kinds)
    changed = False
    for use in uses:
        if all(isinstance(axis, Rest) for axis in use.tensor.layout.axes) or _undecided(use.rule, state):
            continue
        for entry, place in _meant(use, shared[use.shape.text] > 1, state):
            mark = (use.rule.number, use.shape.text + str(use.tensor.span.start), entry.info.shape)
            if use.tensor.layout and mark in state.done and not _ragged(use.tensor):
                continue
            state.done.add(mark)
            changed = True
            found = evidence.from_shape(use.tensor, entry, place, state.known)
            if isinstance(found, Diagnostic):
                state.findings.append(found)
            else:
                state.equations.extend(found)
    return changed


def _generated(state: _State) -> bool:
    """What a generator makes has the shape of the tensor that it is equal to."""
    changed = False
    for rule in state.mapping.rules:
        if rule.number in state.generated or active(rule.guards, state.known) is not True:
            continue
        for one, other in ((rule.left, rule.right), (rule.right, rule.left)):
            if len(one) != 1 or not isinstance(one[0].content, m.Generated):
                continue
            arguments = [state.known.evaluate(each) for each in one[0].content.arguments]
            if any(isinstance(each, Missing) for each in arguments):
                continue
            state.generated.add(rule.number)
            try:
                shape = generator_shapes.shape(one[0].content.name, arguments)
            except (ValueError, KeyError):
                continue  # said where the tensor is made or checked
            for tensor in (tensor for term in other for tensor in _tensors(term)):
                changed |= _shaped(tensor, shape, one[0].content.name, state)
    return changed


def _shaped(tensor: m.Tensor, shape: tuple[int, ...], name: str, state: _State) -> bool:
    axes = tensor.layout.axes
    if any(isinstance(axis, Rest) for axis in axes) or len(axes) != len(shape):
        return False
    for axis, size in zip(axes, shape, strict=True):
        witness = Witness(f"`{name}` makes {list(shape)}", axis_span(axis) or tensor.span, evidence.SHAPE)
        state.equations.append(Equation(evidence.settle(axis_size(axis), state.known, {}), size, witness))
    return True


def axis_span(axis: Node) -> Span | None:
    """Return where an axis is written."""
    return axis.span


def _ragged(tensor: m.Tensor) -> bool:
    return False


def _meant(use: _Use, shared: bool, state: _State) -> Iterator[tuple[Entry, Map[str, int]]]:
    """List the names that a use stands for with certainty, one for each shape where that is enough."""
    known = state.known
    by_place = any(position_names(guard, state.mapping) for guard in use.rule.guards)
    if not shared and not by_place:
        for entry in state.names.forms(use.shape.text):
            if fits(use.shape, entry.numbers, known.size):
                yield entry, positions(use.shape, entry.numbers, known.size, known.count) or {}
        return
    if any(known.size(slot.offset) is None for slot in use.shape.slots if isinstance(slot, NumberHole)):
        return
    if shared and any(known.count(index) is None for index in use.template.indices):
        return
    for entry in state.names.groups.get(use.shape.text, ()):
        place = positions(use.shape, entry.numbers, known.size, known.count)
        if place is not None and active(use.rule.guards, known, place):
            yield entry, place


# --- solving --------------------------------------------------------------------------------------------------------------


def _solve(state: _State) -> bool:
    """Solve for dimensions; take note of the new ones."""
    known = {
        name: value
        for name, value in state.known.values.items()
        if isinstance(value, int) and not isinstance(value, bool) and name in state.set_by_user
    }
    equations = []
    for each in state.equations:
        size = evidence.settle(each.size, state.known, {})
        equations.append(each if size == each.size else Equation(size, each.value, each.witness))
    state.solution = solve(equations, known)
    changed = False
    for name, value in sorted(state.solution.values.items()):
        if name not in state.known.values or state.known.values[name] != value:
            held = state.known.values.get(name)
            if isinstance(held, (bool, str)) or (held is not None and name in state.set_by_user):
                continue
            changed |= state.known.put(name, value)
    return changed


# --- ranges ---------------------------------------------------------------------------------------------------------------


def _ranges(state: _State) -> bool:
    """Read the ranges of indices that nothing else determines off the names."""
    known = state.known
    uses = [use for use in _uses(state) if not _undecided(use.rule, state)]
    groups: dict[str, list[_Use]] = {}
    for use in uses:
        groups.setdefault(use.shape.text, []).append(use)
    before = len(state.equations)
    changed = False
    for text, group in groups.items():
        entries = state.names.groups.get(text, ())
        if not entries:
            continue
        for use in group:
            open_indices = [index for index in use.template.indices if known.count(index) is None]
            for name in open_indices:
                index = state.mapping.indices[name]
                if index.of is not None:
                    changed |= _ragged_range(index, use.shape, entries, state)
            if not open_indices:
                continue
            others = [
                other
                for other in group
                if other.shape.slots != use.shape.slots and not _same_slots(other.shape, use.shape)
            ]
            if any(known.count(index) is None for other in others for index in other.template.indices):
                continue

            def taken(entry: Entry, others: list[_Use] = others) -> bool:
                return any(
                    positions(other.shape, entry.numbers, known.size, known.count) is not None for other in others
                )

            state.equations.extend(evidence.from_names(use.shape, entries, known, taken, use.tensor.span))
    if len(state.equations) > before:
        state.equations[before:] = _largest(state.equations[before:])
        return _solve(state) or changed
    return changed


def _largest(equations: list[Equation]) -> list[Equation]:
    """Keep, for each size, what the largest number in any name says."""
    best: dict[Polynomial, Equation] = {}
    for each in equations:
        if each.size not in best or best[each.size].value < each.value:
            best[each.size] = each
    return list(best.values())


def _same_slots(one: Shape, other: Shape) -> bool:
    """Say whether two forms hold the same arithmetic, so that they see the same numbers."""
    return all(
        a == b or (isinstance(a, NumberHole) and isinstance(b, NumberHole) and a.parts == b.parts and a.offset == b.offset)
        for a, b in zip(one.slots, other.slots, strict=True)
    )


def _ragged_range(index: m.Index, shape: Shape, entries: Iterable[Entry], state: _State) -> bool:
    """Learn a list such as `stages` from the names."""
    base = str(index.size).partition("[")[0]
    if not isinstance(state.known.evaluate(_name(base, index)), Missing):
        return False
    counts = evidence.ragged_counts(index, shape, tuple(entries), state.known)
    if not counts or set(counts) != set(range(len(counts))):
        return False
    return state.known.put(base, tuple(counts[k] for k in range(len(counts))))


def _name(text: str, index: m.Index) -> Any:
    return syntax.Name(text, index.span)  # type: ignore[arg-type]


# --- variants and defaults ------------------------------------------------------------------------------------------------


def _variants(state: _State) -> bool:
    """Infer named variants from the names that are present."""
    changed = False
    for param in state.mapping.params.values():
        if not param.variants or param.name in state.known.values:
            continue
        possible = _possible(param, state)
        if possible is not None and len(possible) == 1:
            state.inferred.add(param.name)
            changed |= state.known.put(param.name, possible[0])
            state.notes.append(f"{param.name} = {possible[0]}, as the names say")
    return changed


def _possible(param: m.Param, state: _State) -> tuple[str, ...] | None:
    """List the variants that the names allow; None where names do not tell them apart."""
    required: dict[str, list[Shape]] = {}
    meant: dict[str, set[str]] = {}
    guarded = [rule for rule in state.mapping.rules if any(param.name in names_in(g.condition) for g in rule.guards)]
    for variant in param.variants:
        state.known.values[param.name] = variant
        required[variant], meant[variant] = [], set()
        for rule in guarded:
            holds = active(rule.guards, state.known)
            if holds is False:
                continue
            for term in rule.left:
                for tensor in _tensors(term):
                    if tensor.template.virtual or tensor.template.wild:
                        continue
                    for shape in shapes(tensor.template):
                        meant[variant].add(_form(shape, state.known))
                        if holds and not rule.optional:
                            required[variant].append(shape)
    state.known.drop(param.name)
    if len({frozenset(each) for each in meant.values()}) <= 1:
        return None
    everything = set().union(*meant.values())
    size = state.known.size
    present = {
        form
        for form in everything
        if any(
            _form_matches(form, entry.numbers) for entry in state.names.groups.get(form.partition("|")[0], ())
        )
    }
    return tuple(
        variant
        for variant in param.variants
        if all(state.names.has(shape, size) for shape in required[variant])
        and not (present & (everything - meant[variant]))
    )


def _form(shape: Shape, known: Known) -> str:
    """Write a shape as text, its literals and the holes whose number is known included."""
    slots = []
    for slot in shape.slots:
        if isinstance(slot, int):
            slots.append(str(slot))
        else:
            number = None if slot.parts else known.size(slot.offset)
            slots.append("#" if number is None else str(number))
    return shape.text + "|" + ",".join(slots)


def _form_matches(form: str, numbers: tuple[int, ...]) -> bool:
    slots = form.partition("|")[2]
    if not slots:
        return True
    return all(a in ("#", str(b)) for a, b in zip(slots.split(","), numbers, strict=True))


def _variant(param: m.Param) -> str:
    """Return the variant that is a param's default: a word, as its variants are."""
    match param.default:
        case syntax.Name(text=text):
            return text
        case syntax.String(value=value):
            return value
        case _:
            return ""


def _defaults(state: _State) -> bool:
    """Take one default, in the order of the file, for what nothing determines."""
    for param in state.mapping.params.values():
        if param.default is None or param.name in state.known.values:
            continue
        if state.known.dimension(param.name) is not None:
            continue
        value = _variant(param) if param.variants else state.known.evaluate(param.default)
        if isinstance(value, Missing):
            continue
        shown = print_expression(param.default)
        state.notes.append(f"{param.name} = {shown}, the default")
        if isinstance(value, int) and not isinstance(value, bool):
            witness = Witness(f"the default of `{param.name}` is {shown}", param.span, evidence.DEFAULT)
            state.equations.append(Equation(Polynomial.dimension(param.name), value, witness))
        state.known.put(param.name, value)
        _solve(state)
        return True
    return False


# --- the end --------------------------------------------------------------------------------------------------------------


def _conclude(state: _State) -> None:
    """Report contradictions, choices that are missing, dimensions that stay open, and requirements that fail."""
    findings = list(state.findings)
    solution = state.solution
    if solution is not None:
        failed = _requirements(state)
        if solution.contradictions:
            findings.extend(_contradiction(each, state) for each in solution.contradictions)
        findings.extend(failed)
    if findings:
        raise CheckpointError(_unique(findings))
    missing = _choices(state)
    if missing:
        raise MappingError(missing)
    open_names = _open(state)
    if open_names:
        raise CheckpointError(_underdetermined(open_names, state))


def _unique(findings: list[Diagnostic]) -> list[Diagnostic]:
    return list(dict.fromkeys(findings))


def _contradiction(each: Contradiction, state: _State) -> Diagnostic:
    labels = []
    for k, witness in enumerate(each.witnesses):
        if witness.span is not None:
            labels.append(Label(witness.span, witness.text, k == 0))
    notes = [witness.text for witness in each.witnesses if witness.span is None]
    return Diagnostic(each.slug, each.message, tuple(labels), tuple(notes))


def _requirements(state: _State) -> list[Diagnostic]:
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


def _places(each: m.Requirement, state: _State) -> Iterator[dict[str, int]]:
    """Yield the positions of the indices that a requirement or its conditions depend on."""
    mapping = state.mapping
    own = m.Guard(each.condition, False, 0)
    needed = sorted({name for guard in (*each.guards, own) for name in position_names(guard, mapping)})
    counts = [state.known.count(name) for name in needed]
    yield from (
        dict(zip(needed, chosen, strict=True))
        for chosen in islice(product(*(range(count or 0) for count in counts)), MOST_PLACES)
    )


def _failed(each: m.Requirement, place: Map[str, int], state: _State) -> Diagnostic:
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


def _leaves(expression: Any, state: _State) -> list[str]:
    found: list[str] = []
    for name in names_in(expression):
        found.append(name)
        if name in state.mapping.lets:
            found.extend(_leaves(state.mapping.lets[name], state))
    return found


def _choices(state: _State) -> list[Diagnostic]:
    """Report the params without which some condition or size cannot be decided."""
    needed: dict[str, m.Rule] = {}
    for rule in state.mapping.rules:
        if active(rule.guards, state.known) is False or not _undecided(rule, state):
            continue
        for guard in rule.guards:
            value = state.known.evaluate(guard.condition, dict.fromkeys(position_names(guard, state.mapping), 0))
            if isinstance(value, Missing):
                for name in value.names:
                    needed.setdefault(name, rule)
    found: list[Diagnostic] = []
    for name, rule in needed.items():
        param = state.mapping.params.get(name)
        if param is None:
            found.append(
                Diagnostic(
                    "unknown-value",
                    f"nothing says what `{name}` is, and a condition depends on it",
                    (Label(rule.span, "this rule holds or not by it"),),
                    help=(f"set it: `--set {name}=...`",),
                )
            )
        else:
            choices = " or ".join(f"`--set {name}={variant}`" for variant in param.variants) or f"`--set {name}=...`"
            what = f": {param.text}" if param.text else ""
            found.append(
                Diagnostic(
                    "choice-needed",
                    f"`{name}` must be chosen{what}",
                    (Label(param.span, "neither names nor shapes tell its variants apart"),),
                    help=(f"say {choices}",),
                )
            )
    return found


def _open(state: _State) -> dict[str, m.Rule]:
    """List the dimensions without a value that rules which hold depend on."""
    found: dict[str, m.Rule] = {}
    for rule in state.mapping.rules:
        if active(rule.guards, state.known) is False or (rule.optional and not _present(rule, state)):
            continue
        if not any(_tensors(term) for term in rule.right) and not _present(rule, state):
            continue
        for term in (*rule.left, *rule.right):
            layouts = [tensor.layout for tensor in _tensors(term)]
            if isinstance(term.content, m.Fixed) and term.content.layout is not None:
                layouts.append(term.content.layout)
            sizes = [
                axis_size(axis) for layout in layouts for axis in layout.axes if isinstance(axis, (Leaf, Product, Sum))
            ]
            sizes.extend(atom.size for layout in layouts for atom in atoms(layout))
            for tensor in _tensors(term):
                for part in tensor.template.parts:
                    if isinstance(part, NumberHole):
                        sizes.append(part.offset)
                        sizes.extend(state.mapping.indices[index].size for index, _ in part.parts)
                    elif isinstance(part, WordHole):
                        continue
            for polynomial in sizes:
                for name in polynomial.dimensions:
                    if name.endswith("]"):
                        continue
                    if state.known.dimension(name) is None:
                        for leaf in _base_names(name, state):
                            found.setdefault(leaf, rule)
    return found


def _base_names(name: str, state: _State) -> tuple[str, ...]:
    if name in state.mapping.derived:
        value = state.known.evaluate(state.mapping.derived[name])
        return value.names if isinstance(value, Missing) else ()
    if name in state.mapping.sums:
        _, inner = state.mapping.sums[name]
        return tuple(each for each in inner.dimensions if state.known.dimension(each, {}) is None)
    return (name,)


def _present(rule: m.Rule, state: _State) -> bool:
    """Say whether any source tensor of a rule can be there."""
    for term in rule.left:
        for tensor in _tensors(term):
            if tensor.template.virtual:
                return True
            for shape in shapes(tensor.template):
                if state.names.groups.get(shape.text):
                    return True
    return False


def _underdetermined(names: Map[str, m.Rule], state: _State) -> list[Diagnostic]:
    free = state.solution.free if state.solution is not None else ()
    facts = tuple(str(each) for each in free)
    return [
        Diagnostic(
            "underdetermined",
            f"nothing determines `{name}`",
            (Label(rule.span, "needed here"),),
            tuple(fact for fact in facts if name in fact.replace("*", " ").split()),
            (f"set it: `--set {name}=...`, or give a config that says it",),
        )
        for name, rule in names.items()
    ]
