"""Failure 1: `intermediate_size` of a SwiGLU model means another number in a NeoX config than in a Hugging Face one.

NeoX multiplies its number by 2/3 and halves it: 264 there is a feed-forward width of 88. The width is read off the
tensors; what is written is what the other program computes the same width from.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

import tensormap
from tensormap.diagnostics import CheckpointError
from tests.acceptance.conversions import FIXTURES
from tests.acceptance.made import llama_config, llama_shapes, write_hf
from tests.stored import read_safetensors, read_torch

WIDTH = 88


@pytest.mark.parametrize("case", ["neox_llama_mha_tp1_pp", "neox_llama_gqa_tp1_pp", "neox_llama_gqa_tp2_pp"])
def test_the_width_comes_from_the_tensors(case: str, tmp_path: Path) -> None:
    config = FIXTURES / case / "config.yml"
    assert yaml.safe_load(config.read_text())["intermediate_size"] == 3 * WIDTH
    settings = {"gqa": "flat"} if "gqa" in case else {}
    mapping = tensormap.load("neox/llama")
    tensormap.apply(mapping, FIXTURES / case / "source", tmp_path / "out", to="hf", config=config, set=settings)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["intermediate_size"] == WIDTH
    tensors = read_safetensors(tmp_path / "out")
    assert tensors["model.layers.0.mlp.gate_proj.weight"].shape == (WIDTH, 72)
    assert tensors["model.layers.0.mlp.up_proj.weight"].shape == (WIDTH, 72)
    assert tensors["model.layers.0.mlp.down_proj.weight"].shape == (72, WIDTH)


def _width_in_neox(config: dict[str, Any]) -> int:
    # megatron/model/transformer.py of EleutherAI/gpt-neox@ea7aefd8, gated activations: columns of linear2, rows of linear1
    stated = config.get("intermediate_size") or 4 * config["hidden_size"]
    multiple = config.get("mlp_multiple_of", 1)
    inner = int(2 * stated / 3)
    rows = 2 * multiple * math.ceil(inner / (2 * multiple))
    columns = multiple * math.ceil((inner // 2) / multiple)
    assert rows == 2 * columns, "this model cannot run"
    return columns


@pytest.mark.parametrize("width", [88, 56, 130, 11])
@pytest.mark.parametrize("naming", ["new", "legacy"])
def test_the_trainer_computes_the_same_width(width: int, naming: str, tmp_path: Path) -> None:
    config = llama_config(intermediate_size=width)
    write_hf(tmp_path / "hf", config, llama_shapes(config))
    mapping = tensormap.load("neox/llama")
    tensormap.apply(mapping, tmp_path / "hf", tmp_path / "neox", to="neox", set={"gqa": "flat", "naming": naming})
    (written,) = [*(tmp_path / "neox").rglob("*.yml"), *(tmp_path / "neox").rglob("*.yaml")]
    stated = {key.replace("-", "_"): value for key, value in yaml.safe_load(written.read_text()).items()}
    if naming == "new":
        assert _width_in_neox(stated) == width
        shapes = {name: tensor.shape for name, tensor in read_torch(tmp_path / "neox").items()}
        assert shapes["layer_02-model_00-model_states.pt:mlp.linear1.weight"] == (2 * width, 48)
    else:
        assert stated["intermediate_size"] == width


def test_a_stale_hugging_face_config_is_refused(tmp_path: Path) -> None:
    """What the old converter wrote: three times the width beside tensors of the width."""
    config = llama_config()
    write_hf(tmp_path / "hf", config | {"intermediate_size": 3 * WIDTH}, llama_shapes(config))
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(tensormap.load("neox/llama"), tmp_path / "hf", to="neox", set={"gqa": "flat"})
    message = str(caught.value)
    assert "intermediate_size" in message
    assert "264" in message
    assert "88" in message
