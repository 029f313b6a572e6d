"""Published models: the class that holds each, the values of its config, and where the values are from.

Values that a class has as its defaults are not repeated. "defaults" in `source` means that the library gives them as those of
this model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Model:
    """A model of transformers. `keep` says which tensors, by the end of their names, are stored in another dtype."""

    name: str
    published: str  # its name on the hub
    kind: str  # the class, without ForCausalLM where it ends so
    source: str
    values: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "bfloat16"
    keep: Mapping[str, str] = field(default_factory=dict)
    memory: bool = False  # whether to write also what transformers 5 holds in memory, as NAME.fused


DEFAULTS = "defaults of transformers 5.23.0"
LITGPT = "litgpt 0.5.13 config.py"
TORCHTUNE = "torchtune 0.6.1 model builders"
CARD = "the model's config.json"
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
BIAS32 = {"e_score_correction_bias": "float32", "expert_bias": "float32"}


def _rope(theta: float, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta} | more}


def _llama(hidden: int, layers: int, heads: int, groups: int, width: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": width,
        "vocab_size": vocab,
    } | more


LLAMA31 = {"rope_parameters": LLAMA3, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5}

DENSE = (
    Model(
        "llama-2-7b",
        "meta-llama/Llama-2-7b-hf",
        "Llama",
        LITGPT,
        {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
        dtype="float16",
    ),
    Model(
        "llama-3.1-8b", "meta-llama/Llama-3.1-8B", "Llama", LITGPT, _llama(4096, 32, 32, 8, 14336, 128256, **LLAMA31)
    ),
    Model(
        "llama-3.1-70b", "meta-llama/Llama-3.1-70B", "Llama", LITGPT, _llama(8192, 80, 64, 8, 28672, 128256, **LLAMA31)
    ),
    Model(
        "llama-3.2-1b",
        "meta-llama/Llama-3.2-1B",
        "Llama",
        LITGPT,
        _llama(2048, 16, 32, 8, 8192, 128256, **LLAMA31 | {"rope_parameters": LLAMA3 | {"factor": 32.0}})
        | {"tie_word_embeddings": True},
    ),
    Model(
        "mistral-7b",
        "mistralai/Mistral-7B-v0.1",
        "Mistral",
        LITGPT,
        {"max_position_embeddings": 32768, "rms_norm_eps": 1e-5},
    ),
    Model(
        "qwen2-7b",
        "Qwen/Qwen2-7B",
        "Qwen2",
        TORCHTUNE,
        _llama(3584, 28, 28, 4, 18944, 152064, **_rope(1e6), max_position_embeddings=131072),
    ),
    Model(
        "qwen2.5-0.5b",
        "Qwen/Qwen2.5-0.5B",
        "Qwen2",
        LITGPT,
        _llama(896, 24, 14, 2, 4864, 151936, **_rope(1e6), tie_word_embeddings=True),
    ),
    Model(
        "qwen3-8b",
        "Qwen/Qwen3-8B",
        "Qwen3",
        LITGPT,
        _llama(4096, 36, 32, 8, 12288, 151936, **_rope(1e6), max_position_embeddings=40960),
    ),
    Model(
        "gemma-2b",
        "google/gemma-2b",
        "Gemma",
        LITGPT,
        _llama(2048, 18, 8, 1, 16384, 256000),
    ),
    Model("gemma-2-2b", "google/gemma-2-2b", "Gemma2", f"{LITGPT}; {DEFAULTS}", dtype="float32"),
    Model(
        "gemma-3-1b",
        "google/gemma-3-1b-pt",
        "Gemma3",
        LITGPT,
        _llama(1152, 26, 4, 1, 6912, 262144, sliding_window=512, max_position_embeddings=32768),
    ),
    Model(
        "phi-2",
        "microsoft/phi-2",
        "Phi",
        LITGPT,
        {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32}
        | _rope(10000.0, partial_rotary_factor=0.4),
        dtype="float16",
    ),
    Model("phi-3-mini", "microsoft/Phi-3-mini-4k-instruct", "Phi3", f"{DEFAULTS}; {LITGPT}"),
    Model(
        "gpt-neox-20b",
        "EleutherAI/gpt-neox-20b",
        "GPTNeoX",
        DEFAULTS,
        dtype="float16",
    ),
    Model(
        "pythia-6.9b",
        "EleutherAI/pythia-6.9b",
        "GPTNeoX",
        LITGPT,
        {
            "hidden_size": 4096,
            "intermediate_size": 16384,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
        },
        dtype="float16",
    ),
    Model("falcon-7b", "tiiuae/falcon-7b", "Falcon", f"{LITGPT}; {DEFAULTS}", {"tie_word_embeddings": True}),
    Model(
        "falcon-40b",
        "tiiuae/falcon-40b",
        "Falcon",
        LITGPT,
        {
            "hidden_size": 8192,
            "num_hidden_layers": 60,
            "num_attention_heads": 128,
            "num_kv_heads": 8,
            "new_decoder_architecture": True,
            "multi_query": True,
            "tie_word_embeddings": True,
        },
    ),
    Model(
        "olmo-7b",
        "allenai/OLMo-7B-hf",
        "Olmo",
        f"{LITGPT}; {DEFAULTS}",
        dtype="float32",
    ),
    Model(
        "olmo-2-7b",
        "allenai/OLMo-2-1124-7B",
        "Olmo2",
        LITGPT,
        {"vocab_size": 100352, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6} | _rope(500000.0),
        dtype="float32",
    ),
    Model("gpt2", "openai-community/gpt2", "GPT2LMHeadModel", DEFAULTS, dtype="float32"),
    Model("gpt-j-6b", "EleutherAI/gpt-j-6b", "GPTJ", DEFAULTS, dtype="float32"),
    Model(
        "opt-125m",
        "facebook/opt-125m",
        "OPT",
        DEFAULTS,
        dtype="float16",
    ),
    Model(
        "bloom-176b",
        "bigscience/bloom",
        "Bloom",
        "bigscience-workshop/bigscience train/tr11-176B-ml; vocabulary: " + DEFAULTS,
        {"hidden_size": 14336, "n_layer": 70, "n_head": 112},
    ),
    Model(
        "starcoder2-7b",
        "bigcode/starcoder2-7b",
        "Starcoder2",
        f"{DEFAULTS}, with 36 heads of width 4608: {CARD}",
        _llama(4608, 32, 36, 4, 18432, 49152, **_rope(1e6), max_position_embeddings=16384),
        dtype="float32",
    ),
    Model("glm-4-9b", "THUDM/glm-4-9b-chat-hf", "Glm", DEFAULTS),
    Model(
        "baichuan-7b-as-llama",
        "baichuan-inc/Baichuan-7B",
        "Llama",
        "its README: 32 layers, 32 heads, 4096 wide, 64000 tokens, 7000559616 parameters",
        {"vocab_size": 64000, "max_position_embeddings": 4096},
    ),
    Model(
        "internlm2.5-7b-as-llama",
        "internlm/internlm2_5-7b-chat",
        "Llama",
        CARD,
        _llama(4096, 32, 32, 8, 14336, 92544, **_rope(1e6), max_position_embeddings=32768, rms_norm_eps=1e-5),
    ),
    Model(
        "mpt-7b",
        "mosaicml/mpt-7b",
        "Mpt",
        CARD,
        {"d_model": 4096, "n_heads": 32, "n_layers": 32, "vocab_size": 50432},
    ),
    Model(
        "starcoder",
        "bigcode/starcoder",
        "GPTBigCode",
        CARD,
        {"n_embd": 6144, "n_head": 48, "n_layer": 40, "n_inner": 24576, "n_positions": 8192, "vocab_size": 49152}
        | {"bos_token_id": 0, "eos_token_id": 0},
        dtype="float32",
    ),
    Model("stablelm-3b-4e1t", "stabilityai/stablelm-3b-4e1t", "StableLm", f"{DEFAULTS}; {LITGPT}"),
    Model("command-r-v01", "CohereForAI/c4ai-command-r-v01", "Cohere", DEFAULTS, dtype="float16"),
    Model(
        "command-r7b",
        "CohereLabs/c4ai-command-r7b-12-2024",
        "Cohere2",
        CARD,
        _llama(4096, 32, 32, 8, 14336, 256000, **_rope(50000.0), max_position_embeddings=132096, logit_scale=0.25),
    ),
    Model(
        "granite-3.0-8b",
        "ibm-granite/granite-3.0-8b-base",
        "Granite",
        CARD,
        _llama(4096, 40, 32, 8, 12800, 49155, max_position_embeddings=4096, rms_norm_eps=1e-5, tie_word_embeddings=True)
        | {
            "attention_multiplier": 0.0078125,
            "embedding_multiplier": 12.0,
            "logits_scaling": 16.0,
            "residual_multiplier": 0.22,
        },
    ),
    Model("glm-4-9b-0414", "THUDM/GLM-4-9B-0414", "Glm4", DEFAULTS),
    Model(
        "persimmon-8b",
        "adept/persimmon-8b-base",
        "Persimmon",
        DEFAULTS,
        _rope(25000.0, partial_rotary_factor=0.5),
    ),
    Model(
        "recurrentgemma-2b",
        "google/recurrentgemma-2b",
        "RecurrentGemma",
        f"{DEFAULTS}, with one key head and an intermediate_size of 15360: {CARD}",
        {"num_key_value_heads": 1, "intermediate_size": 15360},
    ),
    Model(
        "olmo-3-7b",
        "allenai/Olmo-3-1025-7B",
        "Olmo3",
        "OLMo-core; its config.json: defaults of transformers 5.23.0 with a vocabulary of 100278",
        {"vocab_size": 100278, "max_position_embeddings": 65536, "rms_norm_eps": 1e-6, "eos_token_id": 100257}
        | {"pad_token_id": 100277},
        dtype="float32",
    ),
    Model("rwkv-4-7b", "RWKV/rwkv-4-7b-pile", "Rwkv", f"{DEFAULTS} (32 layers, 4096 wide)"),
    Model(
        "mamba-2.8b",
        "state-spaces/mamba-2.8b-hf",
        "Mamba",
        "its config.json: 64 layers, 2560 wide; 2768345600 parameters",
        {"hidden_size": 2560, "num_hidden_layers": 64, "intermediate_size": 5120, "time_step_rank": 160},
        dtype="float32",
    ),
    Model(
        "bamba-9b",
        "ibm-ai-platform/Bamba-9B-v2",
        "Bamba",
        f"{DEFAULTS}; states, attention layers and vocabulary: {CARD}",
        {"mamba_d_state": 128, "attn_layer_indices": [9, 18, 27], "vocab_size": 128256},
    ),
    Model(
        "mamba2-2.7b",
        "state-spaces/mamba2-2.7b",
        "Mamba2",
        "its config.json: d_model 2560, 64 layers, vocabulary 50288 with padding, defaults of mamba_ssm (headdim 64, ngroups 1)",
        {
            "hidden_size": 2560,
            "num_heads": 80,
            "head_dim": 64,
            "num_hidden_layers": 64,
            "n_groups": 1,
            "vocab_size": 50288,
            "tie_word_embeddings": True,
        },
        dtype="float32",
    ),
)

MIXTURES = (
    Model("mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1", "Mixtral", f"{DEFAULTS}; {LITGPT}", memory=True),
    Model(
        "qwen3-30b-a3b",
        "Qwen/Qwen3-30B-A3B",
        "Qwen3Moe",
        LITGPT,
        _llama(2048, 48, 32, 4, 6144, 151936, **_rope(1e6), max_position_embeddings=40960)
        | {"num_experts": 128, "moe_intermediate_size": 768, "norm_topk_prob": True, "head_dim": 128},
        memory=True,
    ),
    Model("qwen1.5-moe-a2.7b", "Qwen/Qwen1.5-MoE-A2.7B", "Qwen2Moe", DEFAULTS, memory=True),
    Model("qwen3-next-80b-a3b", "Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen3Next", DEFAULTS, memory=True),
    Model(
        "olmoe-1b-7b",
        "allenai/OLMoE-1B-7B-0924",
        "Olmoe",
        f"{DEFAULTS}, with an intermediate_size of 1024: {CARD}",
        {"intermediate_size": 1024},
        memory=True,
    ),
    Model("flexolmo-7x7b", "allenai/FlexOlmo-7x7B-1T", "FlexOlmo", DEFAULTS, memory=True),
    Model(
        "deepseek-v2-lite",
        "deepseek-ai/DeepSeek-V2-Lite",
        "DeepseekV2",
        CARD,
        _llama(2048, 27, 16, 16, 10944, 102400, max_position_embeddings=163840)
        | {
            "q_lora_rank": None,
            "moe_intermediate_size": 1408,
            "first_k_dense_replace": 1,
            "num_experts_per_tok": 6,
            "n_group": 1,
            "topk_group": 1,
        },
        memory=True,
    ),
    Model("deepseek-v3", "deepseek-ai/DeepSeek-V3", "DeepseekV3", DEFAULTS, keep=BIAS32, memory=True),
    Model(
        "moonlight-16b-a3b",
        "moonshotai/Moonlight-16B-A3B",
        "DeepseekV3",
        CARD,
        _llama(2048, 27, 16, 16, 11264, 163840, max_position_embeddings=8192, rms_norm_eps=1e-5, **_rope(50000.0))
        | {
            "q_lora_rank": None,
            "moe_intermediate_size": 1408,
            "first_k_dense_replace": 1,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "n_group": 1,
            "topk_group": 1,
            "routed_scaling_factor": 2.446,
            "num_nextn_predict_layers": 0,
        },
        keep=BIAS32,
        memory=True,
    ),
    Model("deepseek-v3.2", "deepseek-ai/DeepSeek-V3.2-Exp", "DeepseekV32", DEFAULTS, keep=BIAS32, memory=True),
    Model(
        "dots.llm1",
        "rednote-hilab/dots.llm1.base",
        "Dots1",
        CARD,
        _llama(4096, 62, 32, 32, 10944, 152064, **_rope(1e7), max_position_embeddings=32768, rms_norm_eps=1e-5)
        | {
            "n_routed_experts": 128,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 1408,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
        },
        keep=BIAS32,
        memory=True,
    ),
    Model(
        "ernie-4.5-21b-a3b",
        "baidu/ERNIE-4.5-21B-A3B-PT",
        "Ernie4_5_Moe",
        DEFAULTS,
        keep=BIAS32,
        memory=True,
    ),
    Model(
        "k-exaone-236b",
        "LGAI-EXAONE/K-EXAONE-236B-A23B",
        "ExaoneMoe",
        CARD,
        _llama(6144, 48, 64, 8, 18432, 153600, **_rope(1e6), max_position_embeddings=262144)
        | {"num_experts": 128, "moe_intermediate_size": 2048, "sliding_window": 128, "head_dim": 128},
        keep=BIAS32,
        memory=True,
    ),
    Model(
        "glm-4.5-air",
        "zai-org/GLM-4.5-Air",
        "Glm4Moe",
        f"{DEFAULTS}, with biases: {CARD}",
        {"attention_bias": True, "head_dim": 128},
        keep=BIAS32,
        memory=True,
    ),
    Model("glm-4.5v", "zai-org/GLM-4.5V", "Glm4vMoeForConditionalGeneration", DEFAULTS, keep=BIAS32, memory=True),
    Model("glm-4.7-flash", "zai-org/GLM-4.7-Flash", "Glm4MoeLite", DEFAULTS, keep=BIAS32, memory=True),
    Model("glm-5", "zai-org/GLM-5", "GlmMoeDsa", DEFAULTS, keep=BIAS32, memory=True),
    Model(
        "granite-3.1-1b-a400m",
        "ibm-granite/granite-3.1-1b-a400m-base",
        "GraniteMoe",
        CARD,
        _llama(1024, 24, 16, 8, 512, 49152, **_rope(1.5e6), max_position_embeddings=131072)
        | {
            "num_local_experts": 32,
            "num_experts_per_tok": 8,
            "attention_multiplier": 0.015625,
            "embedding_multiplier": 12.0,
            "logits_scaling": 6.0,
            "residual_multiplier": 0.22,
            "tie_word_embeddings": True,
        },
        memory=True,
    ),
    Model(
        "granitemoeshared",
        "no published model: the sizes of granite-3.1-1b-a400m with a shared expert as wide as one of granite-4.0-h-tiny",
        "GraniteMoeShared",
        "see there",
        _llama(1024, 24, 16, 8, 512, 49152, **_rope(1.5e6), max_position_embeddings=131072)
        | {
            "num_local_experts": 32,
            "num_experts_per_tok": 8,
            "shared_intermediate_size": 1024,
            "tie_word_embeddings": True,
        },
        memory=True,
    ),
    Model(
        "granite-4.0-h-tiny",
        "ibm-granite/granite-4.0-h-tiny",
        "GraniteMoeHybrid",
        CARD,
        _llama(1536, 40, 12, 4, 512, 100352, max_position_embeddings=131072)
        | {
            "shared_intermediate_size": 1024,
            "num_local_experts": 64,
            "num_experts_per_tok": 6,
            "tie_word_embeddings": True,
            "mamba_d_state": 128,
            "mamba_n_groups": 1,
            "mamba_n_heads": 48,
            "mamba_d_head": 64,
            "layer_types": (["mamba"] * 5 + (["attention"] + ["mamba"] * 9) * 4)[:40],
        },
        memory=True,
    ),
    Model(
        "hunyuan-a13b",
        "tencent/Hunyuan-A13B-Instruct",
        "HunYuanMoEV1",
        CARD,
        _llama(4096, 32, 32, 8, 3072, 128167, head_dim=128)
        | {"num_experts": 64, "moe_topk": 8, "tie_word_embeddings": True},
        memory=True,
    ),
    Model("jamba-v0.1", "ai21labs/Jamba-v0.1", "Jamba", DEFAULTS, memory=True),
    Model(
        "lfm2-8b-a1b",
        "LiquidAI/LFM2-8B-A1B",
        "Lfm2Moe",
        f"{DEFAULTS}; layers: {CARD}",
        {
            "num_hidden_layers": 24,
            "layer_types": ["full_attention" if k in (2, 6, 10, 14, 18, 21) else "conv" for k in range(24)],
        },
        keep=BIAS32,
        memory=True,
    ),
    Model(
        "minimax-text-01",
        "MiniMaxAI/MiniMax-Text-01-hf",
        "MiniMax",
        CARD,
        _llama(6144, 80, 64, 8, 9216, 200064, head_dim=128, **_rope(1e7), max_position_embeddings=10240000)
        | {
            "num_local_experts": 32,
            "layer_types": ["full_attention" if k % 8 == 7 else "linear_attention" for k in range(80)],
        },
        memory=True,
    ),
    Model("minimax-m2", "MiniMaxAI/MiniMax-M2", "MiniMaxM2", DEFAULTS, keep=BIAS32, memory=True),
    Model(
        "nemotron-3-nano-30b-a3b",
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "NemotronH",
        CARD,
        {
            "hidden_size": 2688,
            "num_attention_heads": 32,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "mamba_num_heads": 64,
            "mamba_head_dim": 64,
            "ssm_state_size": 128,
            "n_groups": 8,
            "intermediate_size": 1856,
            "moe_intermediate_size": 1856,
            "moe_shared_expert_intermediate_size": 3712,
            "n_routed_experts": 128,
            "num_experts_per_tok": 6,
            "routed_scaling_factor": 2.5,
            "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
            "max_position_embeddings": 262144,
        },
        keep=BIAS32,
        memory=True,
    ),
    Model(
        "phi-3.5-moe",
        "microsoft/Phi-3.5-MoE-instruct",
        "Phimoe",
        f"{DEFAULTS}, with biases: {CARD}",
        {"attention_bias": True, "lm_head_bias": True},
        memory=True,
    ),
    Model("solar-open-100b", "upstage/Solar-Open-100B", "SolarOpen", DEFAULTS, keep=BIAS32, memory=True),
    Model(
        "trinity-mini",
        "arcee-ai/Trinity-Mini",
        "Afmoe",
        CARD,
        {
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "num_dense_layers": 2,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_shared_experts": 1,
            "moe_intermediate_size": 1024,
            "sliding_window": 2048,
            "mup_enabled": True,
            "max_position_embeddings": 131072,
        },
        keep=BIAS32,
        memory=True,
    ),
    Model("command-a-plus", "CohereLabs/command-a-plus-05-2026", "Cohere2Moe", DEFAULTS, memory=True),
    Model(
        "gpt-oss-20b.bf16",
        "openai/gpt-oss-20b",
        "GptOss",
        "its config.json: 24 layers, 32 experts; otherwise defaults of transformers 5.23.0",
        {"num_hidden_layers": 24, "num_local_experts": 32},
    ),
    Model(
        "dbrx",
        "databricks/dbrx-instruct",
        "Dbrx",
        CARD,
        {
            "d_model": 6144,
            "n_heads": 48,
            "n_layers": 40,
            "max_seq_len": 32768,
            "vocab_size": 100352,
            "attn_config": {"clip_qkv": 8.0, "kv_n_heads": 8, "rope_theta": 500000.0},
            "ffn_config": {
                "hidden_size": 6144,
                "ffn_hidden_size": 10752,
                "moe_num_experts": 16,
                "moe_top_k": 4,
                "moe_loss_weight": 0.05,
            },
        },
    ),
    Model(
        "kimi-linear-48b-a3b", "moonshotai/Kimi-Linear-48B-A3B-Base", "KimiLinear", DEFAULTS, keep=BIAS32, memory=True
    ),
    Model("bailing-hybrid", "inclusionAI, Ling 2.5 and Ring 2.5", "BailingHybrid", DEFAULTS, keep=BIAS32, memory=True),
    Model("a.x-k1", "skt/A.X-K1", "AXK1", DEFAULTS, keep=BIAS32, memory=True),
    Model("flint", "RecursiveSI/flint", "Flint", DEFAULTS, memory=True),
    Model("hy3-preview", "tencent/Hy3-preview", "HYV3", DEFAULTS, keep=BIAS32, memory=True),
    Model("kolibri-1", "Aleph-Alpha/Kolibri-1", "Kolibri1", DEFAULTS, memory=True),
    Model("laguna-xs.2", "poolside/laguna-XS.2", "Laguna", DEFAULTS, keep=BIAS32, memory=True),
    Model("mellum2-12b-a2.5b", "JetBrains/Mellum2-12B-A2.5B-Base", "Mellum", DEFAULTS, memory=True),
    Model("mimo-v2-flash", "XiaomiMiMo/MiMo-V2-Flash", "MiMoV2Flash", DEFAULTS, keep=BIAS32, memory=True),
    Model("qwen3.5-35b-a3b", "Qwen/Qwen3.5-35B-A3B", "Qwen3_5Moe", DEFAULTS, memory=True),
)

OTHERS = (
    Model("bert-base-uncased", "google-bert/bert-base-uncased", "BertModel", DEFAULTS, dtype="float32"),
    Model(
        "gte-multilingual-base", "Alibaba-NLP/gte-multilingual-base", "GteModel", DEFAULTS, dtype="float16", memory=True
    ),
    Model("nomic-bert-2048", "nomic-ai/nomic-bert-2048", "NomicBertModel", DEFAULTS, dtype="float32", memory=True),
    Model(
        "albert-base-v1",
        "albert/albert-base-v1",
        "AlbertForMaskedLM",
        "AlbertConfig's documentation; activation: the model's config.json",
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu"},
        dtype="float32",
    ),
    Model(
        "vit-base-patch16-224",
        "google/vit-base-patch16-224",
        "ViTForImageClassification",
        DEFAULTS,
        {"num_labels": 1000},
        dtype="float32",
    ),
    Model(
        "swin-tiny-patch4-window7-224",
        "microsoft/swin-tiny-patch4-window7-224",
        "SwinForImageClassification",
        DEFAULTS,
        {"num_labels": 1000},
        dtype="float32",
    ),
    Model("clip-vit-base-patch32", "openai/clip-vit-base-patch32", "CLIPModel", DEFAULTS, dtype="float32"),
    Model("dinov2-base", "facebook/dinov2-base", "Dinov2Model", DEFAULTS, {"image_size": 518}, dtype="float32"),
    Model(
        "whisper-large-v3",
        "openai/whisper-large-v3",
        "WhisperForConditionalGeneration",
        "openai-whisper: the dimensions that large-v3's file holds",
        {
            "vocab_size": 51866,
            "num_mel_bins": 128,
            "d_model": 1280,
            "encoder_layers": 32,
            "decoder_layers": 32,
            "encoder_attention_heads": 20,
            "decoder_attention_heads": 20,
            "encoder_ffn_dim": 5120,
            "decoder_ffn_dim": 5120,
        },
        dtype="float16",
    ),
    Model("wav2vec2-base-960h", "facebook/wav2vec2-base-960h", "Wav2Vec2ForCTC", DEFAULTS, dtype="float32"),
    Model("t5-small", "google-t5/t5-small", "T5ForConditionalGeneration", DEFAULTS, dtype="float32"),
    Model(
        "flan-t5-xxl",
        "google/flan-t5-xxl",
        "T5ForConditionalGeneration",
        "google-research/t5x examples/t5/t5_1_1/xxl.gin",
        {
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_decoder_layers": 24,
            "num_heads": 64,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
        },
        dtype="float32",
    ),
)

MODELS = (*DENSE, *MIXTURES, *OTHERS)
