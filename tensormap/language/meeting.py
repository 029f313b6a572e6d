"""Whether names of different rules can meet on one side: proved apart, proved the same, or left open until sizes are known."""

from __future__ import annotations

from dataclasses import dataclass

from tensormap.diagnostics import Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.names import NumberHole, Shape, Template, shapes
from tensormap.language.polynomial import Polynomial
from tensormap.language.printer import print_expression

ONE = Polynomial.number(1)


@dataclass(frozen=True, slots=True)
class Meetings:
    """Pairs proved apart, errors, and sentences on the pairs that are left open."""

    apart: int
    errors: tuple[Diagnostic, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Use:
    rule: m.Rule
    tensor: m.Tensor
    template: Template
    shape: Shape


def meetings(mapping: m.Mapping) -> Meetings:
    """Compare all templates of each side that look alike."""
    apart = 0
    errors: list[Diagnostic] = []
    undecided: dict[str, None] = {}
    for side in (0, 1):
        groups: dict[str, list[_Use]] = {}
        for rule in mapping.rules:
            for term in (rule.left, rule.right)[side]:
                for tensor in term.content.tensors if isinstance(term.content, m.Stored) else ():
                    for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
                        if template.wild or template.virtual:
                            continue
                        for shape in shapes(template):
                            groups.setdefault(shape.text, []).append(_Use(rule, tensor, template, shape))
        for group in groups.values():
            for k, one in enumerate(group):
                for other in group[:k]:
                    if one.tensor is other.tensor and one.template is other.template:
                        continue
                    verdict = _compare(one, other, mapping)
                    if verdict is True:
                        apart += 1
                    elif verdict is False:
                        errors.append(_same(one, other, mapping.sides[side].name))
                    else:
                        undecided[f"names: `{other.template}` and `{one.template}` do not meet"] = None
    unique = list({(each.labels[0].span, each.labels[-1].span): each for each in errors}.values())
    return Meetings(apart, tuple(unique), tuple(undecided))


def _same(one: _Use, other: _Use, side: str) -> Diagnostic:
    return Diagnostic(
        "names-meet",
        f"two tensors of side `{side}` have the same names",
        (Label(one.tensor.span, f"`{one.template}`"), Label(other.tensor.span, f"`{other.template}`", False)),
        help=("put them under conditions that exclude each other, or join them in one rule",),
    )


def _compare(one: _Use, other: _Use, mapping: m.Mapping) -> bool | None:
    """Return True where names cannot meet, False where they are the same, None where that depends on sizes."""
    if exclusive(one.rule, other.rule):
        return True
    same = True
    for a, b in zip(one.shape.slots, other.shape.slots, strict=True):
        if _disjoint(a, b, mapping):
            return True
        same = same and _equal(a, b)
    if not same:
        return None
    if _conditional(one.rule) != _conditional(other.rule):
        return None
    return False


def _conditional(rule: m.Rule) -> frozenset[tuple[str, bool]]:
    return frozenset(_normal(guard.condition, negated=guard.negated) for guard in rule.guards)


def exclusive(one: m.Rule, other: m.Rule) -> bool:
    """Say whether conditions of two rules exclude each other, whatever the values."""
    for a in one.guards:
        for b in other.guards:
            if a.scope == b.scope and a.negated != b.negated:
                return True
            left, right = _normal(a.condition, negated=a.negated), _normal(b.condition, negated=b.negated)
            if left[0] == right[0] and left[1] != right[1]:
                return True
            if not a.negated and not b.negated and _different_constants(a.condition, b.condition):
                return True
    return False


def _normal(condition: syntax.Expression, *, negated: bool) -> tuple[str, bool]:
    while isinstance(condition, syntax.Unary) and condition.operator == "not":
        condition, negated = condition.operand, not negated
    if isinstance(condition, syntax.Binary) and condition.operator == "!=":
        return print_expression(syntax.Binary("==", condition.left, condition.right, condition.span)), not negated
    return print_expression(condition), negated


def _different_constants(one: syntax.Expression, other: syntax.Expression) -> bool:
    """Say whether two conditions compare one thing with different constants."""
    a, b = _choices(one), _choices(other)
    return a is not None and b is not None and a[0] == b[0] and not a[1] & b[1]


def _choices(condition: syntax.Expression) -> tuple[str, frozenset[str]] | None:
    match condition:
        case syntax.Binary(operator="==", left=left, right=syntax.String() | syntax.Integer() as constant):
            return print_expression(left), frozenset((print_expression(constant),))
        case syntax.Binary(operator="in", left=left, right=syntax.List(items=items)):
            if all(isinstance(each, syntax.String | syntax.Integer) for each in items):
                return print_expression(left), frozenset(print_expression(each) for each in items)
            return None
        case syntax.Binary(operator="and", left=left, right=right):
            return _choices(left) or _choices(right)
        case _:
            return None


def _range(slot: int | NumberHole, mapping: m.Mapping) -> tuple[Polynomial, Polynomial] | None:
    """Return the first number a slot can hold and the one behind the last."""
    if isinstance(slot, int):
        return Polynomial.number(slot), Polynomial.number(slot + 1)
    if slot.ragged:
        return None
    stop = slot.offset + ONE
    for index, stride in slot.parts:
        stop = stop + stride * (mapping.indices[index].size - ONE)
    return slot.offset, stop


def _disjoint(a: int | NumberHole, b: int | NumberHole, mapping: m.Mapping) -> bool:
    one, other = _range(a, mapping), _range(b, mapping)
    if one is None or other is None:
        return False
    return _at_most(one[1], other[0]) or _at_most(other[1], one[0])


def _at_most(low: Polynomial, high: Polynomial) -> bool:
    """Say whether `high - low` is never negative: no negative coefficient, dimensions being at least 0."""
    return all(coefficient >= 0 for _, coefficient in (high - low).terms)


def _equal(a: int | NumberHole, b: int | NumberHole) -> bool:
    if isinstance(a, int) or isinstance(b, int):
        if isinstance(a, int) and isinstance(b, int):
            return a == b
        hole, number = (a, b) if isinstance(b, int) else (b, a)
        assert isinstance(hole, NumberHole)
        return not hole.parts and hole.offset.value == number
    return a.offset == b.offset and [s for _, s in a.parts] == [s for _, s in b.parts]
