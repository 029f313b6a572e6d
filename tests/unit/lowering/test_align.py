"""Headers that end in blanks, so that tensors lie as in the source."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import tensormap
from tensormap.checkpoints import safetensors
from tensormap.cli import cli
from tensormap.lowering.align import BLOCK, align
from tensormap.lowering.plan import Copy, Input, Output, OutputFile, Plan, Region
from tests.unit.runtime.test_clones import FileSystem

RENAME = tensormap.loads("mapping a <-> b\n\nmodel.{i}.weight <-> blocks.{i}.w\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    random = np.random.default_rng(0)
    tensors = {f"model.{i}.weight": random.integers(0, 99, (40, 8 * BLOCK), np.uint8) for i in range(3)}
    save_file(tensors, tmp_path / "src" / "model.safetensors", {"format": "pt", "note": "x" * 100})
    return tmp_path / "src"


def test_all_of_a_renamed_file_lies_as_before(source, tmp_path, monkeypatch):
    system = FileSystem()
    monkeypatch.setattr(fcntl, "ioctl", system.ioctl)
    plain = tensormap.plan(RENAME, source, to="b")
    plan = tensormap.plan(RENAME, source, to="b", align=True)
    assert tensormap.apply(plain, tmp_path / "plain").bytes_shared == 0
    report = tensormap.apply(plan, tmp_path / "out")
    size = 3 * 40 * 8 * BLOCK
    assert size - 2 * BLOCK < report.bytes_shared <= size
    written = load_file(tmp_path / "out" / "model.safetensors")  # the reference reads it
    assert {name: array.tobytes() for name, array in written.items()} == {
        name: array.tobytes() for name, array in load_file(tmp_path / "plain" / "model.safetensors").items()
    }
    data, other = ((tmp_path / each / "model.safetensors").read_bytes() for each in ("out", "plain"))
    length, shorter = (int.from_bytes(each[:8], "little") for each in (data, other))
    assert 0 < length - shorter < BLOCK
    assert data[8 : 8 + length] == other[8 : 8 + shorter] + b" " * (length - shorter)
    assert data[8 + length :] == other[8 + shorter :]


def test_it_is_an_option_of_the_command(source, tmp_path, monkeypatch):
    system = FileSystem()
    monkeypatch.setattr(fcntl, "ioctl", system.ioctl)
    monkeypatch.chdir(tmp_path)
    Path("rename.tmap").write_text("mapping a <-> b\n\nmodel.{i}.weight <-> blocks.{i}.w\n")
    result = CliRunner().invoke(cli, ["apply", "rename.tmap", "src", "out", "--align"])
    assert result.exit_code == 0
    assert "3.93 MB are shared with the source: this file system has reflinks" in result.stdout
    said = CliRunner().invoke(cli, ["apply", "rename.tmap", "src", "again", "--align", "--json"]).stdout
    assert json.loads(said)["bytes_shared"] == system.shared / 2


tensors = st.lists(
    st.tuples(st.integers(0, 30_000), st.integers(0, 40_000).map(lambda n: 8 * n)), min_size=1, max_size=6
)


@given(tensors)
def test_no_bytes_lie_less_well_than_before(chosen):
    """Compared with every shift that a header can have."""
    described = [(f"t{k}", "uint8", (size,)) for k, (size, _) in enumerate(chosen)]
    layout = safetensors.layout(described, {})
    outputs = tuple(Output(*one, offset) for one, offset in zip(described, layout.offsets, strict=True))
    steps = tuple(Copy((size,), Region(k, 0, (1,)), Region(k, 0, (1,))) for k, (size, _) in enumerate(chosen))
    inputs = tuple(Input(f"s{k}", "uint8", (size,), 0, start) for k, (size, start) in enumerate(chosen))
    plan = Plan("", "", "", "", (), inputs, (OutputFile("x", "safetensors", outputs, layout, steps),), (), (), ())

    def good(shift):
        return sum(
            size for (size, start), at in zip(chosen, layout.offsets, strict=True) if (start - at - shift) % BLOCK == 0
        )

    (made,) = align(plan).outputs
    more = made.layout.size - layout.size
    assert 0 <= more < BLOCK
    assert more % 8 == 0
    assert good(more) == max(map(good, range(0, BLOCK, 8)))
    assert [each.offset for each in made.tensors] == list(made.layout.offsets)
    assert len(made.layout.pieces[0].data) == min(made.layout.offsets)
