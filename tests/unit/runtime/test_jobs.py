"""A run divided into parts: each alone, in any order, at the same time, killed and done again; one result."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tensormap.diagnostics import BusyError, CheckpointError, MappingError
from tensormap.lowering.plan import Plan
from tensormap.lowering.split import parts
from tensormap.runtime import writing
from tensormap.runtime.divided import Part
from tensormap.runtime.execute import run
from tensormap.runtime.finalize import discard, finalize
from tensormap.runtime.lock import Lock
from tensormap.runtime.part import run_part
from tests.unit.runtime.plans import Bench, digest, rename, seven_files, whole


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def plan(bench) -> Plan:
    return seven_files(bench)


def target_of(bench: Bench) -> Path:
    return bench.root.parent / "target"


def staged(bench: Bench) -> Path:
    return bench.root.parent / ".target.tensormap"


def left_over(bench: Bench) -> list[str]:
    return sorted(each.name for each in bench.root.parent.iterdir() if each.name not in ("source", "target", "serial"))


@pytest.fixture
def serial(bench, plan) -> str:
    """What a run in one process and one thread writes."""
    run(plan, bench.root.parent / "serial", workers=1)
    return digest(bench.root.parent / "serial")


def slug(caught) -> str:
    return caught.value.diagnostics[0].slug


def do(bench: Bench, plan: Plan, number: int, count: int, **given):
    return run_part(plan, target_of(bench), Part(number, count), **given)


# --- one result -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["1", "2 1", "3 1 2", "5 2 7 1 6 4 3", "9 1 8 2 7 3 6 4 5"])
def test_parts_in_any_order_give_what_one_run_gives(bench, plan, serial, order):
    numbers = list(map(int, order.split()))
    for done, number in enumerate(numbers, 1):
        report = do(bench, plan, number, len(numbers))
        assert not target_of(bench).exists()
        assert report.part == (number, len(numbers))
        assert (number in report.waiting) is False
        if done == len(numbers):
            assert report.waiting == ()
    report = finalize(target_of(bench))
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []
    assert report.files == (*(f"sub/out-{k}.bin" for k in range(7)), "tokenizer.json", "index.json")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_threads_change_nothing(bench, plan, serial, workers):
    run(plan, target_of(bench), workers=workers)
    assert digest(target_of(bench)) == serial


def test_parts_at_the_same_time_give_what_one_run_gives(bench, plan, serial):
    with ThreadPoolExecutor(7) as pool:
        reports = list(pool.map(lambda number: do(bench, plan, number, 7), (3, 1, 7, 2, 6, 4, 5)))
    assert sum(report.verified for report in reports) == 2
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []


def test_processes_at_the_same_time_give_what_one_run_gives(bench, plan, serial):
    processes = [start(bench, plan, number, 3) for number in (2, 3, 1)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial


def start(bench: Bench, plan: Plan, number: int, count: int, hook: str = "") -> subprocess.Popen[bytes]:
    path = bench.root.parent / "source" / "plan.pickle"
    path.write_bytes(pickle.dumps(plan))
    script = f"""
import os, pickle, sys
from tensormap.runtime.divided import Part
from tensormap.runtime.part import run_part
{hook}
run_part(pickle.load(open(sys.argv[1], "rb")), sys.argv[2], Part({number}, {count}), tile=4096)
"""
    return subprocess.Popen([sys.executable, "-c", script, str(path), str(target_of(bench))])


KILL = """
count = 0
def trace(event, arguments):
    global count
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir") and "target" in str(arguments):
        count += 1
        if count > AFTER:
            os.kill(os.getpid(), 9)
