"""What a step reads: regions of stored tensors; and virtual tensors, which are taken apart into the regions they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from typing import TypeAlias

from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.lowering import formulas, plan
from tensormap.lowering.boxes import Boxed, Placed
from tensormap.lowering.compose import Axis, Box, intersect
from tensormap.lowering.draft import Virtual, offset_at
from tensormap.lowering.instances import where

Operand: TypeAlias = "plan.Region | tuple[Virtual, Placed, Map[str, int]]"
Spot: TypeAlias = tuple[int, tuple[int, ...]]


def spot_of(operand: Operand) -> Spot:
    """Return where an operand begins in its tensor, and its strides there."""
    if isinstance(operand, plan.Region):
        return operand.offset, operand.strides
    _, part, place = operand
    return offset_at(part, place), part.strides


def stored(
    rule: m.Rule, sizes: tuple[int, ...], operand: Operand, along: tuple[Spot, ...], spot: Spot | None = None
) -> Iterator[tuple[tuple[int, ...], plan.Region, tuple[Spot, ...]]]:
    """Yield the pieces of stored tensors that an operand is made of, each with its part of what goes `along` with it. `spot`
    says where to read a virtual operand, if not all of it.
    """
    if isinstance(operand, plan.Region):
        yield sizes, operand, along
        return
    offset, strides = spot or spot_of(operand)
    payload = tuple(start for start, _ in along)
    axes = [Axis(size, strides[k], tuple(each[k] for _, each in along)) for k, size in enumerate(sizes)]
    read = Box(offset, payload, tuple(axis for axis in axes if axis.stride))
    for piece, tensors, inner in operand[0].pieces:
        for meeting in intersect(piece, read):
            if not isinstance(inner, plan.Operand) or any(axis.stride == 0 for axis in axes):
                message = "replicas of a virtual tensor that is computed or repeated cannot be compared"
                raise CheckpointError(Diagnostic("virtual-arithmetic", message, (Label(rule.span),)))
            start, steps = meeting.one
            mine = tuple(step[inner.index] for step in steps)
            origin, moves = meeting.other
            spots = tuple((origin[k], tuple(move[k] for move in moves)) for k in range(len(along)))
            yield meeting.sizes, plan.Region(tensors[inner.index], start[inner.index], mine), spots


def composed(
    rule: m.Rule, boxed: Boxed, operands: Sequence[Operand], formula: plan.Formula, target: plan.Region
) -> Iterator[tuple[tuple[int, ...], list[plan.Region], plan.Formula, plan.Region]]:
    """Replace a virtual operand by the pieces that it was made of: yield sizes, sources, formula and target of each."""
    at = [k for k, each in enumerate(operands) if not isinstance(each, plan.Region)]
    virtual = operands[at[0]]
    if len(at) != 1 or isinstance(virtual, plan.Region):
        raise CheckpointError(
            Diagnostic(
                "virtual-arithmetic",
                "two virtual tensors cannot be combined in one formula",
                (Label(rule.span),),
            )
        )
    held, part, place = virtual
    moving = [target, *(each for each in operands if isinstance(each, plan.Region))]
    axes = [
        Axis(size, part.strides[k], tuple(region.strides[k] for region in moving)) for k, size in enumerate(boxed.sizes)
    ]
    still = [axis for axis in axes if axis.stride == 0]  # the virtual tensor is repeated along these
    origin = tuple(region.offset for region in moving)
    read = Box(offset_at(part, place), origin, tuple(axis for axis in axes if axis.stride))
    for piece, tensors, inner in held.pieces:
        for meeting in intersect(piece, read):
            sizes = (*(axis.size for axis in still), *meeting.sizes)
            regions = [
                plan.Region(
                    tensor,
                    meeting.one[0][k],
                    (*(0 for _ in still), *(payload[k] for payload in meeting.one[1])),
                )
                for k, tensor in enumerate(tensors)
            ]
            spots = [
                plan.Region(
                    region.tensor,
                    meeting.other[0][k],
                    (*(axis.payload[k] for axis in still), *(payload[k] for payload in meeting.other[1])),
                )
                for k, region in enumerate(moving)
            ]
            numbers = iter(range(len(tensors), len(tensors) + len(operands)))
            values = tuple(inner if k == at[0] else plan.Operand(next(numbers)) for k in range(len(operands)))
            whole = formulas.substitute(formula, values)
            yield sizes, [*regions, *spots[1:]], whole, spots[0]


def compared(
    rule: m.Rule,
    held: Virtual,
    boxed: Boxed,
    place: Map[str, int],
    sources: tuple[plan.Region, ...],
    formula: plan.Formula,
    ulps: int,
) -> Iterator[plan.Verify]:
    """Hold what a virtual tensor was made of against what a rule says it is."""
    part = boxed.parts[0]
    read = Box(
        offset_at(part, place),
        tuple(each.offset for each in sources),
        tuple(
            Axis(size, part.strides[k], tuple(each.strides[k] for each in sources))
            for k, size in enumerate(boxed.sizes)
        ),
    )
    for piece, tensors, inner in held.pieces:
        for meeting in intersect(piece, read):
            if not isinstance(inner, plan.Operand):
                if inner == formula:
                    continue  # the same constant on both sides
                message = "a virtual tensor that is computed cannot be compared with what a rule says it holds"
                raise CheckpointError(Diagnostic("virtual-arithmetic", message, (Label(rule.span),)))
            expected = plan.Region(
                tensors[inner.index], meeting.one[0][inner.index], tuple(p[inner.index] for p in meeting.one[1])
            )
            spots = tuple(
                plan.Region(each.tensor, meeting.other[0][k], tuple(p[k] for p in meeting.other[1]))
                for k, each in enumerate(sources)
            )
            yield plan.Verify(meeting.sizes, spots, formula, expected, where(rule), ulps)
