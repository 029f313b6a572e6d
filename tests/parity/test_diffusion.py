"""Image generators: the original layout, read by diffusers' own converter, gives diffusers' own tensors."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

import tensormap
from tests.parity.optional import peer

Tensors = dict[str, torch.Tensor]


def there_and_back(model: Any, mapping: str, to: str, folder: Path, /, **back: Any) -> tuple[Tensors, Tensors, Path]:
    """Save a model of diffusers; return the original layout, what comes back, and the folder that it is in."""
    load = peer("safetensors.torch").load_file
    model.save_pretrained(folder / "here")
    loaded = tensormap.load(mapping)
    tensormap.apply(loaded, folder / "here", folder / "there", to=to)
    tensormap.apply(loaded, folder / "there", folder / "back", to="diffusers", set=back)
    returned = load(folder / "back" / "diffusion_pytorch_model.safetensors")
    return load(folder / "there" / "model.safetensors"), returned, folder / "back"


def assert_equal(actual: Tensors, expected: Tensors) -> None:
    assert sorted(actual) == sorted(expected)
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def flux(*, guidance: bool) -> Any:
    """Make a small FLUX, with a guidance that it embeds or without."""
    return peer("diffusers").FluxTransformer2DModel(
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


def autoencoder(channels: list[int]) -> Any:
    """Make a small autoencoder with a level for each number of channels."""
    return peer("diffusers").AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        block_out_channels=channels,
        layers_per_block=2,
        norm_num_groups=4,
    )


@pytest.mark.parametrize("guidance", ["embedded", "none"])
def test_flux(guidance: str, tmp_path: Path) -> None:
    diffusers, utils = peer("diffusers"), peer("diffusers.loaders.single_file_utils")
    torch.manual_seed(0)
    model = flux(guidance=guidance == "embedded")
    original, returned, folder = there_and_back(model, "flux/bfl", "bfl", tmp_path)
    assert_equal(returned, model.state_dict())
    twin = diffusers.FluxTransformer2DModel.from_pretrained(folder)
    assert {key: twin.config[key] for key in model.config if not key.startswith("_")} == {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in model.config.items()
        if not key.startswith("_")
    }
    # their converter knows one width only
    text = inspect.getsource(utils.convert_flux_transformer_checkpoint_to_diffusers)
    scope = dict(vars(utils))
    exec(text.replace("inner_dim = 3072", "inner_dim = 64"), scope)
    converted = scope["convert_flux_transformer_checkpoint_to_diffusers"](original)
    assert_equal(converted, model.state_dict())


@pytest.mark.parametrize("channels", [[8, 12, 12, 20], [8, 8, 16]])
def test_autoencoder(channels: list[int], tmp_path: Path) -> None:
    diffusers, utils = peer("diffusers"), peer("diffusers.loaders.single_file_utils")
    torch.manual_seed(0)
    model = autoencoder(channels).eval()
    original, returned, folder = there_and_back(model, "vae/ldm", "ldm", tmp_path, channels=channels, groups=4)
    assert_equal(returned, model.state_dict())
    assert_equal(utils.convert_ldm_vae_checkpoint(dict(original), dict(model.config)), model.state_dict())
    twin = diffusers.AutoencoderKL.from_pretrained(folder).eval()
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(twin(image).sample, model(image).sample)


CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"
UNET: dict[str, Any] = {"norm_num_groups": 4, "cross_attention_dim": 20, "layers_per_block": 2, "sample_size": 8}
XL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 4 + 6 * 256,
    "transformer_layers_per_block": [1, 2, 3],
    "use_linear_projection": True,
}


UNETS: dict[str, dict[str, Any]] = {
    "v1": {
        "block_out_channels": [8, 12, 12, 20],
        "down_block_types": [CROSS] * 3 + [PLAIN],
        "up_block_types": [PLAIN_UP] + [UP] * 3,
        "attention_head_dim": 4,
    },
    "v2": {
        "block_out_channels": [8, 16, 16],
        "down_block_types": [CROSS] * 2 + [PLAIN],
        "up_block_types": [PLAIN_UP] + [UP] * 2,
        "attention_head_dim": [2, 4, 4],
        "use_linear_projection": True,
        "in_channels": 9,
    },
    "xl": XL
    | {
        "block_out_channels": [8, 12, 20],
        "down_block_types": [PLAIN] + [CROSS] * 2,
        "up_block_types": [UP] * 2 + [PLAIN_UP],
        "attention_head_dim": [2, 4, 4],
    },
}


def unet_settings(family: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be said of a small model on the way back."""
    settings = {
        "channels": config["block_out_channels"],
        "downs": config["down_block_types"],
        "ups": config["up_block_types"],
        "heads": config["attention_head_dim"],
        "groups": 4,
        "size": 8,
    }
    return settings | ({"depths": config["transformer_layers_per_block"]} if family == "xl" else {"model": family})


