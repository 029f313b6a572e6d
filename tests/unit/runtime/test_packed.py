"""Elements smaller than a byte: what keeps bytes whole is moved, code by code, and the rest is refused before anything is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest

import tensormap
from tensormap.diagnostics import CheckpointError
from tensormap.dtypes import BY_CODE
from tensormap.runtime.execute import run

Shape = tuple[int, ...]
Codes = dict[str, np.ndarray]


def stored(folder: Path, code: str, shape: Shape) -> np.ndarray:
    """Write a checkpoint of one packed tensor, and return the bits of its elements."""
    data = np.random.default_rng(prod(shape)).bytes(prod(shape) * BY_CODE[code].bits // 8)
    header = json.dumps({"w": {"dtype": code, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    return codes(data, shape)


def codes(data: bytes, shape: Shape) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").reshape(*shape, -1)


def loaded(path: Path, code: str) -> Codes:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, each in json.loads(data[8:start]).items():
        if name != "__metadata__":
            assert each["dtype"] == code
            low, high = each["data_offsets"]
            found[name] = codes(data[start + low : start + high], tuple(each["shape"]))
    return found


MOVES: dict[str, tuple[Shape, dict[str, int], Callable[[np.ndarray], Codes]]] = {
    "w [x y] <-> v [x y]": ((6, 8), {}, lambda w: {"v": w}),
    "w [(a + b) y] <-> v [a y], u [b y]": ((6, 4), {"a": 2}, lambda w: {"v": w[:2], "u": w[2:]}),
    "w [x (a + b)] <-> v [x a], u [x b]": ((6, 12), {"a": 4}, lambda w: {"v": w[:, :4], "u": w[:, 4:]}),
    "w [(h 2 d) y] <-> v [(2 h d) y]": (
        (24, 64),
        {"h": 3},
        lambda w: {"v": w.reshape(3, 2, 4, 64, -1).swapaxes(0, 1).reshape(24, 64, -1)},
    ),
    "w [x y z] <-> v [y x z]": ((64, 30, 256), {}, lambda w: {"v": w.swapaxes(0, 1)}),
}

REFUSED = {
    "w [x y] <-> v [y x]": ((6, 8), {}, "packed-elements"),
    "w [x (a + b)] <-> v [x a], u [x b]": ((8, 8), {"a": 3}, "packed-elements"),
    "w [(a + b) y] <-> v [a y], u [b y]": ((8, 5), {"a": 3}, "tensor-size"),
    "w [x y] + 1 <-> v [x y]": ((6, 8), {}, "packed-elements"),
}


@pytest.mark.parametrize("code", ["F4", "F6_E2M3", "F6_E3M2"])
@pytest.mark.parametrize(("tile", "workers"), [(None, 2), (1, 3), (100, 1)])
@pytest.mark.parametrize("equation", MOVES)
def test_codes_survive_a_move(tmp_path: Path, equation: str, tile: int | None, workers: int, code: str) -> None:
    shape, settings, meant = MOVES[equation]
    if tile == 1 and prod(shape) > 10_000:
        tile = 7
    expected = meant(stored(tmp_path / "in", code, shape))
    plan = tensormap.plan(tensormap.loads(equation), tmp_path / "in", to="right", set=settings)
    run(plan.steps, tmp_path / "out", tile=tile, workers=workers)
    found = loaded(tmp_path / "out" / "model.safetensors", code)
    assert found.keys() == expected.keys()
    for name, bits in expected.items():
        assert np.array_equal(found[name], bits), name


@pytest.mark.parametrize("code", ["F4", "F6_E2M3", "F6_E3M2"])
@pytest.mark.parametrize("equation", REFUSED)
def test_what_would_tear_bytes_apart_is_refused(tmp_path: Path, equation: str, code: str) -> None:
    shape, settings, slug = REFUSED[equation]
    stored(tmp_path / "in", code, shape)
    with pytest.raises(CheckpointError) as caught:
        tensormap.apply(tensormap.loads(equation), tmp_path / "in", tmp_path / "out", to="right", set=settings)
    assert caught.value.diagnostics[0].slug == slug
    assert not (tmp_path / "out").exists()
