"""OLMo-core itself: its converter makes the same tensors, and its models compute the same logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tensormap
from tests.parity.cases.olmo_core import CASES
from tests.parity.harness import Case, assert_close, logits, random_tokens, save
from tests.parity.optional import peer


@pytest.mark.parametrize("case", CASES, ids=str)
def test_olmo_core_reads_what_its_converter_makes(case: Case, tmp_path: Path) -> None:
    transformer, converter = peer("olmo_core.nn.transformer"), peer("olmo_core.nn.hf.convert")
    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "core", to="core")
    written = torch.load(tmp_path / "core" / "model.pt", weights_only=True)
    theirs = converter.convert_state_from_hf(
        model.config, load_file(tmp_path / "hf" / "model.safetensors"), model_type=model.config.model_type
    )
    assert sorted(theirs) == sorted(written)
    for name, tensor in theirs.items():
        assert torch.equal(tensor, written[name]), name

    said: Any = json.loads((tmp_path / "core" / "config.json").read_text())["model"]
    twin = transformer.TransformerConfig.from_dict(said).build(init_device="cpu").eval()
    twin.load_state_dict(written)
    if case.dtype == torch.float32 and case.model.startswith("Olmo2"):  # windows need kernels for GPUs
        inputs = random_tokens(model)
        with torch.no_grad():
            found = twin(inputs["input_ids"])
        assert_close(found, logits(model, inputs), 2e-5)
    if case.model.startswith("Olmo3"):
        windows = [block.attention.backend.window_size for block in twin.blocks.values()]
        assert windows == [(3, 0) if kind == "sliding_attention" else (-1, -1) for kind in model.config.layer_types]


def test_in_either_format(tmp_path: Path) -> None:
    case = CASES[0]
    save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "core", to="core", set={"form": "safetensors"})
    tensormap.apply(case.mapping, tmp_path / "core", tmp_path / "back", to="hf")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "back"))
    assert sorted(before) == sorted(after)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
