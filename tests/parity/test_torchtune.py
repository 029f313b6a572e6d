"""torchtune itself: its converters write the same tensors, and its models compute the same logits."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tensormap
from tests.parity.cases.torchtune import CASES
from tests.parity.harness import Case, assert_close, logits, random_tokens, save

pytest.importorskip("torchtune")


def _copied(case: Case, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Run torchtune's own converter for a case."""
    from torchtune.models import convert_weights
    from torchtune.models.gemma2._convert_weights import gemma2_hf_to_tune
    from torchtune.models.phi3._convert_weights import phi3_hf_to_tune
    from torchtune.models.qwen2._convert_weights import qwen2_hf_to_tune

    sizes = [case.config[key] for key in ("num_attention_heads", "num_key_value_heads", "hidden_size")]
    match case.model.removesuffix("ForCausalLM"):
        case "Phi3":
            return phi3_hf_to_tune(weights, *sizes)
        case "Qwen2":
            return qwen2_hf_to_tune(weights, *sizes, tie_word_embeddings=case.config.get("tie_word_embeddings", False))
        case "Gemma2":
            return gemma2_hf_to_tune(weights, *sizes, case.config["head_dim"])
        case _:
            return convert_weights.hf_to_tune(weights, *sizes, case.config.get("head_dim"))


def _builder(model: str) -> Any:
    from torchtune.models import gemma, gemma2, llama3, mistral, phi3, qwen2

    families = {
        "Llama": functools.partial(llama3._component_builders.llama3, rope_base=10000),
        "Mistral": functools.partial(mistral._component_builders.mistral, rope_base=10000),
        "Qwen2": functools.partial(qwen2._component_builders.qwen2, rope_base=10000),
        "Phi3": phi3._component_builders.phi3,
        "Gemma": gemma._component_builders.gemma,
        "Gemma2": gemma2._component_builders.gemma2,
    }
    return families[model.removesuffix("ForCausalLM")]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_torchtune_reads_what_its_converter_writes(case: Case, tmp_path: Path) -> None:
    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "tune", to="torchtune")
    written = torch.load(tmp_path / "tune" / "model-00001-of-00001.bin", weights_only=True)
    converted = written
    if case.model.startswith("Gemma2"):  # whose converter exchanges two norms
        tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "as", to="torchtune", set={"norms": "converted"})
        converted = torch.load(tmp_path / "as" / "model-00001-of-00001.bin", weights_only=True)
    copied = _copied(case, load_file(tmp_path / "hf" / "model.safetensors"))
    assert copied.keys() == converted.keys()
    for name, each in copied.items():
        assert torch.equal(each, converted[name]), name

    config = case.config
    same = {
        "head_dim": "head_dim",
        "query_pre_attn_scalar": "query_pre_attn_scalar",
        "sliding_window": "sliding_window_size",
    }
    same |= {"tie_word_embeddings": "tie_word_embeddings", "final_logit_softcapping": "final_capping_value"}
    optional = {there: config[here] for here, there in same.items() if config.get(here) is not None}
    reader = _builder(case.model)(
        vocab_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"],
        embed_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        max_seq_len=config["max_position_embeddings"],
        norm_eps=config["rms_norm_eps"],
        **optional,
    )
    reader.to(case.dtype).eval().load_state_dict(written, strict=True)
    inputs = random_tokens(model)
    with torch.no_grad():
        actual = reader(inputs["input_ids"])
    if case.dtype == torch.float32:
        assert_close(actual, logits(model, inputs), 2e-5)
