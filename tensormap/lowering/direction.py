"""Which way a mapping is read: as asked, or as the names of the source say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import Any

from tensormap.checkpoints.catalog import Catalog
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic, MappingError
from tensormap.language import mapping as m
from tensormap.language.names import shapes, skeleton, skeletons
from tensormap.lowering.plan import Plan
from tensormap.suggest import did_you_mean


def towards(mapping: m.Mapping, side: str) -> m.Mapping:
    """Return the mapping with `side` on its right. MappingError if it has no such side."""
    names = tuple(each.name for each in mapping.sides)
    if side not in names:
        hint = did_you_mean(side, names)
        raise MappingError(
            Diagnostic(
                "unknown-side",
                f"`{mapping.name}` has no side `{side}`",
                notes=(f"its sides are `{names[0]}` and `{names[1]}`",),
                help=(f"did you mean `{hint}`?",) if hint else (),
            )
        )
    return mapping.towards(side)


def fit(mapping: m.Mapping, tensors: Map[str, Any]) -> float:
    """Return which part of the names the left side's rules could mean, between 0 and 1."""
    if not tensors:
        return 0.0
    forms = _forms(mapping)
    separator = mapping.sides[0].separator
    texts = skeletons([name.replace(separator, ".") for name in tensors])
    return sum(text in forms for text in texts) / len(tensors)


def _forms(mapping: m.Mapping) -> set[str]:
    """Return the skeletons of the names that the left side's rules could mean."""
    return {
        shape.text
        for rule in mapping.rules
        for term in rule.left
        if isinstance(term.content, m.Stored)
        for tensor in term.content.tensors
        for template in (tensor.template, *(alias.template for alias in tensor.aliases))
        if not template.wild
        for shape in shapes(template)
    }


def refuse_wrapped(mapping: m.Mapping, catalog: Catalog) -> None:
    """Refuse torch files whose names all begin with something that no rule knows, such as the key of a dictionary around them."""
    if not catalog.format.startswith("torch"):
        return
    forms = _forms(mapping)
    under: dict[str, None] = {}
    for name in catalog.tensors:
        if skeleton(name)[0] in forms:
            return
        keys = name.split(".")
        for depth in range(1, min(len(keys), 3)):
            if skeleton(".".join(keys[depth:]))[0] in forms:
                under[".".join(keys[:depth])] = None
    if under:
        key = next(iter(under))
        line = f'side {mapping.sides[0].name} {{ files "{catalog.files[0].path}"'
        raise CheckpointError(
            Diagnostic(
                "wrapped-tensors",
                f"the tensors lie under `{key}`, and `{mapping.name}` knows them without it",
                help=(
                    f"where `{key}` is a key with a dictionary under it, say in the mapping: `{line} at {key} }}`",
                    f"where `{key}.` is a part of the names: `{line} under {key}. }}`",
                ),
            )
        )


def best(mapping: m.Mapping, tried: Sequence[tuple[float, m.Mapping, Any]]) -> tuple[m.Mapping, Any]:
    """Return the reading whose names fit better. CheckpointError where none does, MappingError where both do."""
    ranked = sorted(tried, key=lambda each: -each[0])
    if ranked[0][0] == 0.0:
        for _, each, opened in tried:
            if opened is not None:
                refuse_wrapped(each, opened.catalog)
        left, right = (side.name for side in mapping.sides)
        raise CheckpointError(
            Diagnostic(
                "wrong-model", f"no tensor of the source is known to `{mapping.name}`, neither as {left} nor as {right}"
            )
        )
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        names = " or ".join(f"`--to {side.name}`" for side in mapping.sides)
        raise MappingError(
            Diagnostic("direction-needed", "the names fit both sides of this mapping", help=(f"say {names}",))
        )
    return ranked[0][1], ranked[0][2]


def turn(mapping: m.Mapping, to: str | None, tensors: Map[str, Any]) -> m.Mapping:
    """Return the mapping turned so that it reads these tensors."""
    if to is not None:
        return towards(mapping, to)
    tried = [(fit(each, tensors), each, None) for each in (mapping, mapping.inverse)]
    return best(mapping, tried)[0]


def digest(mapping: m.Mapping) -> str:
    """Return the sha256 of a mapping's text, as it is written to what it makes."""
    return hashlib.sha256(mapping.canonical.encode()).hexdigest()


def refuse_own_output(mapping: m.Mapping, catalog: Catalog) -> None:
    """Refuse to convert towards a side what this mapping has already converted to that side, by its name or by its text.

    A copy of a mapping file has another name, and one that was edited since has another text.
    """
    made = catalog.metadata.get("tensormap.mapping")
    side = catalog.metadata.get("tensormap.side")
    same = made == mapping.name or catalog.metadata.get("tensormap.mapping_sha256") == digest(mapping)
    if same and side == mapping.sides[1].name:
        raise CheckpointError(
            Diagnostic(
                "already-converted",
                f"the source is what {shown(made)} wrote as `{side}`: converting it to `{side}` once more would change it",
                help=(f"convert it back with `--to {mapping.sides[0].name}`",),
            )
        )


def compare(plan: Plan, like: Catalog) -> None:
    """Compare what a plan writes with a reference: names, shapes and dtypes. CheckpointError lists every difference."""
    written = {tensor.name: tensor for output in plan.outputs for tensor in output.tensors}
    found: list[Diagnostic] = []
    found.extend(
        Diagnostic("not-written", f"the reference has `{name}`, and it would not be written")
        for name in sorted(like.tensors.keys() - written.keys())
    )
    found.extend(
        Diagnostic("not-in-reference", f"`{name}` would be written, and the reference has no such tensor")
        for name in sorted(written.keys() - like.tensors.keys())
    )
    for name in sorted(written.keys() & like.tensors.keys()):
        mine, theirs = written[name], like.tensors[name]
        if mine.shape != theirs.shape:
            found.append(
                Diagnostic(
                    "shape-mismatch",
                    f"`{name}` would be {list(mine.shape)}, and is {list(theirs.shape)} in the reference",
                )
            )
        if mine.dtype != theirs.dtype:
            found.append(
                Diagnostic("dtype-mismatch", f"`{name}` would be {mine.dtype}, and is {theirs.dtype} in the reference")
            )
    if found:
        raise CheckpointError(found)
