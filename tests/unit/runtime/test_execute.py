"""What a run promises about its target, whatever happens on the way."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tensormap.checkpoints.catalog import SourceFile
from tensormap.diagnostics import BusyError, CheckpointError, MappingError
from tensormap.lowering.plan import (
    Companion,
    Compute,
    Copy,
    Fill,
    Formula,
    Function,
    Input,
    Operand,
    Plan,
    Region,
    Scalar,
    TextFile,
    Verify,
)
from tensormap.runtime import execute, sums, writing
from tensormap.runtime.execute import run
from tensormap.runtime.staging import Staging
from tests.unit.runtime.plans import Bench, random_array, read_tensor, rename, whole


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


SAME = Operand(0)


def two_files(bench: Bench, size: int = 1000) -> Plan:
    """Two outputs from two sources, an index and a tokenizer."""
    for number in range(2):
        array = random_array((size,), "float32", number)
        (index,) = bench.source(f"{number}.bin", {f"s{number}": array})
        bench.output(f"out-{number}.bin", [(f"t{number}", "float32", (size,))], [rename(index, 0, (size,))])
    (bench.root / "tokenizer.json").write_bytes(b"{}")
    bench.companions.append(Companion("tokenizer.json", "tokenizer.json", 2))
    bench.texts.append(TextFile("sub/index.json", b"index"))
    return bench.plan()


def slug(caught) -> str:
    return caught.value.diagnostics[0].slug


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.tobytes() == right.tobytes()


def listing(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())


def left_over(bench: Bench) -> list[str]:
    """What lies beside the source, but for the target."""
    return sorted(each.name for each in bench.root.parent.iterdir() if each.name not in ("source", "target"))


def target_of(bench: Bench) -> Path:
    return bench.root.parent / "target"


# --- what is written --------------------------------------------------------------------------------------------------


def test_everything_is_written_and_nothing_is_left(bench):
    plan = two_files(bench)
    report = run(plan, target_of(bench))
    assert listing(target_of(bench)) == ["out-0.bin", "out-1.bin", "sub/index.json", "tokenizer.json"]
    for number in range(2):
        assert same(read_tensor(plan, target_of(bench), number, 0), bench.arrays[number])
    assert left_over(bench) == []
    assert report.files == ("out-0.bin", "out-1.bin", "tokenizer.json", "sub/index.json")
    assert report.resumed == ()
    assert report.bytes_written == 2 * 4004 + 7
    assert report.bytes_read == 2 * 4000


def test_a_single_file_may_be_the_target(bench):
    (index,) = bench.source("a.bin", {"a": np.arange(4, dtype=np.int32)})
    bench.output("", [("a", "int32", (4,))], [rename(index, 0, (4,))])
    run(bench.plan(), target_of(bench))
    assert target_of(bench).read_bytes() == b"HEAD" + np.arange(4, dtype=np.int32).tobytes()
    assert left_over(bench) == []


def test_parents_of_the_target_are_made(bench):
    target = target_of(bench) / "a" / "b"
    run(two_files(bench), target)
    assert len(listing(target)) == 4


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_modes_follow_the_umask(bench, umask):
    plan = two_files(bench)
    before = os.umask(umask)
    try:
        run(plan, target_of(bench))
    finally:
        os.umask(before)
    for name in listing(target_of(bench)):
        assert stat.S_IMODE((target_of(bench) / name).stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(target_of(bench).stat().st_mode) == 0o777 & ~umask


def test_fills_computes_and_generators(bench):
    (index,) = bench.source("a.bin", {"a": np.arange(6, dtype=np.float32)})
    mask = bench.generated("causal_mask", "bool", (1, 1, 3, 3), 3)
    plus = Function("+", (Operand(0), Scalar(1)))
    bench.output(
        "out.bin",
        [("w", "float32", (8,)), ("m", "uint8", (1, 1, 3, 3)), ("s", "float64", ()), ("z", "int64", (0, 5))],
        [
            Compute((6,), (Region(index, 0, (1,)),), plus, Region(0, 0, (1,))),
            Fill((2,), -1e9, Region(0, 6, (1,))),
            Copy((1, 1, 3, 3), whole(mask, (1, 1, 3, 3)), whole(1, (1, 1, 3, 3))),
            Fill((), 0.5, Region(2, 0, ())),
            Fill((0, 5), 1, Region(3, 0, (5, 1))),
        ],
    )
    plan = bench.plan()
    run(plan, target_of(bench))
    assert read_tensor(plan, target_of(bench), 0, 0).tolist() == [1, 2, 3, 4, 5, 6, -1e9, -1e9]
    assert (read_tensor(plan, target_of(bench), 0, 1)[0, 0] == np.tril(np.ones((3, 3)))).all()
    assert read_tensor(plan, target_of(bench), 0, 2) == 0.5


def test_what_no_step_fills_is_zero(bench):
    """A buffer is used again: what an earlier tile left there must not show."""
    (index,) = bench.source("a.bin", {"a": np.full(64, 255, np.uint8)})
    bench.output(
        "out.bin",
        [("a", "uint8", (64,)), ("b", "uint8", (64,))],
        [rename(index, 0, (64,)), Copy((8,), Region(index, 0, (1,)), Region(1, 1, (8,)))],
    )
    plan = bench.plan()
    run(plan, target_of(bench), workers=1, tile=64)
    expected = np.zeros(64, np.uint8)
    expected[1::8] = 255
    assert (read_tensor(plan, target_of(bench), 0, 1) == expected).all()


def test_packed_elements_move_as_whole_bytes(bench):
    data = np.arange(16, dtype=np.uint8)
    (index,) = bench.source("a.bin", {"a": data})
    bench.inputs[index] = bench.inputs[index]._replace(dtype="float4_e2m1fn_x2", shape=(4, 8))
    name = "float4_e2m1fn_x2"
    steps = [Copy((2, 8), Region(index, 16 * k, (8, 1)), Region(0, 8 * (1 - k), (16, 1))) for k in range(2)]
    bench.output("out.bin", [("a", name, (4, 8))], steps)
    run(bench.plan(), target_of(bench))
    out = (target_of(bench) / "out.bin").read_bytes()[4:]
    assert out == bytes([8, 9, 10, 11, 0, 1, 2, 3, 12, 13, 14, 15, 4, 5, 6, 7])


@pytest.mark.parametrize("step", ["transposed", "odd"])
def test_packed_elements_that_cut_a_byte_are_refused(bench, step):
    (index,) = bench.source("a.bin", {"a": np.zeros(16, np.uint8)})
    bench.inputs[index] = bench.inputs[index]._replace(dtype="float4_e2m1fn_x2", shape=(4, 8))
    steps = {
        "transposed": Copy((8, 4), Region(index, 0, (1, 8)), Region(0, 0, (4, 1))),
        "odd": Copy((3, 8), Region(index, 1, (8, 1)), Region(0, 0, (8, 1))),
    }
    bench.output("out.bin", [("a", "float4_e2m1fn_x2", (8, 4))], [steps[step]])
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench))
    assert slug(caught) == "packed-elements"
    assert left_over(bench) == []


def test_checksums_are_for_sha256sum(bench):
    run(two_files(bench), target_of(bench), checksum=True)
    lines = (target_of(bench) / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["out-0.bin", "out-1.bin", "sub/index.json", "tokenizer.json"]
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((target_of(bench) / name).read_bytes()).hexdigest() == digest
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=target_of(bench), check=True)


@pytest.mark.parametrize(("workers", "tile"), [(1, None), (2, 1), (4, 7), (3, 4096)])
def test_bytes_do_not_depend_on_workers_or_tiles(bench, workers, tile):
    plan = two_files(bench)
    run(plan, target_of(bench), workers=workers, tile=tile)
    assert same(read_tensor(plan, target_of(bench), 1, 0), bench.arrays[1])


# --- the target that was there ----------------------------------------------------------------------------------------


def test_a_target_with_something_in_it_is_refused(bench):
    target_of(bench).mkdir()
    (target_of(bench) / "mine").write_text("x")
    with pytest.raises(MappingError) as caught:
        run(two_files(bench), target_of(bench))
    assert slug(caught) == "target-not-empty"
    assert listing(target_of(bench)) == ["mine"]
    assert left_over(bench) == []


def test_an_empty_target_is_taken_with_its_mode(bench):
    target_of(bench).mkdir(mode=0o750)
    os.chmod(target_of(bench), 0o750)
    run(two_files(bench), target_of(bench))
    assert len(listing(target_of(bench))) == 4
    assert stat.S_IMODE(target_of(bench).stat().st_mode) == 0o750


@pytest.mark.parametrize("exchange", [True, False])
def test_overwrite_replaces_all_of_it(bench, exchange, monkeypatch):
    target_of(bench).mkdir()
    (target_of(bench) / "model.safetensors").write_text("old")
    if not exchange:
        monkeypatch.setattr("tensormap.runtime.staging._exchange", lambda left, right: False)
    run(two_files(bench), target_of(bench), overwrite=True)
    assert listing(target_of(bench)) == ["out-0.bin", "out-1.bin", "sub/index.json", "tokenizer.json"]
    assert left_over(bench) == []


def test_overwrite_keeps_the_old_one_when_it_fails(bench, monkeypatch):
    target_of(bench).mkdir()
    (target_of(bench) / "mine").write_text("x")

    def fail(*_, **__):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(execute, "write_file", fail)
    with pytest.raises(OSError, match="broken"):
        run(two_files(bench), target_of(bench), overwrite=True)
    assert listing(target_of(bench)) == ["mine"]


def test_the_source_is_never_replaced(bench):
    plan = two_files(bench)
    for target in (bench.root, bench.root.parent):
        with pytest.raises(MappingError) as caught:
            run(plan, target, overwrite=True)
        assert slug(caught) == "target-is-source"
    assert len(listing(bench.root)) == 3


def test_a_target_inside_of_the_source_is_refused(bench):
    plan = two_files(bench)
    with pytest.raises(MappingError) as caught:
        run(plan, bench.root / "deep" / "target")
    assert slug(caught) == "target-in-source"
    assert len(listing(bench.root)) == 3


def test_a_target_beside_a_single_source_file_is_no_part_of_it(bench):
    (index,) = bench.source("a.bin", {"a": np.arange(4, dtype=np.int32)})
    bench.output("out.bin", [("a", "int32", (4,))], [rename(index, 0, (4,))])
    run(bench.plan(), bench.root / "target")
    assert listing(bench.root) == ["a.bin", "target/out.bin"]


def test_a_mount_point_is_refused_before_a_byte_is_written(bench, monkeypatch):
    plan = two_files(bench)
    target_of(bench).mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target_of(bench))
    for overwrite in (False, True):
        with pytest.raises(MappingError) as caught:
            run(plan, target_of(bench), overwrite=overwrite)
        assert slug(caught) == "target-mounted"
    assert left_over(bench) == []


@pytest.mark.parametrize("kind", ["pipe", "socket", "loop"])
def test_what_is_no_file_and_no_directory_is_never_replaced(bench, kind):
    plan = two_files(bench)
    target = target_of(bench)
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "socket":
        os.mknod(target, stat.S_IFSOCK | 0o600)
    else:
        target.symlink_to(target.name)
    before = os.lstat(target)
    for overwrite in (False, True):
        with pytest.raises(MappingError) as caught:
            run(plan, target, overwrite=overwrite)
        assert slug(caught) == "target-special"
    assert os.lstat(target) == before
    assert left_over(bench) == []


def test_a_leftover_that_cannot_be_removed_is_noted(bench, monkeypatch):
    def fail(path):
        raise OSError(errno.EACCES, "permission denied", str(path))

    plan = two_files(bench)
    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging.shutil.rmtree", fail)
        report = run(plan, target_of(bench))
    staging = bench.root.parent / ".target.tensormap"
    assert report.notes == (f"`{staging}` could not be removed, and is not needed: permission denied",)
    assert len(listing(target_of(bench))) == 4


def test_a_link_to_the_source_is_the_source(bench):
    plan = two_files(bench)
    target_of(bench).symlink_to(bench.root)
    with pytest.raises(MappingError) as caught:
        run(plan, target_of(bench), overwrite=True)
    assert slug(caught) == "target-is-source"


@pytest.mark.parametrize("path", ["../x", "/tmp/x", "a/../../x", "", ".", "a\0b"])
def test_paths_that_leave_the_target_are_refused(bench, path):
    bench.texts.append(TextFile(path, b""))
    with pytest.raises(MappingError) as caught:
        run(bench.plan(), target_of(bench))
    assert slug(caught) == "unsafe-path"


def test_two_files_of_one_name_are_refused(bench):
    bench.texts += [TextFile("a", b""), TextFile("./a", b"")]
    with pytest.raises(MappingError) as caught:
        run(bench.plan(), target_of(bench))
    assert slug(caught) == "output-twice"


# --- sources ----------------------------------------------------------------------------------------------------------


def test_a_stale_plan_is_refused_naming_every_file(bench):
    plan = two_files(bench)
    (bench.root / "0.bin").write_bytes(b"short")
    (bench.root / "1.bin").unlink()
    with pytest.raises(CheckpointError) as caught:
        run(plan, target_of(bench))
    assert [each.slug for each in caught.value.diagnostics] == ["stale-plan", "stale-plan"]
    assert "0.bin` has 5 bytes, and had 4004" in caught.value.diagnostics[0].message
    assert "1.bin` is no longer there" in caught.value.diagnostics[1].message
    assert left_over(bench) == []


def test_a_touched_source_is_stale(bench):
    plan = two_files(bench)
    os.utime(bench.root / "0.bin", ns=(1, 1))
    with pytest.raises(CheckpointError) as caught:
        run(plan, target_of(bench))
    assert slug(caught) == "stale-plan"


def test_a_missing_companion_is_stale(bench):
    plan = two_files(bench)
    (bench.root / "tokenizer.json").write_bytes(b"[1]")
    with pytest.raises(CheckpointError) as caught:
        run(plan, target_of(bench))
    assert slug(caught) == "stale-plan"


def test_a_source_that_changes_meanwhile_is_not_published(bench):
    plan = two_files(bench)

    def touch(progress):
        os.utime(bench.root / "0.bin", ns=(1, 1))

    with pytest.raises(CheckpointError) as caught:
        run(plan, target_of(bench), progress=touch)
    assert slug(caught) == "source-changed"
    assert not target_of(bench).exists()
    assert left_over(bench) == []


def test_a_tensor_past_the_end_of_its_file_is_truncation(bench):
    plan = two_files(bench)
    moved = plan.inputs[1]._replace(offset=10)
    with pytest.raises(CheckpointError) as caught:
        run(replace(plan, inputs=(plan.inputs[0], moved)), target_of(bench))
    assert slug(caught) == "file-truncated"
    assert "1.bin` ends at byte 4004" in caught.value.diagnostics[0].message
    assert not target_of(bench).exists()


def test_a_step_outside_its_target_is_refused(bench):
    (index,) = bench.source("a.bin", {"a": np.zeros(8, np.uint8)})
    bench.output("out.bin", [("a", "uint8", (4,))], [Copy((4,), Region(index, 0, (1,)), Region(0, 1, (1,)))])
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench))
    assert slug(caught) == "plan-out-of-bounds"


def zipped(bench: Bench, *, damage: bool) -> Plan:
    path = bench.root / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data/0", bytes(range(100)))
        archive.writestr("a/data/1", bytes(50))
    data = bytearray(path.read_bytes())
    start = data.index(bytes(range(100)))
    if damage:
        data[start + 99] ^= 128
        path.write_bytes(data)
    status = path.stat()
    bench.files.append(SourceFile("a.pt", status.st_size, status.st_mtime_ns, ""))
    bench.inputs.append(Input("w", "uint8", (10,), 0, start))
    bench.output("out.bin", [("w", "uint8", (10,))], [rename(0, 0, (10,))])
    return bench.plan()


def test_damaged_records_are_found(bench):
    with pytest.raises(CheckpointError) as caught:
        run(zipped(bench, damage=True), target_of(bench))
    assert slug(caught) == "record-damaged"
    assert "data/0" in caught.value.diagnostics[0].message
    assert not target_of(bench).exists()


@pytest.mark.parametrize(("trust", "said"), [(False, "record-damaged"), (True, "not-equal")])
def test_copies_that_differ_because_one_is_damaged_are_said_to_be_damaged(bench, trust, said):
    zipped(bench, damage=True)
    (other,) = bench.source("b.bin", {"whole": np.arange(100, dtype=np.uint8)})
    bench.inputs[0] = bench.inputs[0]._replace(shape=(100,))
    bench.verifications.append(Verify((100,), (whole(0, (100,)),), SAME, whole(other, (100,)), "x.tmap:1"))
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench), trust_crc=trust)
    assert slug(caught) == said


@pytest.mark.parametrize(("trust", "said"), [(False, "record-damaged"), (True, "value-out-of-range")])
def test_values_that_do_not_fit_because_they_are_damaged_are_said_to_be_damaged(bench, trust, said):
    zipped(bench, damage=True)  # 99 became 227
    bench.inputs[0] = bench.inputs[0]._replace(shape=(100,))
    bench.outputs.clear()
    cast = Compute((100,), (whole(0, (100,)),), SAME, whole(0, (100,)))
    bench.output("out.bin", [("w", "int8", (100,))], [cast])
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench), trust_crc=trust)
    assert slug(caught) == said


@pytest.mark.parametrize(("damage", "trust"), [(False, False), (True, True)])
def test_whole_or_trusted_records_are_read(bench, damage, trust):
    plan = zipped(bench, damage=damage)
    run(plan, target_of(bench), trust_crc=trust)
    assert read_tensor(plan, target_of(bench), 0, 0).tolist() == list(range(10))


# --- verify -----------------------------------------------------------------------------------------------------------


def tied(bench: Bench, other: np.ndarray, formula: Formula = SAME, ulps: int = 0) -> Plan:
    first = random_array((3, 4, 5), "float32", 1)
    a, b = bench.source("a.bin", {"embed": np.nan_to_num(first), "head": other})
    verify = Verify((3, 4, 5), (whole(a, (3, 4, 5)),), formula, whole(b, (3, 4, 5)), "x.tmap:7", ulps)
    bench.verifications.append(verify)
    bench.output("out.bin", [("e", "float32", (3, 4, 5))], [rename(a, 0, (3, 4, 5))])
    return bench.plan()


def test_equal_tensors_pass(bench):
    report = run(tied(bench, np.nan_to_num(random_array((3, 4, 5), "float32", 1))), target_of(bench))
    assert report.verified == 1


def test_a_difference_names_tensors_rule_coordinates_and_values(bench):
    other = np.nan_to_num(random_array((3, 4, 5), "float32", 1))
    value = other[1, 2, 3]
    other[1, 2, 3] = 0.5
    other[2, 0, 0] = 0.25
    with pytest.raises(CheckpointError) as caught:
        run(tied(bench, other), target_of(bench))
    (finding,) = caught.value.diagnostics
    assert finding.slug == "not-equal"
    expected = f"`embed` and `head` must be equal, and differ at [1, 2, 3]: {float(value)!r} and 0.5"
    assert finding.message == expected
    assert finding.notes == ("the rule at x.tmap:7 says so",)
    assert not target_of(bench).exists()
    assert left_over(bench) == []


def test_zeros_of_two_signs_differ_in_bits_only(bench):
    other = np.nan_to_num(random_array((3, 4, 5), "float32", 1))
    plan = tied(bench, other)
    bench.arrays[0][0, 0, 0] = 0.0
    bench.arrays[1][0, 0, 0] = -0.0
    rewritten(bench, plan)
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench))
    assert "at [0, 0, 0]: 0.0 and -0.0" in caught.value.diagnostics[0].message
    assert run(tolerant(bench), target_of(bench)).verified == 1


def rewritten(bench: Bench, plan: Plan) -> None:
    data = b"\xee" * 3 + b"".join(array.tobytes() + b"\xdd" for array in bench.arrays)
    (bench.root / "a.bin").write_bytes(data)
    status = (bench.root / "a.bin").stat()
    bench.files[0] = replace(plan.sources[0], mtime_ns=status.st_mtime_ns)


def tolerant(bench: Bench) -> Plan:
    """The same verification by value: a formula, however trivial, is no bare operand."""
    formula = Function("+", (Operand(0), Scalar(0)))
    bench.verifications[0] = replace(bench.verifications[0], formula=formula)
    return bench.plan()


@pytest.mark.parametrize(("ulps", "passes"), [(1, False), (2, True)])
def test_ulps_count_representable_values(bench, ulps, passes):
    same = np.nan_to_num(random_array((3, 4, 5), "float32", 1))
    other = (same.view(np.int32) + 2).view(np.float32)
    other = np.where(np.isfinite(other), other, same)
    plan = tied(bench, other, Function("*", (Operand(0), Scalar(1))), ulps)
    if passes:
        assert run(plan, target_of(bench)).verified == 1
    else:
        with pytest.raises(CheckpointError):
            run(plan, target_of(bench))


def test_a_generator_is_verified(bench):
    mask = bench.generated("causal_mask", "bool", (1, 1, 4, 4), 4)
    stored = np.tril(np.ones((1, 1, 4, 4), np.uint8))
    stored[0, 0, 0, 3] = 1
    (index,) = bench.source("a.bin", {"attn.bias": stored})
    shape = (1, 1, 4, 4)
    bench.verifications.append(Verify(shape, (whole(mask, shape),), Operand(0), whole(index, shape), "x.tmap:1"))
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench))
    assert "`causal_mask` and `attn.bias` must be equal, and differ at [0, 0, 0, 3]: 0 and 1" in str(
        caught.value.diagnostics[0].message
    )


def test_padding_is_verified_zero(bench):
    stored = np.zeros((4, 3), np.float32)
    stored[3, 1] = 1
    (index,) = bench.source("a.bin", {"embed": stored})
    bench.verifications.append(Verify((2, 3), (), Scalar(0), Region(index, 6, (3, 1)), "x.tmap:1"))
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench))
    message = caught.value.diagnostics[0].message
    assert message == "the value of the rule and `embed` must be equal, and differ at [3, 1]: 0.0 and 1.0"


def test_failures_of_one_rule_are_one_finding(bench):
    for number in range(3):
        a, b = bench.source(f"{number}.bin", {f"a{number}": np.zeros(2), f"b{number}": np.ones(2)})
        rule = "x.tmap:1" if number < 2 else "x.tmap:9"
        bench.verifications.append(Verify((2,), (whole(a, (2,)),), Operand(0), whole(b, (2,)), rule))
    with pytest.raises(CheckpointError) as caught:
        run(bench.plan(), target_of(bench))
    first, second = caught.value.diagnostics
    assert first.notes == ("the rule at x.tmap:1 says so", "and 1 more of this rule")
    assert "`a2`" in second.message


# --- locks, kills, resuming -------------------------------------------------------------------------------------------


def test_a_second_run_stops_at_once_and_names_the_first(bench):
    plan = two_files(bench)
    path = bench.root.parent / ".target.tensormap-lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711\n")
        file.flush()
        with pytest.raises(BusyError) as caught:
            run(plan, target_of(bench))
    assert slug(caught) == "locked"
    assert "process 4711" in caught.value.diagnostics[0].message
    run(plan, target_of(bench))  # the lock's holder is gone, its file is not
    assert left_over(bench) == []


def interrupted(bench: Bench, plan: Plan, monkeypatch, after: int = 1, **given) -> None:
    """Run until `after` files are finished, then as if ^C was pressed."""

    with monkeypatch.context() as context:
        original = writing.Writing.finish
        finished = []

        def finish(self):
            if len(finished) >= after:
                raise KeyboardInterrupt
            finished.append(self)
            return original(self)

        context.setattr(writing.Writing, "finish", finish)
        with pytest.raises(KeyboardInterrupt):
            run(plan, target_of(bench), workers=1, **given)
    assert given.get("overwrite") or not target_of(bench).exists()


def test_an_interrupted_run_waits_to_be_resumed(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    with pytest.raises(BusyError) as caught:
        run(plan, target_of(bench))
    assert slug(caught) == "resumable"
    assert "left 1 finished file" in caught.value.diagnostics[0].message
    assert "`--resume`" in caught.value.diagnostics[0].help[0]
    report = run(plan, target_of(bench), resume=True)
    assert report.resumed == ("out-0.bin",)
    assert report.bytes_read == 4000
    for number in range(2):
        assert same(read_tensor(plan, target_of(bench), number, 0), bench.arrays[number])
    assert left_over(bench) == []


@pytest.mark.parametrize("how", ["overwrite", "discard"])
def test_a_leftover_can_be_discarded(bench, monkeypatch, how):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    report = run(plan, target_of(bench), **{how: True})
    assert report.resumed == ()
    assert report.bytes_read == 8000


def test_a_resumed_run_may_overwrite_what_it_might_before(bench, monkeypatch):
    plan = two_files(bench)
    target_of(bench).mkdir()
    (target_of(bench) / "old").write_text("x")
    interrupted(bench, plan, monkeypatch, overwrite=True)
    assert listing(target_of(bench)) == ["old"]
    with pytest.raises(BusyError) as caught:
        run(plan, target_of(bench))
    assert slug(caught) == "resumable"
    with pytest.raises(MappingError) as refused:
        run(plan, target_of(bench), discard=True)
    assert slug(refused) == "target-not-empty"
    assert run(plan, target_of(bench), resume=True).resumed == ("out-0.bin",)
    assert len(listing(target_of(bench))) == 4


def test_one_call_fits_a_loop_of_retries_that_overwrite(bench, monkeypatch):
    plan = two_files(bench)
    target_of(bench).mkdir()
    (target_of(bench) / "old").write_text("x")
    interrupted(bench, plan, monkeypatch, after=0, overwrite=True, resume=True)
    interrupted(bench, plan, monkeypatch, overwrite=True, resume=True)
    assert listing(target_of(bench)) == ["old"]
    assert run(plan, target_of(bench), overwrite=True, resume=True).resumed == ("out-0.bin",)
    assert run(plan, target_of(bench), overwrite=True, resume=True).resumed == ()
    assert len(listing(target_of(bench))) == 4


def test_resume_without_a_leftover_is_a_run_that_says_so(bench):
    report = run(two_files(bench), target_of(bench), resume=True)
    assert report.resumed == ()
    assert report.notes[-1] == "there was nothing to resume"


def test_a_run_that_finished_nothing_leaves_nothing(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch, after=0)
    assert left_over(bench) == []


def killed_early(bench: Bench, plan: Plan, monkeypatch, **given) -> None:
    """Die before a file is finished, as SIGKILL does it: nothing is tidied up."""
    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging.Staging.give_up", lambda self: None)
        interrupted(bench, plan, monkeypatch, after=0, **given)
    assert left_over(bench) == [".target.tensormap"]


def test_a_leftover_with_no_finished_file_is_no_obstacle(bench, monkeypatch):
    plan = two_files(bench)
    killed_early(bench, plan, monkeypatch)
    assert run(plan, target_of(bench)).resumed == ()
    assert left_over(bench) == []


def test_a_leftover_with_no_finished_file_is_resumed_with_its_leave_to_overwrite(bench, monkeypatch):
    plan = two_files(bench)
    target_of(bench).mkdir()
    (target_of(bench) / "old").write_text("x")
    killed_early(bench, plan, monkeypatch, overwrite=True)
    run(plan, target_of(bench), resume=True)
    assert len(listing(target_of(bench))) == 4


def test_a_resumed_run_keeps_nothing_that_it_does_not_write(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    content = bench.root.parent / ".target.tensormap" / "content"
    (content / "sub" / "deep").mkdir(parents=True)
    (content / "sub" / "deep" / "stray").write_text("x")
    (content / "SHA256SUMS").write_text("of before")
    (content / "elsewhere").symlink_to(bench.root)
    assert run(plan, target_of(bench), resume=True).resumed == ("out-0.bin",)
    assert listing(target_of(bench)) == ["out-0.bin", "out-1.bin", "sub/index.json", "tokenizer.json"]
    assert sorted(each.name for each in target_of(bench).rglob("*") if each.is_dir()) == ["sub"]
    assert len(listing(bench.root)) == 3


def test_what_follows_a_torn_line_counts(bench, monkeypatch):
    """A line behind one that was cut off would be unreadable, and with it that the target was published."""
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    journal = bench.root.parent / ".target.tensormap" / "journal"
    journal.write_bytes(journal.read_bytes() + b'{"done":"out-1.b')
    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging.shutil.rmtree", lambda path: None)
        run(plan, target_of(bench), resume=True)
    with pytest.raises(MappingError) as caught:
        run(plan, target_of(bench))
    assert slug(caught) == "target-not-empty"
    assert left_over(bench) == []


def test_devices_are_renumbered_by_a_restart(bench, monkeypatch):
    plan = two_files(bench)
    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging.shutil.rmtree", lambda path: None)
        run(plan, target_of(bench))
    text = (bench.root.parent / ".target.tensormap" / "journal").read_text()
    assert f'{{"publishing":{target_of(bench).stat().st_ino}}}' in text


def test_sums_are_read_once(bench, monkeypatch):
    """What an interrupted run hashed is in the journal; only companions are read again."""
    read = []
    original = sums._sha256
    monkeypatch.setattr(sums, "_sha256", lambda path: read.append(path.name) or original(path))
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch, checksum=True)
    assert run(plan, target_of(bench), resume=True, checksum=True).resumed == ("out-0.bin",)
    assert read == ["tokenizer.json"]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=target_of(bench), check=True)


def test_sums_of_what_was_finished_without_them(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    run(plan, target_of(bench), resume=True, checksum=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=target_of(bench), check=True)


def test_a_finished_file_that_was_damaged_is_made_again(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    staged = bench.root.parent / ".target.tensormap" / "content" / "out-0.bin"
    staged.write_bytes(staged.read_bytes()[:-1] + b"?")
    assert run(plan, target_of(bench), resume=True).resumed == ()
    assert same(read_tensor(plan, target_of(bench), 0, 0), bench.arrays[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mapping": "other"}, "the mapping was `by/hand`, and is `other`"),
        ({"digest": "e" * 64}, "the text or the settings of the mapping `by/hand` changed"),
        ({"side": "left"}, "the side to write was `right`, and is `left`"),
    ],
)
def test_other_work_is_not_resumed(bench, monkeypatch, change, says):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    with pytest.raises(BusyError) as caught:
        run(replace(plan, **change), target_of(bench), resume=True)
    assert slug(caught) == "resume-mismatch"
    assert caught.value.diagnostics[0].notes == (says,)
    assert run(plan, target_of(bench), resume=True).resumed == ("out-0.bin",)


def test_another_source_is_not_resumed(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    os.utime(bench.root / "0.bin", ns=(1, 1))
    changed = replace(plan.sources[0], mtime_ns=1)
    with pytest.raises(BusyError) as caught:
        run(replace(plan, sources=(changed, plan.sources[1])), target_of(bench), resume=True)
    assert caught.value.diagnostics[0].notes == ("source file `0.bin` changed",)


def test_another_header_is_not_resumed(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    first = plan.outputs[0]
    piece = first.layout.pieces[0]._replace(data=b"head")
    layout = replace(first.layout, pieces=(piece, *first.layout.pieces[1:]))
    other = replace(plan, outputs=(replace(first, layout=layout), plan.outputs[1]))
    with pytest.raises(BusyError) as caught:
        run(other, target_of(bench), resume=True)
    assert caught.value.diagnostics[0].notes == ("output file `out-0.bin` changed",)


def test_a_torn_journal_counts_its_whole_lines(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch)
    journal = bench.root.parent / ".target.tensormap" / "journal"
    journal.write_bytes(journal.read_bytes() + b'{"done":"out-1.b')
    assert run(plan, target_of(bench), resume=True).resumed == ("out-0.bin",)


def test_a_leftover_without_a_journal_is_no_obstacle(bench):
    (bench.root.parent / ".target.tensormap" / "content").mkdir(parents=True)
    run(two_files(bench), target_of(bench))
    assert left_over(bench) == []


def test_a_run_killed_between_the_renames_is_undone(bench, monkeypatch):
    plan = two_files(bench)
    target_of(bench).mkdir()
    (target_of(bench) / "mine").write_text("x")
    interrupted_publish(bench, plan, monkeypatch)
    assert not target_of(bench).exists()
    with pytest.raises(BusyError) as caught:
        run(plan, target_of(bench))
    assert slug(caught) == "resumable"
    assert listing(target_of(bench)) == ["mine"]
    assert run(plan, target_of(bench), resume=True).resumed == ("out-0.bin", "out-1.bin")
    assert len(listing(target_of(bench))) == 4
    assert left_over(bench) == []


def interrupted_publish(bench, plan, monkeypatch):
    """Die between moving the old target away and naming the new one."""

    class Killed(BaseException):
        pass

    original = os.rename

    def rename_once(source, target):
        if Path(source).name == "content":
            raise Killed
        if Path(source).name == "old":
            raise Killed  # a killed process undoes nothing
        original(source, target)

    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging._exchange", lambda left, right: False)
        context.setattr(os, "rename", rename_once)
        with pytest.raises(Killed):
            run(plan, target_of(bench), overwrite=True)


def test_a_run_killed_after_the_rename_left_only_rubbish(bench, monkeypatch):
    plan = two_files(bench)
    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging.shutil.rmtree", lambda path: None)
        run(plan, target_of(bench))
    assert left_over(bench) == [".target.tensormap"]
    with pytest.raises(MappingError):
        run(plan, target_of(bench))
    assert left_over(bench) == []
    assert len(listing(target_of(bench))) == 4


@pytest.mark.torture
@pytest.mark.parametrize("after", range(0, 60, 4))
def test_a_killed_process_leaves_the_target_as_it_was(bench, after):
    """SIGKILL at some system call of the run; then resume, and compare with a run that was left alone."""
    plan = two_files(bench, 100_000)
    run(plan, bench.root.parent / "whole")
    script = textwrap.dedent(f"""
        import os, pickle, sys
        from tensormap.runtime import execute
        plan = pickle.load(open(sys.argv[1], "rb"))
        count = 0
        def trace(event, arguments):
            global count
            if event in ("open", "os.rename", "os.mkdir", "os.remove"):
                count += 1
                if count > {after} and "target" in str(arguments):
                    os.kill(os.getpid(), 9)
        sys.addaudithook(trace)
        execute.run(plan, sys.argv[2], tile=4096)
    """)
    path = bench.root.parent / "plan.pickle"
    path.write_bytes(pickle.dumps(plan))
    process = subprocess.run([sys.executable, "-c", script, str(path), str(target_of(bench))], check=False)
    assert process.returncode in (0, -signal.SIGKILL)
    if not target_of(bench).exists():
        run(plan, target_of(bench), resume=True)
    for name in listing(bench.root.parent / "whole"):
        assert (target_of(bench) / name).read_bytes() == (bench.root.parent / "whole" / name).read_bytes()


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_room_is_checked_before_the_first_byte(bench, monkeypatch):
    plan = two_files(bench)

    class Room:
        f_bavail, f_frsize = 1, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Room)
    with pytest.raises(OSError, match=r"not enough space: 16\.38 KB needed, 4\.10 KB free") as caught:
        run(plan, target_of(bench))
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(target_of(bench))
    assert left_over(bench) == []


@pytest.mark.parametrize("call", ["pwrite", "fsync", "posix_fallocate"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_errors_of_the_disk_name_the_file(bench, monkeypatch, call, number):
    plan = two_files(bench)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    if call == "fsync":
        monkeypatch.setattr("tensormap.runtime.journal.os.fsync", fail)
    with pytest.raises(OSError) as caught:
        run(plan, target_of(bench))
    monkeypatch.undo()
    assert caught.value.errno == number
    assert caught.value.filename
    assert not target_of(bench).exists()
    assert left_over(bench) == []


def test_file_systems_that_reserve_nothing_are_not_made_to_write_twice(bench, monkeypatch):
    """glibc would write into every page instead, and say that all went well."""
    with open("/proc/self/comm", "r+b", buffering=0) as file:
        assert not writing._can_reserve(file.fileno())
    with open(bench.root.parent / "here", "w+b") as file:
        assert writing._can_reserve(file.fileno())
    os.unlink(bench.root.parent / "here")
    plan = two_files(bench)
    monkeypatch.setattr(writing, "_can_reserve", lambda _: False)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("it was asked for"))
    run(plan, target_of(bench))
    assert [(target_of(bench) / each.path).stat().st_size for each in plan.outputs] == [
        each.layout.size for each in plan.outputs
    ]
    for number in range(2):
        assert same(read_tensor(plan, target_of(bench), number, 0), bench.arrays[number])


def test_a_transpose_that_is_cast_reads_long_runs_however_many_workers_share_the_memory(bench, monkeypatch):
    """What has to be halved is halved across the runs of the source, not along them."""
    (index,) = bench.source("a.bin", {"a": random_array((1000, 2100), "bfloat16", 0)})
    turned = Copy((2100, 1000), Region(index, 0, (1, 2100)), Region(0, 0, (1000, 1)))
    bench.output("out.bin", [("t", "float32", (2100, 1000))], [turned])
    sizes = []
    pread = os.preadv

    def read(descriptor, buffers, offset):
        sizes.append(sum(map(len, buffers)))
        return pread(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)
    run(bench.plan(), target_of(bench), workers=8)
    assert len(sizes) < 500  # 50,000 otherwise
    assert sum(sizes) < 8 * bench.arrays[0].nbytes


def test_read_errors_name_the_source(bench, monkeypatch):
    plan = two_files(bench)

    def fail(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError, match="broken") as caught:
        run(plan, target_of(bench))
    assert caught.value.filename in {str(bench.root / f"{number}.bin") for number in range(2)}
    assert left_over(bench) == []


def test_short_reads_and_writes_go_on(bench, monkeypatch):
    plan = two_files(bench)
    pread, pwrite = os.preadv, os.pwrite
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: pread(fd, [buffers[0][:7]], offset))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:5], offset))
    run(plan, target_of(bench))
    monkeypatch.undo()
    assert same(read_tensor(plan, target_of(bench), 0, 0), bench.arrays[0])


def test_a_disk_that_fills_up_keeps_finished_files(bench, monkeypatch):
    plan = two_files(bench)
    original = os.pwrite

    def fail(descriptor, data, offset):
        if "out-1" in os.readlink(f"/proc/self/fd/{descriptor}"):
            while not (bench.root.parent / ".target.tensormap/journal").read_text().count("done"):
                pass
            raise OSError(errno.ENOSPC, "full")
        return original(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="full"):
        run(plan, target_of(bench), workers=1)
    monkeypatch.undo()
    assert run(plan, target_of(bench), resume=True).resumed == ("out-0.bin",)


# --- others' code -----------------------------------------------------------------------------------------------------


def test_progress_ends_at_the_total(bench):
    seen = []
    run(two_files(bench), target_of(bench), progress=seen.append)
    assert (seen[-1].stage, seen[-1].done, seen[-1].files_done) == ("write", 8008, 2)
    assert seen[-1].total == 8008


def test_an_error_in_progress_stops_the_run(bench):
    def fail(progress):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run(two_files(bench), target_of(bench), progress=fail)
    assert not target_of(bench).exists()


def test_unknown_functions_are_known_before_anything_is_made(bench):
    (index,) = bench.source("a.bin", {"a": np.zeros(2, np.float32)})
    formula = Function("nobody", (Operand(0),))
    bench.output("o", [("a", "float32", (2,))], [Compute((2,), (whole(index, (2,)),), formula, whole(0, (2,)))])
    with pytest.raises(MappingError) as caught:
        run(bench.plan(), target_of(bench))
    assert slug(caught) == "unknown-function"


def test_no_descriptors_leak(bench):
    plan = two_files(bench)
    before = len(os.listdir("/proc/self/fd"))
    run(plan, target_of(bench))
    with pytest.raises(MappingError):
        run(plan, target_of(bench))
    assert len(os.listdir("/proc/self/fd")) == before


def test_more_sources_than_descriptors(bench, monkeypatch):
    monkeypatch.setattr("tensormap.runtime.worker.handle_limit", lambda workers: 2)
    indices = []
    for number in range(10):
        indices += bench.source(f"{number}.bin", {f"a{number}": np.full(3, number, np.uint8)})
    steps = [Copy((3,), Region(index, 0, (1,)), Region(0, 3 * index, (1,))) for index in indices]
    bench.output("out.bin", [("all", "uint8", (10, 3))], steps)
    plan = bench.plan()
    run(plan, target_of(bench))
    assert (read_tensor(plan, target_of(bench), 0, 0) == np.arange(10)[:, None]).all()


class JournalFirst:
    """What `os.scandir` gives, the journal before all else."""

    def __init__(self, found):
        with found:
            self._entries = iter(sorted(found, key=lambda each: each.name != "journal"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def close(self):
        pass


def test_an_interruption_while_the_leftover_is_removed_knows_that_the_target_is_complete(bench, monkeypatch):
    plan = two_files(bench)
    target = target_of(bench)
    target.mkdir()
    for number in range(3):
        (target / f"old-{number}").write_text("x")
    scan, unlink, gone = os.scandir, os.unlink, []

    def interrupted(path, *arguments, **options):
        gone.append(Path(path).name)
        unlink(path, *arguments, **options)
        if len(gone) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda *place: JournalFirst(scan(*place)))
        patch.setattr(os, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(plan, target, overwrite=True)
    assert "journal" not in gone
    assert Staging(target).stands() == "complete"
    assert (target / "out-0.bin").exists()
    run(plan, target, overwrite=True)
    assert left_over(bench) == []


# --- without waiting for the disk


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what is waited for from now on."""
    names: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def test_without_sync_nothing_is_waited_for(bench, monkeypatch):
    plan = two_files(bench)
    names = synced(monkeypatch)
    target = target_of(bench) / "in" / "new" / "directories"
    run(plan, target, sync=False)
    assert names == []
    run(plan, bench.root.parent / "waited")
    assert {"out-0.bin", "out-1.bin"} <= set(names)
    for name in ("out-0.bin", "out-1.bin"):
        assert (target / name).read_bytes() == (bench.root.parent / "waited" / name).read_bytes()


def test_without_sync_an_old_target_is_not_given_up_for_a_name_alone(bench, monkeypatch):
    target_of(bench).mkdir()
    (target_of(bench) / "mine").write_text("x")
    names = synced(monkeypatch)
    run(two_files(bench), target_of(bench), sync=False, overwrite=True)
    assert {"index.json", "content", "sub", bench.root.parent.name} <= set(names)
    assert not {"out-0.bin", "out-1.bin"} & set(names)


def test_without_sync_nothing_is_kept_to_be_resumed(bench, monkeypatch):
    plan = two_files(bench)
    interrupted(bench, plan, monkeypatch, sync=False)
    assert left_over(bench) == []
