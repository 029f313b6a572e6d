"""Megatron checkpoints against formulas written apart from any mapping, and what only trained checkpoints hold.

The merges are those of NVIDIA-NeMo/Megatron-Bridge@067f987 models/conversion/param_mapping.py: merge_qkv_weights, merge_qkv_biases,
GatedMLPMapping (each rank has its part of the gate above its part of `up`), ColumnParallelMapping, RowParallelMapping.
"""

from __future__ import annotations

import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tensormap

E, HEADS, GROUPS, D, F, V, LAYERS = 12, 6, 3, 4, 10, 23, 3
TP, PP, EP, EXPERTS = 2, 2, 2, 4
Tensors = dict[str, torch.Tensor]


def _qwen(experts: int = 0) -> tuple[Tensors, dict[str, Any]]:
    """A Qwen model in the layout of transformers: biases without experts (Qwen2), norms of heads with them (Qwen3-MoE)."""
    found: Tensors = {"model.embed_tokens.weight": torch.randn(V, E), "lm_head.weight": torch.randn(V, E)}
    found["model.norm.weight"] = torch.randn(E)
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for name, rows in (("q", HEADS * D), ("k", GROUPS * D), ("v", GROUPS * D)):
            found[f"{layer}self_attn.{name}_proj.weight"] = torch.randn(rows, E)
            if not experts:
                found[f"{layer}self_attn.{name}_proj.bias"] = torch.randn(rows)
        found[f"{layer}self_attn.o_proj.weight"] = torch.randn(E, HEADS * D)
        found[f"{layer}input_layernorm.weight"] = torch.randn(E)
        found[f"{layer}post_attention_layernorm.weight"] = torch.randn(E)
        if experts:
            found[f"{layer}self_attn.q_norm.weight"] = torch.randn(D)
            found[f"{layer}self_attn.k_norm.weight"] = torch.randn(D)
            found[f"{layer}mlp.gate.weight"] = torch.randn(experts, E)
        for mlp in [f"{layer}mlp.experts.{x}." for x in range(experts)] or [f"{layer}mlp."]:
            found[f"{mlp}gate_proj.weight"] = torch.randn(F, E)
            found[f"{mlp}up_proj.weight"] = torch.randn(F, E)
            found[f"{mlp}down_proj.weight"] = torch.randn(E, F)
    config = {
        "model_type": "qwen3_moe" if experts else "qwen2",
        "num_hidden_layers": LAYERS,
        "hidden_size": E,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "head_dim": D,
        "vocab_size": V,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
    }
    sizes = {"moe_intermediate_size": F, "num_experts": experts, "intermediate_size": 3 * F}
    return found, config | (sizes if experts else {"intermediate_size": F})


