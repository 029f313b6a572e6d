"""Where dimensions come from: the source's config, the shapes of its tensors, the indices in their names, the user's settings.

Each function turns one kind of observation into equations or values; `bind` decides in which order they count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from tensormap.diagnostics import Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.arithmetic import same
from tensormap.language.expressions import Missing, evaluate, invert, keys, nested, polynomial
from tensormap.language.expressions import names as names_in
from tensormap.language.layout import Layout, Leaf, Rest, size
from tensormap.language.names import NumberHole, Shape
from tensormap.language.polynomial import Polynomial
from tensormap.language.printer import print_expression
from tensormap.lowering.known import Known
from tensormap.lowering.matching import Entry, positions
from tensormap.lowering.solve import Equation, Witness

SETTING, CONFIG, SHAPE, OVERRULED, NAME, DEFAULT = 50, 40, 30, 25, 20, 10
"""How strong each kind of evidence is when two disagree: a config counts as OVERRULED where the user trusts shapes more."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What a config line gave: an equation, a value for a name, or a finding."""

    equation: Equation | None = None
    binding: tuple[str, Any] | None = None
    finding: Diagnostic | None = None


def from_config(
    rule: m.ConfigRule, config: Map[str, Any], where: str, known: Known, strength: int = CONFIG
) -> Observed:
    """Read one config line of the source's side."""
    if rule.left is None or rule.arrow == "<-":
        return Observed()
    lookup = nested(config)
    read = evaluate(rule.left, lookup)
    if isinstance(read, Missing) or rule.value is None:
        return Observed()
    shown = print_expression(rule.left)
    text = f"{where} says {shown} = {_show(read)}"
    if not names_in(rule.value):
        wanted = known.evaluate(rule.value)
        if isinstance(wanted, Missing) or same(wanted, read):
            return Observed()
        read_from = keys(rule.left)
        absent = bool(read_from) and all(isinstance(lookup(key), Missing) for key in read_from)
        says = "says nothing, which means" if absent else "says"
        return Observed(
            finding=Diagnostic(
                "wrong-model",
                f"this mapping is for `{shown}` = {_show(wanted)}, and {where} {says} {_show(read)}",
                (Label(rule.span, "required here"),),
            )
        )
    size_of_value = polynomial(rule.value, known.mapping.lets)
    name = rule.value.text if isinstance(rule.value, syntax.Name) else None
    is_size = size_of_value is not None and (name is None or name in known.sizes)
    if isinstance(read, float) and read.is_integer() and is_size:
        read = int(read)
    if size_of_value is not None and isinstance(read, int) and not isinstance(read, bool):
        return Observed(equation=Equation(size_of_value, read, Witness(text, rule.span, strength)))
    if name is not None and (read is None or not is_size):
        return Observed(binding=(name, read))
    if is_size:
        return Observed(
            finding=Diagnostic(
                "bad-config", f"{text}, which is no size", (Label(rule.span, "a whole number is expected here"),)
            )
        )
    return Observed(binding=invert(rule.value, read, known.values))


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if value is None:
        return "none"
    text = f"[{', '.join(map(_show, value))}]" if isinstance(value, list | tuple) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def from_shape(tensor: m.Tensor, entry: Entry, place: Map[str, int], known: Known) -> tuple[Equation, ...] | Diagnostic:
    """Read the sizes of one tensor; a Diagnostic where its rank is not that of its layout."""
    axes = tensor.layout.axes
    shape = entry.info.shape
    rest = next((k for k, axis in enumerate(axes) if isinstance(axis, Rest)), None)
    fixed = len(axes) - (rest is not None)
    if len(shape) < fixed or (rest is None and len(shape) != fixed):
        expected = f"{fixed} axes" if rest is None else f"at least {fixed} axes"
        return Diagnostic(
            "wrong-rank",
            f"`{entry.info.name}` is {list(shape)}, and its layout has {expected}",
            (Label(tensor.layout.span or tensor.span, expected),),
        )
    equations: list[Equation] = []
    for k, axis in enumerate(axes):
        if isinstance(axis, Rest):
            continue
        at = k if rest is None or k < rest else k - len(axes) + len(shape)
        extent = settle(size(axis), known, place)
        if any(name.endswith("]") for name in extent.dimensions):
            continue  # a size for each position: `listed` reads the whole list
        span = axis.span or tensor.layout.span or tensor.span
        text = f"{entry.info.name} is {list(shape)}"
        equations.append(Equation(extent, shape[at], Witness(text, span, SHAPE)))
    return tuple(equations)


