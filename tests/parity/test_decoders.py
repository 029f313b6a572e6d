"""What the published converters do, restated: from the files that tensormap writes they make the model that went in."""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tensormap
from tests.parity.cases.decoders import CASES
from tests.parity.harness import Case, save
from tests.stored import assert_same, read_safetensors

Tensors = dict[str, torch.Tensor]


def _renamed(tensors: Tensors, *pairs: tuple[str, str]) -> Tensors:
    found = {}
    for old, tensor in tensors.items():
        name = old
        for part, other in pairs:
            name = name.replace(part, other)
        found[name] = tensor
    return found


def _split(
    tensors: Tensors, fused: str, names: list[str], parts: Callable[[torch.Tensor], list[torch.Tensor]]
) -> Tensors:
    found = {}
    for name, tensor in tensors.items():
        if f".{fused}." in name:
            found |= {name.replace(fused, each): part for each, part in zip(names, parts(tensor), strict=True)}
        else:
            found[name] = tensor
    return found


QKV = ["q_proj", "k_proj", "v_proj"]


def _internlm2(tensors: Tensors, case: Case) -> Tensors:
    heads, groups, width = (case.config[key] for key in ("num_attention_heads", "num_key_value_heads", "hidden_size"))
    each = heads // groups + 2

    def parts(fused: torch.Tensor) -> list[torch.Tensor]:
        rows = fused.reshape(groups, each, width // heads, width)
        return [rows[:, :-2].reshape(-1, width), rows[:, -2].reshape(-1, width), rows[:, -1].reshape(-1, width)]

    tensors = _renamed(
        tensors,
        ("tok_embeddings", "embed_tokens"),
        ("output.", "lm_head."),
        ("attention_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attention.", "self_attn."),
        (".wo.", ".o_proj."),
        ("feed_forward.w1", "mlp.gate_proj"),
        ("feed_forward.w3", "mlp.up_proj"),
        ("feed_forward.w2", "mlp.down_proj"),
    )
    return _split(tensors, "wqkv", QKV, parts)


def _baichuan(tensors: Tensors, case: Case) -> Tensors:
    width = case.config["hidden_size"]
    return _split(tensors, "W_pack", QKV, lambda fused: list(fused.unflatten(0, (3, width))))


def _glm(tensors: Tensors, case: Case) -> Tensors:
    queries = case.config["num_attention_heads"] * case.config["head_dim"]
    keys = case.config["num_key_value_heads"] * case.config["head_dim"]
    tensors = _renamed(
        tensors,
        ("transformer.embedding.word_embeddings", "model.embed_tokens"),
        ("transformer.encoder.final_layernorm", "model.norm"),
        ("transformer.output_layer", "lm_head"),
        ("transformer.encoder.layers", "model.layers"),
        ("self_attention.dense", "self_attn.o_proj"),
        ("self_attention", "self_attn"),
        ("dense_h_to_4h", "gate_up_proj"),
        ("dense_4h_to_h", "down_proj"),
    )
    cuts = [0, queries, queries + keys, queries + 2 * keys]
    return _split(tensors, "query_key_value", QKV, lambda fused: [fused[a:b] for a, b in itertools.pairwise(cuts)])


def _olmo(tensors: Tensors, case: Case) -> Tensors:
    config = case.config
    keys = config["hidden_size"] // config["num_attention_heads"] * config["num_key_value_heads"]
    tensors = _renamed(
        tensors,
        ("transformer.wte", "model.embed_tokens"),
        ("transformer.ff_out", "lm_head"),
        ("transformer.blocks", "model.layers"),
        ("attn_out", "self_attn.o_proj"),
        ("att_proj", "self_attn.att_proj"),
        ("ff_out", "mlp.down_proj"),
        ("ff_proj", "mlp.ff_proj"),
    )
    sizes = [config["hidden_size"], keys, keys]
    tensors = _split(tensors, "att_proj", QKV, lambda fused: list(torch.split(fused, sizes)))
    return _split(tensors, "ff_proj", ["up_proj", "gate_proj"], lambda fused: list(torch.chunk(fused, 2)))


def _opt(tensors: Tensors, case: Case) -> Tensors:
    tensors = _renamed(
        tensors,
        ("decoder.layer_norm", "decoder.final_layer_norm"),
        ("_in_dim", "_in"),
        ("_out_dim", "_out"),
        ("decoder.", "model.decoder."),
    )
    names = ["k_proj", "v_proj", "q_proj"]
    return _split(tensors, "qkv_proj", names, lambda fused: list(torch.split(fused, len(fused) // 3)))


def _gpt2(tensors: Tensors, case: Case) -> Tensors:
    transposed = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    assert torch.equal(tensors.pop("lm_head.weight"), tensors["transformer.wte.weight"])
    return {name: each.t() if name.endswith(transposed) else each for name, each in tensors.items()}


def _bloom(folder: Path, layers: int, ranks: int) -> Tensors:
    """Join the ranks as convert_bloom_original_checkpoint_to_pytorch.py does."""
    averaged = ("layernorm.weight", "layernorm.bias", "dense.bias", "4h_to_h.bias", "ln_f.weight", "ln_f.bias")
    first = {"word_embeddings.weight": "word_embeddings.weight", "weight": "ln_f.weight", "bias": "ln_f.bias"}
    first |= {f"word_embeddings.norm.{each}": f"word_embeddings_layernorm.{each}" for each in ("weight", "bias")}
    found: Tensors = {}
    for number in [1, *range(3, layers + 3), layers + 4]:
        files = [folder / f"layer_{number:02}-model_{rank:02}-model_states.pt" for rank in range(ranks)]
        shares = [torch.load(file, weights_only=True) for file in files]
        for key in shares[0]:
            name = "transformer." + first.get(key, f"h.{number - 3}.{key}")
            parts = [share[key] for share in shares]
            if name.endswith(averaged):
                found[name] = sum(parts[1:], parts[0]) / ranks
            else:
                rows = name.endswith(("dense_4h_to_h.weight", "self_attention.dense.weight"))
                found[name] = torch.cat(parts, dim=1 if rows else 0)
    return found


def _gemma(tensors: Tensors, case: Case) -> Tensors:
    heads, keys, size = (case.config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    rows = [heads * size, keys * size, keys * size]
    tensors = {name.replace("embedder.", "model.embed_tokens."): each for name, each in tensors.items()}
    return _split(tensors, "qkv_proj", QKV, lambda fused: list(fused.split(rows)))


CONVERTERS = {
    "internlm2/llama": _internlm2,
    "baichuan/llama": _baichuan,
    "glm/chatglm": _glm,
    "olmo/original": _olmo,
    "opt/metaseq": _opt,
    "gpt2/nanogpt": _gpt2,
    "gemma/pytorch": _gemma,
}
FILES = {
    "olmo/original": ("model.pt", None),
    "opt/metaseq": ("restored.pt", "model"),
    "gpt2/nanogpt": ("ckpt.pt", "model"),
    "gemma/pytorch": ("model.ckpt", "model_state_dict"),
}


def _written(case: Case, folder: Path) -> Tensors:
    if case.mapping not in FILES:
        return {name: each.tensor() for name, each in read_safetensors(folder).items()}
    file, part = FILES[case.mapping]
    loaded = torch.load(folder / file, weights_only=True)
    return dict(loaded if part is None else loaded[part])


@pytest.mark.parametrize("case", [each for each in CASES if each.mapping in CONVERTERS], ids=str)
def test_the_published_converter_makes_the_same_model(case: Case, tmp_path: Path) -> None:
    save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to=case.to, set=dict(case.set))
    made = CONVERTERS[case.mapping](_written(case, tmp_path / "there"), case)
    _assert_equal(made, tmp_path / "here")


@pytest.mark.parametrize("case", [each for each in CASES if each.mapping.startswith("bloom/")], ids=str)
def test_bloom_as_its_converter_joins_it(case: Case, tmp_path: Path) -> None:
    save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to=case.to, set=dict(case.set))
    _assert_equal(_bloom(tmp_path / "there", case.config["n_layer"], case.set.get("tp", 1)), tmp_path / "here")


@pytest.mark.parametrize("case", [each for each in CASES if each.mapping.startswith("bloom/")], ids=str)
def test_bloom_by_the_names_it_was_published_under(case: Case, tmp_path: Path) -> None:
    """Its converter saves the model without its head, and so without `transformer.`."""
    save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to=case.to, set=dict(case.set))
    back = {"naming": "bare", **case.back}
    tensormap.apply(case.mapping, tmp_path / "there", tmp_path / "bare", to="hf", set=back)
    full, bare = (read_safetensors(tmp_path / name) for name in ("here", "bare"))
    assert_same(bare, {name.removeprefix("transformer."): each for name, each in full.items()})
    tensormap.apply(case.mapping, tmp_path / "bare", tmp_path / "again", to=case.to, set=dict(case.set))
    written = sorted((tmp_path / "there").glob("*.pt"))
    assert written
    for path in written:
        assert _records(path) == _records(tmp_path / "again" / path.name)


def _records(path: Path) -> dict[str, bytes]:
    """Return what a torch file holds, but for the record that says what it was made from."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist() if not name.endswith("extra/tensormap.json")}


@pytest.mark.parametrize("case", [each for each in CASES if each.mapping == "dbrx/mlx"], ids=str)
def test_dbrx_as_mlx_takes_it_apart(case: Case, tmp_path: Path) -> None:
    save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to=case.to)
    made: Tensors = {}
    for name, stored in read_safetensors(tmp_path / "here").items():
        if "experts.mlp" in name:
            parts = torch.chunk(stored.tensor(), case.config["ffn_config"]["moe_num_experts"])
            for number, part in enumerate(parts):
                made[f"{name.replace('.mlp', f'.{number}')}.weight"] = part.T if name.endswith("w2") else part
        else:
            made[name] = stored.tensor()
    _assert_equal(made, tmp_path / "there")


def _assert_equal(made: Tensors, folder: Path) -> None:
    expected = {name: each.tensor() for name, each in read_safetensors(folder).items()}
    assert made.keys() == expected.keys()
    for name, each in expected.items():
        assert each.shape == made[name].shape, name
        # an average of equal numbers may be off by a rounding
        assert math.isclose((each.float() - made[name].float()).abs().max().item(), 0.0, abs_tol=1e-6), name
