"""What the rules leave over: source tensors that nobody reads, and tensors that a rule wants and that are not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Map

from tensormap.diagnostics import Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.language.names import Shape, Template, glob, shapes, skeleton
from tensormap.lowering.bind import Bound
from tensormap.lowering.matching import reader
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
        help = (f"there is `{hint}`",) if hint and not _is_elsewhere(hint, names[0]) else ()
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


def _is_elsewhere(one: str, other: str) -> bool:
    """Say whether two names differ by their numbers: they are of one family, and each has its own place."""
    (text, here), (same, there) = skeleton(one), skeleton(other)
    return text == same and here != there


def unclaimed(names: Sequence[str], bound: Bound) -> list[Diagnostic]:
    """Report the tensors that no rule mentions: those behind the end of an index, the others by skeleton, with the nearest rule."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(skeleton(name)[0], []).append(name)
    if not groups:
        return []
    known: dict[str, list[tuple[m.Tensor, Shape]]] = {}
    for rule in bound.mapping.rules:
        for term in rule.left:
            for tensor in term.tensors:
                for shape in shapes(tensor.template):
                    known.setdefault(shape.text, []).append((tensor, shape))
    behind: dict[str, list[str]] = {}
    for text, members in tuple(groups.items()):
        index = _ends_before(members, known.get(text, []), bound)
        if index is not None:
            behind.setdefault(index, []).extend(groups.pop(text))
    found = [_behind(index, members, bound) for index, members in behind.items()]
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
            labels = (Label(known[near][0][0].span, what),)
        count = len(members)
        found.append(
            Diagnostic(
                "unclaimed-tensor",
                f"no rule reads `{members[0]}`" + (f" and {count - 1} more like it" if count > 1 else ""),
                labels,
                tuple(notes),
                ("write a rule for it, or drop it: `name -> _`",) if near != text else (),
            )
        )
    return found


def _ends_before(names: Sequence[str], known: Sequence[tuple[m.Tensor, Shape]], bound: Bound) -> str | None:
    """Return the index that the names of one skeleton would need more positions of, where one rule alone has such names."""
    if len(known) != 1:
        return None
    read = reader(known[0][1], bound.known.size, lambda _: None)
    found: set[str | None] = set()
    for name in names:
        place = read(skeleton(name)[1]) or {}
        counts = {index: bound.known.count(index) for index in place}
        found.add(next((index for index, count in counts.items() if count is not None and place[index] >= count), None))
    return found.pop() if len(found) == 1 else None


def _behind(name: str, members: Sequence[str], bound: Bound) -> Diagnostic:
    index = bound.mapping.indices[name]
    count = bound.known.count(name)
    rest = f" and {len(members) - 1} more: they are" if len(members) > 1 else ": it is"
    return Diagnostic(
        "unclaimed-tensor",
        f"no rule reads `{members[0]}`{rest} behind the last position of `{name}`",
        (Label(index.span, f"`{index.size}` is {count}"),) if index.span is not None else (),
        ("all of them: " + ", ".join(listed(members)),),
    )
