"""Attacks on what lies beside a target: what an interrupted run left, its lock, the plan of its parts."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tensormap.diagnostics import BusyError, TensormapError
from tensormap.runtime import part
from tensormap.runtime.divided import Part
from tensormap.runtime.execute import run
from tensormap.runtime.finalize import finalize
from tests.torture.test_faults import faulty
from tests.torture.workloads import Workload, to_safetensors, tree

OURS = {"mine.txt": b"not to be touched", "model-00001-of-00007.safetensors": b"nor this", "sub/deep.txt": b"nor that"}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return to_safetensors(tmp_path_factory.mktemp("work"))


@pytest.fixture
def target(work: Workload, tmp_path: Path) -> Path:
    """A target to which a run was interrupted that had finished some files."""
    target = tmp_path / "place" / "target"
    target.parent.mkdir()
    with faulty("fsync", 8, errno.EIO, lasting=True), pytest.raises(OSError, match="error"):
        run(work.plan, target)
    assert (staged(target) / "content").is_dir()
    return target


@pytest.fixture
def parted(work: Workload, tmp_path: Path) -> Path:
    """A target of a run in two parts, both made."""
    target = tmp_path / "place" / "target"
    target.parent.mkdir()
    for number in (1, 2):
        part.run_part(work.plan, target, Part(number, 2))
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Somebody's directory, which has to stay as it is."""
    folder = tmp_path / "elsewhere"
    for name, data in OURS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    yield folder
    assert tree(folder) == OURS


def staged(target: Path) -> Path:
    return target.parent / ".target.tensormap"


@contextmanager
def refused_or_right(work: Workload, target: Path) -> Iterator[None]:
    """Let the block end well with the right result, or with an error of ours or of the disk and no result."""
    try:
        yield
    except (TensormapError, OSError):
        assert not os.path.lexists(target)
    else:
        assert not target.is_symlink()
        assert not [each for each in target.rglob("*") if each.is_symlink()]
        assert tree(target) == work.whole


def lines(target: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in (staged(target) / "journal").read_text().splitlines()]


