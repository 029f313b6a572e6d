"""What is lost when a mapping is read from its left side to its right side, rule by rule. Nothing listed means lossless."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tensormap.diagnostics import Span, unmarked
from tensormap.language import mapping as m
from tensormap.language.expressions import names
from tensormap.language.functions import EXACT
from tensormap.language.layout import Atom, atoms, blocks
from tensormap.language.pairing import Unpaired, block_atoms, pair

Kind: TypeAlias = Literal["dropped", "not written", "reduced", "rounded", "one-way", "padded", "zeroed"]


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
        found.extend(of_rule(mapping, rule))
    return tuple(dict.fromkeys(found))


def of_rule(mapping: m.Mapping, rule: m.Rule) -> list[Loss]:
    """List the losses of one rule, read towards the right side."""
    return [replace(each, text=unmarked(each.text)) for each in (*_rule(rule), *_padding(mapping, rule))]


def _padding(mapping: m.Mapping, rule: m.Rule) -> list[Loss]:
    """List the constants that the right side has behind something, where it does not say how long that was."""
    try:
        pairs = pair(rule)
    except Unpaired:
        return []
    found: list[Loss] = []
    for each in pairs:
        if not isinstance(rule.left[each.left.term].content, m.Fixed):
            continue
        right = rule.right[each.right.term].content
        own = _dimensions(block_atoms(each.right, right))
        others = [
            _dimensions(block_atoms(other.right, right))
            for other in pairs
            if other.right.term == each.right.term and other is not each
        ]
        beside = set().union(*others)
        if not own - beside or not beside - own or (own ^ beside) & _said(mapping):
            continue
        padding, ends = min(own - beside), min(beside - own)
        text = f"where `{ends}` ends is not recorded: on the way back `{padding}` is a part of it, unless `--set {ends}=...` says"
        found.append(Loss("padded", text, rule.span))
    return found


def _dimensions(found: dict[str, Atom | None]) -> set[str]:
    return {name for atom in found.values() if atom is not None for name in atom.size.dimensions}


def _said(mapping: m.Mapping) -> set[str]:
    """Return the dimensions that the right side has evidence of: a config line, or a stored tensor with an axis of its own."""
    said = {
        name
        for line in mapping.config
        if line.value is not None and line.right is not None and line.arrow != "->"
        for name in names(line.value)
    }
    for tensor in (tensor for rule in mapping.rules for term in rule.right for tensor in term.tensors):
        if not tensor.template.virtual and len(blocks(tensor.layout)) == 1:
            said.update(name for atom in atoms(tensor.layout) for name in atom.size.dimensions)
    return said


def _rule(rule: m.Rule) -> list[Loss]:
    stored = [str(tensor.template) for term in rule.left for tensor in term.tensors]
    shown = f"`{stored[0]}`" if stored else "it"
    if not rule.right:
        return [Loss("dropped", f"{shown} is dropped", rule.span)] if stored else []
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
