"""Failure 5: `attention.rotary_emb.inv_freq` expected by one side and not saved by the other, in both directions.

It is a function of the head size and the rotary base: checked and left out where it was saved, computed where it is wanted.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tensormap
from tensormap.diagnostics import CheckpointError
from tests.acceptance.conversions import FIXTURES
from tests.acceptance.made import llama_config, llama_shapes, write_hf
from tests.stored import assert_same, read_safetensors, read_torch

SAVED = FIXTURES / "neox_mha_tp1_pp_legacy"  # float16, base 10000, 6 of 12 elements of a head are rotated
WANTED = {"inv_freq": "saved"}


def _to_hf(source: Path, out: Path) -> Path:
    tensormap.apply(tensormap.load("neox/gpt_neox"), source, out, to="hf", config=SAVED / "config.yml")
    return out


def test_the_fixture_has_it() -> None:
    names = [name for name in read_torch(SAVED / "source") if name.endswith("attention.rotary_emb.inv_freq")]
    assert len(names) == 2


def test_saved_by_neox_not_wanted_by_hf(tmp_path: Path) -> None:
    written = read_safetensors(_to_hf(SAVED / "source", tmp_path / "out"))
    assert not [name for name in written if "inv_freq" in name]
    assert_same(written, read_safetensors(SAVED / "expected"))


def test_not_saved_by_neox(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(SAVED / "source", source)
    for path in source.rglob("layer_*.pt"):
        tensors = torch.load(path, weights_only=True)
        torch.save({name: each for name, each in tensors.items() if "inv_freq" not in name}, path)
    assert not [name for name in read_torch(source) if "inv_freq" in name]
    assert_same(read_safetensors(_to_hf(source, tmp_path / "out")), read_safetensors(SAVED / "expected"))


def test_wanted_by_neox_not_saved_by_hf(tmp_path: Path) -> None:
    """An old trainer loads strictly and wants the buffer: the values it had saved itself, in the weights' dtype."""
    settings = {"naming": "legacy", **WANTED}
    tensormap.apply(tensormap.load("neox/gpt_neox"), SAVED / "expected", tmp_path / "neox", to="neox", set=settings)
    written, original = read_torch(tmp_path / "neox"), read_torch(SAVED / "source")
    names = [name for name in original if name.endswith("inv_freq")]
    assert_same({name: written[name] for name in names if name in written}, {name: original[name] for name in names})
    assert_same(written, original)


def test_not_written_unless_wanted(tmp_path: Path) -> None:
    tensormap.apply(
        tensormap.load("neox/gpt_neox"), SAVED / "expected", tmp_path / "neox", to="neox", set={"naming": "legacy"}
    )
    assert not [name for name in read_torch(tmp_path / "neox") if "inv_freq" in name]


def test_other_values_are_not_dropped_in_silence(tmp_path: Path) -> None:
    """A checkpoint trained with another base than its config says would compute something else after the conversion."""
    source = tmp_path / "source"
    shutil.copytree(SAVED / "source", source)
    path = next(source.rglob("layer_03-model_00-model_states.pt"))
    tensors = torch.load(path, weights_only=True)
    tensors["attention.rotary_emb.inv_freq"] = 500000.0 ** (-torch.arange(0, 6, 2) / 6).half()
    torch.save(tensors, path)
    with pytest.raises(CheckpointError, match="inv_freq"):
        _to_hf(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_old_buffers_of_hf_are_left_out(tmp_path: Path) -> None:
    """Checkpoints of old releases hold the buffers of the attention: a mask, its fill value and the frequencies."""
    source = tmp_path / "source"
    shutil.copytree(SAVED / "expected", source)
    tensors = load_file(source / "model.safetensors")
    for layer in range(2):
        prefix = f"gpt_neox.layers.{layer}.attention."
        tensors[f"{prefix}bias"] = torch.tril(torch.ones(64, 64, dtype=torch.bool)).reshape(1, 1, 64, 64)
        tensors[f"{prefix}masked_bias"] = torch.tensor(-1e9)
        tensors[f"{prefix}rotary_emb.inv_freq"] = 10000.0 ** (-torch.arange(0, 6, 2) / 6)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    mapping = tensormap.load("neox/gpt_neox")
    tensormap.apply(mapping, source, tmp_path / "with", to="neox", set={"naming": "legacy"})
    tensormap.apply(mapping, SAVED / "expected", tmp_path / "without", to="neox", set={"naming": "legacy"})
    assert_same(read_torch(tmp_path / "with"), read_torch(tmp_path / "without"))


def test_old_buffers_of_a_llama_are_left_out(tmp_path: Path) -> None:
    config = llama_config(num_key_value_heads=6)
    frequencies = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": frequencies.clone() for layer in range(2)}
    write_hf(tmp_path / "hf", config, llama_shapes(config), **buffers)
    tensormap.apply(tensormap.load("neox/llama"), tmp_path / "hf", tmp_path / "neox", to="neox")
    assert not [name for name in read_torch(tmp_path / "neox") if "inv_freq" in name]
