"""`as` behind a tensor of bytes says what they mean: numbers of four bits, powers of two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tensormap

TEXT = "e.{n}.w [x (g 32) o] as float32 <- e.{n}.blocks [x o g 32] as float4_e2m1fn_x2 * e.{n}.scales [x o g] as float8_e8m0fnu"
HALVES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


def _stored() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for n in range(2):
        tensors[f"e.{n}.blocks"] = torch.randint(0, 256, (3, 7, 5, 16), dtype=torch.uint8, generator=generator)
        tensors[f"e.{n}.scales"] = torch.randint(90, 160, (3, 7, 5), dtype=torch.uint8, generator=generator)
    return tensors


def _meant(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Decode number by number: what the format's text says, in Python."""
    experts, rows, groups, size = blocks.shape
    out = torch.empty(experts, groups * 2 * size, rows)
    for x, o, g, j in np.ndindex(*blocks.shape):
        byte = int(blocks[x, o, g, j])
        for half, bits in enumerate((byte & 15, byte >> 4)):
            value = HALVES[bits & 7] * (-1.0 if bits & 8 else 1.0)
            out[x, g * 2 * size + 2 * j + half, o] = value * 2.0 ** (int(scales[x, o, g]) - 127)
    return out


@pytest.mark.parametrize("kept", ["files", "tensors", "lazy"])
def test_bytes_are_numbers(kept: str, tmp_path: Path) -> None:
    stored, mapping = _stored(), tensormap.loads(TEXT)
    (tmp_path / "here").mkdir()
    save_file(stored, tmp_path / "here" / "model.safetensors")
    if kept == "files":
        tensormap.apply(mapping, tmp_path / "here", tmp_path / "there", to="left")
        found = load_file(tmp_path / "there" / "model.safetensors")
    elif kept == "tensors":
        found = mapping.convert(stored, to="left")
    else:
        lazy = mapping.convert(tensormap.open(tmp_path / "here"), to="left")
        found = {name: torch.from_numpy(each) for name, each in lazy.items()}
    for n in range(2):
        meant = _meant(stored[f"e.{n}.blocks"], stored[f"e.{n}.scales"])
        assert torch.equal(found[f"e.{n}.w"], meant)


def test_a_plan_says_so_and_streams(tmp_path: Path) -> None:
    stored = _stored()
    save_file(stored, tmp_path / "model.safetensors")
    plan = tensormap.plan(tensormap.loads(TEXT), tmp_path, to="left")
    assert "decoded from E2M1" in str(plan)
    found = dict(plan.iter_tensors())
    assert np.array_equal(found["e.1.w"], _meant(stored["e.1.blocks"], stored["e.1.scales"]).numpy())


def test_other_dtypes_mean_what_they_say(tmp_path: Path) -> None:
    """A scale that is stored as float32 is no power of two."""
    stored = {"s": torch.tensor([3.0, 5.0])}
    mapping = tensormap.loads("s [g] as float8_e8m0fnu * 1.0 -> t [g] as float32")
    assert torch.equal(mapping.convert(stored, to="right")["t"], stored["s"])


def test_the_layout_counts_numbers() -> None:
    mapping = tensormap.loads("b [x 16] as float4_e2m1fn_x2 -> w [x 16] as float32")
    with pytest.raises(tensormap.CheckpointError, match=r"\b32\b"):
        mapping.convert({"b": torch.zeros(2, 16, dtype=torch.uint8)}, to="right")