def _save(folder: Path, tensors: Tensors, config: dict[str, Any]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _rank(path: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals([Namespace]):
        found: dict[str, Any] = torch.load(path / "model_optim_rng.pt", weights_only=True)
    return found


def _qkv(tensors: Tensors, layer: str, kind: str) -> torch.Tensor:
    """Restate merge_qkv_weights and merge_qkv_biases: for each group its queries, its key, its value."""
    q, k, v = (tensors[f"{layer}self_attn.{name}_proj.{kind}"] for name in "qkv")
    tail = q.shape[1:]
    q = q.reshape(GROUPS, HEADS // GROUPS, D, *tail)
    k, v = (each.reshape(GROUPS, 1, D, *tail) for each in (k, v))
    return torch.cat([q, k, v], dim=1).reshape(-1, *tail)


def _gated(tensors: Tensors, mlp: str, r: int) -> torch.Tensor:
    return torch.cat([tensors[f"{mlp}{name}_proj.weight"].chunk(TP)[r] for name in ("gate", "up")])


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(tensor, (0, 0, 0, -V % (TP * 8)))


def _of_rank(tensors: Tensors, stages: list[int], r: int, p: int, experts: range | None) -> Tensors:
    found: Tensors = {}
    if p == 0:
        found["embedding.word_embeddings.weight"] = _padded(tensors["model.embed_tokens.weight"]).chunk(TP)[r]
    if p == len(stages) - 1:
        found["output_layer.weight"] = _padded(tensors["lm_head.weight"]).chunk(TP)[r]
        found["decoder.final_layernorm.weight"] = tensors["model.norm.weight"]
    for k in range(stages[p]):
        layer, here = f"model.layers.{sum(stages[:p]) + k}.", f"decoder.layers.{k}."
        attention = f"{here}self_attention."
        found[f"{attention}linear_qkv.layer_norm_weight"] = tensors[f"{layer}input_layernorm.weight"]
        found[f"{attention}linear_qkv.weight"] = _qkv(tensors, layer, "weight").chunk(TP)[r]
        found[f"{attention}linear_proj.weight"] = tensors[f"{layer}self_attn.o_proj.weight"].chunk(TP, dim=1)[r]
        norm = tensors[f"{layer}post_attention_layernorm.weight"]
        if experts is None:
            found[f"{attention}linear_qkv.bias"] = _qkv(tensors, layer, "bias").chunk(TP)[r]
            found[f"{here}mlp.linear_fc1.layer_norm_weight"] = norm
            found[f"{here}mlp.linear_fc1.weight"] = _gated(tensors, f"{layer}mlp.", r)
            found[f"{here}mlp.linear_fc2.weight"] = tensors[f"{layer}mlp.down_proj.weight"].chunk(TP, dim=1)[r]
            continue
        found[f"{here}pre_mlp_layernorm.weight"] = norm
        found[f"{attention}q_layernorm.weight"] = tensors[f"{layer}self_attn.q_norm.weight"]
        found[f"{attention}k_layernorm.weight"] = tensors[f"{layer}self_attn.k_norm.weight"]
        found[f"{here}mlp.router.weight"] = tensors[f"{layer}mlp.gate.weight"]
        for local, x in enumerate(experts):
            mlp = f"{layer}mlp.experts.{x}."
            found[f"{here}mlp.experts.linear_fc1.weight{local}"] = _gated(tensors, mlp, r)
            found[f"{here}mlp.experts.linear_fc2.weight{local}"] = tensors[f"{mlp}down_proj.weight"].chunk(TP, dim=1)[r]
    return found


def _assert_same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_dense(tmp_path: Path) -> None:
    tensors, config = _qwen()
    _save(tmp_path / "hf", tensors, config)
    settings = {"tp": TP, "pp": PP, "stages": [2, 1], "divisible": 8}
    tensormap.apply("megatron/llama", tmp_path / "hf", tmp_path / "megatron", to="megatron", set=settings)
    assert (tmp_path / "megatron" / "latest_checkpointed_iteration.txt").read_text() == "release"
    for r in range(TP):
        for p in range(PP):
            found = _rank(tmp_path / f"megatron/release/mp_rank_{r:02}_{p:03}")
            _assert_same(found["model"], _of_rank(tensors, [2, 1], r, p, None))
    args = found["args"]
    assert (found["checkpoint_version"], found["iteration"]) == (3.0, 0)
    assert args.add_qkv_bias
    assert args.swiglu
    assert args.untie_embeddings_and_output_weights
    assert (args.num_query_groups, args.padded_vocab_size, args.make_vocab_size_divisible_by) == (GROUPS, 32, 8)
    assert (args.decoder_first_pipeline_num_layers, args.decoder_last_pipeline_num_layers) == (2, 1)


def test_experts(tmp_path: Path) -> None:
    tensors, config = _qwen(EXPERTS)
    _save(tmp_path / "hf", tensors, config)
    settings = {"tp": TP, "pp": PP, "ep": EP, "stages": [1, 2], "divisible": 8}
    tensormap.apply("megatron/qwen3_moe", tmp_path / "hf", tmp_path / "megatron", to="megatron", set=settings)
    for r in range(TP):
        for p in range(PP):
            for q in range(EP):
                found = _rank(tmp_path / f"megatron/release/mp_rank_{r:02}_{p:03}_{q:03}")["model"]
                mine = range(q * EXPERTS // EP, (q + 1) * EXPERTS // EP)
                _assert_same(found, _of_rank(tensors, [1, 2], r, p, mine))


@pytest.mark.parametrize("experts", [0, EXPERTS])
def test_a_trained_checkpoint(experts: int, tmp_path: Path) -> None:
    """As training leaves it: the optimizer and random states beside the model, states of fp8, and many more arguments."""
    tensors, config = _qwen(experts)
    args = Namespace(
        num_layers=LAYERS,
        hidden_size=E,
        ffn_hidden_size=3 * F if experts else F,
        num_attention_heads=HEADS,
        num_query_groups=GROUPS,
        group_query_attention=True,
        kv_channels=D,
        max_position_embeddings=64,
        seq_length=32,
        vocab_size=None,
        padded_vocab_size=32,
        make_vocab_size_divisible_by=8,
        untie_embeddings_and_output_weights=True,
        norm_epsilon=1e-6,
        normalization="RMSNorm",
        position_embedding_type="rope",
        rotary_base=1000000,
        rotary_percent=1.0,
        swiglu=True,
        add_bias_linear=False,
        add_qkv_bias=not experts,
        qk_layernorm=bool(experts),
        num_experts=experts or None,
        moe_ffn_hidden_size=F if experts else None,
        moe_router_topk=2,
        moe_router_pre_softmax=False,
        moe_layer_freq=1,
        expert_tensor_parallel_size=TP,
        tensor_model_parallel_size=TP,
        pipeline_model_parallel_size=PP,
        expert_model_parallel_size=EP if experts else 1,
        virtual_pipeline_model_parallel_size=None,
        params_dtype=torch.bfloat16,
        data_path=["a", "b"],
        rank=0,
    )
    folder = tmp_path / "megatron" / "iter_0000012"
    for r in range(TP):
        for p in range(PP):
            for q in range(EP if experts else 1):
                mine = range(q * EXPERTS // EP, (q + 1) * EXPERTS // EP) if experts else None
                model: dict[str, Any] = dict(_of_rank(tensors, [2, 1], r, p, mine))
                model["decoder.layers.0.self_attention.linear_proj._extra_state"] = torch.zeros(7, dtype=torch.uint8)
                model["decoder.layers.0.self_attention.linear_qkv._extra_state"] = io.BytesIO(b"state")
                model["decoder.layers.0.self_attention.core_attention._extra_state"] = None
                state = {"args": args, "checkpoint_version": 3.0, "iteration": 12, "model": model}
                state["optimizer"] = {"state": {0: {"exp_avg": torch.zeros(3)}}}
                place = folder / (f"mp_rank_{r:02}_{p:03}" + (f"_{q:03}" if experts else ""))
                place.mkdir(parents=True)
                torch.save(state, place / "model_optim_rng.pt")
    (tmp_path / "megatron" / "latest_checkpointed_iteration.txt").write_text("12")
    name = "megatron/qwen3_moe" if experts else "megatron/llama"
    tensormap.apply(name, tmp_path / "megatron", tmp_path / "hf", to="hf", set={"v": V})
    _assert_same(load_file(tmp_path / "hf" / "model.safetensors"), tensors)
    written = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert {key: written[key] for key in config if key in written} == {
        key: config[key] for key in config if key in written
    }
    assert written["rope_theta"] == 1000000
    assert written["architectures"] == ["Qwen3MoeForCausalLM" if experts else "Qwen2ForCausalLM"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"apply_layernorm_1p": True}, "apply_layernorm_1p"),
        ({"rotary_interleaved": True}, "rotary_interleaved"),
        ({"normalization": "LayerNorm"}, "normalization"),
        ({"virtual_pipeline_model_parallel_size": 2}, "virtual_pipeline"),
    ],
)
def test_models_that_compute_otherwise_are_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    tensors, config = _qwen()
    _save(tmp_path / "hf", tensors, config)
    tensormap.apply("megatron/llama", tmp_path / "hf", tmp_path / "megatron", to="megatron", set={"divisible": 8})
    path = tmp_path / "megatron" / "release" / "mp_rank_00"
    state = _rank(path)
    vars(state["args"]).update(change)
    torch.save(state, path / "model_optim_rng.pt")
    with pytest.raises(tensormap.CheckpointError, match=match):
        tensormap.plan("megatron/llama", tmp_path / "megatron", to="hf")


def _deepseek() -> tuple[Tensors, dict[str, Any]]:
    """DeepSeek-V3 in bfloat16 as published: one layer without experts, one with, and one that predicts a token more."""
    rank, rope, nope, value, heads = 8, 4, 6, 5, 4
    found: Tensors = {"model.embed_tokens.weight": torch.randn(V, E), "lm_head.weight": torch.randn(V, E)}
    found["model.norm.weight"] = torch.randn(E)
    for i in range(2):
        layer = f"model.layers.{i}."
        found |= {
            f"{layer}input_layernorm.weight": torch.randn(E),
            f"{layer}post_attention_layernorm.weight": torch.randn(E),
            f"{layer}self_attn.q_proj.weight": torch.randn(heads * (nope + rope), E),
            f"{layer}self_attn.kv_a_proj_with_mqa.weight": torch.randn(rank + rope, E),
            f"{layer}self_attn.kv_a_layernorm.weight": torch.randn(rank),
            f"{layer}self_attn.kv_b_proj.weight": torch.randn(heads * (nope + value), rank),
            f"{layer}self_attn.o_proj.weight": torch.randn(E, heads * value),
        }
        for mlp in [f"{layer}mlp.experts.{x}." for x in range(EXPERTS * i)] + [f"{layer}mlp." + "shared_experts." * i]:
            found[f"{mlp}gate_proj.weight"] = torch.randn(F, E)
            found[f"{mlp}up_proj.weight"] = torch.randn(F, E)
            found[f"{mlp}down_proj.weight"] = torch.randn(E, F)
    found["model.layers.1.mlp.gate.weight"] = torch.randn(EXPERTS, E)
    found["model.layers.2.eh_proj.weight"] = torch.randn(E, 2 * E)
    found["model.layers.2.mlp.experts.3.up_proj.weight"] = torch.randn(F, E)
    found = {name: tensor.bfloat16() for name, tensor in found.items()}
    found["model.layers.1.mlp.gate.e_score_correction_bias"] = torch.randn(EXPERTS)
    config = {
        "model_type": "deepseek_v3",
        "num_hidden_layers": 2,
        "first_k_dense_replace": 1,
        "hidden_size": E,
        "num_attention_heads": heads,
        "q_lora_rank": None,
        "kv_lora_rank": rank,
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": nope,
        "v_head_dim": value,
        "intermediate_size": F,
        "moe_intermediate_size": F,
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "routed_scaling_factor": 2.5,
        "vocab_size": V,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "num_nextn_predict_layers": 1,
        "rope_theta": 10000,
    }
    return found, config


def test_deepseek(tmp_path: Path) -> None:
    """The last layer is left out; biases of the router stay float32; latent projections are whole on every rank."""
    tensors, config = _deepseek()
    _save(tmp_path / "hf", tensors, config)
    settings = {"tp": TP, "ep": EP, "divisible": 8}
    tensormap.apply("megatron/deepseek_v3", tmp_path / "hf", tmp_path / "megatron", to="megatron", set=settings)
    for r in range(TP):
        for q in range(EP):
            found = _rank(tmp_path / f"megatron/release/mp_rank_{r:02}_{q:03}")["model"]
            for i in range(2):
                attention, here = f"model.layers.{i}.self_attn.", f"decoder.layers.{i}.self_attention."
                expected = {
                    "linear_q_proj.weight": tensors[f"{attention}q_proj.weight"].chunk(TP)[r],
                    "linear_kv_down_proj.weight": tensors[f"{attention}kv_a_proj_with_mqa.weight"],
                    "linear_kv_up_proj.layer_norm_weight": tensors[f"{attention}kv_a_layernorm.weight"],
                    "linear_kv_up_proj.weight": tensors[f"{attention}kv_b_proj.weight"].chunk(TP)[r],
                    "linear_proj.weight": tensors[f"{attention}o_proj.weight"].chunk(TP, dim=1)[r],
                }
                mine = {name.removeprefix(here): each for name, each in found.items() if name.startswith(here)}
                _assert_same(mine, expected)
            mlp, here = "model.layers.1.mlp.", "decoder.layers.1.mlp."
            assert torch.equal(
                found["decoder.layers.0.mlp.linear_fc1.weight"], _gated(tensors, "model.layers.0.mlp.", r)
            )
            assert torch.equal(
                found[f"{here}shared_experts.linear_fc1.weight"], _gated(tensors, f"{mlp}shared_experts.", r)
            )
            assert torch.equal(
                found[f"{here}experts.linear_fc1.weight1"], _gated(tensors, f"{mlp}experts.{2 * q + 1}.", r)
            )
            bias = found[f"{here}router.expert_bias"]
            assert bias.dtype == torch.float32
            assert torch.equal(bias, tensors[f"{mlp}gate.e_score_correction_bias"])
    tensormap.apply("megatron/deepseek_v3", tmp_path / "megatron", tmp_path / "back", to="hf")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("model.layers.2.")}
    _assert_same(load_file(tmp_path / "back" / "model.safetensors"), kept)
