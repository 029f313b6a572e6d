"""The other side of the recurrent models' mappings, read by its own library."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import tensormap
from tests.parity.cases import state_space
from tests.parity.harness import Case, assert_close, logits, random_tokens, save
from tests.parity.optional import peer

CASES = {str(case): case for case in state_space.CASES}


@pytest.mark.parametrize(
    "case", [each for each in state_space.CASES if each.mapping.endswith(("mamba/ssm", "mamba2/ssm"))], ids=str
)
def test_mamba_by_its_authors_names(case: Case, tmp_path: Path) -> None:
    """transformers' class takes the authors' names as well, by a hook of its own."""
    model = save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to="ssm")
    stored = torch.load(tmp_path / "there" / "pytorch_model.bin", weights_only=True)
    assert "backbone.embedding.weight" in stored
    twin = type(model)(model.config).to(case.dtype).eval()
    twin.load_state_dict(stored)
    inputs = random_tokens(model)
    assert_close(logits(twin, inputs), logits(model, inputs), 0)


@pytest.mark.parametrize("name", ["rwkv-blinkdl-plain", "rwkv-blinkdl-odd-widths"])
def test_rwkv4(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' package computes from its file what transformers does."""
    monkeypatch.delenv("RWKV_V7_ON", raising=False)
    monkeypatch.setenv("RWKV_JIT_ON", "0")
    monkeypatch.setenv("RWKV_CUDA_ON", "0")
    peer("rwkv")
    spec = importlib.util.find_spec("rwkv.model")
    assert spec is not None
    assert spec.loader is not None
    author = importlib.util.module_from_spec(spec)  # another program than for RWKV-7, by what the environment says
    spec.loader.exec_module(author)

    case = CASES[name]
    model = save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to="blinkdl")
    (stored,) = (tmp_path / "there").glob("*.pth")
    tokens = random_tokens(model, rows=1)["input_ids"]
    model.config.rescale_every = 0  # else it halves every six layers, as the authors do in float16 only
    found, _ = author.RWKV(str(stored), "cpu fp32", verbose=False).forward(tokens[0].tolist(), None, full_output=True)
    assert_close(found, logits(model, {"input_ids": tokens})[0], 2e-5)


def test_griffin(tmp_path: Path) -> None:
    common, griffin = peer("recurrentgemma.common"), peer("recurrentgemma.torch.griffin")
    case = CASES["recurrent_gemma-griffin-griffin"]
    model = save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to="griffin")
    (stored,) = (tmp_path / "there").glob("*.pt")
    recurrent, attention = common.TemporalBlockType.RECURRENT, common.TemporalBlockType.ATTENTION
    config = common.GriffinConfig(
        vocab_size=99,
        width=24,
        mlp_expanded_width=52,
        num_heads=3,
        block_types=(recurrent, recurrent, attention, recurrent),
        embeddings_scale_by_sqrt_dim=True,
        attention_window_size=4,  # it counts those before the present one, transformers all
        logits_soft_cap=30.0,
        lru_width=36,
    )
    twin = griffin.Griffin(config, gradient_checkpointing=False).eval()
    twin.load_state_dict(torch.load(stored, weights_only=True))
    inputs = random_tokens(model)
    tokens = inputs["input_ids"]
    with torch.no_grad():
        found, _ = twin(tokens, torch.arange(tokens.shape[1]).expand(tokens.shape))
    assert_close(found, logits(model, inputs), 2e-5)


