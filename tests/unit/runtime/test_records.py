"""The records of zips are checked by the time that all is settled, however their bytes were read."""

from __future__ import annotations

import random
import threading
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tensormap.checkpoints.catalog import SourceFile
from tensormap.checkpoints.crc import combine
from tensormap.diagnostics import CheckpointError
from tensormap.runtime import sources
from tensormap.runtime.sources import Handles, Records, Sources

SIZE = 5000


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_WORTH", 16)
    monkeypatch.setattr(sources, "_CHUNK", 512)


def archive(folder: Path, *, flip: int | None = None) -> tuple[Sources, list[tuple[int, int]]]:
    """Write three records, with one bit of the second flipped if wanted; return the file and where its records lie."""
    path = folder / "model.pt"
    with zipfile.ZipFile(path, "w") as file:
        for name in "abc":
            file.writestr(f"model/data/{name}", random.Random(name).randbytes(SIZE))
    data = bytearray(path.read_bytes())
    places = [data.find(random.Random(name).randbytes(SIZE)) for name in "abc"]
    if flip is not None:
        data[places[1] + flip] ^= 1
        path.write_bytes(data)
    status = path.stat()
    found = Sources((folder, [SourceFile(path.name, status.st_size, status.st_mtime_ns, "")]))
    return found, [(place, SIZE) for place in places]


def pieces(chance: random.Random, place: int, size: int) -> list[tuple[int, int]]:
    """Cut a record into reads in any order; some come twice, some reach into others, some are left out."""
    cuts = sorted({0, size, *(chance.randrange(1, size) for _ in range(chance.randrange(8)))})
    found = [(place + low, high - low) for low, high in pairwise(cuts)]
    for _ in range(chance.randrange(4)):
        low = chance.randrange(size)
        found.append((place + low, chance.randrange(1, size - low + 1)))
    chance.shuffle(found)
    return found[: chance.randrange(1, len(found) + 1)]


@pytest.mark.parametrize("seed", range(60))
def test_whole_records_pass_however_they_are_read(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    file, places = archive(tmp_path)
    handles = Handles(file, 4, Records(file, late=True))
    for place, size in places:
        for offset, count in pieces(chance, place, size):
            handles.read(0, offset, memoryview(bytearray(count)))
    handles.settle()
    handles.close()


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_record_is_found_however_it_is_read(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    file, places = archive(tmp_path, flip=chance.randrange(SIZE))
    handles = Handles(file, 4, Records(file, late=True))
    reads = pieces(chance, *places[1])

    def read_all() -> None:
        for offset, count in reads:
            handles.read(0, offset, memoryview(bytearray(count)))
        handles.settle()

    with pytest.raises(CheckpointError) as caught:
        read_all()
    assert caught.value.diagnostics[0].slug == "record-damaged"
    handles.close()


def test_a_damaged_record_that_nobody_reads_is_nobodys_business(tmp_path: Path) -> None:
    file, places = archive(tmp_path, flip=7)
    handles = Handles(file, 4, Records(file, late=True))
    handles.read(0, places[0][0], memoryview(bytearray(SIZE)))
    handles.settle()
    handles.close()


@pytest.mark.skipif(combine is None, reason="ISA-L is not installed: records are read whole")
def test_a_record_that_is_read_once_is_read_once(tmp_path: Path) -> None:
    file, places = archive(tmp_path)
    handles = Handles(file, 4, Records(file, late=True))
    for low in range(0, SIZE, 500):
        handles.read(0, places[2][0] + low, memoryview(bytearray(500)))
    handles.settle()
    assert handles.bytes_read == SIZE
    handles.close()


@pytest.mark.skipif(combine is None, reason="ISA-L is not installed: records are read whole")
@pytest.mark.parametrize("reads", [[(0, SIZE - 1)], [(1, SIZE)], [(700, 900), (2000, 4000), (10, 650), (900, 1000)]])
def test_only_what_the_reads_left_out_of_a_record_is_read_for_its_checksum(
    tmp_path: Path, reads: list[tuple[int, int]]
) -> None:
    file, places = archive(tmp_path)
    handles = Handles(file, 4, Records(file, late=True))
    for low, high in reads:
        handles.read(0, places[1][0] + low, memoryview(bytearray(high - low)))
    handles.settle()
    assert handles.bytes_read == SIZE
    handles.close()


@pytest.mark.skipif(combine is None, reason="ISA-L is not installed: records are read whole")
def test_a_file_that_is_finished_waits_for_what_was_read_for_it_or_for_several(tmp_path: Path) -> None:
    file, places = archive(tmp_path, flip=7)
    records = Records(file, late=True)
    one, other = Handles(file, 4, records), Handles(file, 4, records)
    start = places[1][0]  # the damaged one
    with one.serve("a"):
        one.read(0, places[0][0], memoryview(bytearray(10)))
    with other.serve("b"):
        other.read(0, start, memoryview(bytearray(10)))
    one.settle("a")
    with pytest.raises(CheckpointError):
        other.settle("b")
    fresh = Records(file, late=True)
    one, other = Handles(file, 4, fresh), Handles(file, 4, fresh)
    with one.serve("a"), one.serve(None):
        one.read(0, start, memoryview(bytearray(10)))
    with pytest.raises(CheckpointError):
        other.settle("b")
    last = Handles(file, 4, Records(file, late=True))
    with last.serve("a"):
        last.read(0, start, memoryview(bytearray(10)))
    with pytest.raises(CheckpointError):
        last.settle()
    for each in (one, other, last):
        each.close()


def test_what_was_read_over_between_two_pieces_is_no_part_of_a_record(tmp_path: Path) -> None:
    file, places = archive(tmp_path)
    handles = Handles(file, 4, Records(file, late=True))
    start = places[0][0]
    reads = [(start + low, low, 100) for low in range(0, SIZE, 200)]
    handles.scatter(0, reads, memoryview(bytearray(SIZE)), 100)
    handles.settle()
    handles.close()


def test_what_is_damaged_stays_so(tmp_path: Path) -> None:
    """A file that is settled after another found the damage must not count as finished: a run may be killed in between."""
    file, places = archive(tmp_path, flip=7)
    records = Records(file, late=True)
    for _ in range(2):
        handles = Handles(file, 4, records)
        handles.read(0, places[1][0], memoryview(bytearray(100)))
        with pytest.raises(CheckpointError):
            handles.settle()
        handles.close()
    if combine is not None:
        other = Handles(file, 4, Records(file, late=True))
        with pytest.raises(CheckpointError):
            other.read(0, places[1][0], memoryview(bytearray(SIZE)))
        with pytest.raises(CheckpointError):
            other.settle()
        other.close()


def test_nothing_is_settled_while_a_record_is_still_being_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, places = archive(tmp_path)
    begun, go, done = threading.Event(), threading.Event(), threading.Event()
    check = Records._check

    def slow(self: Records, *arguments: Any) -> None:
        begun.set()
        assert go.wait(10)
        check(self, *arguments)

    monkeypatch.setattr(Records, "_check", slow)
    handles = Handles(file, 4, Records(file, late=True))
    handles.read(0, places[0][0], memoryview(bytearray(100)))

    def second() -> None:
        handles.settle()
        done.set()

    threads = [threading.Thread(target=handles.settle), threading.Thread(target=second)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    assert not done.wait(0.1)
    go.set()
    for each in threads:
        each.join()
    assert done.is_set()
    handles.close()
