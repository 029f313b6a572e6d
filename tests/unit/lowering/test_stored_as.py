"""`as DTYPE` says how a tensor is stored on its own side. On the other side it has the dtype of most weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tensormap

TEXT = """
a.weight [x y] <-> b.weight [x y]
a.norm [x] as float32 <-> b.norm [x]
a.bias [x] as float32 <-> b.bias [x] as float32
"""


def _tensors(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        "b.weight": torch.arange(12).reshape(3, 4).to(dtype),
        "b.norm": torch.tensor([1.5, 2.0, -3.0], dtype=dtype),
        "b.bias": torch.tensor([1e-7, 2.0, 3.0]),
    }


def test_there_wide_and_back_as_the_rest(tmp_path: Path) -> None:
    held = _tensors(torch.bfloat16)
    (tmp_path / "b").mkdir()
    save_file(held, tmp_path / "b" / "model.safetensors")
    mapping = tensormap.loads(TEXT)
    tensormap.apply(mapping, tmp_path / "b", tmp_path / "a", to="left")
    there = load_file(tmp_path / "a" / "model.safetensors")
    assert {name: each.dtype for name, each in there.items()} == {
        "a.weight": torch.bfloat16,
        "a.norm": torch.float32,
        "a.bias": torch.float32,
    }
    tensormap.apply(mapping, tmp_path / "a", tmp_path / "back", to="right")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert all(each.dtype == held[name].dtype and torch.equal(each, held[name]) for name, each in back.items())


def test_in_memory_as_in_files() -> None:
    held = _tensors(torch.float16)
    mapping = tensormap.loads(TEXT)
    there = mapping.convert(held, to="left")
    back = mapping.convert(there, to="right")
    assert there["a.norm"].dtype == torch.float32
    assert {name: each.dtype for name, each in back.items()} == {name: each.dtype for name, each in held.items()}


def test_it_is_listed_as_rounding() -> None:
    findings = tensormap.loads(TEXT).check()
    assert "`b.norm` takes the dtype of most tensors" in str(findings.losses)