def listed(
    tensor: m.Tensor, entries: Sequence[tuple[Entry, Map[str, int]]], known: Known
) -> dict[str, tuple[int, ...]]:
    """Read lists such as `v` of `[v[r] e]` off the shapes of all positions, where every position is there."""
    found: dict[str, tuple[int, ...]] = {}
    for k, axis in enumerate(tensor.layout.axes):
        if not isinstance(axis, Leaf) or axis.atom.of is None or axis.per != 1 or Rest in map(type, tensor.layout.axes):
            continue
        base = axis.atom.name.partition("[")[0]
        if not isinstance(known.evaluate(syntax.Name(base, tensor.span)), Missing):
            continue
        sizes = {place[axis.atom.of]: entry.info.shape[k] for entry, place in entries if axis.atom.of in place}
        if sizes and set(sizes) == set(range(len(sizes))):
            found[base] = tuple(sizes[position] for position in range(len(sizes)))
    return found


def settle(polynomial: Polynomial, known: Known, place: Map[str, int]) -> Polynomial:
    """Replace what is worked out rather than solved for: derived sizes, and sizes that depend on a position."""
    if all(name.isidentifier() for name in polynomial.dimensions):
        return polynomial
    found = {
        name: value
        for name in polynomial.dimensions
        if not name.isidentifier() and (value := known.dimension(name, place)) is not None
    }
    return polynomial.substitute(found)


def hole_total(hole: NumberHole, known: Known) -> Polynomial | None:
    """Return one more than the largest number a hole can hold, as a polynomial. Where it counts down, its first is the largest."""
    if hole.ragged:
        return None
    total = hole.offset + Polynomial.number(1)
    for index, stride in hole.parts:
        signs = {coefficient > 0 for _, coefficient in stride.terms}
        if len(signs) > 1:
            return None
        if True in signs:
            total = total + stride * (known.mapping.indices[index].size - Polynomial.number(1))
    return total


Reading: TypeAlias = Callable[[int], int]
"""What of a number in a name stands in one hole."""


def _whole(number: int) -> int:
    return number


def _holes(shape: Shape) -> Iterator[tuple[int, NumberHole, Reading]]:
    """Yield the holes of a shape, each with the place of its number and how it is read."""
    for k, slot in enumerate(shape.slots):
        if isinstance(slot, int):
            continue
        if not slot.joined:
            yield k, slot, _whole
            continue
        for hole, unit, above in slot.joined:
            yield k, hole, partial(_digits, unit=unit, above=above)


def _digits(number: int, unit: int, above: int) -> int:
    """Return the digits from the one that counts `unit` up to the one that counts `above`, or all above where that is 0."""
    return (number % above if above else number) // unit


def from_names(shape: Shape, last: Callable[[int, Reading], Entry], known: Known, span: Any) -> list[Equation]:
    """Read the ranges of indices off the numbers in names. `last` returns the name whose k-th number reads largest."""
    equations: list[Equation] = []
    for k, slot, read in _holes(shape):
        if not slot.parts or slot.ragged:
            continue
        if all(known.count(index) is not None for index, _ in slot.parts):
            continue
        if any(known.mapping.indices[index].of is not None for index, _ in slot.parts):
            continue  # as many as another index says, position by position: `ragged_counts`
        total = hole_total(slot, known)
        if total is None:
            continue
        numbers, info = last(k, read)
        text = f"names go up to {info.name}"
        equations.append(Equation(total, read(numbers[k]) + 1, Witness(text, span, NAME)))
    return equations


def ragged_counts(index: m.Index, shape: Shape, entries: Sequence[Entry], known: Known) -> dict[int, int]:
    """Count the positions of an index that depends on another, for each position of that one, from names."""
    counts: dict[int, int] = {}
    for entry in entries:
        found = positions(shape, entry.numbers, known.size, known.count)
        if found is None or index.of is None or index.name not in found or index.of not in found:
            continue
        outer = found[index.of]
        counts[outer] = max(counts.get(outer, 0), found[index.name] + 1)
    return counts


def layout_equal(one: Layout, other: Layout, span: Any) -> list[Equation]:
    """State that two layouts of one virtual tensor have the same sizes, axis by axis."""
    if len(one.axes) != len(other.axes):
        return []
    found: list[Equation] = []
    for a, b in zip(one.axes, other.axes, strict=True):
        if isinstance(a, Rest) or isinstance(b, Rest):
            if type(a) is type(b):
                continue
            return []
        difference = size(a) - size(b)
        if difference.terms:
            text = f"both layouts of one tensor have this size: {size(a)} and {size(b)}"
            found.append(Equation(difference, 0, Witness(text, span, SHAPE)))
    return found