def rewrite(target: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the journal."""
    found = lines(target)
    change(found)
    (staged(target) / "journal").write_text("".join(json.dumps(each) + "\n" for each in found))


DEEP = "[" * 100_000
ODD: list[Any] = [None, True, -1, 1.5, 10**30, "x", "", [], {}, [[]], {"a": 1}, "1\n2", "\ud800"]


def test_a_journal_with_odd_values_is_refused_or_right(work: Workload, target: Path, tmp_path: Path) -> None:
    """Each value in it, one after the other, is something else."""
    shutil.copytree(staged(target), tmp_path / "kept")
    places: list[tuple[int, ...] | tuple[int, str] | tuple[int, str, str]] = []
    for number, line in enumerate(lines(target)):
        places += [(number, key) for key in line]
        places += [(number, "identity", key) for key in line.get("identity", {})]
    assert len(places) > 15
    resumed = 0
    for place in places:
        for odd in ODD:
            shutil.rmtree(target.parent)
            target.parent.mkdir()
            shutil.copytree(tmp_path / "kept", staged(target))

            def change(found: list[dict[str, Any]], place: Any = place, odd: Any = odd) -> None:
                *path, last = place
                table: Any = found
                for key in path:
                    table = table[key]
                table[last] = odd

            rewrite(target, change)
            with refused_or_right(work, target):
                resumed += bool(run(work.plan, target, resume=True))
    assert resumed


@pytest.mark.parametrize("where", ["first line", "last line"])
@pytest.mark.parametrize("text", [DEEP, '{"identity":' + DEEP, "9" * 10_000, "\0", "[]", "null", '{"done":[]}', ""])
def test_a_journal_that_is_none_starts_anew(work: Workload, target: Path, where: str, text: str) -> None:
    path = staged(target) / "journal"
    kept = path.read_text()
    path.write_text(text + "\n" + kept if where == "first line" else kept + text + "\n")
    report = run(work.plan, target, resume=True)
    assert tree(target) == work.whole
    # those that were copied by no run keep their inodes: what is noted of them still holds
    assert bool(report.resumed) == (where == "last line")


@pytest.mark.parametrize("parts", [10**12, 100_001, -1, True])
def test_a_journal_of_endlessly_many_parts(parted: Path, parts: Any) -> None:
    rewrite(parted, lambda found: found[0].__setitem__("parts", parts))
    with pytest.raises(TensormapError):
        finalize(parted)
    assert not parted.exists()


def test_a_journal_that_names_files_elsewhere(work: Workload, target: Path, elsewhere: Path) -> None:
    """Files that the plan does not have are not published, and none is removed that lies elsewhere."""
    stray = staged(target) / "content" / "stray.py"
    stray.write_text("import os")
    outside = elsewhere / "mine.txt"
    with (staged(target) / "journal").open("a") as file:
        for name, path in ((stray.name, stray), (str(outside), outside), ("../../../elsewhere/mine.txt", outside)):
            status = path.stat()
            known = [status.st_size, status.st_mtime_ns, status.st_ino]
            file.write(json.dumps({"done": name, "status": known}) + "\n")
    run(work.plan, target, resume=True)
    assert tree(target) == work.whole


def test_a_sum_with_a_line_of_its_own(work: Workload, tmp_path: Path) -> None:
    """What a journal says is the sum of a file cannot add lines to the list of sums."""
    target = tmp_path / "place" / "target"
    target.parent.mkdir()
    with faulty("fsync", 8, errno.EIO, lasting=True), suppress(OSError):
        run(work.plan, target, checksum=True)
    assert any("sha256" in each for each in lines(target))

    def change(found: list[dict[str, Any]]) -> None:
        for each in found:
            if "sha256" in each:
                each["sha256"] += "  x\n" + "0" * 64

    rewrite(target, change)
    run(work.plan, target, resume=True, checksum=True)
    assert len((target / "SHA256SUMS").read_text().splitlines()) == len(work.whole)


@pytest.mark.parametrize("name", ["content", "journal", "work", "parts", "."])
@pytest.mark.parametrize("how", ["resume", "discard", "overwrite", "part", "finalize", "plain"])
def test_a_link_in_the_place_of_what_is_staged(
    work: Workload, target: Path, elsewhere: Path, name: str, how: str
) -> None:
    """Nothing is written to nor removed from where it leads."""
    path = staged(target) / name
    if name == ".":
        path = staged(target)
        shutil.copytree(path, target.parent / "copy")
        inside = target.parent / "copy"
        if how != "resume":  # a whole directory of ours, reached by a link
            inside = elsewhere
    else:
        inside = elsewhere
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(inside)
    with refused_or_right(work, target):
        if how == "part":
            part.run_part(work.plan, target, Part(1, 1))
            finalize(target)
        elif how == "finalize":
            finalize(target)
        else:
            run(work.plan, target, **({} if how == "plain" else {how: True}))


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_finished_file_that_is_reached_by_a_link(work: Workload, target: Path, tmp_path: Path, kind: str) -> None:
    """It is not published, and not taken for finished and then missed."""
    content = staged(target) / "content"
    done = next(each["done"] for each in lines(target) if "done" in each)
    away = tmp_path / "away"
    if kind == "file":
        os.rename(content / done, away)
        (content / done).symlink_to(away)
    else:
        os.rename(content, away)
        content.mkdir()
        for each in away.iterdir():
            (content / each.name).symlink_to(each)
    run(work.plan, target, resume=True)
    assert tree(target) == work.whole
    assert not [each for each in target.rglob("*") if each.is_symlink()]


@pytest.mark.parametrize("how", ["resume", "plain", "discard"])
def test_pipes_and_directories_in_the_place_of_files(work: Workload, target: Path, how: str) -> None:
    """No command waits for somebody to write into a pipe."""
    done = next(each["done"] for each in lines(target) if "done" in each)
    for name in ("journal", f"content/{done}", "content/config.json"):
        path = staged(target) / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    with refused_or_right(work, target):
        run(work.plan, target, **({} if how == "plain" else {how: True}))


@pytest.mark.parametrize("name", ["journal", "content", "content/config.json", "work"])
def test_a_directory_or_a_file_in_the_place_of_the_other(work: Workload, target: Path, name: str) -> None:
    path = staged(target) / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("x")
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
    with refused_or_right(work, target):
        run(work.plan, target, resume=True)


# --- the lock


@pytest.mark.parametrize("how", ["link", "second name", "pipe", "dangling link", "directory"])
def test_what_is_put_in_the_place_of_a_lock_is_not_written_to(
    work: Workload, tmp_path: Path, elsewhere: Path, how: str
) -> None:
    target = tmp_path / "place" / "target"
    target.parent.mkdir()
    lock = target.parent / ".target.tensormap-lock"
    match how:
        case "link":
            lock.symlink_to(elsewhere / "mine.txt")
        case "second name":
            lock.hardlink_to(elsewhere / "mine.txt")
        case "dangling link":
            lock.symlink_to(elsewhere / "new.txt")
        case "pipe":
            os.mkfifo(lock)
        case _:
            lock.mkdir()
    with pytest.raises(OSError, match="tensormap-lock"):
        run(work.plan, target)
    assert not target.exists()


# --- the plan of the parts


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"tensormap_plan": 1}', None])
def test_the_plan_of_the_parts_is_checked(work: Workload, parted: Path, data: bytes | None) -> None:
    path = staged(parted) / "plan.json"
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises((TensormapError, OSError)):
        finalize(parted)
    assert not parted.exists()
    assert finalize_again(work, parted)


def finalize_again(work: Workload, target: Path) -> bool:
    """Make the parts anew, as the message says, and finish."""
    shutil.rmtree(staged(target))
    for number in (1, 2):
        part.run_part(work.plan, target, Part(number, 2))
    finalize(target)
    return tree(target) == work.whole


def test_another_plan_in_the_place_of_that_of_the_parts(work: Workload, parted: Path, tmp_path: Path) -> None:
    """A whole and sound plan, but one that the parts did not work on."""
    other = to_safetensors(tmp_path / "other", layers=3)
    (tmp_path / "second").mkdir()
    part.run_part(other.plan, tmp_path / "second" / "target", Part(1, 2))
    shutil.copy(staged(tmp_path / "second" / "target") / "plan.json", staged(parted) / "plan.json")
    with pytest.raises(BusyError):
        finalize(parted)
    assert not parted.exists()
