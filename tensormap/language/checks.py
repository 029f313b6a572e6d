"""The laws that a mapping obeys for every admissible size, one function each. No checkpoint is needed.

`laws` gives what is wrong; `check` adds what is proved, what is left for given sizes, and what each direction loses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tensormap.diagnostics import Diagnostic, as_written, unmarked
from tensormap.language import agreement, naming, sense
from tensormap.language import mapping as m
from tensormap.language.losses import Loss, losses
from tensormap.language.meeting import Meetings, meetings
from tensormap.language.pairing import Pair, pair


@dataclass(frozen=True, slots=True)
class Findings:
    """What `check` says of a mapping. `losses` has one entry for each side: what writing that side loses."""

    errors: tuple[Diagnostic, ...]
    warnings: tuple[Diagnostic, ...]
    proved: tuple[str, ...]
    left: tuple[str, ...]
    losses: dict[str, tuple[Loss, ...]]

    @property
    def lossless(self) -> tuple[str, ...]:
        """The sides that are written without any loss."""
        return tuple(side for side, found in self.losses.items() if not found)


def laws(mapping: m.Mapping) -> list[Diagnostic]:
    """Return everything that is wrong whatever the sizes, in source order."""
    found: list[Diagnostic] = []
    for law in LAWS:
        found.extend(law(mapping))
    found.extend(meetings(mapping).errors)
    return sorted(map(as_written, found), key=lambda each: each.labels[0].span.start if each.labels else -1)


def check(mapping: m.Mapping) -> Findings:
    """Return all findings on a mapping, both lists and the losses of each direction."""
    found = laws(mapping)
    errors = tuple(each for each in found if each.severity == "error")
    warnings = tuple(each for each in found if each.severity == "warning")
    names = [side.name for side in mapping.sides]
    lost = {names[1]: losses(mapping), names[0]: losses(mapping.inverse)}
    if errors:
        return Findings(errors, warnings, (), (), lost)
    met = meetings(mapping)
    return Findings(errors, warnings, _proved(mapping, met), _left(mapping, met), lost)


def _proved(mapping: m.Mapping, met: Meetings) -> tuple[str, ...]:
    pairs = [pair(rule) for rule in mapping.rules if rule.left and rule.right]
    blocks = sum(len(each) for each in pairs)
    sizes = sum(_concatenated(each) for each in pairs)
    said = [
        f"{len(pairs)} equations: their {blocks} blocks pair, and paired blocks have the same axes",
        "every index is an axis of the other side or declared `replicated`",
        "holes give every position a name of its own",
        f"names of different rules do not meet ({met.apart} pairs of alike templates compared)",
    ]
    if sizes:
        said.append(f"{sizes} of the equations take tensors apart or join them; no element is left out or read twice")
    return tuple(said)


def _concatenated(pairs: tuple[Pair, ...]) -> bool:
    return len(pairs) > 1


def _left(mapping: m.Mapping, met: Meetings) -> tuple[str, ...]:
    left = ["sizes: the shapes of the source split as the layouts say, and every dimension has one value"]
    left.append("coverage: every source tensor is read by one rule, and no tensor that a rule reads is missing")
    if mapping.requirements:
        left.append(f"{len(mapping.requirements)} `require`s hold")
    left.extend(map(unmarked, met.open))
    if any(_virtual(rule) for rule in mapping.rules):
        left.append("virtual tensors: both their layouts have the same sizes")
    return tuple(left)


def _virtual(rule: m.Rule) -> bool:
    return any(tensor.template.virtual for tensor in m.stored((*rule.left, *rule.right)))


LAWS: tuple[Callable[[m.Mapping], Iterator[Diagnostic]], ...] = (
    agreement.blocks_pair,
    agreement.axes_agree,
    agreement.quotients_are_read,
    agreement.no_diagonals,
    agreement.replicas_stand_once,
    agreement.formulas_invert,
    naming.holes_are_injective,
    naming.names_are_known,
    naming.keys_are_no_values,
    naming.dtypes_are_known,
    agreement.sizes_depend_on_indices,
    naming.virtual_tensors_join,
    naming.defaults_are_variants,
    sense.says_something,
    sense.requirements_can_hold,
    sense.comparisons_can_hold,
    sense.config_gives_values,
)
