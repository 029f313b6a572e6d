"""Small checkpoints with random weights, written by the formats' own libraries; one element of its own for every place."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Shapes = dict[str, tuple[int, ...]]


def llama_shapes(config: dict[str, Any]) -> Shapes:
    """The tensors of a LlamaForCausalLM of this config."""
    width, heads, wide = config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]
    size = config.get("head_dim", width // heads)
    narrow = config.get("num_key_value_heads", heads) * size
    shapes: Shapes = {"model.embed_tokens.weight": (config["vocab_size"], width), "model.norm.weight": (width,)}
    for layer in range(config["num_hidden_layers"]):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (width,),
                "post_attention_layernorm": (width,),
                "self_attn.q_proj": (heads * size, width),
                "self_attn.k_proj": (narrow, width),
                "self_attn.v_proj": (narrow, width),
                "self_attn.o_proj": (width, heads * size),
                "mlp.gate_proj": (wide, width),
                "mlp.up_proj": (wide, width),
                "mlp.down_proj": (width, wide),
            }.items()
        }
    if not config.get("tie_word_embeddings", False):
        shapes["lm_head.weight"] = (config["vocab_size"], width)
    return shapes


def llama_config(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 48,
        "intermediate_size": 88,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "vocab_size": 96,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    } | changes


def write_hf(folder: Path, config: dict[str, Any], shapes: Shapes, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Write a Hugging Face checkpoint with random float32 weights and `more`; return its tensors."""
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} | more
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return tensors


def write_hf_headers(folder: Path, config: dict[str, Any], shapes: Shapes) -> None:
    """Write a checkpoint of any size that is all header: its data is a hole in the file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    (folder / "config.json").write_text(json.dumps(config))


def pythia_layers(*, hidden: int, wide: int, layers: int, vocabulary: int) -> dict[int, Shapes]:
    """The tensors of a GPT-NeoX pipeline checkpoint of a Pythia of these sizes, by layer file."""
    norm = ("input_layernorm", "post_attention_layernorm")
    block: Shapes = {f"{name}.{part}": (hidden,) for name in norm for part in ("weight", "bias")}
    block |= {
        "attention.query_key_value.weight": (3 * hidden, hidden),
        "attention.query_key_value.bias": (3 * hidden,),
        "attention.dense.weight": (hidden, hidden),
        "attention.dense.bias": (hidden,),
        "mlp.dense_h_to_4h.weight": (wide, hidden),
        "mlp.dense_h_to_4h.bias": (wide,),
        "mlp.dense_4h_to_h.weight": (hidden, wide),
        "mlp.dense_4h_to_h.bias": (hidden,),
    }
    return {
        0: {"word_embeddings.weight": (vocabulary, hidden)},
        **{layer + 2: block for layer in range(layers)},
        layers + 3: {"norm.weight": (hidden,), "norm.bias": (hidden,)},
        layers + 4: {"final_linear.weight": (vocabulary, hidden)},
    }


def write_neox(folder: Path, config: dict[str, Any], layers: dict[int, Shapes]) -> None:
    """Write a GPT-NeoX pipeline checkpoint of one rank, with its training config beside the weights."""
    generator = torch.Generator().manual_seed(0)
    step = folder / "global_step10"
    step.mkdir(parents=True)
    for number, shapes in layers.items():
        tensors = {name: torch.randn(shape, generator=generator).half() for name, shape in shapes.items()}
        torch.save(tensors, step / f"layer_{number:02}-model_00-model_states.pt")
    torch.save({"module": None, "iteration": 10}, step / "mp_rank_00_model_states.pt")
    (folder / "latest").write_text("global_step10")
    (folder / "config.yml").write_text(json.dumps(config))
