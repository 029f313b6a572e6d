"""Writes `headers.json`: names, dtypes, shapes and configs of the parity tests' models, as their own libraries save them.

`python -m tests.laws.record` in the peers' environment; needed after a change of `tests/parity/cases`. With the record, the laws
and the mutants run on exactly the models of the parity tests, and need none of the libraries.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

import tensormap
from tests.laws.headers import RECORD, Header, text_of
from tests.parity.cases import all_cases, gguf_decoders
from tests.parity.harness import Case, build, save
from tests.parity.optional import peer
from tests.parity.test_fp8 import CONFIG as FP8
from tests.parity.test_fp8 import quantised
from tests.stored import read_safetensors

LLAMA = {
    "hidden_size": 60,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 52,
    "num_hidden_layers": 3,
    "vocab_size": 132,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
GROUPS = {"num_attention_heads": 12, "num_key_value_heads": 4, "hidden_size": 72}  # several of each on every rank
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
META = tuple(  # held against Meta's own files in `tests/acceptance`
    Case(
        f"llama-{release}-{mp}-ranks",
        "meta/llama",
        "LlamaForCausalLM",
        LLAMA | changes,
        "meta",
        set={"llama": release, "mp": mp},
        back={"llama": release},
    )
    for release, mp, changes in (
        ("1", 1, {"num_key_value_heads": 6, "max_position_embeddings": 2048}),
        ("2", 2, {"num_hidden_layers": 11, "max_position_embeddings": 4096} | GROUPS),
        ("3", 2, {"max_position_embeddings": 8192} | GROUPS),
        ("3.1", 2, {"max_position_embeddings": 131072, "rope_parameters": SCALED | {"factor": 8.0}}),
        ("3.2", 2, {"tie_word_embeddings": True, "max_position_embeddings": 131072, "rope_parameters": SCALED}),
    )
)
"""Models of a mapping that no parity case has."""


def main() -> None:
    """Rewrite the record."""
    held = {each.name: each for each in recorded()}
    RECORD.write_text(text_of([held[name] for name in sorted(held)]), "utf-8")


def recorded() -> Iterator[Header]:
    """Save every model, and yield what its files say."""
    for case in (*all_cases(), *META):
        with tempfile.TemporaryDirectory() as folder:
            save(case, Path(folder))
            yield _header(str(case), case.mapping, case.here, case.to, dict(case.set), dict(case.back), Path(folder))
    for make in (_published, _flux, _autoencoders, _fp8):
        yield from make()


def _header(
    name: str, mapping: str, here: str, to: str, settings: dict[str, Any], back: dict[str, Any], folder: Path
) -> Header:
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dictionary
                tensor = file.get_tensor(key)
                tensors[key] = (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    config.pop("_diffusers_version", None)
    return Header(name, mapping, here, to, settings, back, config, dict(sorted(tensors.items())))


def _published() -> Iterator[Header]:
    """Yield models in layouts that no library of the parity tests saves, brought there by another mapping."""
    for case in gguf_decoders.PUBLISHED_CASES:
        mapping, side = gguf_decoders.VIA[str(case)]
        with tempfile.TemporaryDirectory() as folder:
            save(case, Path(folder) / "here")
            tensormap.apply(mapping, Path(folder) / "here", Path(folder) / "published", to=side)
            yield _header(
                str(case), case.mapping, case.here, case.to, dict(case.set), dict(case.back), Path(folder) / "published"
            )


def _flux() -> Iterator[Header]:
    for guidance in (True, False):
        model = peer("diffusers").FluxTransformer2DModel(
            in_channels=8,
            num_layers=2,
            num_single_layers=11,
            attention_head_dim=32,
            num_attention_heads=2,
            joint_attention_dim=20,
            pooled_projection_dim=12,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 14, 14),
        )
        yield _saved(f"flux-bfl-{'embedded' if guidance else 'none'}", "flux/bfl", "bfl", {}, model)


def _autoencoders() -> Iterator[Header]:
    for channels in ([8, 12, 12, 20], [8, 8, 16]):
        model = peer("diffusers").AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * len(channels),
            up_block_types=["UpDecoderBlock2D"] * len(channels),
            block_out_channels=channels,
            layers_per_block=2,
            norm_num_groups=4,
        )
        back = {"channels": channels, "groups": 4}
        yield _saved(f"vae-ldm-{len(channels)}-levels", "vae/ldm", "ldm", back, model)


def _saved(name: str, mapping: str, to: str, back: dict[str, Any], model: Any) -> Header:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return _header(name, mapping, "diffusers", to, {}, back, Path(folder))


def _fp8() -> Iterator[Header]:
    case = Case(
        "fp8",
        "deepseek_v3/fp8",
        "DeepseekV3ForCausalLM",
        FP8 | {"num_nextn_predict_layers": 0},
        "bf16",
        dtype=torch.bfloat16,
    )
    model: Any = build(case)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors, _ = quantised({name: held.tensor() for name, held in read_safetensors(Path(folder)).items()})
        for path in Path(folder).glob("*.safetensors*"):
            path.unlink()
        peer("safetensors.torch").save_file(tensors, Path(folder) / "model.safetensors")
        said = json.loads((Path(folder) / "config.json").read_text())
        stated = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
        (Path(folder) / "config.json").write_text(json.dumps(said | {"quantization_config": stated}))
        yield _header("deepseek_v3-fp8-blocks", "deepseek_v3/fp8", "fp8", "bf16", {}, {}, Path(folder))


if __name__ == "__main__":
    main()
