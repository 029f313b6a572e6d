"""Encoders of text, images and sound: fused and separate projections, transposed heads, towers under prefixes."""

from __future__ import annotations

from typing import Any

import torch

from tests.parity.harness import Case, Inputs

LAYER = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 52, "num_hidden_layers": 2}
BERT = LAYER | {"vocab_size": 99, "max_position_embeddings": 40}
IMAGE = {"image_size": 24, "patch_size": 8}
VIT = LAYER | IMAGE | {"num_labels": 7, "layer_norm_eps": 1e-6}
HEADS = {"heads": 4}
TEXT_TOWER = LAYER | {
    "hidden_size": 20,
    "intermediate_size": 80,
    "vocab_size": 99,
    "max_position_embeddings": 16,
    "eos_token_id": 98,
    "projection_dim": 18,
}
CLIP = {
    "text_config": TEXT_TOWER,
    "vision_config": LAYER | IMAGE | {"num_hidden_layers": 3, "projection_dim": 18},
    "projection_dim": 18,
}
GELU_CLIP = CLIP | {name: CLIP[name] | {"hidden_act": "gelu"} for name in ("text_config", "vision_config")}  # type: ignore[operator]
WHISPER = {
    "vocab_size": 51865,  # smaller ones have no place for the tokens that mean something
    "d_model": 24,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "num_mel_bins": 10,
    "max_source_positions": 15,
    "max_target_positions": 20,
}

DINO = {"hidden_size": 24, "num_attention_heads": 4, "num_hidden_layers": 2} | IMAGE
T5 = {
    "d_model": 24,
    "d_kv": 5,
    "d_ff": 52,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "vocab_size": 99,
    "relative_attention_num_buckets": 12,
    "decoder_start_token_id": 0,
}
SWIN = {
    "embed_dim": 12,
    "depths": [2, 1, 3],
    "num_heads": [2, 4, 8],
    "image_size": 24,
    "patch_size": 2,
    "window_size": 3,
    "num_labels": 7,
    "drop_path_rate": 0.0,
}
SWIN_BACK = {"heads": [2, 4, 8], "image": 24}
WAV = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "intermediate_size": 20,
    "conv_dim": [8, 12],
    "conv_stride": [2, 2],
    "conv_kernel": [3, 3],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 9,
}
ALBERT = BERT | {"embedding_size": 16, "hidden_act": "gelu", "num_hidden_layers": 3}


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def images(model: Any) -> dict[str, torch.Tensor]:
    return {"pixel_values": _noise(2, 3, 24, 24)}


def wave(model: Any) -> dict[str, torch.Tensor]:
    return {"input_values": _noise(2, 200)}


def images_and_text(model: Any) -> dict[str, torch.Tensor]:
    tokens = torch.randint(3, 90, (2, 9), generator=torch.Generator().manual_seed(2))
    tokens[:, -1] = 98  # the last token of a text has the highest number, as in CLIP's vocabulary
    return images(model) | {"input_ids": tokens}


def sound(model: Any) -> dict[str, torch.Tensor]:
    tokens = torch.randint(3, 90, (2, 7), generator=torch.Generator().manual_seed(2))
    return {"input_features": _noise(2, 10, 30), "decoder_input_ids": tokens}


def _vit(
    name: str, config: dict[str, Any], settings: dict[str, Any], model: str = "ViTForImageClassification", **more: Any
) -> Case:
    inputs: Inputs = more.pop("inputs", images)
    return Case(name, "vit/timm", model, config, "timm", set=settings, back=settings, inputs=inputs, **more)


CASES = (
    Case("pooler", "bert/torch", "BertModel", BERT, "torch"),
    Case("twelve-layers", "bert/torch", "BertModel", BERT | {"num_hidden_layers": 12}, "torch", shard_size="40KB"),
    Case("half-precision", "bert/torch", "BertModel", BERT, "torch", dtype=torch.float16),
    _vit("classifier", VIT, HEADS),
    _vit("twelve-layers", VIT | {"num_hidden_layers": 12}, HEADS),
    Case("towers", "clip/openai", "CLIPModel", CLIP, "openai", inputs=images_and_text),
    Case("towers-gelu", "clip/openai", "CLIPModel", GELU_CLIP, "openai", inputs=images_and_text),
    Case("base", "dinov2/facebook", "Dinov2Model", DINO, "facebook", back=HEADS, inputs=images),
    Case(
        "gated",
        "dinov2/facebook",
        "Dinov2Model",
        DINO | {"use_swiglu_ffn": True, "num_hidden_layers": 11},
        "facebook",
        back=HEADS,
        inputs=images,
    ),
    Case(
        "stages",
        "swin/timm",
        "SwinForImageClassification",
        SWIN,
        "timm",
        set={"naming": "late"},
        back=SWIN_BACK,
        inputs=images,
    ),
    Case(
        "old-names",
        "swin/timm",
        "SwinForImageClassification",
        SWIN,
        "timm",
        set={"naming": "early"},
        back=SWIN_BACK,
        inputs=images,
    ),
    Case(
        "published-heads",  # by the width
        "swin/timm",
        "SwinForImageClassification",
        SWIN | {"embed_dim": 32, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "image_size": 48},
        "timm",
        back={"image": 48},
        inputs=lambda model: {"pixel_values": _noise(2, 3, 48, 48)},
    ),
    Case("relu", "t5/t5x", "T5ForConditionalGeneration", T5, "t5x"),
    Case(
        "gated",
        "t5/t5x",
        "T5ForConditionalGeneration",
        T5 | {"feed_forward_proj": "gated-gelu", "num_layers": 11},
        "t5x",
    ),
    Case(
        "shared-layer",
        "albert/electra",
        "AlbertForMaskedLM",
        ALBERT,
        "electra",
        here="albert",
        other="ElectraForMaskedLM",
    ),
    Case(
        "group-norm",
        "wav2vec2/weight_norm",
        "Wav2Vec2ForCTC",
        WAV,
        "old",
        here="new",
        inputs=wave,
        other="Wav2Vec2ForCTC",
    ),
    Case(
        "layer-norm",
        "wav2vec2/weight_norm",
        "Wav2Vec2ForCTC",
        WAV | {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True, "num_hidden_layers": 11},
        "old",
        here="new",
        inputs=wave,
        other="Wav2Vec2ForCTC",
    ),
    Case("small", "whisper/openai", "WhisperForConditionalGeneration", WHISPER, "openai", inputs=sound),
)
