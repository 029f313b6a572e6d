"""Headers that other programs make of the same models: LitGPT, torchtune, diffusers, timm, Megatron-Core and others.

A mapping that writes names or shapes that its consumer does not have is seen here. What a program computes from the weights is the
business of `tests/parity`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch

from tests.headers import ranks
from tests.headers.header import Header, Tensors
from tests.headers.meta import described, on_meta
from tests.parity.optional import peer

Builder = Callable[[], Header]

LITGPT = {
    "falcon-7b": ("falcon-7b", "bfloat16"),
    "falcon-40b": ("falcon-40b", "bfloat16"),
    "gemma-2b": ("Gemma-2b", "bfloat16"),
    "gemma-2-2b": ("Gemma-2-2b", "float32"),
    "pythia-6.9b": ("pythia-6.9b", "float16"),
    "llama-3.1-8b": ("Llama-3.1-8B", "bfloat16"),
    "llama-3.2-1b": ("Llama-3.2-1B", "bfloat16"),
    "qwen3-8b": ("Qwen3-8B", "bfloat16"),
    "mixtral-8x7b": ("Mixtral-8x7B-v0.1", "bfloat16"),
    "qwen3-30b-a3b": ("Qwen3-30B-A3B", "bfloat16"),
    "olmo-2-7b": ("OLMo-2-1124-7B", "float32"),
    "phi-2": ("phi-2", "float16"),
    "phi-3-mini": ("Phi-3-mini-4k-instruct", "bfloat16"),
}
"""By the name of a header: LitGPT's name of the model, and the dtype in which it is published."""

TORCHTUNE = {
    "llama-2-7b": ("llama2.llama2_7b", "float16"),
    "llama-3.1-70b": ("llama3_1.llama3_1_70b", "bfloat16"),
    "mistral-7b": ("mistral.mistral_7b", "bfloat16"),
    "qwen2-7b": ("qwen2.qwen2_7b", "bfloat16"),
    "qwen2.5-0.5b": ("qwen2_5.qwen2_5_0_5b", "bfloat16"),
    "phi-3-mini": ("phi3.phi3_mini", "bfloat16"),
    "gemma-2b": ("gemma.gemma_2b", "bfloat16"),
    "gemma-2-2b": ("gemma2.gemma2_2b", "float32"),
}
"""By the name of a header: torchtune's builder, and the dtype."""


TORCHTITAN = {
    "llama-3.1-8b": ("llama3", "8B"),
    "qwen3-8b": ("qwen3", "8B"),
    "qwen3-30b-a3b": ("qwen3", "30B-A3B"),
    "deepseek-v3": ("deepseek_v3", "671B"),
}
"""By the name of a header: torchtitan's family and flavor."""


MLX = {
    "llama-2-7b": "llama",
    "qwen2.5-0.5b": "qwen2",
    "qwen3-8b": "qwen3",
    "mixtral-8x7b": "mixtral",
    "olmoe-1b-7b": "olmoe",
    "qwen1.5-moe-a2.7b": "qwen2_moe",
    "qwen3-30b-a3b": "qwen3_moe",
    "moonlight-16b-a3b": "deepseek_v3",
    "dbrx": "dbrx",
}
"""By the name of a header: the module of mlx_lm.models."""

OLMO_CORE = {"olmo-2-7b": "olmo2_7B", "olmo-3-7b": "olmo3_7B"}
"""By the name of a header: the constructor of olmo_core's TransformerConfig."""


