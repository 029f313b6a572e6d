"""GPT-NeoX training checkpoints: LLaMA and Mistral shapes, and Pythia's own."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case

FLAT = {"gqa": "flat"}
FAKE = {"gqa": "fake_head"}


def _llama(**changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": 72,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "intermediate_size": 88,
        "num_hidden_layers": 2,
        "vocab_size": 120,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
    } | changes


def _pythia(**changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": 72,
        "num_attention_heads": 6,
        "intermediate_size": 108,
        "num_hidden_layers": 2,
        "vocab_size": 120,
        "max_position_embeddings": 64,
        "rotary_pct": 0.5,
        "use_parallel_residual": True,
    } | changes


def _llama_case(name: str, config: dict[str, Any], settings: dict[str, Any], **more: Any) -> Case:
    back = {key: value for key, value in settings.items() if key == "gqa"}
    return Case(name, "neox/llama", "LlamaForCausalLM", config, "neox", set=settings, back=back, **more)


def _pythia_case(name: str, config: dict[str, Any], settings: dict[str, Any], **more: Any) -> Case:
    return Case(name, "neox/gpt_neox", "GPTNeoXForCausalLM", config, "neox", set=settings, **more)


MHA = _llama(num_key_value_heads=6)

CASES = (
    _llama_case("gqa", _llama(), FLAT),
    _llama_case("gqa-tp2", _llama(), FLAT | {"tp": 2}),
    _llama_case("gqa-tp2-sequential", _llama(), FLAT | {"tp": 2, "form": "sequential"}),
    _llama_case("gqa-legacy-names", _llama(), FLAT | {"naming": "legacy"}),
    _llama_case("gqa-fake-heads", _llama(), FAKE | {"naming": "legacy"}),
    _llama_case("gqa-fake-heads-tp2", _llama(), FAKE | {"tp": 2}),
    _llama_case("gqa-bfloat16-tp2", _llama(), FLAT | {"tp": 2}, dtype=torch.bfloat16),
    _llama_case("one-kv-head", _llama(num_key_value_heads=1), FLAT),
    _llama_case("mha", MHA, {}),
    _llama_case("mha-tp3", MHA | {"intermediate_size": 90}, {"tp": 3}),
    _llama_case("mha-tp6-sequential", MHA | {"intermediate_size": 90}, {"tp": 6, "form": "sequential"}),
    _llama_case("twelve-layers", _llama(num_hidden_layers=12), FLAT | {"tp": 2}),
    _llama_case("many-files", _llama(num_hidden_layers=4), FLAT | {"tp": 2}, shard_size="100KB"),
    _llama_case("one-layer", _llama(num_hidden_layers=1), FLAT),
    _llama_case("tied", _llama(tie_word_embeddings=True), FLAT | {"tp": 2}),
    _llama_case("attention-bias", _llama(attention_bias=True), FLAT | {"tp": 2}),
    _llama_case("mlp-bias", _llama(mlp_bias=True), FLAT | {"tp": 2}),
    _llama_case("all-biases-mha", MHA | {"attention_bias": True, "mlp_bias": True}, {"tp": 2}),
    _llama_case(
        "three-ranks-nine-heads",
        _llama(hidden_size=36, num_attention_heads=9, num_key_value_heads=3, intermediate_size=51, vocab_size=93),
        FLAT | {"tp": 3},
    ),
    _llama_case("rope-base", _llama(rope_parameters={"rope_type": "default", "rope_theta": 50000.0}), FLAT),
    _llama_case("odd-width", _llama(intermediate_size=101), FLAT),
    Case(
        "mistral",
        "neox/llama",
        "MistralForCausalLM",
        _llama(sliding_window=None),
        "neox",
        set=FLAT | {"tp": 2},
        back=FLAT,
    ),
    _pythia_case("plain", _pythia(), {}),
    _pythia_case("tp2", _pythia(), {"tp": 2}),
    _pythia_case("tp2-sequential", _pythia(), {"tp": 2, "form": "sequential"}),
    _pythia_case("serial-residual-tp2", _pythia(use_parallel_residual=False), {"tp": 2}),
    _pythia_case("serial-residual-tp3", _pythia(use_parallel_residual=False), {"tp": 3}),
    _pythia_case("legacy-names-tp2", _pythia(), {"tp": 2, "naming": "legacy"}),
    _pythia_case("half-precision-tp2", _pythia(), {"tp": 2}, dtype=torch.float16),
    _pythia_case("twelve-layers", _pythia(num_hidden_layers=12), {}),
    _pythia_case("full-rotary", _pythia(rotary_pct=1.0), {}),
    _pythia_case("tied", _pythia(tie_word_embeddings=True), {"tp": 2}),
    # shares of a bias that is the sum over three ranks: thirds are rounded, and listed so
    _pythia_case("tp3", _pythia(), {"tp": 3}, lossless=False, tolerance=1e-5),
)
