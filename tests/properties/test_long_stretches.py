"""Tensors as long as the limits between the ways that bytes take: whoever copies them, they are those of a run in memory."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.runtime.buffers import TILE
from tensormap.runtime.execute import run
from tensormap.runtime.tiling import STRETCH
from tensormap.runtime.yard import _CALL, _CARRIED
from tests.stored import read_safetensors

DTYPES = [np.dtype(each) for each in ("uint8", "float32", "int64", ml_dtypes.bfloat16)]
LIMITS = [4096, STRETCH, TILE // 2, TILE, _CALL]
Shapes = dict[str, tuple[int, ...]]


class Drawn:
    """Random rules, each with the shapes of what it reads."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.settings: dict[str, int] = {}

    def rule(self, k: int, item: int) -> tuple[str, Shapes]:
        a, b = self.size(f"a{'xyzuvw'[k]}", item), self.size(f"b{'xyzuvw'[k]}", item)
        h = f"h{'xyzuvw'[k]}"
        self.settings[h] = self.dice.choice([1, 2, 3])
        n, m, rows = self.settings[a], self.settings[b], self.settings[h]
        left, other, right = f"left{k}", f"other{k}", f"right{k}"
        rules: list[tuple[str, Shapes]] = [
            (f"{left} [{a}], {other} [{b}] <-> {right} [{a}], moved{k} [{b}]", {left: (n,), other: (m,)}),
            (f"{left} [{a}], {other} [{b}] <-> {right} [({a} + {b})]", {left: (n,), other: (m,)}),
            (f"{left} [{h} {a}], {other} [{h} {b}] <-> {right} [{h} ({a} + {b})]", {left: (rows, n), other: (rows, m)}),
            (f"{left} [{h} ({a} + {b})] <-> {right} [{h} {a}], moved{k} [{b} {h}]", {left: (rows, n + m)}),
            (
                f"{left} [{h} 2 {a}], {other} [{b}] <-> {right} [2 {h} {a}], moved{k} [{b}]",
                {left: (rows, 2, n), other: (m,)},
            ),
            (
                f"{left} [({a} (1 + 1))], {other} [{b}] <-> {right} [({a} + {a})], moved{k} [{b}]",
                {left: (2 * n,), other: (m,)},
            ),
        ]
        return self.dice.choice(rules)

    def size(self, name: str, item: int) -> str:
        """Draw a size so that many bytes are as many as a limit, or nearly."""
        near = self.dice.choice(LIMITS) // item
        self.settings[name] = max(1, near + self.dice.choice([-1, 0, 0, 1, self.dice.randrange(-60, 60)]))
        return name


@contextmanager
def unreliable(dice: random.Random) -> Iterator[None]:
    """Let the system copy less than it is asked for, nothing, or fail."""
    real = os.copy_file_range

    def copy(source: int, target: int, count: int, *rest: int) -> int:
        match dice.randrange(6):
            case 0:
                raise OSError(dice.choice([errno.EIO, errno.EXDEV, errno.ENOSPC]), "not now")
            case 1:
                return 0
            case 2 | 3:
                count = dice.randint(1, count)
        return real(source, target, count, *rest)

    os.copy_file_range = copy
    try:
        yield
    finally:
        os.copy_file_range = real


def digests(target: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(target.iterdir())}


@pytest.mark.parametrize("seed", range(8))
def test_all_ways_give_the_same_bytes(tmp_path, seed):
    dice, noise = random.Random(seed), np.random.default_rng(seed)
    drawn = Drawn(dice)
    rules, tensors = [], {}
    for k in range(dice.randint(1, 3)):
        dtype = dice.choice(DTYPES)
        text, shapes = drawn.rule(k, dtype.itemsize)
        rules.append(text)
        for name, shape in shapes.items():
            raw = noise.integers(0, 256, prod(shape) * dtype.itemsize, np.uint8)
            tensors[name] = raw.view(dtype).reshape(shape)
    (tmp_path / "source").mkdir()
    save_file(tensors, tmp_path / "source" / "model.safetensors")
    text = "\n".join(rules)
    sizes = {name: size for name, size in drawn.settings.items() if name in text}
    mapping = tensormap.loads(text)
    expected = mapping.convert(tensors, to="right", set=sizes)
    total = sum(each.nbytes for each in expected.values())
    shard = dice.choice([total, total // 3 + 1])
    plan = tensormap.plan(mapping, tmp_path / "source", "right", set=sizes, max_shard_size=shard)

    run(plan.steps, tmp_path / "first", workers=1)
    found = read_safetensors(tmp_path / "first")
    assert {name: bytes(each.data) for name, each in found.items()} == {
        name: each.tobytes() for name, each in expected.items()
    }
    wanted = digests(tmp_path / "first")

    run(plan.steps, tmp_path / "two", workers=2, sync=False)
    run(plan.steps, tmp_path / "many", workers=dice.randint(3, 8), memory=1 << 20)
    run(plan.steps, tmp_path / "odd", workers=2, tile=dice.choice([5000, 70_001, 3 * TILE]))
    with unreliable(dice):
        run(plan.steps, tmp_path / "unreliable", workers=dice.randint(1, 3))
    for part in (2, 1):
        tensormap.apply(plan, tmp_path / "parts", part=(part, 2))
    tensormap.finalize(tmp_path / "parts")
    with ThreadPoolExecutor(2) as pool:
        tensormap.apply(plan, tmp_path / "pool", executor=pool)
    for way in ("two", "many", "odd", "unreliable", "parts", "pool"):
        assert digests(tmp_path / way) == wanted, way


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_tensor_that_is_as_long_as_a_load(tmp_path, more):
    """What a worker is given at once ends at a multiple of its length in the target, wherever the tensor begins there."""
    tensor = np.random.default_rng(0).integers(0, 256, 2 * _CARRIED + more, np.uint8)
    (tmp_path / "source").mkdir()
    save_file({"x": tensor, "y": tensor[:3]}, tmp_path / "source" / "model.safetensors")
    plan = tensormap.plan(tensormap.loads("x [n] <-> z [n]\ny [m] <-> a [m]"), tmp_path / "source")
    for workers in (1, 3):
        tensormap.apply(plan, tmp_path / str(workers), workers=workers)
        assert bytes(read_safetensors(tmp_path / str(workers))["z"].data) == tensor.tobytes()