def builders() -> Iterator[tuple[str, Builder]]:
    """Yield the name of every header here with what makes it."""
    for name, (known, dtype) in LITGPT.items():
        yield f"{name}.litgpt", lambda known=known, dtype=dtype: litgpt(known, dtype)
    for name, (builder, dtype) in TORCHTUNE.items():
        yield f"{name}.torchtune", lambda builder=builder, dtype=dtype: torchtune(builder, dtype)
    yield "deepseek-v3.fp8", deepseek_fp8
    yield "deepseek-v3.bf16", deepseek_bf16
    yield "gpt-oss-20b", gpt_oss
    yield "baichuan-7b", lambda: written_out("baichuan-7b-as-llama", BAICHUAN, "baichuan-inc/Baichuan-7B")
    yield "internlm2.5-7b", lambda: written_out("internlm2.5-7b-as-llama", INTERNLM2, "internlm/internlm2_5-7b")
    yield (
        "flux.1-dev",
        lambda: diffusers("black-forest-labs/FLUX.1-dev", "FluxTransformer2DModel", guidance_embeds=True),
    )
    yield "stable-diffusion-1.5-unet", lambda: unet("stable-diffusion-v1-5/stable-diffusion-v1-5", **SD15)
    yield "stable-diffusion-xl-unet", lambda: unet("stabilityai/stable-diffusion-xl-base-1.0", **SDXL)
    yield "recurrentgemma-2b.griffin", griffin
    for name, (family, flavor) in TORCHTITAN.items():
        yield f"{name}.torchtitan", lambda family=family, flavor=flavor: torchtitan(family, flavor)
    for name, family in MLX.items():
        yield f"{name}.mlx", lambda name=name, family=family: mlx(name, family)
    yield "rwkv-7-2.9b", rwkv7
    yield "gemma-2-2b.flax", lambda: Header(Header.parse(GEMMA2).tensors, {}, (GEMMA2_SOURCE,))
    for name, builder in OLMO_CORE.items():
        yield f"{name}.core", lambda name=name, builder=builder: olmo_core(name, builder)
    yield "stable-diffusion-vae", autoencoder
    yield "bert-base-uncased.torch", torch_encoder
    yield "vit-base-patch16-224.timm", lambda: timm("vision_transformer", "vit_base_patch16_224")
    yield "swin-tiny-patch4-window7-224.timm", lambda: timm("swin_transformer", "swin_tiny_patch4_window7_224")
    yield "dinov2-base.facebook", dinov2
    yield "clip-vit-base-patch32.open_clip", open_clip
    yield "whisper-large-v3.openai", whisper
    for job in ranks.JOBS:
        yield job.name, lambda job=job: ranks.header(job)


def litgpt(known: str, dtype: str) -> Header:
    module = peer("litgpt")
    config = module.Config.from_name(known)
    built = on_meta(lambda: peer("litgpt.model").GPT(config), dtype)
    return Header(described(built.state_dict()), {}, (f"litgpt 0.5.13: GPT of the config {known}",))


def torchtune(builder: str, dtype: str) -> Header:
    module, _, function = builder.rpartition(".")
    built = on_meta(getattr(peer(f"torchtune.models.{module}"), function), dtype)
    return Header(described(built.state_dict()), {}, (f"torchtune 0.6.1: torchtune.models.{builder}",))


def diffusers(published: str, kind: str, **values: Any) -> Header:
    module = peer("diffusers")
    built = on_meta(lambda: getattr(module, kind)(**values), "bfloat16")
    config = {key: value for key, value in built.config.items() if not key.startswith("_") or key == "_class_name"}
    config |= {"_class_name": kind}
    origin = f"{published}: {kind} of diffusers {module.__version__}", "values: defaults, and those of its config.json"
    found = described(built.state_dict())
    return Header(found, json.loads(json.dumps(config)), origin, "diffusion_pytorch_model.safetensors")


def autoencoder() -> Header:
    return diffusers(
        "stabilityai/sd-vae-ft-mse",
        "AutoencoderKL",
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[128, 256, 512, 512],
        layers_per_block=2,
    )


SD15 = {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64}
SDXL = {
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "projection_class_embeddings_input_dim": 2816,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "use_linear_projection": True,
    "sample_size": 128,
}


def unet(published: str, **values: Any) -> Header:
    return diffusers(published, "UNet2DConditionModel", **values)


def torchtitan(family: str, flavor: str) -> Header:
    built = on_meta(peer(f"torchtitan.models.{family}").model_registry(flavor).model.build, "bfloat16")
    return Header(described(built.state_dict()), {}, (f"torchtitan 0.3.0: torchtitan.models.{family} {flavor}",))


