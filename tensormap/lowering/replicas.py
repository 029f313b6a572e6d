"""Replicas of a tensor: which of them are read, how they are made one, and what has to be equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from typing import TypeAlias

from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.lowering import formulas, plan
from tensormap.lowering.instances import where
from tensormap.lowering.operands import Operand, spot_of, stored

Reduced: TypeAlias = tuple[tuple[str, str], ...]
"""The indices and atoms that one side has and the other has not, each with how replicas are made one."""


def distinct(
    rule: m.Rule,
    reduced: Reduced,
    sizes: tuple[int, ...],
    operands: list[Operand],
    places: Sequence[Map[str, int]],
) -> tuple[list[Operand], list[plan.Verify]]:
    """Leave out the replicas that must be equal to another, and say what has to be verified for it; and those behind the first
    where it counts. `operands` has as many for each place.
    """
    per = len(operands) // len(places)
    kept: list[Operand] = []
    checks: list[plan.Verify] = []
    seen: dict[tuple[int, ...], int] = {}
    for number, place in enumerate(places):
        if any(how == "first" and place[name] for name, how in reduced):
            continue
        key = tuple(place[name] for name, how in reduced if how != "equal")
        base = seen.setdefault(key, number)
        mine = operands[number * per : (number + 1) * per]
        if base == number:
            kept.extend(mine)
        else:
            checks += _equal(rule, sizes, mine, operands[base * per : (base + 1) * per])
    return kept, checks


def merge(rule: m.Rule, reduced: Reduced, one: plan.Formula, count: int, per: int) -> plan.Formula:
    """Return the formula that makes one of `count` replicas, of `per` operands each, `one` being that of the first."""
    hows = {how for _, how in reduced} - {"equal", "first"}
    if count == 1 or not hows:
        return one
    if len(hows) > 1:
        raise CheckpointError(
            Diagnostic("replicated-two-ways", "replicas are merged in two ways at once", (Label(rule.span),))
        )
    return plan.Function(hows.pop(), tuple(formulas.shift(one, k * per) for k in range(count)))


def _equal(
    rule: m.Rule, whole: tuple[int, ...], replica: Sequence[Operand], base: Sequence[Operand]
) -> Iterator[plan.Verify]:
    for one, first in zip(replica, base, strict=True):
        if one == first:
            continue
        for sizes, mine, (there,) in stored(rule, whole, one, (spot_of(first),)):
            moved = plan.Region(first.tensor, *there) if isinstance(first, plan.Region) else first
            for met, expected, (here,) in stored(rule, sizes, moved, ((mine.offset, mine.strides),), there):
                region = plan.Region(mine.tensor, *here)
                yield plan.Verify(met, (region,), plan.Operand(0), expected, where(rule))


def whole_shares(name: str, dtype: str | None, rule: m.Rule) -> None:
    """Refuse to write equal shares as whole numbers, which have none."""
    if dtype is not None and BY_NAME[dtype].kind in ("integer", "unsigned", "bool"):
        message = f"`{name}` would be a share of `{dtype}`, and whole numbers have no equal shares"
        raise CheckpointError(Diagnostic("integer-shares", message, (Label(rule.span, "added up when read"),)))
