"""Against transformers 5's own two writers: files as published, and files as its modules hold their experts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tensormap
from tensormap.diagnostics import CheckpointError
from tests.parity.cases import fused_experts, newer_experts
from tests.parity.harness import Case, build
from tests.stored import Stored, assert_same, read_safetensors

CASES = fused_experts.CASES + newer_experts.CASES


def _config(case: Case, folder: Path) -> dict[str, Any]:
    """Return the config of a folder as transformers reads it."""
    return getattr(transformers, case.model).config_class.from_pretrained(folder).to_dict()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_its_writers_write(case: Case, tmp_path: Path) -> None:
    model = build(case)
    published, fused = tmp_path / "published", tmp_path / "fused"
    model.save_pretrained(published)
    model.save_pretrained(fused, save_original_format=False)
    mapping = tensormap.load(case.mapping)
    for source, target, to in ((published, fused, "fused"), (fused, published, "published")):
        # which side it is, the names say, where there is an expert
        said = dict(case.set if to == "fused" else case.back)
        tensormap.apply(mapping, source, tmp_path / f"to-{to}", to if case.name.startswith("dense") else None, set=said)
        assert_same(read_safetensors(tmp_path / f"to-{to}"), read_safetensors(target))
        config = _config(case, tmp_path / f"to-{to}")
        assert config | _config(case, target) == config

    # and in memory, from the module itself, where a tied head is there a second time
    state, config = model.state_dict(), json.loads((published / "config.json").read_text())
    there = mapping.convert(state, "published", config=config, set=dict(case.back))
    assert_same({name: Stored.of(each) for name, each in there.items()}, read_safetensors(published))
    back = mapping.convert(there, "fused", config=config, set=dict(case.set))
    assert_same({name: Stored.of(each) for name, each in back.items()}, read_safetensors(fused))


EXTRA = {
    "deepseek_v3/fused": "model.layers.3.mlp.experts.0.up_proj.weight",
    "glm4_moe/fused": "model.layers.3.eh_proj.weight",
    "glm4_moe_lite/fused": "model.layers.3.mlp.experts.0.up_proj.weight",
    "qwen3_next/fused": "mtp.layers.0.mlp.experts.0.up_proj.weight",
    "ernie4_5_moe/fused": "model.mtp_block.0.self_attn.q_proj.weight",
    "nemotron_h/fused": "mtp.layers.0.norm.weight",
    "mellum/fused": "mtp.layers.0.norm.weight",
    "qwen3_5_moe/fused": "mtp.layers.0.mlp.experts.0.up_proj.weight",
    "mimo_v2_flash/fused": "model.mtp.layers.0.input_layernorm.weight",
    "hy_v3/fused": "model.layers.3.mlp.experts.0.up_proj.weight",
    "bailing_hybrid/fused": "model.layers.3.mlp.experts.0.up_proj.weight",
    "glm4v_moe/fused": "model.language_model.layers.3.mlp.experts.0.up_proj.weight",
    "axk1/fused": "model.layers.0.post_mlp_layernorm.weight",
}
FIRST = {case.mapping: case for case in reversed(CASES)}


@pytest.mark.parametrize("mapping", EXTRA)
def test_further_predictions_are_dropped_and_said_so(mapping: str, tmp_path: Path) -> None:
    model = build(FIRST[mapping])
    model.config.num_nextn_predict_layers = 1
    model.save_pretrained(tmp_path / "published")
    model.save_pretrained(tmp_path / "fused", save_original_format=False)
    file = tmp_path / "published" / "model.safetensors"
    save_file(load_file(file) | {EXTRA[mapping]: torch.ones(3, 4)}, file)
    plan = tensormap.plan(mapping, tmp_path / "published", "fused")
    assert f"1 tensors, `{EXTRA[mapping]}` first" in str(plan)
    tensormap.apply(plan, tmp_path / "to-fused")
    assert_same(read_safetensors(tmp_path / "to-fused"), read_safetensors(tmp_path / "fused"))


def test_dense_layers_of_kimi_linear_as_they_were_published(tmp_path: Path) -> None:
    """The authors call them `mlp`; transformers reads that, and writes the name of the mixtures."""
    model = build(FIRST["kimi_linear/fused"])
    model.save_pretrained(tmp_path / "published")
    model.save_pretrained(tmp_path / "fused", save_original_format=False)
    file = tmp_path / "published" / "model.safetensors"
    tensors = {
        re.sub(r"block_sparse_moe\.(gate_proj|up_proj|down_proj)", r"mlp.\1", name): tensor
        for name, tensor in load_file(file).items()
    }
    assert "model.layers.0.mlp.up_proj.weight" in tensors
    save_file(tensors, file)
    tensormap.apply("kimi_linear/fused", tmp_path / "published", tmp_path / "there", "fused")
    assert_same(read_safetensors(tmp_path / "there"), read_safetensors(tmp_path / "fused"))
    tensormap.apply("kimi_linear/fused", tmp_path / "there", tmp_path / "back", "published")
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(tmp_path / "published"))


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.mlp.experts.6.up_proj.weight",
        "model.layers.2.mlp.gate.bias",
        "model.layers.4.input_layernorm.weight",
    ],
)
def test_nothing_else_is_dropped(name: str, tmp_path: Path) -> None:
    model = build(FIRST["deepseek_v3/fused"])
    model.save_pretrained(tmp_path / "published")
    file = tmp_path / "published" / "model.safetensors"
    save_file(load_file(file) | {name: torch.ones(28, 48)}, file)
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan("deepseek_v3/fused", tmp_path / "published", "fused")
    assert name in str(caught.value)


def test_an_expert_that_is_missing_is_named(tmp_path: Path) -> None:
    model = build(FIRST["mixtral/fused"])
    model.save_pretrained(tmp_path / "published")
    file = tmp_path / "published" / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.block_sparse_moe.experts.3.w3.weight"
    del tensors[name]
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan("mixtral/fused", tmp_path / "published", "fused")
    assert name in str(caught.value)