@pytest.mark.parametrize("family", UNETS)
def test_unet(family: str, tmp_path: Path) -> None:
    config = UNETS[family]
    diffusers, utils = peer("diffusers"), peer("diffusers.loaders.single_file_utils")
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(**UNET, **config).eval()
    settings = unet_settings(family, config)
    original, returned, folder = there_and_back(model, "unet/ldm", "ldm", tmp_path, **settings)
    assert all(name.startswith("model.diffusion_model.") for name in original)
    assert_equal(returned, model.state_dict())
    assert_equal(utils.convert_ldm_unet_checkpoint(dict(original), dict(model.config)), model.state_dict())
    twin = diffusers.UNet2DConditionModel.from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(1)
    inputs = {
        "sample": torch.randn(2, model.config.in_channels, 8, 8, generator=generator),
        "timestep": torch.tensor([7, 500]),
        "encoder_hidden_states": torch.randn(2, 5, 20, generator=generator),
    }
    if family == "xl":
        inputs["added_cond_kwargs"] = {
            "text_embeds": torch.randn(2, 4, generator=generator),
            "time_ids": torch.ones(2, 6),
        }
    with torch.no_grad():
        assert torch.equal(twin(**inputs).sample, model(**inputs).sample)


@pytest.mark.parametrize(("family", "count"), [("v1", 686), ("v2", 686), ("xl", 1680)])
def test_published_unets_need_no_settings(family: str, count: int) -> None:
    """Nothing has to be said of the published sizes but the family, where names do not tell: 1 from 2."""
    diffusers, utils = peer("diffusers"), peer("diffusers.loaders.single_file_utils")
    sizes: dict[str, dict[str, Any]] = {
        "v1": {"cross_attention_dim": 768, "attention_head_dim": 8},
        "v2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        "xl": XL
        | {
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "block_out_channels": [320, 640, 1280],
            "down_block_types": [PLAIN, CROSS, CROSS],
            "up_block_types": [UP, UP, PLAIN_UP],
            "transformer_layers_per_block": [1, 2, 10],
            "projection_class_embeddings_input_dim": 2816,
        },
    }
    with torch.device("meta"):
        model = diffusers.UNet2DConditionModel(**sizes[family])
    mapping = tensormap.load("unet/ldm")
    hollow = {name: torch.empty(tensor.shape, device="meta") for name, tensor in model.state_dict().items()}
    assert len(hollow) == count
    said = {} if family == "xl" else {"model": family}
    there = mapping.convert(hollow, to="ldm", set=said | {"form": "alone"})
    back = mapping.convert(there, to="diffusers", set=said)
    assert {name: each.shape for name, each in back.items()} == {name: each.shape for name, each in hollow.items()}
    prefixed = {f"model.diffusion_model.{name}": each for name, each in there.items()}
    assert sorted(utils.convert_ldm_unet_checkpoint(prefixed, dict(model.config))) == sorted(hollow)
