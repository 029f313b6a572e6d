"""Observe a checkpoint: each function reads one kind of evidence into the state, and says whether that was anything new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Map
from typing import Any

from tensormap.diagnostics import Diagnostic, Label, Span
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing
from tensormap.language.layout import Node, Rest, atoms
from tensormap.language.layout import size as axis_size
from tensormap.language.names import NumberHole, Shape, apart, numbers, shapes
from tensormap.language.polynomial import Polynomial
from tensormap.lowering import evidence, generator_shapes
from tensormap.lowering.matching import Entry, fits, positions, reader
from tensormap.lowering.solve import Equation, Witness, solve
from tensormap.lowering.state import State, Use, active, position_names, says, undecided, uses_of, word


def read_config(state: State, config: Map[str, Any], config_name: str) -> bool:
    """Read the config lines whose conditions are known to hold, each once. No config says nothing, not even a fallback."""
    if not config:
        return False
    changed = False
    strength = evidence.OVERRULED if state.trust == "shapes" else evidence.CONFIG
    for number, line in enumerate(state.mapping.config):
        if number in state.config_done or says(line, state.known) is not True:
            continue
        state.config_done.add(number)
        observed = evidence.from_config(line, config, config_name, state.known, strength)
        if observed.equation is not None:
            state.equations.append(observed.equation)
            changed = True
        if observed.finding is not None:
            state.findings.append(observed.finding)
        if observed.binding is not None:
            changed |= _put(state, line, config_name, *observed.binding)
    return changed


def _put(state: State, line: m.ConfigRule, config_name: str, name: str, value: Any) -> bool:
    """Take note of a value that a config line gives."""
    param = state.mapping.params.get(name)
    if param is not None and param.variants:
        value = word(value)
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


def read_virtual(state: State) -> bool:
    """Both layouts of a virtual tensor have the same sizes."""
    changed = False
    for rule in state.mapping.rules:
        if rule.number in state.joined or active(rule.guards, state.known) is False or undecided(rule, state):
            continue
        for tensor in (tensor for term in (*rule.left, *rule.right) for tensor in term.tensors):
            if not tensor.template.virtual:
                continue
            state.joined.add(rule.number)
            key = "|".join(sorted(shape.text for shape in shapes(tensor.template)))
            first = state.virtual.setdefault(key, tensor)
            if first is not tensor:
                state.equations.extend(evidence.layout_equal(first.layout, tensor.layout, tensor.span))
                changed = True
    return changed


def read_shapes(state: State) -> bool:
    """Read the sizes of every source tensor that is known to be meant by a rule that holds."""
    groups = _groups(uses_of(state))
    changed = False
    for use in (use for group in groups.values() for use in group):
        if all(isinstance(axis, Rest) for axis in use.tensor.layout.axes) or undecided(use.rule, state):
            continue
        shared = any(_rivals(use, other, state) for other in groups[use.shape.text])
        if any(atom.of is not None for atom in atoms(use.tensor.layout)):
            for name, sizes in evidence.listed(use.tensor, tuple(_every(use, state)), state.known).items():
                changed |= state.known.put(name, sizes)
        done = state.done.setdefault((use.rule.number, use.shape.text + str(use.tensor.span.start)), set())
        for entry, place in _meant(use, state, done, shared=shared):
            done.add(entry.info.shape)
            changed = True
            found = evidence.from_shape(use.tensor, entry, place, state.known)
            if isinstance(found, Diagnostic):
                state.findings.append(found)
            else:
                state.equations.extend(found)
    return changed


def _every(use: Use, state: State) -> Iterator[tuple[Entry, Map[str, int]]]:
    """List all names of a use with their positions."""
    read = reader(use.shape, state.known.size, state.known.count)
    for entry in state.names.entries(use.shape.text):
        place = read(entry.numbers)
        if place is not None:
            yield entry, place


def _groups(uses: Iterable[Use]) -> dict[str, list[Use]]:
    """Put uses whose names look alike together."""
    groups: dict[str, list[Use]] = {}
    for use in uses:
        groups.setdefault(use.shape.text, []).append(use)
    return groups


def _rivals(one: Use, other: Use, state: State) -> bool:
    """Say whether a name could be meant by both: no number that is fixed in both tells them apart."""
    if one.rule is other.rule and one.tensor is other.tensor:
        return False
    return not any(
        a is not None and b is not None and a != b
        for a, b in zip(_fixed(one.shape, state), _fixed(other.shape, state), strict=True)
    )


def _fixed(shape: Shape, state: State) -> tuple[int | None, ...]:
    """Return the numbers of a shape that do not depend on a position, None for the others."""
    return tuple(
        slot if isinstance(slot, int) else None if slot.parts else state.known.size(slot.offset) for slot in shape.slots
    )


def read_generators(state: State) -> bool:
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
            for tensor in (tensor for term in other for tensor in term.tensors):
                changed |= _shaped(tensor, shape, one[0].content.name, state)
    return changed


def _shaped(tensor: m.Tensor, shape: tuple[int, ...], name: str, state: State) -> bool:
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


def _meant(
    use: Use, state: State, done: set[tuple[int, ...]], *, shared: bool
) -> Iterator[tuple[Entry, Map[str, int]]]:
    """List the names that a use stands for with certainty, the first of each shape that is not among those `done`."""
    known = state.known
    needed = tuple(dict.fromkeys(name for guard in use.rule.guards for name in position_names(guard, state.mapping)))
    if not shared and not needed:
        for entry in state.names.forms(use.shape.text, _fixed(use.shape, state)):
            if entry.info.shape not in done:
                yield entry, positions(use.shape, entry.numbers, known.size, known.count) or {}
        return
    if any(known.size(slot.offset) is None for slot in use.shape.slots if isinstance(slot, NumberHole)):
        return
    if shared and any(known.count(index) is None for index in use.template.indices):
        return
    if any(known.count(index) is None for index in needed if state.mapping.indices[index].of is None):
        return  # a condition may not be asked of a layer that there is not
    holds: dict[tuple[int | None, ...], bool | None] = {}
    read = reader(use.shape, known.size, known.count)
    for info in state.names.groups.get(use.shape.text, ()):
        if info.shape in done:  # as the caller sees to; most have the same
            continue
        entry = Entry(numbers(info.name), info)
        place = read(entry.numbers)
        if place is None or any(_beyond(index, place, state) for index in place):
            continue
        key = tuple(place.get(name) for name in needed)
        if key not in holds:
            holds[key] = active(use.rule.guards, known, place)
        if holds[key]:
            yield entry, place


def _beyond(index: str, place: Map[str, int], state: State) -> bool:
    """Say whether a position is known to be none of its index."""
    count = state.known.count(index, place)
    return count is not None and place[index] >= count


def solve_all(state: State) -> bool:
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


def read_ranges(state: State) -> bool:
    """Read the ranges of indices that nothing else determines off the names."""
    known = state.known
    uses = [use for use in uses_of(state) if not undecided(use.rule, state)]
    before = len(state.equations)
    changed = False
    for text, group in _groups(uses).items():
        if text not in state.names.groups:
            continue
        for use in group:
            open_indices = [index for index in use.template.indices if known.count(index) is None]
            if not open_indices:
                continue
            for name in open_indices:
                index = state.mapping.indices[name]
                if index.of is not None:
                    changed |= _ragged_range(index, use.shape, state.names.entries(text), state)
            unlike = [other for other in group if not _same_slots(other.shape, use.shape)]
            others = [each for each in unlike if _rivals(each, use, state) and not _apart(each.shape, use.shape.slots)]
            if any(known.count(index) is None for other in others for index in other.template.indices):
                continue

            last = _last(use, others, state, alone=not unlike)
            if last is not None:
                state.equations.extend(evidence.from_names(use.shape, last, known, use.tensor.span))
    if len(state.equations) > before:
        state.equations[before:] = _largest(state.equations[before:])
        return solve_all(state) or changed
    return changed


def _last(use: Use, others: list[Use], state: State, *, alone: bool) -> Callable[[int, evidence.Reading], Entry] | None:
    """Return the function to a name whose k-th number reads largest, of those that only this use can mean; None if there are none.
    `alone`: no use of the mapping has names that look like these.
    """
    known, text = state.known, use.shape.text
    if alone and all(isinstance(slot, NumberHole) and slot.parts and not slot.joined for slot in use.shape.slots):
        return lambda k, _: state.names.lasts(text)[k]
    readers = [reader(other.shape, known.size, known.count) for other in others]
    own = [
        entry
        for entry in state.names.entries(text)
        if fits(use.shape, entry.numbers, known.size)
        and not _apart(use.shape, entry.numbers)
        and all(read(entry.numbers) is None for read in readers)
    ]
    return (lambda k, read: max(own, key=lambda entry: read(entry.numbers[k]))) if own else None


def _apart(shape: Shape, other: Sequence[int | NumberHole]) -> bool:
    """Say whether what divides the numbers of a shape keeps it apart from numbers, or from another shape's."""
    return any(map(apart, shape.slots, other))


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
        a == b
        or (isinstance(a, NumberHole) and isinstance(b, NumberHole) and a.parts == b.parts and a.offset == b.offset)
        for a, b in zip(one.slots, other.slots, strict=True)
    )


def _ragged_range(index: m.Index, shape: Shape, entries: Iterable[Entry], state: State) -> bool:
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
