"""Two forms of a side that read the same files are told apart by the names that the rules know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tensormap

TEXT = """
mapping inner <-> outer

side inner {
    files "*.safetensors" when form == "alone"
    files "*.safetensors" under part. when form == "whole"
}
param form in alone, whole = alone "the part alone, or within a model"

weight [x y] <-> w [x y]
"""


@pytest.mark.parametrize("prefix", ["", "part."])
def test_forms_by_names(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    weight = torch.arange(6.0).reshape(2, 3)
    others = {"another.weight": torch.zeros(3)} if prefix else {}
    save_file({f"{prefix}weight": weight, **others}, tmp_path / "here" / "model.safetensors")
    tensormap.apply(tensormap.loads(TEXT), tmp_path / "here", tmp_path / "there", to="outer")
    found = load_file(tmp_path / "there" / "model.safetensors")
    assert list(found) == ["w"]
    assert torch.equal(found["w"], weight)
