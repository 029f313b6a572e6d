"""Failure 4: LLaMA as an architecture of NeoX. It has a mapping of its own, which the user finds and runs as any other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tensormap
from tensormap.diagnostics import CheckpointError, MappingError
from tests.acceptance.conversions import FIXTURES
from tests.acceptance.made import llama_config, llama_shapes, write_hf
from tests.stored import assert_same, read_safetensors


def _tensormap(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tensormap", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_it_is_in_the_library() -> None:
    listed = _tensormap("list")
    assert listed.returncode == 0, listed.stderr
    assert "neox/llama" in listed.stdout
    assert tensormap.load("neox/llama").sides == ("neox", "hf")


def test_there_and_back_on_the_command_line(tmp_path: Path) -> None:
    config = llama_config(num_hidden_layers=11)
    write_hf(tmp_path / "hf", config, llama_shapes(config))
    there = _tensormap(
        "apply", "neox/llama", tmp_path / "hf", tmp_path / "neox", "--to", "neox", "--set", "tp=2", "--set", "gqa=flat"
    )
    assert there.returncode == 0, there.stderr
    back = _tensormap("apply", "neox/llama", tmp_path / "neox", tmp_path / "back", "--to", "hf", "--set", "gqa=flat")
    assert back.returncode == 0, back.stderr
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(tmp_path / "hf"))


def test_the_side_may_be_left_out(tmp_path: Path) -> None:
    config = llama_config()
    write_hf(tmp_path / "hf", config, llama_shapes(config))
    mapping = tensormap.load("neox/llama")
    tensormap.apply(mapping, tmp_path / "hf", tmp_path / "neox", set={"gqa": "flat"})
    assert list((tmp_path / "neox").rglob("layer_02-model_00-model_states.pt"))


def test_the_training_config_says_what_the_trainer_needs(tmp_path: Path) -> None:
    config = llama_config(rope_theta=50000.0)
    write_hf(tmp_path / "hf", config, llama_shapes(config))
    settings = {"gqa": "flat", "tp": 2}
    tensormap.apply(tensormap.load("neox/llama"), tmp_path / "hf", tmp_path / "neox", to="neox", set=settings)
    (written,) = [*(tmp_path / "neox").rglob("*.yml"), *(tmp_path / "neox").rglob("*.yaml")]
    stated = {key.replace("-", "_"): value for key, value in yaml.safe_load(written.read_text()).items()}
    assert stated["activation"] == "swiglu"
    assert stated["norm"] == "rmsnorm"
    assert stated["num_layers"] == 2
    assert stated["hidden_size"] == 48
    assert stated["num_attention_heads"] == 6
    assert stated["num_kv_heads"] == 2
    assert stated["rotary_emb_base"] == 50000
    assert float(stated["rms_norm_epsilon"]) == 1e-5
    assert stated["no_weight_tying"] is True
    # NeoX gives the feed-forward biases unless it is told not to
    assert stated["use_bias_in_mlp"] is False
    assert stated["use_bias_in_attn_linear"] is False


@pytest.mark.parametrize(
    ("mapping", "case"), [("neox/gpt_neox", "neox_llama_mha_tp1_pp"), ("neox/llama", "neox_mha_tp1_pp")]
)
def test_the_wrong_architecture_is_refused(mapping: str, case: str, tmp_path: Path) -> None:
    folder = FIXTURES / case
    with pytest.raises((MappingError, CheckpointError)):
        tensormap.apply(
            tensormap.load(mapping), folder / "source", tmp_path / "out", to="hf", config=folder / "config.yml"
        )
    assert not (tmp_path / "out").exists()


def test_biases_of_the_feed_forward_are_kept(tmp_path: Path) -> None:
    """NeoX has them by default, the shipped LLaMA configs too; its own converter drops them in silence."""
    folder = FIXTURES / "neox_llama_gqa_tp2_pp_mlpbias"
    mapping = tensormap.load("neox/llama")
    tensormap.apply(
        mapping, folder / "source", tmp_path / "out", to="hf", config=folder / "config.yml", set={"gqa": "flat"}
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["mlp_bias"] is True
    assert "model.layers.1.mlp.down_proj.bias" in read_safetensors(tmp_path / "out")
