"""Replicas of a part of a tensor: the part is named by a virtual tensor, and all copies must be equal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tensormap
from tests.stored import read_safetensors

TEXT = """
mapping a <-> b
side a {
    files "rank-{r}.safetensors" as {r}.
}
index h < 2
index g < 2
{(h g)}.w [(o + d) e] <-> $q.{(h g)} [o e], $k.{(h g)} [d e]
$q.{(h g)} [o e] <-> q [(h g o) e]
$k.{(h g)} [d e] <-> k [(h d) e] replicated g
"""


def _write(folder: Path, damage: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    folder.mkdir()
    q, k = torch.randn(12, 5), torch.randn(4, 5)
    for h in range(2):
        for g in range(2):
            mine = k[2 * h : 2 * h + 2].clone()
            mine[1, 3] += damage * g * h
            rows = q[3 * (2 * h + g) : 3 * (2 * h + g) + 3]
            save_file({"w": torch.cat([rows, mine])}, folder / f"rank-{2 * h + g}.safetensors")
    return q, k


def test_equal_replicas_are_one(tmp_path: Path) -> None:
    q, k = _write(tmp_path / "a")
    mapping = tensormap.loads(TEXT)
    tensormap.apply(mapping, tmp_path / "a", tmp_path / "b", to="b", set={"o": 3})
    found = read_safetensors(tmp_path / "b")
    assert torch.equal(found["q"].tensor(), q)
    assert torch.equal(found["k"].tensor(), k)
    tensormap.apply(mapping, tmp_path / "b", tmp_path / "back", to="a")
    for path in (tmp_path / "a").iterdir():
        assert torch.equal(load_file(tmp_path / "back" / path.name)["w"], load_file(path)["w"])


def test_replicas_that_differ_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "a", damage=1.0)
    with pytest.raises(tensormap.CheckpointError, match="differ"):
        tensormap.apply(tensormap.loads(TEXT), tmp_path / "a", tmp_path / "b", to="b", set={"o": 3})
    assert not (tmp_path / "b").exists()
