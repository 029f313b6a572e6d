"""What is lost when a mapping is read from its left side to its right side, rule by rule. Nothing listed means lossless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tensormap.diagnostics import Span
from tensormap.language import mapping as m
from tensormap.language.functions import EXACT
from tensormap.language.pairing import Unpaired, block_atoms, pair

Kind: TypeAlias = Literal["dropped", "not written", "reduced", "rounded", "one-way", "zeroed"]


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss: its kind, a sentence, and the rule."""

    kind: Kind
    text: str
    span: Span


def losses(mapping: m.Mapping) -> tuple[Loss, ...]:
    """List the losses of reading towards the right side."""
    found: list[Loss] = []
    for rule in mapping.rules:
        found.extend(_rule(rule))
    return tuple(dict.fromkeys(found))


def _rule(rule: m.Rule) -> list[Loss]:
    names = [str(tensor.template) for term in rule.left for tensor in term.tensors]
    shown = f"`{names[0]}`" if names else "it"
    if not rule.right:
        return [Loss("dropped", f"{shown} is dropped", rule.span)] if names else []
    if not rule.left:
        written = [str(tensor.template) for term in rule.right for tensor in term.tensors]
        return [Loss("not written", f"`{written[0]}` is not written", rule.span)] if written else []
    if rule.arrow == "<-":
        return [Loss("one-way", "this rule is not read this way", rule.span)]
    found: list[Loss] = []
    targets = [str(tensor.template) for term in rule.right for tensor in term.tensors]
    target = f"`{targets[0]}`" if targets else "it"
    try:
        pairs = pair(rule)
    except Unpaired:
        return []
    for each in pairs:
        left, right = rule.left[each.left.term].content, rule.right[each.right.term].content
        if isinstance(left, m.Stored) and isinstance(right, m.Fixed) and right.value is None:
            found.append(Loss("zeroed", f"a part of {shown} that nobody cares about is not kept", rule.span))
        if isinstance(left, m.Stored) and isinstance(right, (m.Fixed, m.Generated)) and rule.optional:
            found.append(
                Loss("dropped", f"{shown} is checked and left out; it is not written on the way back", rule.span)
            )
        here, there = block_atoms(each.left, left), block_atoms(each.right, right)
        for name, how in rule.replicated:
            if name in here and name not in there and how in ("mean", "sum", "first"):
                what = {
                    "mean": f"copies of {shown} over `{name}` that differ are averaged",
                    "sum": f"the shares of {shown} over `{name}` are added up",
                    "first": f"only the first of {shown} over `{name}` is kept",
                }[how]
                found.append(Loss("reduced", what, rule.span))
            if name in there and name not in here and how == "sum":
                found.append(
                    Loss(
                        "rounded",
                        f"{target} is written as equal shares over `{name}`, exact for a power of two",
                        rule.span,
                    )
                )
        if _computes(left) or _computes(right):
            found.append(
                Loss("rounded", f"{target} is computed, and rounded once to the dtype that is written", rule.span)
            )
        elif (
            any(tensor.dtype for tensor in _of(left)) and _of(right) and not any(tensor.dtype for tensor in _of(right))
        ):
            text = f"{target} takes the dtype of most tensors: it is cast, exactly where that is the wider one"
            found.append(Loss("rounded", text, rule.span))
        elif _of(left) and any(tensor.dtype for tensor in _of(right)):
            found.append(
                Loss(
                    "rounded", f"{target} is cast, exactly where the dtype that is written is the wider one", rule.span
                )
            )
    return found


def _of(content: m.Content) -> tuple[m.Tensor, ...]:
    return content.tensors if isinstance(content, m.Stored) else ()


def _computes(content: m.Content) -> bool:
    return isinstance(content, m.Stored) and _rounds(content.formula)


def _rounds(formula: m.Formula) -> bool:
    match formula:
        case m.Function(name=name, arguments=arguments):
            return name not in EXACT or any(_rounds(each) for each in arguments)
        case _:
            return False
