"""The verify steps of a plan: what must be equal in the sources, read and compared before a byte is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic
from tensormap.lowering.plan import Plan, Verify
from tensormap.runtime.crew import Line
from tensormap.runtime.parts import prepare_comparison
from tensormap.runtime.progress import Callback, Progress
from tensormap.runtime.worker import Worker

if TYPE_CHECKING:
    from tensormap.runtime.equality import Difference


def verify(plan: Plan, staff: list[Worker], progress: Callback | None) -> int:
    """Run all verify steps and return their number. CheckpointError: the first step of each rule that fails, with the number of
    the others.
    """
    steps = plan.verifications
    if not steps:
        return 0
    differences: dict[int, Difference] = {}
    finished: list[int] = []

    def jobs() -> Iterator[Callable[[Worker], None]]:
        for number, step in enumerate(steps):
            yield partial(_compare, plan, step, number, differences, finished)

    def watch() -> None:
        if progress is not None:
            progress(Progress("verify", len(finished), len(steps), 0, len(plan.outputs)))

    Line([jobs()]).run(staff, watch)
    if differences:
        raise CheckpointError(_findings(plan, differences))
    return len(steps)


def _compare(
    plan: Plan, step: Verify, number: int, differences: dict[int, Difference], finished: list[int], worker: Worker
) -> None:
    from tensormap.runtime.equality import first_difference

    comparison = prepare_comparison(step, plan.inputs)
    if comparison is not None:
        expected = plan.inputs[step.expected.tensor]
        found = first_difference(comparison, worker.painter.renderer, expected)
        if found is not None:
            differences[number] = found
    finished.append(number)


def _findings(plan: Plan, differences: dict[int, Difference]) -> list[Diagnostic]:
    by_rule: dict[str, list[int]] = {}
    for number in sorted(differences):
        by_rule.setdefault(plan.verifications[number].rule, []).append(number)
    findings = []
    for rule, numbers in by_rule.items():
        step, difference = plan.verifications[numbers[0]], differences[numbers[0]]
        names = list(dict.fromkeys(plan.inputs[region.tensor].name for region in step.sources))
        sources = " and ".join(shown(name) for name in names) or "the value of the rule"
        expected = plan.inputs[step.expected.tensor].name
        where = ", ".join(map(str, difference.coordinates))
        place = f" at [{where}]" if where else ""
        message = f"{sources} and {shown(expected)} must be equal, and differ{place}: {difference.found} and {difference.expected}"
        notes = [f"the rule at {rule} says so"]
        if len(numbers) > 1:
            notes.append(f"and {len(numbers) - 1} more of this rule")
        findings.append(Diagnostic("not-equal", message, notes=tuple(notes)))
    return findings
