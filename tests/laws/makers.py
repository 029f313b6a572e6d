"""Makes the record's models that no `Case` of the parity tests builds, as the parity tests that do build them have them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

import tensormap
from tests.laws.headers import Header
from tests.parity import test_diffusion, test_fp8, test_gemma, test_gpt_oss, test_state_space
from tests.parity.cases import gguf_decoders
from tests.parity.harness import Case, build, save
from tests.parity.optional import peer
from tests.stored import read_safetensors


def header(
    name: str, mapping: str, here: str, to: str, settings: Mapping[str, Any], back: Mapping[str, Any], folder: Path
) -> Header:
    """Return what the files of a folder say."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dictionary
                tensor = file.get_tensor(key)
                tensors[key] = (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
    said = folder / "config.json"
    config = json.loads(said.read_text()) if said.exists() else {}
    config.pop("transformers_version", None)
    config.pop("_diffusers_version", None)
    return Header(name, mapping, here, to, dict(settings), dict(back), config, dict(sorted(tensors.items())))


def _published() -> Iterator[Header]:
    """Yield models in layouts that no library of the parity tests saves, brought there by another mapping."""
    for case in gguf_decoders.PUBLISHED_CASES:
        mapping, side = gguf_decoders.VIA[str(case)]
        with tempfile.TemporaryDirectory() as folder:
            save(case, Path(folder) / "here")
            tensormap.apply(mapping, Path(folder) / "here", Path(folder) / "published", to=side)
            yield header(str(case), case.mapping, case.here, case.to, case.set, case.back, Path(folder) / "published")


def _flux() -> Iterator[Header]:
    for guidance in (True, False):
        model = test_diffusion.flux(guidance=guidance)
        yield _saved(f"flux-bfl-{'embedded' if guidance else 'none'}", "flux/bfl", "bfl", {}, model)


def _autoencoders() -> Iterator[Header]:
    for channels in ([8, 12, 12, 20], [8, 8, 16]):
        model = test_diffusion.autoencoder(channels)
        back = {"channels": channels, "groups": 4}
        yield _saved(f"vae-ldm-{len(channels)}-levels", "vae/ldm", "ldm", back, model)


def _saved(name: str, mapping: str, to: str, back: dict[str, Any], model: Any) -> Header:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return header(name, mapping, "diffusers", to, {}, back, Path(folder))


def _fp8() -> Iterator[Header]:
    for extra, name in ((0, "blocks"), (1, "predicting")):
        sizes = test_fp8.CONFIG | {"num_nextn_predict_layers": extra}
        case = Case("fp8", "deepseek_v3/fp8", "DeepseekV3ForCausalLM", sizes, "bf16", dtype=torch.bfloat16)
        model: Any = build(case)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            whole = {name: held.tensor() for name, held in read_safetensors(Path(folder)).items()}
            tensors, _ = test_fp8.quantised(whole | test_fp8.predicting(whole, extra, sizes["hidden_size"]))
            for path in Path(folder).glob("*.safetensors*"):
                path.unlink()
            peer("safetensors.torch").save_file(tensors, Path(folder) / "model.safetensors")
            said = json.loads((Path(folder) / "config.json").read_text())
            stated = {
                "quant_method": "fp8",
                "fmt": "e4m3",
                "activation_scheme": "dynamic",
                "weight_block_size": [128, 128],
            }
            (Path(folder) / "config.json").write_text(json.dumps(said | {"quantization_config": stated}))
            yield header(f"deepseek_v3-fp8-{name}", "deepseek_v3/fp8", "fp8", "bf16", {}, {}, Path(folder))


def _unets() -> Iterator[Header]:
    for family, config in test_diffusion.UNETS.items():
        model = peer("diffusers").UNet2DConditionModel(**test_diffusion.UNET, **config)
        yield _saved(f"unet-ldm-{family}", "unet/ldm", "ldm", test_diffusion.unet_settings(family, config), model)


def _stacked() -> Iterator[Header]:
    """Yield Gemmas in flax, which the parity tests hold, with whole patterns of layers."""
    for name, pattern in test_gemma.STACKED:
        case = test_gemma.whole(name)
        said = {} if pattern == 6 else {"pattern": pattern}
        with tempfile.TemporaryDirectory() as folder:
            save(case, Path(folder) / "hf")
            tensormap.apply(case.mapping, Path(folder) / "hf", Path(folder) / "flax", to="flax", set=dict(case.set))
            layers = header(
                f"gemma-stacked-{name}", "gemma/stacked", "layers", "stacked", said, {}, Path(folder) / "flax"
            )
            names = {
                each: each.removeprefix("transformer/").replace("/", ".") for each in layers.tensors
            }  # as they are read
            yield replace(layers, tensors={names[each]: held for each, held in layers.tensors.items()})


def _gpt_oss() -> Iterator[Header]:
    for mapping, here, to in (("gpt_oss/mxfp4", "mxfp4", "bf16"), ("gpt_oss/openai", "hf", "openai")):
        with tempfile.TemporaryDirectory() as folder:
            test_gpt_oss.publish(Path(folder) / "published")
            name = mapping.replace("/", "-")
            yield header(f"{name}-published", mapping, here, to, {}, {}, Path(folder) / "published")


def _goose() -> Iterator[Header]:
    """Yield an RWKV-7 as its trainer saves it, which the authors' package runs; it is read from a torch file and says no config."""
    tensors = {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in test_state_space.goose().items()
    }
    yield Header("rwkv-rwkv7-trained", "rwkv/rwkv7", "blinkdl", "fla", {}, {}, {}, dict(sorted(tensors.items())))


MAKERS: dict[str, Callable[[], Iterator[Header]]] = {
    "gguf": _published,
    "flux": _flux,
    "vae": _autoencoders,
    "deepseek_v3-fp8": _fp8,
    "unet": _unets,
    "gemma-stacked": _stacked,
    "gpt_oss": _gpt_oss,
    "rwkv-rwkv7": _goose,
}
"""By what the names of the models that it yields begin with."""
