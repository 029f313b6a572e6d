"""Run checkpoints in Megatron-Core on CPU, a process for every rank: `python -m tests.parity.megatron_ranks`.

Each line of standard input is a job as JSON: `folder` (as Megatron saves it with `--ckpt-format torch`), `tokens` and `logits`
(torch files: read, written), `world` (how many processes). Each is answered by `ok`. Models are made of the `args` in the
checkpoint as megatron/training/arguments.py (core_transformer_config_from_args) and gpt_builders.py do, and loaded strictly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import re
import sys
import tempfile
import traceback
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

torch.set_num_threads(1)
torch.cuda.current_device = "cpu".__str__  # type: ignore[assignment,return-value]
torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
_ones = torch.ones
torch.ones = lambda *sizes, device=None, **more: _ones(*sizes, **more)  # type: ignore[assignment]  # noqa: PLW0108 - a device is asked for

from megatron.core import parallel_state as ps  # noqa: E402
from megatron.core.models.gpt import GPTModel  # noqa: E402
from megatron.core.models.gpt.gpt_layer_specs import (  # noqa: E402
    get_gpt_decoder_block_spec,
    get_gpt_layer_local_spec,
)
from megatron.core.safe_globals import register_safe_globals  # noqa: E402
from megatron.core.tensor_parallel.random import CudaRNGStatesTracker  # noqa: E402
from megatron.core.transformer import (  # noqa: E402
    MLATransformerConfig,
    TransformerConfig,
    multi_latent_attention,
)
from megatron.core.transformer.moe import moe_utils  # noqa: E402

multi_latent_attention.HAVE_TE = False
moe_utils.te_general_gemm = None  # a name that is not defined where Transformer Engine is missing
CudaRNGStatesTracker.fork = lambda *_, **__: contextlib.nullcontext()  # dropout is off
register_safe_globals()

WITHOUT_TE = {
    "self_attention.linear_q_up_proj.layer_norm_": "self_attention.q_layernorm.",
    "self_attention.linear_kv_up_proj.layer_norm_": "self_attention.kv_layernorm.",
    "self_attention.linear_qkv.layer_norm_": "input_layernorm.",
    "mlp.linear_fc1.layer_norm_": "pre_mlp_layernorm.",
}
"""Names with Transformer Engine and without: gpt_layer_specs.py, `sharded_state_dict_keys_map` of get_gpt_layer_local_spec."""


class CoreAttention(torch.nn.Module):
    """Causal attention whose keys and values differ in size, which Megatron leaves to Transformer Engine."""

    def __init__(self, softmax_scale: float, **_: Any) -> None:
        super().__init__()
        self.scale = softmax_scale

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        query, key, value = (each.permute(1, 2, 0, 3) for each in (query, key, value))  # from [s b h d]
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=self.scale)
        return found.permute(2, 0, 1, 3).flatten(2)


def config_of(args: Namespace) -> TransformerConfig:
    kind = MLATransformerConfig if getattr(args, "multi_latent_attention", False) else TransformerConfig
    known = {each.name: getattr(args, each.name) for each in dataclasses.fields(kind) if hasattr(args, each.name)}
    if getattr(args, "swiglu", False):
        known |= {"gated_linear_unit": True, "activation_func": torch.nn.functional.silu}
    elif args.bias_gelu_fusion:  # megatron/core/fusions/fused_bias_gelu.py, which wants a GPU
        known |= {"activation_func": functools.partial(torch.nn.functional.gelu, approximate="tanh")}
    if hasattr(args, "group_query_attention") and not args.group_query_attention:
        known["num_query_groups"] = None
    return kind(
        **known
        | {
            "layernorm_epsilon": args.norm_epsilon,
            "num_moe_experts": getattr(args, "num_experts", None),
            "num_layers_in_first_pipeline_stage": getattr(args, "decoder_first_pipeline_num_layers", None),
            "num_layers_in_last_pipeline_stage": getattr(args, "decoder_last_pipeline_num_layers", None),
            "use_cpu_initialization": True,
            "attention_dropout": 0.0,
            "bias_dropout_fusion": False,
            "bias_activation_fusion": False,
            "masked_softmax_fusion": False,
            "apply_rope_fusion": False,
            "gradient_accumulation_fusion": False,
            "moe_token_dispatcher_type": "allgather",
            "moe_grouped_gemm": False,
            "pipeline_dtype": torch.float32,
            "variable_seq_lengths": False,
        }
    )


def build(args: Namespace, *, first: bool, last: bool) -> GPTModel:
    config = config_of(args)
    if getattr(args, "num_experts", None):
        spec = get_gpt_decoder_block_spec(config, use_transformer_engine=False, normalization=args.normalization)
    else:
        spec = get_gpt_layer_local_spec(
            qk_layernorm=getattr(args, "qk_layernorm", False),
            multi_latent_attention=getattr(args, "multi_latent_attention", False),
            normalization=args.normalization,
        )
    if getattr(args, "multi_latent_attention", False):
        for layer in spec.layer_specs:
            layer.submodules.self_attention.submodules.core_attention = CoreAttention
    return GPTModel(
        config,
        spec,
        vocab_size=args.padded_vocab_size,
        max_sequence_length=args.max_position_embeddings,
        pre_process=first,
        post_process=last,
        parallel_output=False,
        share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights,
        position_embedding_type=args.position_embedding_type,
        rotary_percent=getattr(args, "rotary_percent", 1.0),
        rotary_base=getattr(args, "rotary_base", 10000),
        rope_scaling=getattr(args, "use_rope_scaling", False),
        rope_scaling_factor=getattr(args, "rope_scaling_factor", 8.0),
    ).eval()


def without_te(state: dict[str, Any]) -> dict[str, Any]:
    """Turn what Transformer Engine's layers hold into what Megatron's own layers hold."""
    found = {}
    tp, rank = ps.get_tensor_model_parallel_world_size(), ps.get_tensor_model_parallel_rank()
    for name, value in state.items():
        for fused, apart in WITHOUT_TE.items():
            name = name.replace(fused, apart)
        name = re.sub(r"experts\.(linear_fc.)\.weight(\d+)", r"experts.local_experts.\2.\1.weight", name)
        found[name] = (
            value.chunk(tp)[rank] if name.endswith("_down_proj.weight") else value
        )  # whole on every rank there
    return found


def directory(folder: Path) -> Path:
    """Follow megatron/training/checkpointing.py read_metadata and get_checkpoint_name."""
    said = (folder / "latest_checkpointed_iteration.txt").read_text().strip()
    return folder / (f"iter_{int(said):07d}" if said.isdigit() else said)


def run(rank: int, job: dict[str, Any], meeting: str) -> None:
    folder = directory(Path(job["folder"]))
    args = torch.load(min(folder.glob("mp_rank_*/*.pt")), weights_only=True)["args"]
    ep = getattr(args, "expert_model_parallel_size", 1)
    pp = args.pipeline_model_parallel_size
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=job["world"])
    ps.initialize_model_parallel(
        args.tensor_model_parallel_size,
        pp,
        expert_model_parallel_size=ep,
        expert_tensor_parallel_size=getattr(args, "expert_tensor_parallel_size", None),
    )
    name = f"mp_rank_{ps.get_tensor_model_parallel_rank():02d}"
    name += f"_{ps.get_pipeline_model_parallel_rank():03d}" if pp > 1 else ""
    name += f"_{ps.get_expert_model_parallel_rank():03d}" if ep > 1 else ""
    state = torch.load(folder / name / "model_optim_rng.pt", weights_only=True)
    assert state["checkpoint_version"] == 3.0
    first, last = ps.is_pipeline_first_stage(), ps.is_pipeline_last_stage()
    model = build(args, first=first, last=last)
    te = args.transformer_impl == "transformer_engine"
    model.load_state_dict(without_te(state["model"]) if te else state["model"], strict=True)
    tokens = torch.load(job["tokens"], weights_only=True)
    rows, columns = tokens.shape
    positions = torch.arange(columns)[None].expand(rows, -1)
    mask = torch.ones(columns, columns, dtype=torch.bool).triu(1)
    if not first:
        hidden = torch.empty(columns, rows, args.hidden_size)
        dist.recv(hidden, ps.get_pipeline_model_parallel_prev_rank())
        model.set_input_tensor(hidden)
    with torch.no_grad():
        output = model(tokens, positions, mask[None, None])
    if not last:
        dist.send(output.contiguous(), ps.get_pipeline_model_parallel_next_rank())
    elif rank == job["world"] - 1:
        torch.save(output, job["logits"])
    dist.barrier()
    dist.destroy_process_group()


def _guarded(rank: int, job: dict[str, Any], meeting: str) -> None:
    try:
        run(rank, job, meeting)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise


def main() -> None:
    forked = multiprocessing.get_context("fork")
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            ranks = [forked.Process(target=_guarded, args=(k, job, f"{folder}/meeting")) for k in range(job["world"])]
            for each in ranks:
                each.start()
            for each in ranks:
                each.join(60)
            codes = [each.exitcode for each in ranks]
            for each in ranks:
                each.kill()
        print("ok" if not any(code != 0 for code in codes) else f"exit codes {codes}", flush=True)


if __name__ == "__main__":
    main()
