"""Thousands of damaged files from a fixed seed: read, or refused by our own error; and what is read is what was written.

`TENSORMAP_FUZZ=100000` tries more of them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tensormap.checkpoints.open import open_checkpoint, verify_records
from tensormap.checkpoints.read import load_tensor
from tensormap.diagnostics import CheckpointError

ROUNDS = int(os.environ.get("TENSORMAP_FUZZ", "2000"))
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]

TENSORS = {
    "embed.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "layers.0.bias": torch.arange(5, dtype=torch.bfloat16),
    "layers.1.bias": torch.arange(7, dtype=torch.int64)[1::2],
    "scale": torch.tensor(3.0, dtype=torch.float16),
    "none": torch.empty(0, 3),
}


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return the data with one to three changes, most of them near each other's kind of trouble."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(out)) if out else 0
        match dice.randrange(8):
            case 0 if out:
                out[at] ^= 1 << dice.randrange(8)
            case 1 if out:
                out[at] = dice.randrange(256)
            case 2:
                del out[at:]
            case 3:
                del out[at : at + dice.randint(1, 40)]
            case 4:
                out[at:at] = dice.randbytes(dice.randint(1, 40))
            case 5:
                start = dice.randrange(len(out)) if out else 0
                out[at:at] = out[start : start + dice.randint(1, 80)]
            case 6:
                width = dice.choice([1, 2, 4, 8])
                out[at : at + width] = (dice.choice(NUMBERS) % 2 ** (8 * width)).to_bytes(width, "little")
            case 7:  # a digit or a letter for another: JSON and pickles stay well-formed
                spots = [k for k, each in enumerate(out[:4096]) if chr(each).isalnum() and each < 128]
                if spots:
                    out[dice.choice(spots)] = ord(dice.choice("0123456789aeFU"))
    return bytes(out)


def damaged(path: Path, seed: int) -> Iterator[int]:
    """Write one damaged version of a file after the other; yield its number."""
    data = path.read_bytes()
    dice = random.Random(seed)
    for k in range(ROUNDS):
        changed = mutated(data, dice)
        if changed != data:
            path.write_bytes(changed)
            yield k


def loaded(path: Path) -> dict[str, np.ndarray] | None:
    """Open a file, check its records and read every tensor; None where it is refused."""
    try:
        catalog = open_checkpoint(path)
        verify_records(path, path.name)
        return {name: load_tensor(catalog, name) for name in catalog.tensors}
    except CheckpointError as error:
        assert all(f"`{path.name}`" in each.message for each in error.diagnostics)  # noqa: PT017
        return None


def test_damaged_safetensors_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: each.contiguous() for name, each in TENSORS.items()}, path, {"format": "pt"})
    accepted = 0
    for k in damaged(path, 1):
        found = loaded(path)
        if found is None:
            continue
        accepted += 1
        with safe_open(path, framework="pt") as file:  # the reference reader sees the same
            assert sorted(file.keys()) == sorted(found), k
            for name, array in found.items():
                other = file.get_tensor(name)
                assert tuple(other.shape) == array.shape or other.dtype == torch.float4_e2m1fn_x2, k
                assert (
                    other.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() == array.tobytes()
                    or not array.size
                ), k
    assert 0 < accepted < ROUNDS / 2


def test_damaged_torch_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": TENSORS, "step": 5}, path)
    original = loaded(path)
    assert original is not None
    accepted = 0
    for k in damaged(path, 2):
        found = loaded(path)
        if found is None:
            continue
        accepted += 1
        assert list(found) == list(original), k
        assert all(found[name].tobytes() == original[name].tobytes() for name in found), k
    assert 0 < accepted < ROUNDS / 2


def test_damaged_torch_files_of_the_old_format(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": TENSORS, "step": 5}, path, _use_new_zipfile_serialization=False)
    accepted = sum(loaded(path) is not None for _ in damaged(path, 3))
    assert 0 < accepted < ROUNDS / 2


def test_damaged_pickles_in_sound_archives(tmp_path: Path) -> None:
    from tests.hostile.zips import held, tensor, torch_file

    path = tmp_path / "a.pt"
    dice = random.Random(4)
    accepted = 0
    for _ in range(ROUNDS):
        path.write_bytes(torch_file(mutated(held(tensor()), dice)))
        accepted += loaded(path) is not None
    assert 0 < accepted < ROUNDS / 2


def test_damaged_indexes(tmp_path: Path) -> None:
    for k, name in enumerate(TENSORS):
        save_file({name: TENSORS[name].contiguous()}, tmp_path / f"model-0000{k + 1}-of-00005.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    where = {name: f"model-0000{k + 1}-of-00005.safetensors" for k, name in enumerate(TENSORS)}
    path.write_text(json.dumps({"metadata": {"total_size": 100}, "weight_map": where}))
    accepted = 0
    for k in damaged(path, 5):
        try:
            catalog = open_checkpoint(tmp_path)
        except CheckpointError:
            continue
        accepted += 1
        assert {name: catalog.files[each.file].path for name, each in catalog.tensors.items()} == where, k
    assert 0 < accepted < ROUNDS / 2


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_damages_the_same(seed: int) -> None:
    one, two = (mutated(b"abc" * 100, random.Random(seed)) for _ in range(2))
    assert one == two
