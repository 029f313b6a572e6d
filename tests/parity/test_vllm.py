"""Every rank's file holds what vLLM's own loaders put there: its formulas restated, and its own code where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
import transformers
from safetensors.torch import load_file

import tensormap
from tests.parity.cases.vllm import CASES
from tests.parity.harness import Case, save

Tensors = dict[str, torch.Tensor]


def convert(case: Case, folder: Path) -> tuple[transformers.PretrainedConfig, Tensors, list[Tensors]]:
    """Return the model's config, its tensors and the tensors of every rank."""
    config = save(case, folder / "hf").config
    tensormap.apply(tensormap.load(case.mapping), folder / "hf", folder / "vllm", to="vllm", set=dict(case.set))
    ranks = [load_file(folder / f"vllm/model-rank-{r}-part-0.safetensors") for r in range(case.set.get("tp", 1))]
    return config, load_file(folder / "hf" / "model.safetensors"), ranks


def assert_equal(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert tensor.dtype == ours[name].dtype, name
        assert torch.equal(tensor, ours[name]), name


def part(tensor: torch.Tensor, rank: int, count: int, dim: int = 0) -> torch.Tensor:
    size = tensor.shape[dim] // count
    return tensor.narrow(dim, rank * size, size)


def of_rank(tensors: Tensors, config: Any, rank: int, tp: int, scales: bool) -> Tensors:  # noqa: FBT001
    """Restate vLLM 0.33: QKVParallelLinear, MergedColumnParallelLinear, RowParallelLinear, VocabParallelEmbedding."""
    copies = max(1, tp // config.num_key_value_heads)
    found: Tensors = {}
    for name, tensor in tensors.items():
        if ".q_proj." in name:
            shards = [part(tensor, rank, tp)]
            shards += [
                part(tensors[name.replace("q_proj", n)], rank // copies, tp // copies) for n in ("k_proj", "v_proj")
            ]
            found[name.replace("q_proj", "qkv_proj")] = torch.cat(shards)
        elif ".gate_proj." in name:
            shards = [part(tensors[name.replace("gate_proj", n)], rank, tp) for n in ("gate_proj", "up_proj")]
            found[name.replace("gate_proj", "gate_up_proj")] = torch.cat(shards)
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            found[name] = part(tensor, rank, tp, dim=1)
        elif "embed_tokens" in name or "lm_head" in name:
            name = "lm_head.weight" if config.tie_word_embeddings else name
            found[name] = part(torch.nn.functional.pad(tensor, (0, 0, 0, -len(tensor) % 64)), rank, tp)
        elif not any(part in name for part in (".k_proj.", ".v_proj.", ".up_proj.")):
            found[name] = tensor
        if scales and name.endswith("input_layernorm.weight"):
            attention = name.replace("input_layernorm.weight", "self_attn.attn")
            found |= {f"{attention}._{kind}_scale": torch.tensor(1.0) for kind in ("k", "v", "q", "prob")}
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_formulas(case: Case, tmp_path: Path) -> None:
    config, tensors, ranks = convert(case, tmp_path)
    for rank, ours in enumerate(ranks):
        assert_equal(ours, of_rank(tensors, config, rank, len(ranks), case.set.get("scales") != "none"))


class Attention(torch.nn.Module):
    """What is stored of vLLM's attention, which wants a GPU."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        for kind in ("k", "v", "q", "prob"):
            self.register_buffer(f"_{kind}_scale", torch.tensor(1.0, dtype=torch.float32))


class _Settings(SimpleNamespace):
    def __getattr__(self, _: str) -> None:
        return None


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_its_own_loader(case: Case, tmp_path: Path) -> None:
    import vllm.platforms
    from vllm.platforms.cpu import CpuPlatform

    vllm.platforms._current_platform = CpuPlatform()
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.model_executor.model_loader.sharded_state_loader import ShardedStateLoader
    from vllm.model_executor.models import llama, mistral, qwen2, qwen3

    module = {"LlamaForCausalLM": llama, "MistralForCausalLM": mistral, "Qwen2ForCausalLM": qwen2}.get(
        case.model, qwen3
    )
    config, tensors, ranks = convert(case, tmp_path)
    alone = SimpleNamespace(rank_in_group=0, world_size=1, is_first_rank=True, is_last_rank=True)
    for rank, ours in enumerate(ranks):
        group = SimpleNamespace(rank_in_group=rank, world_size=len(ranks), is_first_rank=True, is_last_rank=True)
        settings = VllmConfig()
        settings.model_config = _Settings(hf_config=config, hf_text_config=config, dtype=case.dtype)
        with (
            patch.object(parallel_state, "_TP", group),
            patch.object(parallel_state, "_PP", alone),
            patch.object(llama, "Attention", Attention),
            patch.object(qwen2, "Attention", Attention),
            patch.object(qwen3, "Attention", Attention),
            patch.object(mistral, "Attention", Attention, create=True),
            set_current_vllm_config(settings, check_compile=False),
        ):
            torch.set_default_dtype(case.dtype)
            try:
                model = getattr(module, case.model)(vllm_config=settings)
            finally:
                torch.set_default_dtype(torch.float32)
            model.load_weights(iter(tensors.items()))
        theirs = ShardedStateLoader._filter_subtensors(model.state_dict())
        if case.set.get("scales") == "none":
            theirs = {name: tensor for name, tensor in theirs.items() if not name.endswith("_scale")}
        assert_equal(ours, theirs)
