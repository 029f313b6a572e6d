"""Which headers each mapping of the library is planned from, and what has to be said for it.

A mapping that is not here fails `test_headers.py::test_every_mapping_is_here`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A mapping, planned from a header to side `to` with `set`, and back with `back` (None: there is no way back).

    `lost` are patterns of names that the way back does not bring: what the mapping declares as dropped. `other` is the header
    of the same model that the other side's own program makes; `unwritten` are patterns of its names that the program's own
    converter leaves out, too.
    """

    mapping: str
    header: str
    to: str
    set: Mapping[str, Any] = field(default_factory=dict)
    back: Mapping[str, Any] | None = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    other: str | None = None
    unwritten: tuple[str, ...] = ()
    dtype: str | None = None
    stored: bool = False  # what comes back is read from its file, as rules call it otherwise
    large: bool = False  # planned by `make torture`
    layers: int = 0  # so many layers of a large one are planned by `make test`

    def __str__(self) -> str:
        said = "".join(f"-{key}={value}" for key, value in self.set.items())
        return f"{self.mapping}-{self.header}{said}".replace("/", "-")


def _fused(family: str, header: str, **more: Any) -> Row:
    return Row(f"{family}/fused", header, "fused", other=f"{header}.fused", **more)


FUSED = (
    _fused("afmoe", "trinity-mini"),
    _fused("cohere2_moe", "command-a-plus"),
    _fused("deepseek_v2", "deepseek-v2-lite"),
    _fused("deepseek_v3", "moonlight-16b-a3b"),
    Row(
        "deepseek_v3/fused",
        "deepseek-v3.bf16",
        "fused",
        lost=("model.layers.61.*",),
        other="deepseek-v3.fused",
        large=True,
    ),
    _fused("deepseek_v32", "deepseek-v3.2"),
    _fused("dots1", "dots.llm1"),
    _fused("ernie4_5_moe", "ernie-4.5-21b-a3b"),
    _fused("exaone_moe", "k-exaone-236b"),
    _fused("flex_olmo", "flexolmo-7x7b"),
    _fused("glm4_moe", "glm-4.5-air"),
    _fused("glm4_moe_lite", "glm-4.7-flash"),
    _fused("glm4v_moe", "glm-4.5v"),
    _fused("glm_moe_dsa", "glm-5"),
    _fused("granitemoe", "granite-3.1-1b-a400m"),
    _fused("granitemoehybrid", "granite-4.0-h-tiny"),
    _fused("granitemoeshared", "granitemoeshared"),
    _fused("hunyuan_v1_moe", "hunyuan-a13b"),
    _fused("jamba", "jamba-v0.1"),
    _fused("lfm2_moe", "lfm2-8b-a1b"),
    _fused("minimax", "minimax-text-01"),
    _fused("minimax_m2", "minimax-m2"),
    _fused("mixtral", "mixtral-8x7b"),
    _fused("nemotron_h", "nemotron-3-nano-30b-a3b"),
    _fused("olmoe", "olmoe-1b-7b"),
    _fused("phimoe", "phi-3.5-moe"),
    _fused("qwen2_moe", "qwen1.5-moe-a2.7b"),
    _fused("qwen3_moe", "qwen3-30b-a3b"),
    _fused("qwen3_next", "qwen3-next-80b-a3b"),
    _fused("axk1", "a.x-k1", large=True, layers=6),
    _fused("flint", "flint", large=True, layers=6),
    _fused("hy_v3", "hy3-preview", large=True, layers=6),
    _fused("kolibri1", "kolibri-1", large=True, layers=6),
    _fused("bailing_hybrid", "bailing-hybrid", large=True, layers=7),
    _fused("kimi_linear", "kimi-linear-48b-a3b", back={"dense": "block_sparse_moe"}),
    _fused("laguna", "laguna-xs.2", large=True, layers=6),
    _fused("mellum", "mellum2-12b-a2.5b"),
    _fused("mimo_v2_flash", "mimo-v2-flash", large=True, layers=6),
    _fused("qwen3_5_moe", "qwen3.5-35b-a3b", large=True, layers=6),
    _fused("solar_open", "solar-open-100b"),
)

LOCAL = {"spec": "local"}


def _ranks(mapping: str, header: str, **settings: int) -> Row:
    """Without Transformer Engine, as `ranks.py` builds it."""
    return Row(f"megatron/{mapping}", header, "megatron", LOCAL | settings, other=f"{header}.megatron")


