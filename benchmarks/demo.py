"""The demonstration: a checkpoint goes from Hugging Face's layout to GPT-NeoX's for two ranks, and back, and is verified.

    python benchmarks/demo.py                # makes a LLaMA of 15 million random weights
    python benchmarks/demo.py CHECKPOINT     # takes a LLaMA that you have, in Hugging Face's layout

Everything happens in a temporary folder. `make demo` runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 4096,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}


def make_checkpoint(folder: Path) -> None:
    """Write a LLaMA with random weights as Hugging Face does."""
    width, wide, words = 512, 1408, 4096
    head = width // 8
    shapes = {"model.embed_tokens": (words, width), "model.norm": (width,), "lm_head": (words, width)}
    for layer in range(4):
        prefix = f"model.layers.{layer}."
        shapes |= {
            f"{prefix}input_layernorm": (width,),
            f"{prefix}post_attention_layernorm": (width,),
            f"{prefix}self_attn.q_proj": (8 * head, width),
            f"{prefix}self_attn.k_proj": (2 * head, width),
            f"{prefix}self_attn.v_proj": (2 * head, width),
            f"{prefix}self_attn.o_proj": (width, 8 * head),
            f"{prefix}mlp.gate_proj": (wide, width),
            f"{prefix}mlp.up_proj": (wide, width),
            f"{prefix}mlp.down_proj": (width, wide),
        }
    random = np.random.default_rng(0)
    tensors = {
        f"{name}.weight": random.standard_normal(shape, dtype=np.float32).astype(np.float16)
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def run(*arguments: str) -> None:
    """Run a tensormap command as a user would, and end with its exit code if it fails."""
    print(f"\n$ tensormap {shlex.join(arguments)}", flush=True)
    start = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "tensormap", *arguments], check=False).returncode
    if code:
        sys.exit(code)
    print(f"  ({time.perf_counter() - start:.1f} s)", flush=True)


def show(folder: Path) -> None:
    """List the files of a folder with their sizes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            print(f"  {path.stat().st_size:>12,}  {path}", flush=True)


def main() -> None:
    """Convert there and back in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, help="a LLaMA in Hugging Face's layout")
    chosen: Path | None = parser.parse_args().checkpoint
    source = None if chosen is None else chosen.resolve(strict=True)
    with tempfile.TemporaryDirectory(prefix="tensormap-demo-") as name:
        os.chdir(name)
        if source is None:
            make_checkpoint(Path("hf"))
            print("a LLaMA with grouped queries and random float16 weights, as Hugging Face stores it:")
        else:
            Path("hf").symlink_to(source)
        show(Path("hf"))
        settings = ("--set", "gqa=flat")
        run("plan", "neox/llama", "hf", "--to", "neox", "--set", "tp=2", *settings)
        run("apply", "neox/llama", "hf", "neox", "--to", "neox", "--set", "tp=2", *settings)
        show(Path("neox"))
        run("verify", "neox/llama", "hf", "neox", "--to", "neox", "--set", "tp=2", *settings)
        run("apply", "neox/llama", "neox", "back", "--to", "hf", *settings)
        show(Path("back"))
        run("diff", "hf", "back")
        print("\nthere and back: every tensor has the bytes it had")
        os.chdir("..")


if __name__ == "__main__":
    main()
