"""mlx-lm itself, on a CPU: it loads what is written, strictly, and computes the same logits.

It reads more than its own layout: InternLM2 as published, and OLMo as its trainer names it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

import tensormap
from tests.parity.cases import decoders
from tests.parity.cases.mlx import CASES
from tests.parity.harness import Case, assert_close, logits, random_tokens, save
from tests.parity.optional import peer

READ = tuple(each for each in decoders.CASES if each.mapping in ("dbrx/mlx", "internlm2/llama"))


@pytest.mark.parametrize("case", CASES + READ, ids=str)
def test_mlx_reads_it(case: Case, tmp_path: Path) -> None:
    mlx, utils = peer("mlx.core"), peer("mlx_lm.utils")
    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "mlx", to=case.to)
    twin, _ = utils.load_model(tmp_path / "mlx", strict=True)
    written = set(mlx.load(str(tmp_path / "mlx" / "model.safetensors")))
    assert {name for name, _ in peer("mlx.utils").tree_flatten(twin.parameters())} == written
    inputs = random_tokens(model)
    with mlx.stream(mlx.cpu):
        found = twin(mlx.array(inputs["input_ids"].tolist())).astype(mlx.float32)
    if case.dtype == torch.float32:
        close = 1e-3 if case.model == "DbrxForCausalLM" else 1e-4  # transformers is as far from itself in float64
        assert_close(torch.tensor(found.tolist()), logits(model, inputs), close)


def test_olmo_as_its_trainer_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hf_olmo", ModuleType("hf_olmo"))  # asked for, and not used
    mlx, olmo = peer("mlx.core"), peer("mlx_lm.models.olmo")
    case = next(each for each in decoders.CASES if each.mapping == "olmo/original")
    ungrouped = {"num_key_value_heads": 6, "num_hidden_layers": 11}  # mlx-lm knows no other
    case = replace(case, config={**case.config, **ungrouped})
    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "olmo", to="olmo")
    said = yaml.safe_load((tmp_path / "olmo" / "config.yaml").read_text())["model"]
    twin = olmo.Model(olmo.ModelArgs.from_dict({"model_type": "olmo", "embedding_size": said["vocab_size"], **said}))
    stored = torch.load(tmp_path / "olmo" / "model.pt", weights_only=True)
    twin.load_weights([(f"model.{name}", mlx.array(tensor.numpy())) for name, tensor in stored.items()])
    inputs = random_tokens(model)
    cache = peer("mlx_lm.models.cache").make_prompt_cache(twin)
    with mlx.stream(mlx.cpu):  # token by token: its mask of several is one that it cannot add
        found = [twin(mlx.array(tokens[:, None].tolist()), cache).tolist() for tokens in inputs["input_ids"].T]
    assert_close(torch.tensor(found)[:, :, 0].transpose(0, 1), logits(model, inputs), 1e-4)
