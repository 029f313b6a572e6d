"""Thousands of damaged files from a fixed seed: read, or refused by our own error; and what is read is what was written.

`make torture` tries 10,000 of each kind, and with `TENSORMAP_FUZZ=100000` more of them.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import tensormap
from tensormap.checkpoints.json_config import read_json
from tensormap.checkpoints.open import open_checkpoint, verify_records
from tensormap.checkpoints.read import load_tensor
from tensormap.checkpoints.yaml_config import read_yaml, write_yaml
from tensormap.diagnostics import CheckpointError
from tests.hostile.ggufs import ARRAY, F32, Q4_0, STRING, UINT32, array, made, number, pair, record, text
from tests.hostile.zips import held, tensor, torch_file

ROUNDS = [1500, pytest.param(int(os.environ.get("TENSORMAP_FUZZ", "10000")), marks=pytest.mark.torture)]
SECONDS = 5  # of CPU time, for one file
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


@pytest.fixture(params=ROUNDS)
def rounds(request: pytest.FixtureRequest) -> int:
    """How many files a test damages."""
    return int(request.param)


def damages(data: bytes, seed: int, rounds: int) -> Iterator[tuple[int, bytes]]:
    """Yield one damaged version after the other, with its number; the next has to be asked for soon."""
    dice = random.Random(f"{seed}/{rounds}")
    k = 0
    while k < rounds:
        changed = mutated(data, dice)
        if changed == data:  # one change may undo another
            continue
        began = time.process_time()
        yield k, changed
        assert time.process_time() - began < SECONDS, k
        k += 1


def damaged(path: Path, seed: int, rounds: int) -> Iterator[int]:
    """Write one damaged version of a file after the other; yield its number."""
    for k, changed in damages(path.read_bytes(), seed, rounds):
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


def test_damaged_safetensors_files(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: each.contiguous() for name, each in TENSORS.items()}, path, {"format": "pt"})
    accepted = 0
    for k in damaged(path, 1, rounds):
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
    assert 0 < accepted < rounds / 2


def test_damaged_torch_files(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": TENSORS, "step": 5}, path)
    original = loaded(path)
    assert original is not None
    accepted = 0
    for k in damaged(path, 2, rounds):
        found = loaded(path)
        if found is None:
            continue
        accepted += 1
        assert list(found) == list(original), k
        assert all(found[name].tobytes() == original[name].tobytes() for name in found), k
    assert 0 < accepted < rounds / 2


def test_damaged_torch_files_of_the_old_format(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": TENSORS, "step": 5}, path, _use_new_zipfile_serialization=False)
    accepted = sum(loaded(path) is not None for _ in damaged(path, 3, rounds))
    assert 0 < accepted < rounds / 2


def test_damaged_pickles_in_sound_archives(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "a.pt"
    accepted = 0
    for _, changed in damages(held(tensor()), 4, rounds):
        path.write_bytes(torch_file(changed))
        accepted += loaded(path) is not None
    assert 0 < accepted < rounds / 2


def test_damaged_indexes(tmp_path: Path, rounds: int) -> None:
    for k, name in enumerate(TENSORS):
        save_file({name: TENSORS[name].contiguous()}, tmp_path / f"model-0000{k + 1}-of-00005.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    where = {name: f"model-0000{k + 1}-of-00005.safetensors" for k, name in enumerate(TENSORS)}
    path.write_text(json.dumps({"metadata": {"total_size": 100}, "weight_map": where}))
    accepted = 0
    for k in damaged(path, 5, rounds):
        try:
            catalog = open_checkpoint(tmp_path)
        except CheckpointError:
            continue
        accepted += 1
        assert {name: catalog.files[each.file].path for name, each in catalog.tensors.items()} == where, k
    assert 0 < accepted < rounds / 2


def test_damaged_gguf_files(tmp_path: Path, rounds: int) -> None:
    pairs = [
        pair("general.architecture", STRING, text("llama")),
        pair("llama.block_count", UINT32, number(UINT32, 1)),
        pair("list", ARRAY, array(STRING, [text("a"), text("b")])),
    ]
    path = tmp_path / "a.gguf"
    path.write_bytes(made(pairs, [record("a", (4, 2), F32, 0), record("b", (2, 32), Q4_0, 32)], bytes(range(96))))
    original = open_checkpoint(path)
    accepted = same = 0
    for k in damaged(path, 6, rounds):
        try:
            catalog = open_checkpoint(path)
        except CheckpointError as error:
            assert all(f"`{path.name}`" in each.message for each in error.diagnostics)  # noqa: PT017
            continue
        accepted += 1
        size = path.stat().st_size
        assert all(0 <= each.offset <= size for each in catalog.tensors.values()), (
            k
        )  # nothing is promised of bytes: no checksums
        same += list(catalog.tensors) == list(original.tensors)
    assert 0 < same <= accepted < rounds * 0.9


def test_damaged_plans(tmp_path: Path, rounds: int) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(4)}, tmp_path / "model.safetensors")
    mapping = tensormap.loads("a [x y] <-> c [y x]\nb [z] + 1 <-> d [z]\n")
    good = tensormap.plan(mapping, tmp_path, to="right", dtype="float16").to_json()
    accepted = 0
    for k, changed in damages(good.encode(), 7, rounds):
        try:
            plan = tensormap.Plan.from_json(changed.decode("utf-8", "replace"))
        except CheckpointError as error:
            assert all(each.slug in ("bad-plan", "plan-changed") for each in error.diagnostics)  # noqa: PT017
            continue
        accepted += 1
        assert json.loads(plan.to_json()) == json.loads(good), k  # such as a space more
    assert accepted < rounds / 10


def test_damaged_configs(tmp_path: Path, rounds: int) -> None:
    table = {"hidden_size": 4096, "rope": {"theta": 1e4, "list": [1, 2.5, None, "x"]}, "tied": False, "name": "a-b"}
    for k, (name, data) in enumerate({"config.json": json.dumps(table).encode(), "a.yml": write_yaml(table)}.items()):
        path = tmp_path / name
        path.write_bytes(data)
        accepted = 0
        for _ in damaged(path, 8 + k, rounds):
            try:
                found = read_json(path) if name.endswith("json") else read_yaml([path])
            except CheckpointError as error:
                assert all(name in each.message for each in error.diagnostics)  # noqa: PT017
                continue
            accepted += 1
            assert all(isinstance(each, str) for each in found)
        assert 0 < accepted < rounds / 2


def test_as_many_are_damaged_as_is_said() -> None:
    """A change that changes nothing does not count."""
    data = b"ab"  # so short that many do
    found = [changed for _, changed in damages(data, 1, 500)]
    assert len(found) == 500
    assert data not in found


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_damages_the_same(seed: int) -> None:
    one, two = (mutated(b"abc" * 100, random.Random(seed)) for _ in range(2))
    assert one == two
