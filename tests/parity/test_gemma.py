"""Gemma in flax: each weight, put into the einsum that Google DeepMind's modules have for it, computes what transformers does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tensormap
from tests.parity.cases.gemma import CASES
from tests.parity.harness import Case, assert_close, save


@pytest.mark.parametrize("case", [case for case in CASES if case.dtype == torch.float32], ids=str)
def test_einsums(case: Case, tmp_path: Path) -> None:
    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "flax", to="flax", set=dict(case.set))
    (file,) = (tmp_path / "flax").glob("*.safetensors")
    stored = load_file(file)
    x = torch.randn(2, 5, 60, generator=torch.Generator().manual_seed(5))
    mixed = torch.randn(2, 5, 6, 14, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        for number, layer in enumerate(model.model.layers):
            weights = {
                name.removeprefix(f"transformer/layer_{number}/"): tensor
                for name, tensor in stored.items()
                if name.startswith(f"transformer/layer_{number}/")
            }
            heads = layer.self_attn
            queries = torch.einsum("btd,ndh->btnh", x, weights["attn/q_einsum/w"])
            assert_close(queries.flatten(2), heads.q_proj(x), 1e-5)
            keys, values = torch.einsum("bsd,ckdh->cbskh", x, weights["attn/kv_einsum/w"])
            assert_close(keys.flatten(2), heads.k_proj(x), 1e-5)
            assert_close(values.flatten(2), heads.v_proj(x), 1e-5)
            out = torch.einsum("btnh,nhd->btd", mixed, weights["attn/attn_vec_einsum/w"])
            assert_close(out, heads.o_proj(mixed.flatten(2)), 1e-5)
            form = "bth,nfh->btnf" if case.set["gating"] == "turned" else "bth,nhf->btnf"
            gate = torch.einsum(form, x, weights["mlp/gating_einsum/w"])
            inner = torch.nn.functional.gelu(gate[..., 0, :], approximate="tanh") * gate[..., 1, :]
            assert_close(inner @ weights["mlp/linear/w"], layer.mlp(x), 1e-5)
            assert torch.equal(weights["pre_attention_norm/scale"], layer.input_layernorm.weight)
            late = case.model != "GemmaForCausalLM"
            before = layer.pre_feedforward_layernorm if late else layer.post_attention_layernorm
            assert torch.equal(weights["pre_ffw_norm/scale"], before.weight)
            if late:
                assert torch.equal(weights["post_attention_norm/scale"], layer.post_attention_layernorm.weight)
                assert torch.equal(weights["post_ffw_norm/scale"], layer.post_feedforward_layernorm.weight)
            if case.model == "Gemma3ForCausalLM":
                assert torch.equal(weights["attn/_query_norm/scale"], heads.q_norm.weight)
                assert torch.equal(weights["attn/_key_norm/scale"], heads.k_norm.weight)
    assert torch.equal(stored["transformer/embedder/input_embedding"], model.model.embed_tokens.weight)
    assert torch.equal(stored["transformer/final_norm/scale"], model.model.norm.weight)


STACKED = (("one-key-head", 3), ("joined", 2), ("gemma2", 2), ("gemma3", 6))
"""Cases whose layers are stacked too, by patterns of so many."""


def whole(name: str) -> Case:
    """Return a case with whole patterns of layers."""
    case = next(case for case in CASES if case.name == name)
    return replace(case, config={**case.config, "num_hidden_layers": 12})


@pytest.mark.parametrize(("name", "pattern"), STACKED)
def test_stacked(name: str, pattern: int, tmp_path: Path) -> None:
    """Layer `pattern * slice + place` is a slice of what is stacked at its place."""
    case = whole(name)
    save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "layers", to="flax", set=dict(case.set))
    tensormap.apply("gemma/stacked", tmp_path / "layers", tmp_path / "there", to="stacked", set={"pattern": pattern})
    tensormap.apply("gemma/stacked", tmp_path / "there", tmp_path / "back", to="layers")
    layers, there, back = (load_file(next((tmp_path / each).glob("*.s*"))) for each in ("layers", "there", "back"))
    assert sorted(back) == sorted(layers)
    assert all(torch.equal(tensor, back[name]) for name, tensor in layers.items())
    wanted: dict[str, list[torch.Tensor]] = {}
    for layer in range(12):
        prefix = f"transformer/layer_{layer}/"
        place = f"transformer/stacked_layers/attention_type_{layer % pattern}/"
        for key in sorted(layers):
            if key.startswith(prefix):
                wanted.setdefault(key.replace(prefix, place), []).append(layers[key])
    assert len(there) == len(wanted) + 2
    assert all(torch.equal(torch.stack(slices), there[key]) for key, slices in wanted.items())
