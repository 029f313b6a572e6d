"""Failure 2: `intermediate_size` left out on the way, so that the reader's default (24576) meets the tensors of Pythia-70M.

Sizes of Pythia-70M (hidden 512, 8 heads, feed-forward 2048); two layers and a small vocabulary, which change nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tensormap
from tensormap.diagnostics import CheckpointError
from tests.acceptance.made import pythia_layers, write_hf, write_neox
from tests.stored import read_safetensors

HIDDEN, WIDTH, LAYERS, VOCABULARY = 512, 2048, 2, 64

TRAINING: dict[str, Any] = {
    "pipe-parallel-size": 1,
    "model-parallel-size": 1,
    "num-layers": LAYERS,
    "hidden-size": HIDDEN,
    "num-attention-heads": 8,
    "seq-length": 2048,
    "max-position-embeddings": 2048,
    "pos-emb": "rotary",
    "rotary-pct": 0.25,
    "no-weight-tying": True,
    "gpt-j-residual": True,
    "norm": "layernorm",
    "fp16": {"enabled": True},
}


def _written(tmp_path: Path, training: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    layers = pythia_layers(hidden=HIDDEN, wide=WIDTH, layers=LAYERS, vocabulary=VOCABULARY)
    write_neox(tmp_path / "neox", training, layers)
    tensormap.apply(tensormap.load("neox/gpt_neox"), tmp_path / "neox", tmp_path / "hf", to="hf", **keywords)
    config: dict[str, Any] = json.loads((tmp_path / "hf" / "config.json").read_text())
    return config


def test_the_width_is_written(tmp_path: Path) -> None:
    assert "intermediate-size" not in TRAINING
    config = _written(tmp_path, TRAINING)
    assert config["intermediate_size"] == WIDTH
    tensors = read_safetensors(tmp_path / "hf")
    assert tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"].shape == (WIDTH, HIDDEN)


def test_no_size_is_left_to_a_default(tmp_path: Path) -> None:
    """The base of the rotary embedding was lost in the same way: 1000 for every Pythia, for fifteen months."""
    config = _written(tmp_path, TRAINING)
    rope = config.get("rope_parameters") or {}
    assert config["hidden_size"] == HIDDEN
    assert config["num_attention_heads"] == 8
    assert config["num_hidden_layers"] == LAYERS
    assert config["vocab_size"] == VOCABULARY
    assert config.get("rotary_emb_base", rope.get("rope_theta")) == 10000
    assert config.get("rotary_pct", rope.get("partial_rotary_factor")) == 0.25
    assert config["use_parallel_residual"] is True
    assert config["tie_word_embeddings"] is False


def test_keys_with_underscores_are_the_same_keys(tmp_path: Path) -> None:
    config = _written(tmp_path, {key.replace("-", "_"): value for key, value in TRAINING.items()})
    assert config["intermediate_size"] == WIDTH


def _hugging_face(tmp_path: Path, **changes: Any) -> Path:
    layers = pythia_layers(hidden=HIDDEN, wide=WIDTH, layers=LAYERS, vocabulary=VOCABULARY)
    shapes = {
        "gpt_neox.embed_in.weight": (VOCABULARY, HIDDEN),
        "gpt_neox.final_layer_norm.weight": (HIDDEN,),
        "gpt_neox.final_layer_norm.bias": (HIDDEN,),
        "embed_out.weight": (VOCABULARY, HIDDEN),
    }
    for layer in range(LAYERS):
        shapes |= {f"gpt_neox.layers.{layer}.{name}": shape for name, shape in layers[2].items()}
    config = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": HIDDEN,
        "num_attention_heads": 8,
        "num_hidden_layers": LAYERS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "rotary_pct": 0.25,
        "rotary_emb_base": 10000,
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
        "hidden_act": "gelu",
        "torch_dtype": "float32",
    }
    write_hf(tmp_path / "hf", config | changes, shapes)
    return tmp_path / "hf"


def test_a_config_with_the_default_is_refused(tmp_path: Path) -> None:
    """Both witnesses are shown: what the config says, and the tensor that says otherwise."""
    source = _hugging_face(tmp_path, intermediate_size=24576)
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(tensormap.load("neox/gpt_neox"), source, to="neox")
    message = str(caught.value)
    assert "intermediate_size" in message
    assert "24576" in message
    assert "2048" in message
    assert "mlp.dense_h_to_4h" in message


def test_a_right_config_is_accepted(tmp_path: Path) -> None:
    source = _hugging_face(tmp_path, intermediate_size=WIDTH)
    tensormap.apply(tensormap.load("neox/gpt_neox"), source, tmp_path / "neox", to="neox", set={"naming": "legacy"})
    layer = next((tmp_path / "neox").rglob("layer_02-model_00-model_states.pt"))
    assert torch.load(layer, weights_only=True)["mlp.dense_h_to_4h.weight"].shape == (WIDTH, HIDDEN)
