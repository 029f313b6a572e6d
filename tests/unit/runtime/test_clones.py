"""Blocks that a target shares with its source: asked for where they may be, never a wrong byte where they are not."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensormap.checkpoints.catalog import SourceFile
from tensormap.diagnostics import CheckpointError
from tensormap.lowering.plan import Companion, Input
from tensormap.runtime import clones
from tensormap.runtime.clones import BLOCK
from tensormap.runtime.execute import run
from tests.unit.runtime.plans import Bench, read_tensor, rename
from tests.unit.runtime.test_execute import zipped


class FileSystem:
    """Stands in for the ioctl: the rules of the kernel, with a copy in place of sharing; `refuses` gives errors by call."""

    def __init__(self, block: int = BLOCK, refuses=()) -> None:
        self.block = block
        self.refuses = list(refuses)
        self.calls = 0
        self.shared = 0

    def ioctl(self, target: int, request: int, asked: bytes) -> int:
        assert request == 0x4020940D
        source, start, size, low = struct.unpack("=qQQQ", asked)
        self.calls += 1
        number = self.refuses.pop(0) if self.refuses else 0
        if number:
            raise OSError(number, os.strerror(number))
        end = os.fstat(source).st_size
        size = size or end - start
        whole_blocks = size % self.block == 0 or start + size == end
        if start % self.block or low % self.block or not whole_blocks or start + size > end:
            raise OSError(errno.EINVAL, "not whole blocks of the source")
        os.pwrite(target, os.pread(source, size, start), low)
        self.shared += size
        return 0


@pytest.fixture
def system(monkeypatch) -> FileSystem:
    made = FileSystem()
    monkeypatch.setattr(fcntl, "ioctl", made.ioctl)
    return made


def one_tensor(bench: Bench, size: int, before: int, header: int):
    """`size` bytes that begin at byte `before` of the source and at byte `header` of the target."""
    (index,) = bench.source("a.bin", {"a": np.random.default_rng(size).integers(0, 256, size, np.uint8)}, prefix=before)
    bench.output("out.bin", [("t", "uint8", (size,))], [rename(index, 0, (size,))], header=b"H" * header)
    return bench.plan()


def moved(bench: Bench, plan, name: str = "target", **given):
    target = bench.root.parent / name
    report = run(plan, target, **{"tile": 20 * BLOCK, **given})
    assert read_tensor(plan, target, 0, 0).tobytes() == bench.arrays[0].tobytes()
    return report


def test_whole_blocks_are_shared_and_the_rest_is_copied(tmp_path, system):
    bench = Bench(tmp_path)
    report = moved(bench, one_tensor(bench, 50 * BLOCK + 17, before=100, header=100 + 3 * BLOCK))
    assert system.calls == 1
    assert report.bytes_shared == system.shared == 49 * BLOCK
    assert report.bytes_read == BLOCK + 17
    assert report.bytes_written == 53 * BLOCK + 117


@pytest.mark.parametrize("header", [99, 101, 100 + BLOCK // 2])
def test_what_lies_otherwise_in_its_blocks_is_not_asked_for(tmp_path, system, header):
    bench = Bench(tmp_path)
    report = moved(bench, one_tensor(bench, 50 * BLOCK, before=100, header=header))
    assert (system.calls, report.bytes_shared) == (0, 0)


def test_larger_blocks(tmp_path, system, monkeypatch):
    system.block = 4 * BLOCK
    large = os.statvfs_result((4 * BLOCK, 4 * BLOCK, *os.statvfs("/")[2:]))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: large)
    bench = Bench(tmp_path)
    plan = one_tensor(bench, 50 * BLOCK, before=100, header=100 + 4 * BLOCK)
    assert moved(bench, plan).bytes_shared == system.shared == 44 * BLOCK
    bench = Bench(tmp_path / "other")
    plan = one_tensor(bench, 50 * BLOCK, before=100, header=100 + BLOCK)
    assert moved(bench, plan).bytes_shared == 0
    assert system.calls == 1


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY])
def test_file_systems_that_cannot_are_asked_once(tmp_path, monkeypatch, number):
    system = FileSystem(refuses=[number] * 100)
    monkeypatch.setattr(fcntl, "ioctl", system.ioctl)
    bench = Bench(tmp_path)
    for each in range(5):
        data = np.random.default_rng(each).integers(0, 256, 50 * BLOCK, np.uint8)
        (index,) = bench.source(f"{each}.bin", {f"s{each}": data})
        bench.output(f"out-{each}.bin", [("t", "uint8", data.shape)], [rename(index, 0, data.shape)], header=b"abc")
    plan = bench.plan()
    report = moved(bench, plan, workers=1)
    assert (system.calls, report.bytes_shared) == (1, 0)
    for each in range(5):
        assert read_tensor(plan, tmp_path / "target", each, 0).tobytes() == bench.arrays[each].tobytes()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC, errno.EBUSY, errno.ETXTBSY])
def test_a_refusal_of_the_moment_is_no_error(tmp_path, monkeypatch, number):
    system = FileSystem(refuses=[number])
    monkeypatch.setattr(fcntl, "ioctl", system.ioctl)
    bench = Bench(tmp_path)
    plan = one_tensor(bench, 50 * BLOCK, before=100, header=100)
    assert moved(bench, plan).bytes_shared == 0
    assert moved(bench, plan, "again").bytes_shared == 49 * BLOCK


def test_an_error_of_the_disk_is_one(tmp_path, monkeypatch):
    system = FileSystem(refuses=[errno.EIO])
    monkeypatch.setattr(fcntl, "ioctl", system.ioctl)
    bench = Bench(tmp_path)
    with pytest.raises(OSError, match="error") as caught:
        moved(bench, one_tensor(bench, 50 * BLOCK, before=100, header=100))
    assert caught.value.filename.endswith("out.bin")


def test_a_source_that_ends_too_early_is_found(tmp_path, system):
    bench = Bench(tmp_path)
    plan = one_tensor(bench, 50 * BLOCK, before=100, header=100)
    os.truncate(bench.root / "a.bin", 30 * BLOCK)
    status = (bench.root / "a.bin").stat()
    plan = replace(plan, sources=(SourceFile("a.bin", status.st_size, status.st_mtime_ns, ""),))
    with pytest.raises(CheckpointError) as caught:
        run(plan, tmp_path / "target")
    assert caught.value.diagnostics[0].slug == "file-truncated"


@pytest.mark.parametrize("trust", [False, True])
def test_damaged_records_that_are_shared_are_found_before_anything_is_published(tmp_path, system, monkeypatch, trust):
    monkeypatch.setattr(clones, "WORTH", 1)
    monkeypatch.setattr(clones, "BLOCK", 1)
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: os.statvfs_result((1,) * 10))
    system.block = 1
    bench = Bench(tmp_path)
    plan = zipped(bench, damage=True)
    if trust:
        assert run(plan, tmp_path / "target", trust_crc=True, tile=8).bytes_shared > 0
    else:
        with pytest.raises(CheckpointError) as caught:
            run(plan, tmp_path / "target", tile=8)
        assert caught.value.diagnostics[0].slug == "record-damaged"
        assert system.shared > 0
        assert not (tmp_path / "target").exists()
        assert [each.name for each in tmp_path.iterdir()] == [bench.root.name]


def test_files_that_are_copied_whole_are_shared(tmp_path, system):
    bench = Bench(tmp_path)
    data = os.urandom(5 * BLOCK + 3)
    (bench.root / "tokenizer.model").write_bytes(data)
    bench.companions.append(Companion("tokenizer.model", "tokenizer.model", len(data)))
    run(bench.plan(), tmp_path / "target")
    assert (tmp_path / "target" / "tokenizer.model").read_bytes() == data
    assert system.shared == len(data)


cases = st.lists(
    st.tuples(st.integers(0, 9 * BLOCK), st.integers(0, 40), st.integers(0, 3 * BLOCK)), min_size=1, max_size=5
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases, st.lists(st.sampled_from([0, errno.EBUSY, errno.EINVAL]), max_size=4), st.integers(1, 3))
def test_never_a_wrong_byte(tmp_path_factory, monkeypatch, tensors, refuses, workers):
    """Tensors of any size anywhere in the source and the target, some of which can be shared."""
    system = FileSystem(refuses=refuses)
    monkeypatch.setattr(fcntl, "ioctl", system.ioctl)
    monkeypatch.setattr(clones, "WORTH", 1)
    bench = Bench(tmp_path_factory.mktemp("clones"))
    data = b""
    for number, (size, gap, _) in enumerate(tensors):
        array = np.random.default_rng(number).integers(0, 256, size, np.uint8)
        data += b"\xee" * gap
        bench.inputs.append(Input(f"s{number}", "uint8", (size,), 0, len(data)))
        bench.arrays.append(array)
        data += array.tobytes()
        # the target lies as the source does, or a little apart
        bench.output(
            f"{number}.bin",
            [("t", "uint8", (size,))],
            [rename(number, 0, (size,))],
            header=b"H" * (bench.inputs[-1].offset % BLOCK + (tensors[number][2] // BLOCK) * BLOCK),
        )
    (bench.root / "a.bin").write_bytes(data)
    status = (bench.root / "a.bin").stat()
    bench.files.append(SourceFile("a.bin", status.st_size, status.st_mtime_ns, ""))
    plan = bench.plan()
    target = bench.root.parent / "target"
    report = run(plan, target, workers=workers, tile=3000)
    for number in range(len(tensors)):
        assert read_tensor(plan, target, number, 0).tobytes() == bench.arrays[number].tobytes()
        assert (target / f"{number}.bin").read_bytes()[: plan.outputs[number].tensors[0].offset].strip(b"H") == b""
    assert report.bytes_shared == system.shared


# --- file systems that have them --------------------------------------------------------------------------------------


@pytest.fixture(params=["xfs", "btrfs"])
def mounted(request, tmp_path) -> Path:
    """A file system of its own, in a file."""
    make = shutil.which(f"mkfs.{request.param}", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if make is None or os.geteuid():
        pytest.skip(f"making a file system needs mkfs.{request.param} and root")
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run([make, "-q", str(image)], check=True, capture_output=True)
    mount = subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=False, capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"this machine mounts nothing: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def used(place: Path) -> int:
    os.sync()
    room = os.statvfs(place)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


@pytest.mark.torture
def test_a_real_file_system_shares(mounted):
    bench = Bench(mounted)
    size = 60 << 20
    plan = one_tensor(bench, size, before=100, header=100 + BLOCK)
    before = used(mounted)
    report = moved(bench, plan)
    assert report.bytes_shared > size - 2 * BLOCK
    assert used(mounted) - before < 4 << 20