def goose() -> dict[str, torch.Tensor]:
    """Return the tensors of an RWKV-7 as its trainer saves them, each with random values."""
    heads, size, width, inner, vocabulary = 3, 8, 24, 52, 99
    shapes: dict[str, tuple[int, ...]] = {"emb.weight": (vocabulary, width), "head.weight": (vocabulary, width)}
    shapes |= {f"{name}.{part}": (width,) for name in ("ln_out", "blocks.0.ln0") for part in ("weight", "bias")}
    for layer in range(11):
        block, att = f"blocks.{layer}.", f"blocks.{layer}.att."
        norms = (f"{block}ln1", f"{block}ln2", f"{att}ln_x")
        shapes |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
        vectors = ("x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "k_k", "k_a", "w0", "a0", "v0")
        shapes |= {f"{att}{name}": (1, 1, width) for name in vectors}
        shapes |= {f"{att}{name}.weight": (width, width) for name in ("receptance", "key", "value", "output")}
        for name, rank in {"w": 5, "a": 6, "v": 4, "g": 7}.items():
            shapes |= {f"{att}{name}1": (width, rank), f"{att}{name}2": (rank, width)}
        shapes |= {f"{att}r_k": (heads, size), f"{block}ffn.x_k": (1, 1, width)}
        shapes |= {f"{block}ffn.key.weight": (inner, width), f"{block}ffn.value.weight": (width, inner)}
    generator = torch.Generator().manual_seed(4)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


@pytest.mark.parametrize("unused", ["stored", "left out"])
def test_rwkv7(unused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' package computes from its file what mlx-lm does from the converted one."""
    monkeypatch.setenv("RWKV_V7_ON", "1")
    monkeypatch.setenv("RWKV_JIT_ON", "0")
    author, mlx, utils = peer("rwkv.model"), peer("mlx.core"), peer("mlx_lm.utils")
    stored = {
        name: each for name, each in goose().items() if unused == "stored" or not name.startswith("blocks.0.att.v")
    }
    stored["blocks.0.att.value.weight"] = goose()["blocks.0.att.value.weight"]
    (tmp_path / "here").mkdir()
    torch.save(stored, tmp_path / "here" / "model.pth")
    tensormap.apply("rwkv/rwkv7", tmp_path / "here", tmp_path / "there", to="fla")
    tensormap.apply("rwkv/rwkv7", tmp_path / "there", tmp_path / "back", to="blinkdl")
    returned = torch.load(tmp_path / "back" / "model.pth", weights_only=True)
    kept = {name: each for name, each in stored.items() if name not in {f"blocks.0.att.v{n}" for n in range(3)}}
    assert sorted(returned) == sorted(kept)
    assert all(torch.equal(each, returned[name]) for name, each in kept.items())

    twin, _ = utils.load_model(tmp_path / "there", strict=True)
    tokens = torch.randint(3, 99, (11,), generator=torch.Generator().manual_seed(2)).tolist()
    with mlx.stream(mlx.cpu):
        found = torch.tensor(twin(mlx.array([tokens])).tolist())[0]
    expected, _ = author.RWKV(str(tmp_path / "here" / "model"), "cpu fp32").forward(tokens, None, full_output=True)
    assert expected.std() > 0.1
    assert_close(found, expected, 1e-3)


def test_bamba(tmp_path: Path) -> None:
    """The names and cuts of transformers' own converter, which it no longer ships, make the model's tensors."""
    case = CASES["bamba-ssm-hybrid"]
    model = save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to="ssm")
    stored = torch.load(tmp_path / "there" / "pytorch_model.bin", weights_only=True)
    renamed = {
        "backbone.embedding.": "model.embed_tokens.",
        "backbone.norm_f.": "model.final_layernorm.",
        "backbone.": "model.",
        ".norm2.": ".pre_ff_layernorm.",
        ".mlp.fc2.": ".feed_forward.down_proj.",
    }
    found: dict[str, torch.Tensor] = {}
    for stored_name, tensor in stored.items():
        name = stored_name
        for old, new in renamed.items():
            name = name.replace(old, new)
        layer, _, rest = name.removeprefix("model.layers.").partition(".")
        prefix = f"model.layers.{layer}."
        attends = layer == "1" and rest.startswith("mixer.")
        if rest == "norm.weight":
            found[f"{prefix}input_layernorm.weight"] = tensor
        elif rest == "mlp.fc1.weight":
            up, gate = tensor.chunk(2)
            found |= {f"{prefix}feed_forward.up_proj.weight": up, f"{prefix}feed_forward.gate_proj.weight": gate}
        elif attends and rest == "mixer.in_proj.weight":
            parts = tensor.split([48, 16, 16])
            found |= {f"{prefix}self_attn.{part}_proj.weight": each for part, each in zip("qkv", parts, strict=True)}
        elif attends:
            found[f"{prefix}self_attn.o_proj.weight"] = tensor
        else:
            found[name.replace(".mixer.", ".mamba.")] = tensor
    wanted = model.state_dict()
    assert sorted(found) == sorted(wanted)
    assert all(torch.equal(tensor, found[name]) for name, tensor in wanted.items())