def mlx(name: str, family: str) -> Header:
    """Build a model of mlx-lm, whose arrays have shapes before they have numbers. Its dtypes are those of the files it loads."""
    base = Header.read(name)
    module = peer(f"mlx_lm.models.{family}")
    known = {"rope_theta": 10000.0, "num_experts": base.config.get("num_local_experts")}  # as published files call it
    said = known | base.config.get("rope_parameters", {}) | dict(base.config)
    built = module.Model(module.ModelArgs.from_dict(said))
    found = {
        each: (base.tensors.get(each, ("bfloat16", ()))[0], tuple(array.shape))
        for each, array in peer("mlx.utils").tree_flatten(built.parameters())
    }
    return Header(found, {}, (f"mlx-lm 0.32.2: mlx_lm.models.{family}",))


def rwkv7() -> Header:
    """RWKV-7 World 2.9B as flash-linear-attention has it: mlx-lm's model, which splits three of its vectors into heads."""
    config: dict[str, Any] = {
        "model_type": "rwkv7",
        "vocab_size": 65536,
        "hidden_size": 2560,
        "intermediate_size": 10240,
    }
    config |= {"num_hidden_layers": 32, "head_dim": 64, "num_heads": 40, "norm_eps": 1e-5, "tie_word_embeddings": False}
    config |= {"decay_low_rank_dim": 96, "a_low_rank_dim": 96, "v_low_rank_dim": 64, "gate_low_rank_dim": 320}
    module = peer("mlx_lm.models.rwkv7")
    built = module.Model(module.ModelArgs.from_dict(config))
    found: Tensors = {}
    for name, array in peer("mlx.utils").tree_flatten(built.parameters()):
        split = name.endswith((".k_k", ".k_a", ".g_norm.weight", ".g_norm.bias"))
        found[name] = "bfloat16", (2560,) if split else tuple(array.shape)
    values = "values: BlinkDL/RWKV-LM RWKV-v7/train_temp/src/model.py (ranks by the width of 2560), 32 layers"
    return Header(found, config, ("BlinkDL/rwkv-7-world 2.9B: mlx-lm 0.32.2 mlx_lm.models.rwkv7", values))


def olmo_core(name: str, builder: str) -> Header:
    config = getattr(peer("olmo_core.nn.transformer").TransformerConfig, builder)
    vocabulary = Header.read(name).config["vocab_size"]
    built = on_meta(lambda: config(vocab_size=vocabulary).build(init_device="meta"), "float32")
    found = {each: ("float32", shape) for each, (_, shape) in described(built.state_dict()).items()}
    return Header(found, {}, (f"ai2-olmo-core 3.0.0: TransformerConfig.{builder}",))


def griffin() -> Header:
    common, torch_griffin = peer("recurrentgemma.common"), peer("recurrentgemma.torch.griffin")
    recurrent, attention = common.TemporalBlockType.RECURRENT, common.TemporalBlockType.ATTENTION
    config = common.GriffinConfig(
        vocab_size=256000,
        width=2560,
        mlp_expanded_width=7680,
        num_heads=10,
        block_types=((recurrent, recurrent, attention) * 9)[:26],
        embeddings_scale_by_sqrt_dim=True,
        attention_window_size=2048,
        logits_soft_cap=30.0,
        lru_width=2560,
    )
    built = on_meta(lambda: torch_griffin.Griffin(config, gradient_checkpointing=False), "bfloat16")
    return Header(described(built.state_dict()), {}, ("recurrentgemma 1.0.1: Griffin of 2B's sizes",))


def torch_encoder() -> Header:
    """BERT's embeddings and pooler around torch's own encoder."""
    base = Header.read("bert-base-uncased").tensors

    def build() -> torch.nn.Module:
        layer = torch.nn.TransformerEncoderLayer(768, 12, 3072, activation="gelu", batch_first=True)
        return torch.nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)

    found: Tensors = {name: each for name, each in base.items() if not name.startswith("encoder.")}
    found |= {f"encoder.{name}": each for name, each in described(on_meta(build, "float32").state_dict()).items()}
    return Header(
        found, {}, (f"torch {torch.__version__.partition('+')[0]}: torch.nn.TransformerEncoder of BERT's sizes",)
    )


