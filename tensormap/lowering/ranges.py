"""How many names a rule stands for, before any of them is written out: a config may say numbers that no checkpoint has.

Asks for counts only. That the tensors are there, `coverage` and `lower` see.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensormap.checkpoints.catalog import Catalog
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.lowering.known import Known

MOST_WRITTEN = 1 << 20
_ROOM = 1024


def refuse_endless(mapping: m.Mapping, rules: Sequence[m.Rule], known: Known, catalog: Catalog) -> None:
    """Raise a CheckpointError where a rule stands for many more tensors than the source has, or for over a million to write."""
    stored = len(catalog.tensors)
    read = _ROOM + 4 * stored  # some may be optional, or left out by conditions on positions
    for rule in rules:
        for terms, most in ((rule.left, read), (rule.right, max(MOST_WRITTEN, read))):
            for tensor in m.stored(terms):
                count = _count(mapping, tensor.template.indices, known, most)
                if count > most and not (tensor.template.virtual and count <= MOST_WRITTEN):
                    message = (
                        f"this name stands for {_said(count)} tensors or more, and the source has {stored:,} in all"
                    )
                    notes = tuple(
                        f"`{index}` has {_said(known.count(index) or 0)} positions" for index in _flat(mapping, tensor)
                    )
                    raise CheckpointError(Diagnostic("too-many-positions", message, (Label(tensor.span),), notes))


def _said(count: int) -> str:
    return f"{count:,}" if count < 1 << 63 else "more than 2^63"


def _flat(mapping: m.Mapping, tensor: m.Tensor) -> tuple[str, ...]:
    return tuple(each for each in tensor.template.indices if mapping.indices[each].of is None)


def _count(mapping: m.Mapping, indices: Sequence[str], known: Known, most: int) -> int:
    """Multiply the sizes of indices, as far as they are known; one that depends on another counts where that one has most."""
    total = 1
    for name in indices:
        index = mapping.indices[name]
        if index.of is None:
            count = known.count(name)
        else:
            outer = min(known.count(index.of) or 0, most)
            count = max((known.count(name, {index.of: k}) or 0 for k in range(outer)), default=0)
        total *= 1 if count is None else count
    return total
