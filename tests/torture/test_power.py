"""The power fails: whatever had come to the disk by then, the target is as it was or complete, and the run can be gone on with."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tensormap.runtime import staging
from tensormap.runtime.execute import run
from tests.torture.power import Disk, Event, Names, Policy, Recording, Sync, crash, record, restore
from tests.torture.test_faults import faulty
from tests.torture.test_kills import prepared, settle
from tests.torture.workloads import Workload, tree

KINDS = ("fresh", "overwrite", "without exchange", "resumed")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def recorded(work: Workload, place: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Record a run of one kind to `place/target`; a fresh one goes to directories that are not there yet."""
    overwrite = kind != "fresh"
    target = target_in(prepared(place, overwrite=overwrite).parent, kind)
    if kind == "without exchange":
        monkeypatch.setattr(staging, "_exchange", lambda left, right: False)
    if kind == "resumed":
        with faulty("fsync", 8, 5, lasting=True), pytest.raises(OSError, match="Input/output"):
            run(work.plan, target, overwrite=True)
        assert (place / ".target.tensormap" / "journal").exists()
    recording = record(
        place, lambda: run(work.plan, target, overwrite=overwrite and kind != "resumed", resume=kind == "resumed")
    )
    assert tree(target) == work.whole
    return recording


def target_in(place: Path, kind: str) -> Path:
    return place / "new" / "newer" / "target" if kind == "fresh" else place / "target"


def check(work: Workload, recording: Recording, place: Path, kind: str, after: int, policy: Policy, seed: int) -> str:
    """Let the power fail, and see what a user finds and can do. Returns how the target was found."""
    shutil.rmtree(place)
    place.mkdir()
    restore(crash(recording, after, policy, seed), place)
    target = target_in(place, kind)
    if kind == "without exchange" and tree(target) is None:
        staging.Staging(target).recover()
        assert tree(target) is not None, "the old target is lost"
    target.parent.mkdir(parents=True, exist_ok=True)
    return settle(work, target, overwrite=kind not in ("fresh", "without directories"))


def points(recording: Recording, share: float, seed: str) -> list[tuple[int, Policy, int]]:
    """List where the power may fail, and what is there then; all of it, or a share."""
    policies: list[tuple[Policy, int]] = [("lost", 0), ("kept", 0), *(("some", seed) for seed in range(4))]
    every = [(after, *each) for after in range(len(recording.events) + 1) for each in policies]
    return [each for each in every if random.Random(f"{seed} {each}").random() < share]


def test_the_record_is_complete(work, kind, place, monkeypatch):
    """Nothing is lost: then the recorded events have to give the target that is there."""
    recording = recorded(work, place / "p", kind, monkeypatch)
    there = Disk.read(place / "p")
    (place / "again").mkdir()
    restore(crash(recording, len(recording.events), "kept", 0), place / "again")
    assert tree(place / "again") == tree(place / "p")
    assert there.files


def test_what_was_said_to_be_done_is_done(work, kind, place, monkeypatch):
    """The command came back, then the power failed, and all is lost that was not synced."""
    recording = recorded(work, place / "p", kind, monkeypatch)
    for policy, seed in [("lost", 0), *(("some", seed) for seed in range(5))]:
        assert check(work, recording, place / "p", kind, len(recording.events), policy, seed) == "complete"


def test_a_loss_of_power_somewhere(work, kind, place, monkeypatch):
    recording = recorded(work, place / "p", kind, monkeypatch)
    for after, policy, seed in points(recording, 0.02, f"{work.name} {kind}"):
        check(work, recording, place / "p", kind, after, policy, seed)


@pytest.mark.torture
def test_a_loss_of_power_everywhere(work, kind, place, monkeypatch):
    recording = recorded(work, place / "p", kind, monkeypatch)
    seen = {check(work, recording, place / "p", kind, *each) for each in points(recording, 1, "")}
    assert seen == {"complete", "as it was"}


def publishing(recording: Recording) -> int:
    """Return the number of the event that gives the target its name."""
    return max(k for k, each in enumerate(recording.events) if isinstance(each, Names) and len(each.changes) == 2)


@pytest.mark.parametrize("overwrite", [False, True], ids=["fresh", "overwrite"])
def test_without_waiting_for_the_disk_an_interrupted_run_is_still_safe(work, overwrite, place):
    """`--no-sync` promises less of a target that was published. Until then, nothing may rest on what can be lost."""
    target = prepared(place / "p", overwrite=overwrite)
    recording = record(place / "p", lambda: run(work.plan, target, overwrite=overwrite, sync=False))
    kind = "overwrite" if overwrite else "without directories"
    for after, policy, seed in points(recording, 0.02, f"no sync {work.name} {overwrite}"):
        if after <= publishing(recording):
            assert check(work, recording, place / "p", kind, after, policy, seed) == "as it was"


def without(recording: Recording, unwanted: Callable[[Event], bool]) -> Recording:
    return replace(recording, events=[each for each in recording.events if not unwanted(each)])


@pytest.mark.parametrize("forgotten", ["files", "directories"])
def test_the_measure_sees_a_sync_that_is_not_there(made, forgotten, place, monkeypatch):
    """The same record, as if the run had not synced: some state has to be found that is neither old nor new."""
    work = made["safetensors"]
    recording = recorded(work, place / "p", "overwrite", monkeypatch)
    folders = recording.before.folders.keys() | recording.made
    worse = without(
        recording, lambda each: isinstance(each, Sync) and (each.inode in folders) == (forgotten == "directories")
    )
    published = publishing(worse) + 1

    def broken(seed: int) -> bool:
        try:
            check(work, worse, place / "p", "overwrite", published, "some", seed)
        except AssertionError:
            return True
        return False

    assert any(broken(seed) for seed in range(40))
