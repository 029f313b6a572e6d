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


def there_and_back(model: Any, mapping: str, to: str, folder: Path, **back: Any) -> tuple[Tensors, Tensors, Path]:
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


@pytest.mark.parametrize("guidance", ["embedded", "none"])
def test_flux(guidance: str, tmp_path: Path) -> None:
    diffusers, utils = peer("diffusers"), peer("diffusers.loaders.single_file_utils")
    torch.manual_seed(0)
    model = diffusers.FluxTransformer2DModel(
        in_channels=8,
        num_layers=2,
        num_single_layers=11,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=20,
        pooled_projection_dim=12,
        guidance_embeds=guidance == "embedded",
        axes_dims_rope=(4, 14, 14),
    )
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
    model = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        block_out_channels=channels,
        layers_per_block=2,
        norm_num_groups=4,
    ).eval()
    original, returned, folder = there_and_back(model, "vae/ldm", "ldm", tmp_path, channels=channels, groups=4)
    assert_equal(returned, model.state_dict())
    assert_equal(utils.convert_ldm_vae_checkpoint(dict(original), dict(model.config)), model.state_dict())
    twin = diffusers.AutoencoderKL.from_pretrained(folder).eval()
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(twin(image).sample, model(image).sample)