MEGATRON = (
    Row("megatron/llama", "llama-3.1-8b", "megatron"),
    Row("megatron/llama", "qwen2.5-0.5b", "megatron", {"tp": 2}),
    _ranks("llama", "llama-3.1-70b", tp=8, pp=4),
    _ranks("llama", "qwen3-8b", tp=4, pp=2),
    Row("megatron/mixtral", "mixtral-8x7b", "megatron", {"tp": 4, "pp": 2, "ep": 2}),
    _ranks("mixtral", "mixtral-8x7b", tp=2, pp=4, ep=8),
    _ranks("qwen3_moe", "qwen3-30b-a3b", tp=2, pp=2, ep=4),
    Row("megatron/gpt2", "gpt2", "megatron"),
    _ranks("gpt2", "gpt2", tp=4, pp=3),
    _ranks("deepseek_v3", "moonlight-16b-a3b", pp=3, ep=8),
    Row(
        "megatron/deepseek_v3",
        "deepseek-v3.bf16",
        "megatron",
        {"tp": 2, "ep": 8},
        lost=("model.layers.61.*",),
        large=True,
    ),
    Row("neox/llama", "llama-2-7b", "neox", {"tp": 4}),
    Row("neox/llama", "mistral-7b", "neox", {"tp": 2, "gqa": "flat"}, {"gqa": "flat"}),
    Row("neox/gpt_neox", "gpt-neox-20b", "neox", {"tp": 2}),
    Row("neox/gpt_neox", "pythia-6.9b", "neox", {"tp": 2, "form": "sequential"}),
    Row("bloom/megatron_deepspeed", "bloom-176b", "megatron_deepspeed", {"tp": 4}, {"d": 128}),
    Row("meta/llama", "llama-2-7b", "meta", {"llama": "2"}, {"llama": "2"}),
    Row("meta/llama", "llama-3.1-70b", "meta", {"llama": "3.1", "mp": 8}, {"llama": "3.1"}),
    Row("vllm/llama", "llama-3.1-70b", "vllm", {"tp": 8}),
    Row("vllm/llama", "qwen2-7b", "vllm", {"tp": 4}),
)

TRAINERS = (
    Row("litgpt/falcon", "falcon-7b", "litgpt", back={"tied": "yes"}, other="falcon-7b.litgpt"),
    Row("litgpt/falcon", "falcon-40b", "litgpt", back={"tied": "yes"}, other="falcon-40b.litgpt"),
    Row("litgpt/gemma2", "gemma-2b", "litgpt", back={"tied": "yes"}, other="gemma-2b.litgpt"),
    Row("litgpt/gemma2", "gemma-2-2b", "litgpt", back={"tied": "yes"}, other="gemma-2-2b.litgpt"),
    Row("litgpt/gpt_neox", "pythia-6.9b", "litgpt", other="pythia-6.9b.litgpt"),
    Row("litgpt/llama", "llama-3.1-8b", "litgpt", other="llama-3.1-8b.litgpt"),
    Row("litgpt/llama", "llama-3.2-1b", "litgpt", back={"tied": "yes"}, other="llama-3.2-1b.litgpt"),
    Row("litgpt/llama", "qwen3-8b", "litgpt", other="qwen3-8b.litgpt"),
    Row("litgpt/mixtral", "mixtral-8x7b", "litgpt", other="mixtral-8x7b.litgpt"),
    Row("litgpt/mixtral", "qwen3-30b-a3b", "litgpt", other="qwen3-30b-a3b.litgpt"),
    Row("litgpt/olmo2", "olmo-2-7b", "litgpt", other="olmo-2-7b.litgpt"),
    Row("litgpt/phi", "phi-2", "litgpt", other="phi-2.litgpt"),
    Row("litgpt/phi3", "phi-3-mini", "litgpt", other="phi-3-mini.litgpt"),
    Row("mlx/llama", "llama-2-7b", "mlx", other="llama-2-7b.mlx"),
    Row("mlx/llama", "qwen2.5-0.5b", "mlx", other="qwen2.5-0.5b.mlx"),
    Row("mlx/llama", "qwen3-8b", "mlx", other="qwen3-8b.mlx"),
    Row("mlx/mixtral", "mixtral-8x7b", "mlx", other="mixtral-8x7b.mlx"),
    Row("mlx/olmoe", "olmoe-1b-7b", "mlx", other="olmoe-1b-7b.mlx"),
    Row("mlx/qwen_moe", "qwen1.5-moe-a2.7b", "mlx", other="qwen1.5-moe-a2.7b.mlx"),
    Row("mlx/qwen_moe", "qwen3-30b-a3b", "mlx", other="qwen3-30b-a3b.mlx"),
    Row("mlx/deepseek_v3", "moonlight-16b-a3b", "mlx", other="moonlight-16b-a3b.mlx"),
    Row("torchtitan/llama3", "llama-3.1-8b", "torchtitan", other="llama-3.1-8b.torchtitan"),
    Row("torchtitan/qwen3", "qwen3-8b", "torchtitan", other="qwen3-8b.torchtitan"),
    Row(
        "torchtitan/qwen3",
        "qwen3-30b-a3b",
        "torchtitan",
        other="qwen3-30b-a3b.torchtitan",
        unwritten=("layers.*.moe.expert_bias_E",),  # zero, where nothing was trained yet
    ),
    Row("torchtitan/deepseek_v3", "moonlight-16b-a3b", "torchtitan"),
    Row("torchtitan/deepseek_v3", "deepseek-v3", "torchtitan", other="deepseek-v3.torchtitan", large=True),
    Row("torchtune/llama", "llama-2-7b", "torchtune", other="llama-2-7b.torchtune"),
    Row("torchtune/llama", "llama-3.1-70b", "torchtune", other="llama-3.1-70b.torchtune"),
    Row("torchtune/llama", "mistral-7b", "torchtune", other="mistral-7b.torchtune"),
    Row("torchtune/qwen2", "qwen2-7b", "torchtune", other="qwen2-7b.torchtune"),
    Row("torchtune/qwen2", "qwen2.5-0.5b", "torchtune", other="qwen2.5-0.5b.torchtune"),
    Row("torchtune/phi3", "phi-3-mini", "torchtune", other="phi-3-mini.torchtune"),
    Row("torchtune/gemma2", "gemma-2b", "torchtune", other="gemma-2b.torchtune"),
    Row("torchtune/gemma2", "gemma-2-2b", "torchtune", other="gemma-2-2b.torchtune"),
)

