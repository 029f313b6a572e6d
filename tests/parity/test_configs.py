"""The configs that mappings write, read by transformers: each says what the original said, but for what is listed with a reason.

The original is what the model's own library saved, on record for the laws; what is compared is what transformers makes of it and of
what comes back, key by key, defaults included. So a key that is lost, misspelled or wrong shows even where no test's forward pass
reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.laws.cases import counted
from tests.laws.headers import Header, headers
from tests.laws.legs import loaded, plan_leg, there_and_back
from tests.parity.optional import peer

TOKENS = "numbers of tokens are the published models', which the other side does not record"
CLASS = "which class it is has to be said: `--set`"
SAME = "what the default means, in numbers"
LENGTH = "how long texts may be, which the other side does not record"
SPEED = "how it is computed, not what"
TRAINING = "counts in training only"

OTHER: dict[str, dict[str, str]] = {
    "bloom/megatron_deepspeed": {"pretraining_tp": "how many ranks trained it"},
    "clip/openai": {"text_config.bos_token_id": TOKENS},
    "codegen/gptj": {"n_ctx": "follows the number of positions"},
    "gemma/flax": {"max_position_embeddings": LENGTH},
    "gemma/pytorch": {"max_position_embeddings": LENGTH},
    "gguf/chatglm": {"pad_token_id": TOKENS},
    "gguf/falcon": {
        "num_kv_heads": "one where there is one key head, whatever it said",
        "num_ln_in_parallel_attn": SAME,
    },
    "gguf/glm4": {"pad_token_id": TOKENS},
    "gguf/gpt2": {"n_inner": SAME},
    "gguf/gptneox": {"num_key_value_heads": "which a GPT-NeoX does not have"},
    "gguf/mamba2": {"chunk_size": SPEED},
    "gguf/mixtral": {"head_dim": SAME},
    "gguf/starcoder": {"n_inner": SAME},
    "gpt_oss/openai": {"dtype": "said where it was left to the weights"},
    "litgpt/olmo2": {
        "eos_token_id": TOKENS,
        "pad_token_id": TOKENS,
        "original_max_position_embeddings": "which an OLMo 2 does not have",
    },
    "litgpt/phi3": {"pad_token_id": TOKENS},
    "mamba2/ssm": {"eos_token_id": TOKENS, "pad_token_id": TOKENS},
    "megatron/gpt2": {"n_inner": SAME},
    "neox/llama": {"architectures": CLASS, "model_type": CLASS, "sliding_window": CLASS},
    "olmo/core": {"max_position_embeddings": LENGTH},
    "swin/timm": {"drop_path_rate": TRAINING},
    "whisper/openai": {
        "bos_token_id": TOKENS,
        "decoder_start_token_id": TOKENS,
        "eos_token_id": TOKENS,
        "pad_token_id": TOKENS,
    },
}
"""What differs, and why."""

PUBLISHED = "published configs say it, for the code that was published with them"
STATED = "what the tensors or another key say is stated, for readers that look here"

MORE: dict[str, dict[str, str]] = {
    "axk1/fused": {"first_k_dense_replace": STATED, "moe_layer_freq": STATED},
    "deepseek_v32/fused": {"num_nextn_predict_layers": PUBLISHED},
    "gemma/flax": {"sliding_window_pattern": PUBLISHED},
    "gguf/bloom": {"seq_length": PUBLISHED},
    "gguf/cohere2": {"use_qk_norm": PUBLISHED},
    "gguf/deepseek2": {"moe_layer_freq": PUBLISHED, "scoring_func": PUBLISHED, "topk_method": PUBLISHED},
    "gguf/gemma3": {"sliding_window_pattern": PUBLISHED},
    "gguf/phi3": {"partial_rotary_factor": PUBLISHED},
    "glm4_moe_lite/fused": {"num_nextn_predict_layers": PUBLISHED},
    "glm_moe_dsa/fused": {
        "index_skip_topk_offset": STATED,
        "index_topk_freq": STATED,
        "num_nextn_predict_layers": PUBLISHED,
    },
    "kimi_linear/fused": {"first_k_dense_replace": PUBLISHED},
    "litgpt/gemma2": {"hidden_activation": PUBLISHED},
    "litgpt/gpt_neox": {"rope_theta": STATED},
    "litgpt/llama": {"attention_bias": STATED, "mlp_bias": STATED, "use_sliding_window": STATED},
    "litgpt/olmo2": {"head_dim": STATED, "rope_parameters.partial_rotary_factor": STATED},
    "litgpt/phi3": {"head_dim": STATED, "partial_rotary_factor": PUBLISHED},
    "megatron/llama": {"attention_bias": STATED, "use_sliding_window": STATED},
    "mlx/llama": {"attention_bias": STATED, "mlp_bias": STATED},
    "mlx/qwen_moe": {"attention_bias": STATED},
    "neox/llama": {"attention_bias": STATED, "mlp_bias": STATED, "pretraining_tp": STATED},
    "nomic_bert/apart": dict.fromkeys(
        (
            "activation_function",
            "layer_norm_epsilon",
            "mlp_fc1_bias",
            "mlp_fc2_bias",
            "n_embd",
            "n_head",
            "n_inner",
            "n_layer",
            "n_positions",
            "prenorm",
            "qkv_proj_bias",
            "rotary_emb_base",
            "rotary_emb_fraction",
        ),
        PUBLISHED,
    ),
    "phi3/llama": {"head_dim": STATED, "partial_rotary_factor": PUBLISHED},
    "qwen3_5_moe/fused": {"full_attention_interval": PUBLISHED},
    "qwen3_next/fused": {"full_attention_interval": PUBLISHED},
    "torchtune/phi3": {"head_dim": STATED},
}
"""Keys that are written and that transformers' class does not have."""