def timm(module: str, known: str) -> Header:
    built = on_meta(getattr(peer(f"timm.models.{module}"), known), "float32")
    return Header(described(built.state_dict()), {}, (f"timm {peer('timm').__version__}: {known}",))


def dinov2() -> Header:
    """What timm builds, with the one parameter that facebookresearch/dinov2 (models/vision_transformer.py) has beside it."""
    found = timm("vision_transformer", "vit_base_patch14_dinov2")
    return replace(found, tensors={**found.tensors, "mask_token": ("float32", (1, 768))})


def open_clip() -> Header:
    module = peer("open_clip.model")
    vision = module.CLIPVisionCfg(layers=12, width=768, patch_size=32, image_size=224)
    text = module.CLIPTextCfg(context_length=77, vocab_size=49408, width=512, heads=8, layers=12)
    built = on_meta(lambda: module.CLIP(512, vision, text, quick_gelu=True), "float32")
    return Header(
        described(built.state_dict()), {}, ("open_clip_torch 3.3.0: CLIP of model_configs/ViT-B-32-quickgelu.json",)
    )


def whisper() -> Header:
    module = peer("whisper.model")
    sizes = {"n_mels": 128, "n_audio_ctx": 1500, "n_audio_state": 1280, "n_audio_head": 20, "n_audio_layer": 32}
    sizes |= {"n_vocab": 51866, "n_text_ctx": 448, "n_text_state": 1280, "n_text_head": 20, "n_text_layer": 32}
    with patch.object(torch.Tensor, "to_sparse", torch.Tensor.clone):  # of a buffer that is not stored
        built = on_meta(lambda: module.Whisper(module.ModelDimensions(**sizes)), "float32")
    found = {name: ("float16", shape) for name, (_, shape) in described(built.state_dict()).items()}
    return Header(found, {}, ("openai-whisper 20250625: Whisper of large-v3's dimensions, in float16 as published",))


# --- DeepSeek-V3 as published ---------------------------------------------------------------------------------------------

README = "deepseek-ai/DeepSeek-V3 README_WEIGHTS.md: layer 61 predicts a further token; fp8 with a scale for each 128 x 128 block"


def deepseek_bf16() -> Header:
    """DeepSeek-V3 with its 62nd layer, as its own script makes it of the fp8 weights."""
    base = Header.read("deepseek-v3")
    found = dict(base.tensors)
    found |= {
        name.replace(".layers.60.", ".layers.61."): each for name, each in base.tensors.items() if ".layers.60." in name
    }
    layer = "model.layers.61."
    found |= {f"{layer}{name}.weight": ("bfloat16", (7168,)) for name in ("enorm", "hnorm", "shared_head.norm")}
    found |= {f"{layer}{name}.weight": ("bfloat16", (129280, 7168)) for name in ("embed_tokens", "shared_head.head")}
    found[f"{layer}eh_proj.weight"] = "bfloat16", (7168, 14336)
    return Header(found, base.config, (*base.origin[:2], README))


def deepseek_fp8() -> Header:
    """DeepSeek-V3 as it is published: all projections of attention and feed-forward layers in fp8."""
    base = deepseek_bf16()
    found: Tensors = {}
    for name, (dtype, shape) in base.tensors.items():
        if name.endswith(("_proj.weight", "_proj_with_mqa.weight")) and not name.endswith("eh_proj.weight"):
            found[name] = "float8_e4m3fn", shape
            found[f"{name}_scale_inv"] = "float32", tuple(math.ceil(each / 128) for each in shape)
        else:
            found[name] = dtype, shape
    said = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    return Header(found, {**base.config, "quantization_config": said}, (*base.origin[:2], README))


# --- models whose class no library here has: names and shapes written out -------------------------------------------------