GGUF = (
    Row("gguf/deepseek2", "deepseek-v2-lite", "gguf"),
    Row("gguf/gemma2", "gemma-2-2b", "gguf"),
    Row("gguf/gemma3", "gemma-3-1b", "gguf"),
    Row("gguf/gpt2", "gpt2", "gguf"),
    Row("gguf/llama", "llama-2-7b", "gguf"),
    Row("gguf/llama", "llama-3.1-70b", "gguf", back={"factor": 8.0, "context": 8192}),
    Row("gguf/llama", "mistral-7b", "gguf", back={"family": "mistral"}),
    Row("gguf/mamba2", "mamba2-2.7b", "gguf"),
    Row("gguf/mamba", "mamba-2.8b", "gguf"),
    Row("gguf/mixtral", "mixtral-8x7b", "gguf"),
    Row("gguf/phi3", "phi-3-mini", "gguf"),
    Row("gguf/qwen2", "qwen2-7b", "gguf"),
    Row("gguf/qwen2", "qwen2.5-0.5b", "gguf"),
    Row("gguf/qwen2moe", "qwen1.5-moe-a2.7b", "gguf"),
    Row("gguf/qwen3", "qwen3-8b", "gguf"),
    Row("gguf/qwen3moe", "qwen3-30b-a3b", "gguf"),
    Row("gguf/baichuan", "baichuan-7b", "gguf"),
    Row("gguf/bloom", "bloom-176b", "gguf"),
    Row("gguf/chatglm", "glm-4-9b", "gguf"),
    Row("gguf/cohere2", "command-r7b", "gguf"),
    Row("gguf/command-r", "command-r-v01", "gguf"),
    Row("gguf/falcon", "falcon-7b", "gguf"),
    Row("gguf/falcon", "falcon-40b", "gguf"),
    Row("gguf/glm4", "glm-4-9b-0414", "gguf"),
    Row("gguf/gptneox", "gpt-neox-20b", "gguf"),
    Row("gguf/gpt-oss", "gpt-oss-20b.bf16", "gguf"),
    Row("gguf/granite", "granite-3.0-8b", "gguf"),
    Row("gguf/granitemoe", "granite-3.1-1b-a400m", "gguf"),
    Row("gguf/granitemoe", "granitemoeshared", "gguf"),
    Row("gguf/internlm2", "internlm2.5-7b", "gguf"),
    Row("gguf/mpt", "mpt-7b", "gguf"),
    Row("gguf/phi2", "phi-2", "gguf"),
    Row("gguf/stablelm", "stablelm-3b-4e1t", "gguf"),
    Row("gguf/starcoder", "starcoder", "gguf"),
    Row("gguf/starcoder2", "starcoder2-7b", "gguf"),
)

