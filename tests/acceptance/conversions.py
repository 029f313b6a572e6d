"""The fixtures as conversions: which mapping, which way, with what has to be said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

import tensormap
from tests.stored import Tensors, read_safetensors, read_torch

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True, slots=True)
class Conversion:
    """One fixture. `back` is what has to be said to write the other side again the way the fixture has it."""

    case: str
    mapping: str
    to: Literal["hf", "neox"]
    set: Mapping[str, Any] = field(default_factory=dict)
    back: Mapping[str, Any] = field(default_factory=dict)
    expected: str = "expected"
    # of the names of a NeoX source: what HF -> NeoX does not give back byte for byte, with its reason in the list below
    lost: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return FIXTURES / self.case

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def target(self) -> Path:
        return self.folder / self.expected

    @property
    def configs(self) -> dict[str, Any]:
        """The training config that lies beside a NeoX checkpoint, not in it."""
        return {"config": self.folder / "config.yml"} if self.mapping.startswith("neox/") and self.to == "hf" else {}

    def run(self, out: Path) -> Path:
        tensormap.apply(tensormap.load(self.mapping), self.source, out, to=self.to, set=dict(self.set), **self.configs)
        return out


FLAT = {"gqa": "flat"}
FAKE = {"gqa": "fake_head"}
SUMMED = ("attention.dense.bias", "mlp.linear2.bias")  # each rank has its share of a bias; equal shares are written

TO_HF = (
    Conversion("neox_mha_tp1_pp", "neox/gpt_neox", "hf", back={"naming": "new"}),
    Conversion("neox_mha_tp1_pp_legacy", "neox/gpt_neox", "hf", back={"naming": "legacy"}, lost=("inv_freq",)),
    Conversion("neox_mha_tp2_pp", "neox/gpt_neox", "hf", back={"naming": "new", "tp": 2}, lost=SUMMED),
    Conversion("neox_mha_tp2_pp_serial", "neox/gpt_neox", "hf", back={"naming": "new", "tp": 2}),
    Conversion(
        "neox_mha_tp2_seq", "neox/gpt_neox", "hf", back={"naming": "new", "tp": 2, "form": "sequential"}, lost=SUMMED
    ),
    Conversion("neox_llama_mha_tp1_pp", "neox/llama", "hf", back={"naming": "new"}),
    Conversion("neox_llama_gqa_tp1_pp", "neox/llama", "hf", FLAT, {"naming": "new", **FLAT}),
    Conversion("neox_llama_gqa_tp2_pp", "neox/llama", "hf", FLAT, {"naming": "new", "tp": 2, **FLAT}),
    Conversion("neox_llama_gqa_tp1_pp_legacy", "neox/llama", "hf", FAKE, {"naming": "legacy", **FAKE}),
    Conversion("neox_llama_gqa_tp2_pp_mlpbias", "neox/llama", "hf", FLAT, {"naming": "new", "tp": 2, **FLAT}),
    Conversion(
        "meta_llama2_gqa_mp2", "meta/llama", "hf", {"llama": "2"}, {"llama": "2", "mp": 2}, lost=("rope.freqs",)
    ),
    Conversion("meta_llama3_gqa_mp2", "meta/llama", "hf", {"llama": "3"}, {"llama": "3", "mp": 2}),
)

TO_NEOX = (
    Conversion(
        "hf_llama_gqa_to_neox",
        "neox/llama",
        "neox",
        {"tp": 2, "naming": "new", "form": "sequential", **FLAT},
        expected="expected_tp2",
    ),
    Conversion("hf_pythia_to_neox_mp1_pp1", "neox/gpt_neox", "neox", {"naming": "legacy", "form": "pipeline"}),
    Conversion(
        "hf_pythia_to_neox_mp2_pp0", "neox/gpt_neox", "neox", {"tp": 2, "naming": "legacy", "form": "sequential"}
    ),
)

ALL = TO_HF + TO_NEOX


def each(conversions: tuple[Conversion, ...]) -> pytest.MarkDecorator:
    """Parametrize a test by `conversion`."""
    return pytest.mark.parametrize("conversion", conversions, ids=[one.case for one in conversions])


def read(conversion: Conversion, folder: Path) -> Tensors:
    """Read what the conversion writes."""
    return read_safetensors(folder) if conversion.to == "hf" else read_torch(folder)


def meaning(folder: Path) -> dict[str, Any]:
    """Read what a Hugging Face config.json says about the model, whichever release's keys it says it with."""
    config = json.loads((folder / "config.json").read_text())
    rope = config.get("rope_parameters") or {}
    llama = config["model_type"] == "llama"
    heads = config["num_attention_heads"]
    said = {
        key: config[key]
        for key in (
            "architectures",
            "model_type",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "vocab_size",
            "max_position_embeddings",
            "rms_norm_eps" if llama else "layer_norm_eps",
        )
    }
    said |= {
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads", heads),
        "head_dim": config.get("head_dim", config["hidden_size"] // heads),
        "tied": config.get("tie_word_embeddings", False),
        "activation": config.get("hidden_act", "silu" if llama else "gelu"),
        "rope_theta": rope.get("rope_theta", config.get("rope_theta", config.get("rotary_emb_base", 10000))),
        "attention_bias": config.get("attention_bias", not llama),
    }
    if llama:
        return said | {"mlp_bias": config.get("mlp_bias", False)}
    return said | {
        "rotary_pct": rope.get("partial_rotary_factor", config.get("rotary_pct", 0.25)),
        "parallel_residual": config.get("use_parallel_residual", True),
    }
