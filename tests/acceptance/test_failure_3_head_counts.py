"""Failure 3: head counts that do not divide. Hidden 5120, 40 heads, 8 key/value heads.

The old layout gives every head 1/g of a key head: 128 * 8 / 40 = 25.6 rows. What it cannot hold is refused with the numbers,
before a byte of data is read. The flat layout can hold it, and converts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import tensormap
from tensormap.diagnostics import CheckpointError, MappingError
from tests.acceptance.made import llama_config, llama_shapes, write_hf, write_hf_headers
from tests.stored import assert_same, read_safetensors, read_torch

REFUSED = (MappingError, CheckpointError)

LARGE = llama_config(
    hidden_size=5120,
    num_attention_heads=40,
    num_key_value_heads=8,
    intermediate_size=13824,
    num_hidden_layers=2,
    vocab_size=32000,
)
# the same ratios with weights that fit a test: 10 heads of 8, 2 of them key/value heads: 8 * 2 / 10 = 1.6 rows
SMALL = llama_config(hidden_size=80, num_attention_heads=10, num_key_value_heads=2, intermediate_size=24, vocab_size=32)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    write_hf_headers(tmp_path / "hf", LARGE, llama_shapes(LARGE))
    return tmp_path / "hf"


def _refusal(source: Path, to: str, settings: dict[str, Any]) -> str:
    with pytest.raises(REFUSED) as caught:
        tensormap.plan(tensormap.load("neox/llama"), source, to=to, set=settings)
    return str(caught.value)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_the_old_layout_refuses_with_the_numbers(large: Path, tp: int) -> None:
    message = _refusal(large, "neox", {"gqa": "fake_head", "tp": tp})
    assert "require" in message
    assert "128" in message  # the head size
    assert re.search(r"\b(5|40)\b", message)  # the queries for each key/value head, or the heads


def test_nothing_is_written(large: Path, tmp_path: Path) -> None:
    with pytest.raises(REFUSED):
        tensormap.apply(tensormap.load("neox/llama"), large, tmp_path / "out", to="neox", set={"gqa": "fake_head"})
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_the_flat_layout_holds_it(large: Path, tp: int) -> None:
    plan = tensormap.plan(tensormap.load("neox/llama"), large, to="neox", set={"gqa": "flat", "tp": tp})
    fused = {
        tensor.shape
        for file in plan.outputs
        for tensor in file.tensors
        if tensor.name.endswith("attention.query_key_value.weight")
    }
    assert fused == {((40 + 2 * 8) * 128 // tp, 5120)}


@pytest.mark.parametrize("tp", [3, 5, 16])
def test_ranks_that_do_not_divide_the_key_heads(large: Path, tp: int) -> None:
    """NeoX does not repeat key heads: 8 of them go to 1, 2, 4 or 8 ranks."""
    message = _refusal(large, "neox", {"gqa": "flat", "tp": tp})
    assert str(tp) in message
    assert "8" in message


@pytest.mark.parametrize("tp", [1, 2])
def test_the_flat_layout_converts(tp: int, tmp_path: Path) -> None:
    original = write_hf(tmp_path / "hf", SMALL, llama_shapes(SMALL))
    mapping = tensormap.load("neox/llama")
    tensormap.apply(mapping, tmp_path / "hf", tmp_path / "neox", to="neox", set={"gqa": "flat", "tp": tp})
    written = read_torch(tmp_path / "neox")
    for rank in range(tp):
        parts = [
            original[f"model.layers.1.self_attn.{name}_proj.weight"].tensor_split(tp)[rank] for name in ("q", "k", "v")
        ]
        name = f"layer_03-model_{rank:02}-model_states.pt:attention.query_key_value.weight"
        assert torch.equal(written[name].tensor(), torch.cat(parts))

    tensormap.apply(mapping, tmp_path / "neox", tmp_path / "back", to="hf", set={"gqa": "flat"})
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(tmp_path / "hf"))


def test_a_flat_checkpoint_cannot_be_read_as_the_old_layout(tmp_path: Path) -> None:
    write_hf(tmp_path / "hf", SMALL, llama_shapes(SMALL))
    tensormap.apply(
        tensormap.load("neox/llama"), tmp_path / "hf", tmp_path / "neox", to="neox", set={"gqa": "flat", "tp": 1}
    )
    message = _refusal(tmp_path / "neox", "hf", {"gqa": "fake_head"})
    assert "8" in message


def test_the_old_layout_converts_what_it_can_hold(tmp_path: Path) -> None:
    """6 heads of 12 with 2 key/value heads: 12 * 2 / 6 = 4 rows of each key head for each query head."""
    config = llama_config(hidden_size=72, num_attention_heads=6, num_key_value_heads=2)
    original = write_hf(tmp_path / "hf", config, llama_shapes(config))
    settings = {"gqa": "fake_head", "naming": "legacy"}
    tensormap.apply(tensormap.load("neox/llama"), tmp_path / "hf", tmp_path / "neox", to="neox", set=settings)
    query, key, value = (original[f"model.layers.0.self_attn.{name}_proj.weight"] for name in ("q", "k", "v"))
    expected = torch.cat([query.reshape(6, 12, 72), key.reshape(6, 4, 72), value.reshape(6, 4, 72)], dim=1)
    name = "layer_02-model_00-model_states.pt:attention.query_key_value.weight"
    assert torch.equal(read_torch(tmp_path / "neox")[name].tensor(), expected.reshape(120, 72))
