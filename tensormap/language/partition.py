"""Holes that join ranges: in `expert.{t + s}` the numbers of `t` come first and those of `s` behind them.

Such a term is as many terms in a row as there are summands, just as a `( + )` in a layout gives a block for each summand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tensormap.language import syntax

SIZE = "size of"
"""A function that no text can call: how many numbers an expression in a hole runs through."""


def parted(term: syntax.Term, holds_index: Callable[[syntax.Expression], bool]) -> tuple[syntax.Term, ...]:
    """Return the terms that a term with joined ranges stands for; the term alone where it has none."""
    if not isinstance(term.value, syntax.Tensor):
        return (term,)
    for position, part in enumerate(term.value.template.parts):
        if isinstance(part, str):
            continue
        choices = _choices(part.expression, holds_index)
        if len(choices) > 1:
            return tuple(
                each
                for choice in choices
                for each in parted(_with(term, term.value, position, replace(part, expression=choice)), holds_index)
            )
    return (term,)


def ways(term: syntax.Term, holds_index: Callable[[syntax.Expression], bool]) -> int:
    """Return how many terms `parted` makes of a term, without making them."""
    count = 1
    if isinstance(term.value, syntax.Tensor):
        for part in term.value.template.parts:
            if not isinstance(part, str):
                count *= len(_choices(part.expression, holds_index))
    return count


def idle(term: syntax.Term, holds_index: Callable[[syntax.Expression], bool]) -> tuple[syntax.Expression, ...]:
    """Return what stands behind the last range of a hole: nothing follows that it could move."""
    if not isinstance(term.value, syntax.Tensor):
        return ()
    holes = (part.expression for part in term.value.template.parts if not isinstance(part, str))
    return tuple(each for hole in holes for each in _behind(hole, holds_index))


def _behind(
    expression: syntax.Expression, holds_index: Callable[[syntax.Expression], bool]
) -> tuple[syntax.Expression, ...]:
    match expression:
        case syntax.Binary(operator="+" | "-", left=left, right=right) if not holds_index(right):
            return (right,) if len(_choices(left, holds_index)) > 1 else _behind(left, holds_index)
        case _:
            return ()


def _choices(
    expression: syntax.Expression, holds_index: Callable[[syntax.Expression], bool]
) -> tuple[syntax.Expression, ...]:
    """Return what a hole holds for each of its ranges. Only bare indices and `(a b)` are ranges: `{2 * i + j}` is arithmetic."""
    summands = _summands(expression)
    ranges = [each for each in summands if isinstance(each, syntax.Name | syntax.Numbered) and holds_index(each)]
    if len(ranges) < 2 or len(ranges) < sum(holds_index(each) for each in summands):
        return (expression,)
    found: list[syntax.Expression] = []
    before: syntax.Expression | None = None
    for each in summands:
        if each in ranges:
            found.append(each if before is None else syntax.Binary("+", before, each, each.span))
            size: syntax.Expression = syntax.Call(SIZE, (each,), each.span)
        else:
            size = each
        before = size if before is None else syntax.Binary("+", before, size, each.span)
    return tuple(found)


def _summands(expression: syntax.Expression) -> tuple[syntax.Expression, ...]:
    match expression:
        case syntax.Binary(operator="+", left=left, right=right):
            return (*_summands(left), *_summands(right))
        case _:
            return (expression,)


def _with(term: syntax.Term, tensor: syntax.Tensor, position: int, hole: syntax.Hole) -> syntax.Term:
    parts = tensor.template.parts
    template = replace(tensor.template, parts=(*parts[:position], hole, *parts[position + 1 :]))
    return replace(term, value=replace(tensor, template=template))
