"""mlx-lm itself, on a CPU: it loads what is written, strictly, and computes the same logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tensormap
from tests.parity.cases.mlx import CASES
from tests.parity.harness import Case, assert_close, logits, random_tokens, save
from tests.parity.optional import peer


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mlx_reads_it(case: Case, tmp_path: Path) -> None:
    mlx, utils = peer("mlx.core"), peer("mlx_lm.utils")
    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "mlx", to="mlx")
    twin, _ = utils.load_model(tmp_path / "mlx", strict=True)
    written = set(mlx.load(str(tmp_path / "mlx" / "model.safetensors")))
    assert {name for name, _ in peer("mlx.utils").tree_flatten(twin.parameters())} == written
    inputs = random_tokens(model)
    with mlx.stream(mlx.cpu):
        found = twin(mlx.array(inputs["input_ids"].tolist())).astype(mlx.float32)
    if case.dtype == torch.float32:
        assert_close(torch.tensor(found.tolist()), logits(model, inputs), 1e-4)
