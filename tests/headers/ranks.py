"""Megatron-Core's own modules, rank by rank, at full size: what each rank's file holds."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.headers.header import Header, Tensors
from tests.headers.meta import described


@dataclass(frozen=True, slots=True)
class Job:
    """A model and its degrees of parallelism. `args` as Megatron's own are called."""

    name: str
    args: Mapping[str, Any]
    tp: int = 1
    pp: int = 1
    ep: int = 1
    prefix: str = "{r}.{p}.{q}."
    kind: Mapping[str, Any] = field(default_factory=dict)


COMMON = {
    "normalization": "RMSNorm",
    "position_embedding_type": "rope",
    "swiglu": True,
    "add_bias_linear": False,
    "norm_epsilon": 1e-5,
    "bias_gelu_fusion": False,
    "group_query_attention": True,
    "untie_embeddings_and_output_weights": True,
}

JOBS = (
    Job(
        "llama-3.1-70b.megatron",
        COMMON
        | {
            "num_layers": 80,
            "hidden_size": 8192,
            "ffn_hidden_size": 28672,
            "num_attention_heads": 64,
            "num_query_groups": 8,
            "kv_channels": 128,
            "padded_vocab_size": 129024,  # the next multiple of 128 * 8 ranks
            "max_position_embeddings": 131072,
        },
        tp=8,
        pp=4,
    ),
    Job(
        "qwen3-8b.megatron",
        COMMON
        | {
            "num_layers": 36,
            "hidden_size": 4096,
            "ffn_hidden_size": 12288,
            "num_attention_heads": 32,
            "num_query_groups": 8,
            "kv_channels": 128,
            "qk_layernorm": True,
            "padded_vocab_size": 152064,
            "max_position_embeddings": 40960,
        },
        tp=4,
        pp=2,
    ),
    Job(
        "mixtral-8x7b.megatron",
        COMMON
        | {
            "num_layers": 32,
            "hidden_size": 4096,
            "ffn_hidden_size": 14336,
            "moe_ffn_hidden_size": 14336,
            "num_attention_heads": 32,
            "num_query_groups": 8,
            "kv_channels": 128,
            "num_experts": 8,
            "moe_router_topk": 2,
            "padded_vocab_size": 32000,
            "max_position_embeddings": 131072,
        },
        tp=2,
        pp=4,
        ep=8,
    ),
    Job(
        "qwen3-30b-a3b.megatron",
        COMMON
        | {
            "num_layers": 48,
            "hidden_size": 2048,
            "ffn_hidden_size": 6144,
            "moe_ffn_hidden_size": 768,
            "num_attention_heads": 32,
            "num_query_groups": 4,
            "kv_channels": 128,
            "qk_layernorm": True,
            "num_experts": 128,
            "moe_router_topk": 8,
            "padded_vocab_size": 152064,
            "max_position_embeddings": 40960,
        },
        tp=2,
        pp=2,
        ep=4,
    ),
    Job(
        "moonlight-16b-a3b.megatron",
        COMMON
        | {
            "num_layers": 27,
            "hidden_size": 2048,
            "ffn_hidden_size": 11264,
            "moe_ffn_hidden_size": 1408,
            "moe_shared_expert_intermediate_size": 2816,
            "num_attention_heads": 16,
            "num_query_groups": 16,
            "multi_latent_attention": True,
            "qk_layernorm": True,
            "q_lora_rank": None,
            "kv_lora_rank": 512,
            "qk_head_dim": 128,
            "qk_pos_emb_head_dim": 64,
            "v_head_dim": 128,
            "rope_type": "rope",
            "num_experts": 64,
            "moe_router_topk": 6,
            "moe_router_score_function": "sigmoid",
            "moe_router_enable_expert_bias": True,
            "moe_layer_freq": [0] + [1] * 26,
            "padded_vocab_size": 163840,
            "max_position_embeddings": 8192,
        },
        pp=3,
        ep=8,
    ),
    Job(
        "gpt2.megatron",
        {
            "normalization": "LayerNorm",
            "position_embedding_type": "learned_absolute",
            "add_bias_linear": True,
            "norm_epsilon": 1e-5,
            "bias_gelu_fusion": True,
            "untie_embeddings_and_output_weights": False,
            "num_layers": 12,
            "hidden_size": 768,
            "ffn_hidden_size": 3072,
            "num_attention_heads": 12,
            "padded_vocab_size": 50688,  # the next multiple of 128 * 4 ranks
            "max_position_embeddings": 1024,
        },
        tp=4,
        pp=3,
        prefix="{r}.{p}.",
        kind={"params_dtype": torch.float32},
    ),
)


def header(job: Job) -> Header:
    """Build every rank of a job, each in a process group that only pretends to have the others."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from tests.parity import megatron_ranks

    from megatron.core.transformer.module import Float16Module  # isort: skip - after what stands in for a GPU

    ps = megatron_ranks.ps
    found: Tensors = {}
    world = job.pp * job.tp * job.ep
    dtype = job.kind.get("params_dtype", torch.bfloat16)
    plain = {"perform_initialization": False, "params_dtype": dtype, "bf16": dtype == torch.bfloat16}
    args = Namespace(
        **job.args,
        **plain,
        tensor_model_parallel_size=job.tp,
        pipeline_model_parallel_size=job.pp,
        expert_model_parallel_size=job.ep,
        expert_tensor_parallel_size=job.tp,
    )
    for rank in range(world):
        dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
        ps.initialize_model_parallel(
            job.tp,
            job.pp,
            expert_model_parallel_size=job.ep,
            expert_tensor_parallel_size=job.tp,
            create_gloo_process_groups=False,
        )
        place = {
            "r": ps.get_tensor_model_parallel_rank(),
            "p": ps.get_pipeline_model_parallel_rank(),
            "q": ps.get_expert_model_parallel_rank(),
        }
        with torch.device("meta"):
            model = megatron_ranks.build(args, first=ps.is_pipeline_first_stage(), last=ps.is_pipeline_last_stage())
        if dtype != torch.float32:
            model = Float16Module(model.config, model).module  # as in training
        state = {name: each for name, each in model.state_dict().items() if each is not None}
        held = {job.prefix.format(**place) + name: each for name, each in described(state).items()}
        assert all(found.get(name, each) == each for name, each in held.items())
        found |= held
        ps.destroy_model_parallel()
        dist.destroy_process_group()
    degrees = (
        f"tp {job.tp}, pp {job.pp}, ep {job.ep}, without Transformer Engine; names begin with rank, stage, expert rank"
    )
    return Header(found, {}, ("megatron-core 0.16.1: GPTModel, every rank", degrees))
