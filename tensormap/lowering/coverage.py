"""What the rules leave over: source tensors that nobody reads, and tensors that a rule wants and that are not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Map

from tensormap.diagnostics import Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.language.names import Template, glob, shapes, skeleton
from tensormap.lowering.bind import Bound
from tensormap.suggest import did_you_mean

SHOWN = 8


def drop_wild(
    rules: Sequence[m.Rule],
    names: list[str],
    dropped: list[tuple[str, tuple[str, ...]]],
    where: Callable[[m.Rule], str],
    family: Callable[[m.Rule, Template], Iterable[tuple[str, Map[str, int]]]],
) -> list[str]:
    """Give what is left to the rules that drop by `*`; return what remains even so. `family` lists what the holes beside a `*` make
    of a name, where the rule holds.
    """
    for rule in rules:
        if rule.right:
            continue
        for term in rule.left:
            if not isinstance(term.content, m.Stored):
                continue
            for tensor in term.content.tensors:
                if not tensor.template.wild:
                    continue
                patterns = [name for name, _ in family(rule, tensor.template)] if names else []
                taken = [name for name in names if any(glob(pattern, name) for pattern in patterns)]
                if taken:
                    dropped.append((where(rule), tuple(taken)))
                    gone = set(taken)
                    names = [name for name in names if name not in gone]
    return names


def listed(names: Sequence[str]) -> tuple[str, ...]:
    """Show the first names and how many more there are."""
    shown = [f"`{name}`" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        shown.append(f"and {len(names) - SHOWN} more")
    return tuple(shown)


def missing(wanted: Map[int, list[tuple[m.Tensor, str]]], bound: Bound) -> list[Diagnostic]:
    """Report, rule by rule, the tensors that are not there."""
    found: list[Diagnostic] = []
    real = {number: entries for number, entries in wanted.items() if not entries[0][0].template.virtual}
    for _, entries in sorted((real or wanted).items()):
        names = list(dict.fromkeys(name for _, name in entries))
        tensor = entries[0][0]
        hint = did_you_mean(names[0], tuple(bound.catalog.tensors)) if len(bound.catalog.tensors) < 5000 else None
        kind = "virtual-missing" if tensor.template.virtual else "missing-tensor"
        help = (f"there is `{hint}`",) if hint else ()
        if names[0] in bound.known.sizes:
            help = (f"to compute with the size `{names[0]}`, give it a name: `let n = {names[0]}`",)
        count = len(names)
        found.append(
            Diagnostic(
                kind,
                f"the source lacks `{names[0]}`" + (f" and {count - 1} more that this rule reads" if count > 1 else ""),
                (Label(tensor.span, "read here"),),
                ("missing: " + ", ".join(listed(names)),),
                help,
            )
        )
    return found


def unclaimed(names: Sequence[str], bound: Bound) -> list[Diagnostic]:
    """Report the tensors that no rule mentions, grouped by skeleton, with the nearest rule."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(skeleton(name)[0], []).append(name)
    if not groups:
        return []
    known: dict[str, m.Tensor] = {}
    for rule in bound.mapping.rules:
        for term in rule.left:
            if isinstance(term.content, m.Stored):
                for tensor in term.content.tensors:
                    for shape in shapes(tensor.template):
                        known.setdefault(shape.text, tensor)
    found: list[Diagnostic] = []
    for text, members in list(groups.items())[:200]:
        info = bound.catalog.tensors[members[0]]
        near = text if text in known else did_you_mean(text, tuple(known))
        labels: tuple[Label, ...] = ()
        notes = [f"`{info.name}` is {info.dtype} {list(info.shape)}"]
        if len(members) > 1:
            notes.append("all of them: " + ", ".join(listed(members)))
        if near is not None:
            what = (
                "this rule has such names, but not these positions or conditions"
                if near == text
                else "the nearest rule"
            )
            labels = (Label(known[near].span, what),)
        count = len(members)
        found.append(
            Diagnostic(
                "unclaimed-tensor",
                f"no rule reads `{members[0]}`" + (f" and {count - 1} more like it" if count > 1 else ""),
                labels,
                tuple(notes),
                ("write a rule for it, or drop it: `name -> _`",) if near is None else (),
            )
        )
    return found