def gpt_oss() -> Header:
    """gpt-oss as it is published: the experts in MXFP4, two numbers a byte, a scale for 32 of them, rows instead of columns."""
    base = Header.read("gpt-oss-20b.bf16")
    found: Tensors = {}
    for name, (dtype, shape) in base.tensors.items():
        if name.endswith((".experts.gate_up_proj", ".experts.down_proj")):
            experts, columns, rows = shape
            found[f"{name}_blocks"] = "uint8", (experts, rows, columns // 32, 16)
            found[f"{name}_scales"] = "uint8", (experts, rows, columns // 32)
        else:
            found[name] = dtype, shape
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    said = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    origin = *base.origin[:2], "experts: transformers 5.23.0 integrations/mxfp4.py (Mxfp4GptOssExperts)"
    return Header(found, {**base.config, "quantization_config": said}, origin)


GEMMA2_SOURCE = (
    "google/gemma-2-2b for flax: gemma 3.3.0 gm/nn/_gemma.py (Gemma2_2B), gm/nn/_modules.py, gm/ckpts/_compat.py"
)
GEMMA2 = """\
transformer/embedder/input_embedding bfloat16 [256128, 2304]
transformer/final_norm/scale bfloat16 [2304]
transformer/layer_{0..25}/attn/attn_vec_einsum/w bfloat16 [8, 256, 2304]
transformer/layer_{0..25}/attn/kv_einsum/w bfloat16 [2, 4, 2304, 256]
transformer/layer_{0..25}/attn/q_einsum/w bfloat16 [8, 2304, 256]
transformer/layer_{0..25}/mlp/gating_einsum/w bfloat16 [2, 2304, 9216]
transformer/layer_{0..25}/mlp/linear/w bfloat16 [9216, 2304]
transformer/layer_{0..25}/post_attention_norm/scale bfloat16 [2304]
transformer/layer_{0..25}/post_ffw_norm/scale bfloat16 [2304]
transformer/layer_{0..25}/pre_attention_norm/scale bfloat16 [2304]
transformer/layer_{0..25}/pre_ffw_norm/scale bfloat16 [2304]
"""

BAICHUAN = """
config {"architectures": ["BaiChuanForCausalLM"], "model_type": "baichuan"}
lm_head.weight bfloat16 [64000, 4096]
model.embed_tokens.weight bfloat16 [64000, 4096]
model.layers.{0..31}.input_layernorm.weight bfloat16 [4096]
model.layers.{0..31}.mlp.down_proj.weight bfloat16 [4096, 11008]
model.layers.{0..31}.mlp.gate_proj.weight bfloat16 [11008, 4096]
model.layers.{0..31}.mlp.up_proj.weight bfloat16 [11008, 4096]
model.layers.{0..31}.post_attention_layernorm.weight bfloat16 [4096]
model.layers.{0..31}.self_attn.W_pack.weight bfloat16 [12288, 4096]
model.layers.{0..31}.self_attn.o_proj.weight bfloat16 [4096, 4096]
model.norm.weight bfloat16 [4096]
"""

INTERNLM2 = """
config {"architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "bias": false, "rope_theta": 1000000}
model.layers.{0..31}.attention.wo.weight bfloat16 [4096, 4096]
model.layers.{0..31}.attention.wqkv.weight bfloat16 [6144, 4096]
model.layers.{0..31}.attention_norm.weight bfloat16 [4096]
model.layers.{0..31}.feed_forward.w1.weight bfloat16 [14336, 4096]
model.layers.{0..31}.feed_forward.w2.weight bfloat16 [4096, 14336]
model.layers.{0..31}.feed_forward.w3.weight bfloat16 [14336, 4096]
model.layers.{0..31}.ffn_norm.weight bfloat16 [4096]
model.norm.weight bfloat16 [4096]
model.tok_embeddings.weight bfloat16 [92544, 4096]
output.weight bfloat16 [92544, 4096]
"""


def written_out(base: str, text: str, source: str) -> Header:
    """Return a header with the sizes that the config of `base` says."""
    found = Header.parse(text.strip())
    twin = Header.read(base).config
    sizes = {key: twin[key] for key in twin if key not in {"architectures", "model_type", "rope_parameters"}}
    return Header(found.tensors, sizes | dict(found.config), (f"names and shapes: {source}, its modeling_*.py",))
