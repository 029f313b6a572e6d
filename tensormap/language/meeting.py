"""Whether names of different rules can meet on one side: proved apart, proved the same, or left open until sizes are known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tensormap.diagnostics import Diagnostic, Label, Span
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.names import NumberHole, Shape, Template, apart, shapes
from tensormap.language.polynomial import Polynomial
from tensormap.language.printer import print_expression

ONE = Polynomial.number(1)
MOST = 100_000
"""Comparisons of names that look alike. The largest mapping of the library needs some hundreds."""


@dataclass(frozen=True, slots=True)
class Meetings:
    """Pairs proved apart, errors, and sentences on the pairs that are left open."""

    apart: int
    errors: tuple[Diagnostic, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Conditions:
    """What is asked of a rule's conditions when they are held against those of another rule."""

    negated: dict[int, bool]  # by the number of the `when`
    truth: dict[str, frozenset[bool]]  # of each condition, written without `not`
    choices: dict[
        str, tuple[frozenset[str], ...]
    ]  # the constants that a thing is compared with, where that is not negated

    @staticmethod
    def of(rule: m.Rule) -> _Conditions:
        truth: dict[str, frozenset[bool]] = {}
        choices: dict[str, tuple[frozenset[str], ...]] = {}
        for guard in rule.guards:
            text, negated = _normal(guard.condition, negated=guard.negated)
            truth[text] = truth.get(text, frozenset()) | {not negated}
            chosen = None if guard.negated else _choices(guard.condition)
            if chosen is not None:
                choices[chosen[0]] = (*choices.get(chosen[0], ()), chosen[1])
        return _Conditions({each.scope: each.negated for each in rule.guards}, truth, choices)

    def exclude(self, other: _Conditions) -> bool:
        """Say whether the conditions of two rules exclude each other, whatever the values."""
        return (
            any(other.negated.get(scope, negated) != negated for scope, negated in self.negated.items())
            or any(len(values | other.truth.get(text, values)) > 1 for text, values in self.truth.items())
            or any(
                not mine & theirs
                for thing, sets in self.choices.items()
                for mine in sets
                for theirs in other.choices.get(thing, ())
            )
        )


@dataclass(frozen=True, slots=True)
class _Use:
    rule: m.Rule
    conditions: _Conditions
    tensor: m.Tensor
    template: Template
    shape: Shape


def meetings(mapping: m.Mapping) -> Meetings:
    """Compare all templates of each side that look alike."""
    apart = 0
    errors: dict[tuple[Span, Span], Diagnostic] = {}
    undecided: dict[str, None] = {}
    left = MOST
    conditions = [_Conditions.of(rule) for rule in mapping.rules]
    for side in (0, 1):
        for group in _groups(mapping, side, conditions).values():
            families = _families(group)
            apart += _pairs(group) - sum(map(_pairs, families))
            for family in families:
                left -= len(family) ** 2 // 2
                if left < 0:
                    return Meetings(apart, (_too_many(family, mapping.sides[side].name),), ())
                for k, one in enumerate(family):
                    for other in family[:k]:
                        if one.tensor is other.tensor and one.template is other.template:
                            continue
                        verdict = _compare(one, other, mapping)
                        if verdict is True:
                            apart += 1
                        elif verdict is False:
                            found = _same(one, other, mapping.sides[side].name)
                            errors[found.labels[0].span, found.labels[-1].span] = found
                        else:
                            undecided[_undecided(one, other)] = None
    return Meetings(apart, tuple(errors.values()), tuple(undecided))


def _groups(mapping: m.Mapping, side: int, conditions: list[_Conditions]) -> dict[str, list[_Use]]:
    """Sort the names of one side by their skeletons."""
    groups: dict[str, list[_Use]] = {}
    for rule, condition in zip(mapping.rules, conditions, strict=True):
        for tensor in m.stored((rule.left, rule.right)[side]):
            for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
                if template.wild or template.virtual:
                    continue
                for shape in shapes(template):
                    groups.setdefault(shape.text, []).append(_Use(rule, condition, tensor, template, shape))
    return groups


def _families(group: list[_Use]) -> list[list[_Use]]:
    """Part a group by the numbers that all of its names spell out: names of different families cannot meet."""
    spelled = [
        k for k in range(len(group[0].shape.slots)) if all(isinstance(each.shape.slots[k], int) for each in group)
    ]
    families: dict[tuple[object, ...], list[_Use]] = {}
    for each in group:
        families.setdefault(tuple(each.shape.slots[k] for k in spelled), []).append(each)
    return list(families.values())


def _pairs(group: list[_Use]) -> int:
    """Count the pairs of different names."""
    same = Counter((id(each.tensor), id(each.template)) for each in group)
    return len(group) * (len(group) - 1) // 2 - sum(count * (count - 1) // 2 for count in same.values())


def _too_many(family: list[_Use], side: str) -> Diagnostic:
    one, other = family[-1], family[0]
    return Diagnostic(
        "too-large",
        f"too many names of side `{side}` look like one another to be compared",
        (Label(one.tensor.span, f"one of {len(family)}"), Label(other.tensor.span, f"`{other.template}`", False)),
        help=("number them with an index",),
    )


def _undecided(one: _Use, other: _Use) -> str:
    first, second = str(other.template), str(one.template)
    if first == second:
        return f"names: the conditions of two rules for `{first}` exclude each other"
    return f"names: `{first}` and `{second}` do not meet"


def _same(one: _Use, other: _Use, side: str) -> Diagnostic:
    if one.rule is other.rule:
        message = f"one rule names the same tensor of side `{side}` twice"
        help = "a formula may name a tensor again, with the same layout; otherwise it stands once, with all its parts"
    else:
        message = f"two tensors of side `{side}` have the same names"
        help = "put them under conditions that exclude each other, or join them in one rule"
    labels = (Label(one.tensor.span, f"`{one.template}`"), Label(other.tensor.span, f"`{other.template}`", False))
    return Diagnostic("names-meet", message, labels, help=(help,))


def _compare(one: _Use, other: _Use, mapping: m.Mapping) -> bool | None:
    """Return True where names cannot meet, False where they are the same, None where that depends on sizes."""
    if one.conditions.exclude(other.conditions):
        return True
    same = True
    for a, b in zip(one.shape.slots, other.shape.slots, strict=True):
        if _disjoint(a, b, mapping) or apart(a, b):
            return True
        same = same and _equal(a, b)
    if not same:
        return None
    if one.conditions.truth != other.conditions.truth:
        return None
    return False


def _normal(condition: syntax.Expression, *, negated: bool) -> tuple[str, bool]:
    while isinstance(condition, syntax.Unary) and condition.operator == "not":
        condition, negated = condition.operand, not negated
    if isinstance(condition, syntax.Binary) and condition.operator == "!=":
        return print_expression(syntax.Binary("==", condition.left, condition.right, condition.span)), not negated
    return print_expression(condition), negated


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
    start, stop = slot.offset, slot.offset + ONE
    for index, stride in slot.parts:
        steps = stride * (mapping.indices[index].size - ONE)
        signs = {coefficient > 0 for _, coefficient in stride.terms}
        if len(signs) > 1:
            return None
        if True in signs:
            stop = stop + steps
        else:  # it counts down
            start = start + steps
    return start, stop


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