REST = (
    Row("albert/electra", "albert-base-v1", "electra"),
    Row("baichuan/llama", "baichuan-7b", "llama", other="baichuan-7b-as-llama"),
    Row("bamba/ssm", "bamba-9b", "ssm"),
    Row("bert/torch", "bert-base-uncased", "torch", other="bert-base-uncased.torch"),
    Row("clip/openai", "clip-vit-base-patch32", "openai", other="clip-vit-base-patch32.open_clip"),
    Row("codegen/gptj", "gpt-j-6b", "codegen"),
    Row("dbrx/mlx", "dbrx", "mlx", other="dbrx.mlx"),
    Row("deepseek_v3/fp8", "deepseek-v3.fp8", "bf16", back=None, other="deepseek-v3.bf16", large=True, layers=6),
    Row("dinov2/facebook", "dinov2-base", "facebook", other="dinov2-base.facebook"),
    Row("flux/bfl", "flux.1-dev", "bfl"),
    Row("gemma/flax", "gemma-2b", "flax"),
    Row("gemma/flax", "gemma-2-2b", "flax"),
    Row("gemma/flax", "gemma-3-1b", "flax"),
    Row("gemma/pytorch", "gemma-2b", "pytorch", back={"d": 256, "family": "gemma"}),
    Row("gemma/pytorch", "gemma-2-2b", "pytorch", back={"d": 256, "family": "gemma2", "scalar": 256}),
    Row("gemma/stacked", "gemma-2-2b.flax", "stacked", {"pattern": 2}, {"pattern": 2}, stored=True),
    Row("glm/chatglm", "glm-4-9b", "chatglm"),
    Row("gpt2/nanogpt", "gpt2", "nanogpt"),
    Row("gpt_oss/mxfp4", "gpt-oss-20b", "bf16", back=None, other="gpt-oss-20b.bf16"),
    Row("gpt_oss/openai", "gpt-oss-20b", "openai"),
    Row("gte/apart", "gte-multilingual-base", "apart", other="gte-multilingual-base.fused"),
    Row("nomic_bert/apart", "nomic-bert-2048", "apart", other="nomic-bert-2048.fused"),
    Row("internlm2/llama", "internlm2.5-7b", "llama", other="internlm2.5-7b-as-llama"),
    Row("mamba/ssm", "mamba-2.8b", "ssm"),
    Row("mamba2/ssm", "mamba2-2.7b", "ssm"),
    Row("mpt/composer", "mpt-7b", "composer"),
    Row("gpt_bigcode/megatron", "starcoder", "megatron"),
    Row("persimmon/adept", "persimmon-8b", "adept"),
    Row("recurrent_gemma/griffin", "recurrentgemma-2b", "griffin", other="recurrentgemma-2b.griffin"),
    Row("unet/ldm", "stable-diffusion-1.5-unet", "ldm", back={"model": "v1"}),
    Row("unet/ldm", "stable-diffusion-xl-unet", "ldm"),
    Row("olmo/core", "olmo-2-7b", "core", other="olmo-2-7b.core"),
    Row("olmo/core", "olmo-3-7b", "core", other="olmo-3-7b.core"),
    Row("olmo/original", "olmo-7b", "olmo"),
    Row("opt/metaseq", "opt-125m", "metaseq", back={"heads": 12}),
    Row("phi3/llama", "phi-3-mini", "llama"),
    Row("rwkv/rwkv7", "rwkv-7-2.9b", "blinkdl"),
    Row("rwkv/blinkdl", "rwkv-4-7b", "blinkdl"),
    Row(
        "swin/timm",
        "swin-tiny-patch4-window7-224",
        "timm",
        back={"heads": [3, 6, 12, 24], "image": 224},
        other="swin-tiny-patch4-window7-224.timm",
    ),
    Row("t5/t5x", "t5-small", "t5x"),
    Row("t5/t5x", "flan-t5-xxl", "t5x"),
    Row("vae/ldm", "stable-diffusion-vae", "ldm", back={}),
    Row("vit/timm", "vit-base-patch16-224", "timm", {"heads": 12}, {"heads": 12}, other="vit-base-patch16-224.timm"),
    Row("wav2vec2/weight_norm", "wav2vec2-base-960h", "old"),
    Row("whisper/openai", "whisper-large-v3", "openai", other="whisper-large-v3.openai"),
)

ROWS = (*FUSED, *MEGATRON, *TRAINERS, *GGUF, *REST)