OLDER = ("rope_scaling", "rope_theta", "torch_dtype")
"""What transformers' own classes called it before version 5, and read still."""


@cache
def _held() -> dict[str, tuple[Header, ...]]:
    """Return the recorded models whose own side transformers reads."""
    found: dict[str, list[Header]] = {}
    for header in headers():
        if header.config.get("model_type") in CONFIG_MAPPING:
            found.setdefault(header.mapping, []).append(header)
    return {name: tuple(held) for name, held in found.items()}


def _read(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what transformers makes of a config, with all that its class says by itself."""
    (folder / "config.json").write_text(json.dumps(config))
    said: dict[str, Any] = AutoConfig.from_pretrained(folder).to_dict()
    return {key: value for key, value in said.items() if key not in ("transformers_version", "_name_or_path")}


def _differences(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys((*was, *now)):
        one, other = was.get(key, ...), now.get(key, ...)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{prefix}{key}.")
        elif repr(one) != repr(other):
            yield f"{prefix}{key}", one, other


def _back(header: Header) -> dict[str, Any] | None:
    """Return the config that comes back, None if there is no way back."""
    _, back = there_and_back(header)
    if back is None:
        return None
    said: dict[str, Any] = json.loads(json.dumps(back.config))  # as its file has it
    return said


@pytest.mark.parametrize("name", sorted(_held()))
def test_what_comes_back_means_the_same(name: str, tmp_path: Path) -> None:
    changed: dict[str, str] = {}
    more: dict[str, str] = {}
    for header in _held()[name]:
        back = _back(header)
        if back is None:
            continue
        for key, was, now in _differences(_read(header.config, tmp_path), _read(back, tmp_path)):
            (more if was is ... else changed)[key] = f"{header.name}: {was} is {now}"
    assert not {key: said for key, said in changed.items() if key not in OTHER.get(name, {})}
    assert not {key: said for key, said in more.items() if key not in MORE.get(name, {})}
    assert not set(OTHER.get(name, {})) - set(changed), "these come back as they were"
    assert not set(MORE.get(name, {})) - set(more), "these are not written"


@pytest.mark.parametrize(("listed", "short"), tuple(counted()), ids=lambda each: each.name)
def test_lists_of_layers_follow_from_numbers(listed: Header, short: Header, tmp_path: Path) -> None:
    """Forms of the laws that leave such lists out are true of transformers' classes, which make the lists themselves."""
    gone = [key for key in listed.config if key not in short.config]
    assert gone
    made = _read(short.config, tmp_path)
    assert {key: made[key] for key in gone} == {key: listed.config[key] for key in gone}


def _others() -> dict[str, tuple[Header, ...]]:
    """Return the recorded models that become another class of transformers."""
    found: dict[str, list[Header]] = {}
    for header in headers():
        kind = _there(header).get("model_type")
        if kind in CONFIG_MAPPING and kind != header.config.get("model_type"):
            found.setdefault(header.mapping, []).append(header)
    return {name: tuple(held) for name, held in found.items()}


@cache
def _there(header: Header) -> Mapping[str, Any]:
    return plan_leg(loaded(header.mapping), header.to, header.tensors, header.config, header.set).config


def test_another_class_has_what_is_written_for_it(tmp_path: Path) -> None:
    """A key of that class's own, with the value that was written."""
    others = _others()
    assert {"albert/electra", "codegen/gptj", "phi3/llama"} <= set(others)
    for name, held in others.items():
        for header in held:
            config = json.loads(json.dumps(_there(header)))
            own = CONFIG_MAPPING[config["model_type"]]().to_dict()
            read = json.loads(json.dumps(_read(config, tmp_path)))
            wrong = {
                key: (value, read.get(key))
                for key, value in config.items()
                if key not in OLDER and (key not in own or repr(read[key]) != repr(value))
            }
            assert set(wrong) <= set(MORE.get(name, {})), f"{header.name}: {wrong}"


@pytest.mark.parametrize(
    "header", [each for each in headers() if "_class_name" in each.config], ids=lambda each: each.name
)
def test_what_diffusers_reads(header: Header) -> None:
    diffusers = peer("diffusers")
    kind = getattr(diffusers, header.config["_class_name"])
    back = _back(header)
    assert back is not None
    before, after = (
        {key: value for key, value in kind.from_config(each).config.items() if key != "_use_default_values"}
        for each in (header.config, back)
    )
    assert before == after
