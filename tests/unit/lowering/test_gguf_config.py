"""A side whose files are GGUF: any name is read, `model.gguf` is written, and the config is the metadata in the header."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tensormap
from tensormap.checkpoints import gguf_blocks
from tensormap.checkpoints.open import open_checkpoint
from tensormap.diagnostics import CheckpointError
from tests.hostile.ggufs import Q8_0, made, record

TEXT = """
mapping gguf <-> hf

side gguf {
    files "*.gguf"
    config "*.gguf"
}

index i < layers

config {
    "llama" = general.architecture <-> _
    layers = llama.block_count <-> num_hidden_layers
    e = llama.embedding_length <-> hidden_size
    base = llama.rope.freq_base ?? 10000.0 <-> float(rope_theta ?? 10000.0)
    names = llama.names <-> names
}

blk.{i}.w [e f] as float32 <-> layers.{i}.w [f e]
blk.{i}.v [f] <-> layers.{i}.v [f]
"""


def source(folder: Path) -> dict[str, np.ndarray]:
    folder.mkdir()
    tensors = {}
    for i in range(11):
        tensors[f"layers.{i}.w"] = np.arange(i, i + 12, dtype=np.float16).reshape(3, 4)
        tensors[f"layers.{i}.v"] = np.arange(i, i + 3, dtype=np.float16)
    save_file(tensors, folder / "model.safetensors")
    config = {"num_hidden_layers": 11, "hidden_size": 4, "rope_theta": 5000, "names": ["a", "b"]}
    (folder / "config.json").write_text(json.dumps(config))
    return tensors


@pytest.fixture
def written(tmp_path: Path) -> Path:
    source(tmp_path / "hf")
    tensormap.apply(tensormap.loads(TEXT), tmp_path / "hf", tmp_path / "gguf", to="gguf")
    return tmp_path / "gguf"


def test_metadata_and_tensors_are_written_to_one_file(written: Path) -> None:
    assert [each.name for each in written.iterdir()] == ["model.gguf"]
    catalog = open_checkpoint(written)
    assert catalog.format == "gguf"
    values = {key: value for key, value in catalog.objects.items() if not key.startswith("tensormap.")}
    assert values == {
        "general.architecture": "llama",
        "llama.block_count": 11,
        "llama.embedding_length": 4,
        "llama.rope.freq_base": 5000.0,
        "llama.names": ["a", "b"],
    }
    assert isinstance(values["llama.rope.freq_base"], float)
    assert catalog.metadata["tensormap.side"] == "gguf"
    assert len(catalog.tensors) == 22
    assert {each.dtype for each in catalog.tensors.values()} == {"float32", "float16"}


@pytest.mark.parametrize("name", ["model.gguf", "Some-Model-7B.F16.gguf"])
@pytest.mark.parametrize("whole", [True, False])
def test_it_comes_back_from_a_file_or_its_directory(written: Path, tmp_path: Path, name: str, whole: bool) -> None:  # noqa: FBT001
    (written / "model.gguf").rename(written / name)
    place = written if whole else written / name
    plan = tensormap.plan(tensormap.loads(TEXT), place, "hf", dtype="float16")
    assert any(note == f"config read from {name}" for note in plan.steps.notes)
    assert any("tokenizer" in note and "not converted" in note for note in plan.steps.notes)
    tensormap.apply(plan, tmp_path / "back")
    back = load_file(tmp_path / "back" / "model.safetensors")
    expected = load_file(tmp_path / "hf" / "model.safetensors")
    assert back.keys() == expected.keys()
    assert all(np.array_equal(back[key], each) and back[key].dtype == each.dtype for key, each in expected.items())
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config == {"num_hidden_layers": 11, "hidden_size": 4, "rope_theta": 5000.0, "names": ["a", "b"]}


def test_two_models_in_a_directory_are_refused(written: Path, tmp_path: Path) -> None:
    shutil.copy(written / "model.gguf", written / "other.gguf")
    with pytest.raises(CheckpointError) as error:
        tensormap.plan(tensormap.loads(TEXT), written, "hf")
    assert error.value.diagnostics[0].slug == "duplicate-tensor"


def test_another_architecture_is_refused(written: Path) -> None:
    other = TEXT.replace('"llama" = general', '"qwen2" = general')
    with pytest.raises(CheckpointError) as error:
        tensormap.plan(tensormap.loads(other), written, "hf")
    assert "general.architecture" in str(error.value)


@pytest.mark.parametrize("whole", [True, False])
def test_its_own_output_is_recognised(written: Path, whole: bool) -> None:  # noqa: FBT001
    with pytest.raises(CheckpointError) as error:
        tensormap.plan(tensormap.loads(TEXT), written if whole else written / "model.gguf", "gguf")
    assert error.value.diagnostics[0].slug == "already-converted"


def test_hidden_files_are_not_looked_at(written: Path) -> None:
    (written / "._model.gguf").write_bytes(b"left by some system")
    assert tensormap.plan(tensormap.loads(TEXT), written, "hf").outputs


def test_blocks_that_nobody_can_decode_are_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").write_bytes(made([], [record("c", (3, 64), Q8_0, 0)], bytes(3 * 2 * 34)))
    mapping = tensormap.loads("c [x y] <-> d [y x]")
    gguf_blocks.require.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError) as error:
        tensormap.plan(mapping, tmp_path / "a.gguf", to="right")
    assert [each.slug for each in error.value.diagnostics] == ["missing-extra"]
    gguf_blocks.require.cache_clear()