sys.addaudithook(trace)
"""


@pytest.mark.parametrize("after", [0, 4, 9, 14, 20, 26, 30])
def test_a_killed_part_is_done_again(bench, plan, serial, after):
    process = start(bench, plan, 1, 2, KILL.replace("AFTER", str(after)))
    assert process.wait() == -signal.SIGKILL
    do(bench, plan, 2, 2)
    with pytest.raises(BusyError) as caught:
        finalize(target_of(bench))
    assert slug(caught) == "parts-missing"
    do(bench, plan, 1, 2)
    assert not any((staged(bench) / "work").glob("part-*"))
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []


@pytest.mark.torture
@pytest.mark.parametrize("after", range(80))
def test_a_part_killed_anywhere_is_done_again(bench, plan, serial, after):
    process = start(bench, plan, 1, 2, KILL.replace("AFTER", str(after)))
    assert process.wait() in (0, -signal.SIGKILL)
    do(bench, plan, 2, 2)
    do(bench, plan, 1, 2)
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []


def test_a_single_file_may_be_the_target(bench):
    (index,) = bench.source("a.bin", {"a": np.arange(4, dtype=np.int32)})
    bench.output("", [("a", "int32", (4,))], [rename(index, 0, (4,))])
    plan = bench.plan()
    do(bench, plan, 1, 2)
    do(bench, plan, 2, 2)
    finalize(target_of(bench))
    assert target_of(bench).read_bytes() == b"HEAD" + np.arange(4, dtype=np.int32).tobytes()
    assert left_over(bench) == []


def test_checksums_are_those_of_one_run(bench, plan):
    run(plan, bench.root.parent / "serial", workers=1, checksum=True)
    do(bench, plan, 1, 2, checksum=True)
    do(bench, plan, 2, 2)  # this one's files are hashed at the end
    finalize(target_of(bench), checksum=True)
    assert digest(target_of(bench)) == digest(bench.root.parent / "serial")


# --- again, and what is missing ---------------------------------------------------------------------------------------


def test_a_finished_part_is_not_done_again(bench, plan, monkeypatch):
    first = do(bench, plan, 1, 2)
    assert first.bytes_written > 0
    with monkeypatch.context() as context:
        context.setattr(writing.Writing, "allocate", lambda self: pytest.fail("written again"))
        again = do(bench, plan, 1, 2)
    assert (again.bytes_read, again.bytes_written, again.verified) == (0, 0, 0)
    assert again.resumed == again.files == first.files


def test_missing_parts_are_listed(bench, plan):
    for number in (2, 5):
        report = do(bench, plan, number, 6)
    assert report.waiting == (1, 3, 4, 6)
    with pytest.raises(BusyError) as caught:
        finalize(target_of(bench))
    assert slug(caught) == "parts-missing"
    assert caught.value.diagnostics[0].message == f"`{target_of(bench)}` lacks 4 of its 6 parts: 1, 3, 4, 6"
    assert not target_of(bench).exists()
    for number in (1, 3, 4, 6):
        do(bench, plan, number, 6)
    finalize(target_of(bench))


def test_a_part_without_files_need_not_run(bench, plan, serial):
    for number in range(1, 8):
        do(bench, plan, number, 20)
    assert all(not job.files for job in parts(plan, 20)[7:])
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_file_that_was_damaged_is_missing(bench, plan, serial, damage):
    for number in (1, 2, 3):
        do(bench, plan, number, 3)
    path = staged(bench) / "content" / plan.outputs[-1].path
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BusyError) as caught:
        finalize(target_of(bench))
    assert caught.value.diagnostics[0].message.endswith(" 1 of its 3 parts: 3")
    assert do(bench, plan, 3, 3).bytes_written == plan.outputs[-1].layout.size
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial


def test_comparisons_are_shared_among_the_parts_and_count(bench, plan):
    assert [job.checks for job in parts(plan, 2)] == [(0,), (1,)]
    assert do(bench, plan, 2, 2).verified == 1
    journal = staged(bench) / "parts" / "2.journal"
    lines = journal.read_text().splitlines(keepends=True)
    assert json.loads(lines[0]) == {"verified": 2}
    journal.write_text("".join(lines[1:]))
    assert do(bench, plan, 2, 2).verified == 1


def test_a_comparison_that_fails_stops_its_part(bench, plan):
    broken = np.zeros(12, np.int32)
    (index,) = bench.source("other.bin", {"z": broken})
    check = replace(plan.verifications[1], expected=whole(index, (12,)))
    plan = replace(bench.plan(), verifications=(plan.verifications[0], check))
    do(bench, plan, 1, 2)
    with pytest.raises(CheckpointError) as caught:
        do(bench, plan, 2, 2)
    assert slug(caught) == "not-equal"
    with pytest.raises(BusyError) as refused:
        finalize(target_of(bench))
    assert refused.value.diagnostics[0].message.endswith(" 1 of its 2 parts: 2")


def test_a_torn_journal_of_a_part_counts_its_whole_lines(bench, plan, serial):
    do(bench, plan, 1, 2)
    do(bench, plan, 2, 2)
    journal = staged(bench) / "parts" / "2.journal"
    data = journal.read_bytes()
    journal.write_bytes(data[:-20])
    assert do(bench, plan, 1, 2).waiting == (2,)
    assert do(bench, plan, 2, 2).waiting == ()
    assert len(journal.read_bytes().splitlines()) == len(data.splitlines())
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial


# --- locks ------------------------------------------------------------------------------------------------------------


def test_the_same_part_twice_at_once_is_refused(bench, plan):
    refused = []

    def again(_):
        if not refused:
            with pytest.raises(BusyError) as caught:
                do(bench, plan, 2, 3)
            refused.append(caught.value.diagnostics[0])
            assert do(bench, plan, 3, 3).bytes_written > 0  # another part is not

    do(bench, plan, 2, 3, progress=again)
    assert refused[0].slug == "locked"
    holder = f"process {os.getpid()} on {os.uname().nodename}"
    assert refused[0].message == f"part 2/3 of `{target_of(bench)}` is being written by {holder}"


def test_nothing_else_goes_to_the_target_while_a_part_runs(bench, plan):
    refused = []

    def others(_):
        if not refused:
            for attempt in (lambda: run(plan, target_of(bench), discard=True), lambda: finalize(target_of(bench))):
                with pytest.raises(BusyError) as caught:
                    attempt()
                refused.append(caught.value.diagnostics[0])

    do(bench, plan, 1, 2, progress=others)
    assert [each.slug for each in refused] == ["locked", "locked"]
    assert refused[0].message.endswith("is being written by parts of a divided run")


def test_a_part_stops_where_a_run_is_on(bench, plan):
    with Lock(staged(bench).with_name(".target.tensormap-lock"), target_of(bench)), pytest.raises(BusyError) as caught:
        do(bench, plan, 1, 2)
    assert slug(caught) == "locked"
    assert f"process {os.getpid()} on " in caught.value.diagnostics[0].message
    assert left_over(bench) == []


def test_two_runs_of_one_part_that_know_nothing_of_each_other_do_no_harm(bench, plan, serial, monkeypatch):
    """As on file systems whose locks end at the machine."""
    monkeypatch.setattr("tensormap.runtime.lock.fcntl.flock", lambda descriptor, how: None)
    monkeypatch.setattr("tensormap.runtime.bay.shutil.rmtree", lambda path, **_: None)
    together = threading.Barrier(2)

    def once(_):
        together.wait()
        return do(bench, plan, 1, 1)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(once, range(2)))
    assert any(report.bytes_written for report in reports)
    monkeypatch.undo()
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial


# --- other work, other ways to go on ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"digest": "e" * 64}, "the text or the settings of the mapping `by/hand` changed"),
        ({"side": "left"}, "the side to write was `right`, and is `left`"),
        ({"verifications": ()}, "the plan writes the same files in another way"),
        ({}, "there were 3 parts, and are 2"),
    ],
)
def test_parts_of_other_work_are_refused(bench, plan, change, says):
    do(bench, plan, 1, 3)
    with pytest.raises(BusyError) as caught:
        do(bench, replace(plan, **change), 2, 3 if change else 2)
    assert slug(caught) == "resume-mismatch"
    assert caught.value.diagnostics[0].notes == (says,)
    if change:
        with pytest.raises(BusyError) as refused:
            finalize(target_of(bench), plan=replace(plan, **change))
        assert slug(refused) == "resume-mismatch"
    assert do(bench, plan, 2, 3).waiting == (3,)


def test_the_place_of_the_source_is_no_difference(bench, plan, serial):
    """Machines may see it under other paths."""
    link = bench.root.parent / "source" / "again"
    link.symlink_to(bench.root)
    do(bench, plan, 1, 2)
    do(bench, replace(plan, root=str(link)), 2, 2)
    finalize(target_of(bench), plan=plan)
    assert digest(target_of(bench)) == serial


def test_the_end_may_see_the_source_elsewhere(bench, plan, serial):
    link = bench.root.parent / "source" / "again"
    link.symlink_to(bench.root)
    do(bench, replace(plan, root=str(link)), 1, 1)
    link.unlink()
    with pytest.raises(CheckpointError):
        finalize(target_of(bench))
    finalize(target_of(bench), plan=plan)
    assert digest(target_of(bench)) == serial


def test_a_run_resumes_what_parts_began(bench, plan, serial):
    report = do(bench, plan, 1, 3)
    with pytest.raises(BusyError) as caught:
        run(plan, target_of(bench))
    assert slug(caught) == "resumable"
    assert "in 3 parts left" in caught.value.diagnostics[0].message
    with pytest.raises(BusyError) as refused:
        run(replace(plan, verifications=()), target_of(bench), resume=True)
    assert slug(refused) == "resume-mismatch"
    assert run(plan, target_of(bench), resume=True).resumed == report.files
    assert digest(target_of(bench)) == serial
    assert left_over(bench) == []


def test_a_part_does_not_take_over_an_interrupted_run(bench, plan, monkeypatch):
    original = writing.Writing.finish
    finished = []

    def finish(self):
        if finished:
            raise KeyboardInterrupt
        finished.append(self)
        return original(self)

    with monkeypatch.context() as context:
        context.setattr(writing.Writing, "finish", finish)
        with pytest.raises(KeyboardInterrupt):
            run(plan, target_of(bench), workers=1)
    for attempt in (lambda: do(bench, plan, 1, 2), lambda: finalize(target_of(bench))):
        with pytest.raises(BusyError) as caught:
            attempt()
        assert slug(caught) == "resumable"


def test_parts_can_be_discarded(bench, plan):
    with pytest.raises(MappingError) as caught:
        discard(target_of(bench))
    assert slug(caught) == "no-parts"
    do(bench, plan, 1, 2)
    assert discard(target_of(bench)) == len(parts(plan, 2)[0].files)
    assert left_over(bench) == []
    assert do(bench, plan, 1, 3).waiting == (2, 3)


def test_there_is_nothing_to_finish(bench, plan):
    with pytest.raises(MappingError) as caught:
        finalize(target_of(bench))
    assert slug(caught) == "no-parts"
    assert left_over(bench) == []


@pytest.mark.parametrize("number", [0, 4, -1])
def test_parts_are_counted_from_one(number):
    with pytest.raises(MappingError) as caught:
        Part(number, 3)
    assert slug(caught) == "bad-part"


def test_a_leftover_without_a_journal_is_no_obstacle(bench, plan, serial):
    (staged(bench) / "content").mkdir(parents=True)
    do(bench, plan, 1, 1)
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial


# --- targets and sources ----------------------------------------------------------------------------------------------


def test_a_target_with_something_in_it_is_refused_by_each_part(bench, plan):
    target_of(bench).mkdir()
    (target_of(bench) / "mine").write_text("x")
    with pytest.raises(MappingError) as caught:
        do(bench, plan, 1, 2)
    assert slug(caught) == "target-not-empty"
    assert left_over(bench) == []


def test_overwriting_is_remembered(bench, plan, serial):
    target_of(bench).mkdir()
    (target_of(bench) / "mine").write_text("x")
    do(bench, plan, 1, 2, overwrite=True)
    do(bench, plan, 2, 2)
    assert (target_of(bench) / "mine").exists()
    finalize(target_of(bench))
    assert digest(target_of(bench)) == serial


def test_a_target_that_came_meanwhile_is_not_replaced(bench, plan, serial):
    do(bench, plan, 1, 1)
    target_of(bench).mkdir()
    (target_of(bench) / "mine").write_text("x")
    with pytest.raises(MappingError) as caught:
        finalize(target_of(bench))
    assert slug(caught) == "target-not-empty"
    finalize(target_of(bench), overwrite=True)
    assert digest(target_of(bench)) == serial


def test_a_source_that_changes_meanwhile_is_not_published(bench, plan):
    do(bench, plan, 1, 2)
    os.utime(bench.root / "0.bin", ns=(1, 1))
    for attempt in (lambda: do(bench, plan, 2, 2), lambda: finalize(target_of(bench))):
        with pytest.raises((CheckpointError, BusyError)) as caught:
            attempt()
        assert slug(caught) in ("stale-plan", "parts-missing")
    assert not target_of(bench).exists()


def test_a_source_that_changed_before_the_end_is_not_published(bench, plan):
    do(bench, plan, 1, 2)
    do(bench, plan, 2, 2)
    os.utime(bench.root / "0.bin", ns=(1, 1))
    with pytest.raises(CheckpointError) as caught:
        finalize(target_of(bench))
    assert slug(caught) == "stale-plan"
    assert not target_of(bench).exists()


def test_what_a_part_read_of_a_changing_source_does_not_count(bench, plan):
    before = (bench.root / "0.bin").stat()

    def touch(progress):
        if progress.files_done == 7:  # too late for any part to see it but at its end
            os.utime(bench.root / "0.bin", ns=(1, 1))

    with pytest.raises(CheckpointError) as caught:
        do(bench, plan, 1, 1, progress=touch)
    assert slug(caught) == "source-changed"
    os.utime(bench.root / "0.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BusyError) as missing:
        finalize(target_of(bench))
    assert slug(missing) == "parts-missing"


def test_an_end_that_was_killed_after_the_rename_is_done(bench, plan, serial, monkeypatch):
    do(bench, plan, 1, 1)
    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging.shutil.rmtree", lambda path, **_: None)
        finalize(target_of(bench))
    assert left_over(bench) == [".target.tensormap"]
    assert finalize(target_of(bench)).notes == ("it had been published before",)
    assert left_over(bench) == []
    assert digest(target_of(bench)) == serial


def test_the_plan_that_waits_is_checked_like_any_other(bench, plan):
    do(bench, plan, 1, 1)
    path = staged(bench) / "plan.json"
    path.write_text(path.read_text().replace('"index.json"', '"../index.json"'))
    with pytest.raises(CheckpointError) as caught:
        finalize(target_of(bench))
    assert slug(caught) == "bad-plan"
