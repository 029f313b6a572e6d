"""Divided runs: the same kills, faults and losses of power, in any part and while they are put together."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from tensormap.diagnostics import BusyError, CheckpointError, MappingError
from tensormap.runtime import finalize
from tests.torture.forge import divided_run
from tests.torture.power import Policy, Recording, crash, record, restore
from tests.torture.test_faults import PAIRS, faulty
from tests.torture.test_kills import KILLED, Forge, forge, prepared, some
from tests.torture.workloads import OLD, Workload, beside, tree

__all__ = ["forge"]  # a fixture

PARTS = 3


def settle(work: Workload, target: Path, *, overwrite: bool) -> str:
    """Check what was left, do all parts again, as a scheduler would, and check what that gives."""
    found = tree(target)
    assert found in (OLD if overwrite else None, work.whole), "neither as it was nor complete"
    if found == work.whole:
        try:
            finalize.finalize(target)  # that of a run which had published and could not say so
        except MappingError as error:
            assert error.diagnostics[0].slug == "no-parts"  # noqa: PT017 - or no error at all
    else:
        divided_run(work.plan, target, PARTS, overwrite=overwrite)
    assert tree(target) == work.whole
    left = beside(target)
    assert left in ([], [".target.tensormap-lock"])
    return "complete" if found == work.whole else "as it was"


def kills(forge: Forge, work: Workload, folder: Path, most: int, *, overwrite: bool) -> set[str]:
    more = {"overwrite": overwrite, "parts": PARTS}
    count = forge(work, prepared(folder, overwrite=overwrite), **more)["count"]
    assert count > 100
    seen = set()
    for kill in some(count, most, f"parts {work.name} {overwrite}"):
        target = prepared(folder, overwrite=overwrite)
        answer = forge(work, target, kill=kill, **more)
        assert answer["status"] in (0, KILLED)
        seen.add(settle(work, target, overwrite=overwrite))
    return seen


def test_a_kill_at_a_call(forge, work, overwrite, place):
    assert "as it was" in kills(forge, work, place / "p", 5, overwrite=overwrite)


@pytest.mark.torture
def test_a_kill_at_every_call(forge, work, overwrite, place):
    assert kills(forge, work, place / "p", 10**6, overwrite=overwrite) == {"as it was", "complete"}


def recorded(work: Workload, place: Path, *, overwrite: bool) -> Recording:
    target = prepared(place, overwrite=overwrite)
    return record(place, lambda: divided_run(work.plan, target, PARTS, overwrite=overwrite))


def lose_power(work: Workload, place: Path, share: float, *, overwrite: bool) -> None:
    recording = recorded(work, place, overwrite=overwrite)
    policies: list[tuple[Policy, int]] = [("lost", 0), ("kept", 0), ("some", 0), ("some", 1)]
    for after in range(len(recording.events) + 1):
        for policy, seed in policies:
            if random.Random(f"{work.name} {overwrite} {after} {policy} {seed}").random() >= share:
                continue
            shutil.rmtree(place)
            place.mkdir()
            restore(crash(recording, after, policy, seed), place)
            settle(work, place / "target", overwrite=overwrite)


def test_a_loss_of_power_somewhere(work, overwrite, place):
    lose_power(work, place / "p", 0.01, overwrite=overwrite)


@pytest.mark.torture
def test_a_loss_of_power_everywhere(work, overwrite, place):
    lose_power(work, place / "p", 1, overwrite=overwrite)


def test_a_fault_somewhere(made, place):
    random_ = random.Random(3)
    for name, fault, lasting in PAIRS[::3]:
        work, overwrite = made[random_.choice(["torch", "safetensors"])], random_.random() < 0.5
        target = prepared(place / "p", overwrite=overwrite)
        with faulty(name, random_.randrange(20), fault, lasting=lasting), suppress(OSError, CheckpointError, BusyError):
            divided_run(work.plan, target, PARTS, overwrite=overwrite)
        settle(work, target, overwrite=overwrite)
