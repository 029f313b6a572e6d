"""Mistakes in mappings are noticed: a sample here, a larger one of all mappings with `make torture`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.laws.mutants import Task, judged, tasks
from tests.laws.mutate import KINDS
from tests.laws.survivors import reason

FIRMLY = ("bert/torch", "common/experts", "meta/llama", "mixtral/fused")
"""What the sample is taken from: the same mutants as long as these files are the same."""


def _unknown(todo: Sequence[Task]) -> list[str]:
    return [
        f"{verdict.by}: {mutant}"
        for task in todo
        for _, mutant, verdict in judged(task)
        if not verdict.noticed and verdict.by != "same meaning" and reason(mutant) is None
    ]


def test_a_mistake_is_noticed() -> None:
    """By `check`, by a plan, or by a difference in a case whose outputs the parity tests hold; or it is known why not."""
    assert not _unknown(tasks(FIRMLY, sample=48))


def test_mistakes_of_every_kind_are_made() -> None:
    made = {mutant.kind for task in tasks(("meta/", "gguf/mamba", "neox/")) for mutant in task.mutants}
    assert made == set(KINDS)


@pytest.mark.torture
def test_nearly_every_mistake_is_noticed() -> None:
    """Five hundred of all, by chance: no more than one in a hundred is unknown. `mutants.py` judges all."""
    assert len(_unknown(tasks(sample=500))) <= 5
