"""Which files a side's patterns write: one for each position, with what a line puts beside the tensors; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import tensormap
from tensormap.diagnostics import TensormapError

RULES = "index i < n\nl{i}.w [e f] <-> w.{i} [f e]\nhead [e] <-> head [e]\n"


def _source(folder: Path) -> Path:
    folder.mkdir()
    tensors = {f"w.{i}": np.full((2, 3), i, np.float32) for i in range(2)} | {"head": np.ones(3, np.float32)}
    save_file(tensors, folder / "model.safetensors")
    return folder


def _mapping(side: str, before: str = "") -> tensormap.Mapping:
    return tensormap.loads(f"mapping a <-> b\n{before}side a {{\n{side}\n}}\n{RULES}")


def _written(mapping: tensormap.Mapping, tmp_path: Path, **settings: Any) -> dict[str, list[str]]:
    plan = tensormap.plan(mapping, _source(tmp_path / "b"), to="a", set=settings)
    return {file.path: [each.name for each in file.tensors] for file in plan.outputs}


def _refused(mapping: tensormap.Mapping, tmp_path: Path, **settings: Any) -> list[tuple[str, str]]:
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(mapping, _source(tmp_path / "b"), to="a", set=settings)
    return [(each.slug, each.message) for each in caught.value.diagnostics]


def test_a_file_for_each_position(tmp_path: Path) -> None:
    mapping = _mapping('files "layer_{i:02}.safetensors" as l{i}.\nfiles "rest-*.safetensors"')
    assert _written(mapping, tmp_path) == {
        "layer_00.safetensors": ["l0.w"],
        "layer_01.safetensors": ["l1.w"],
        "rest-model.safetensors": ["head"],
    }


def test_a_condition_on_the_files_alone(tmp_path: Path) -> None:
    side = 'files "one.safetensors" when form == "one"\nfiles "other.safetensors" when form == "other"'
    mapping = _mapping(side, "param form in one, other\n")
    assert _refused(mapping, tmp_path) == [
        ("choice-needed", "`form` must be chosen: the files to write depend on it"),
    ]
    plan = tensormap.plan(mapping, tmp_path / "b", to="a", set={"form": "other"})
    assert [each.path for each in plan.outputs] == ["other.safetensors"]


def test_what_stands_beside_the_tensors(tmp_path: Path) -> None:
    side = 'files "x{i}.pt" at model.inner under m. as l{i}. with step = 10 * i, name = "n", list = [i, n]\nfiles "rest.pt"\n'
    side += 'files "rng_{i}.pt" with seed = i + 1\nfiles "info.pt" with version = 2.5'
    mapping = _mapping(side)
    tensormap.apply(mapping, _source(tmp_path / "b"), tmp_path / "a", to="a")
    found = torch.load(tmp_path / "a" / "x1.pt")
    assert {key: each for key, each in found.items() if key in ("step", "name", "list")} == {
        "step": 10,
        "name": "n",
        "list": [1, 2],
    }
    assert list(found["model"]["inner"]) == ["m.w"]
    assert [torch.load(tmp_path / "a" / f"rng_{i}.pt")["seed"] for i in range(2)] == [1, 2]
    assert not (tmp_path / "a" / "rng_2.pt").exists()
    assert torch.load(tmp_path / "a" / "info.pt")["version"] == 2.5


def test_a_pattern_without_a_size(tmp_path: Path) -> None:
    mapping = _mapping('files "*.pt"\nfiles "rng_{k}.pt" with seed = 1')
    assert _refused(mapping, tmp_path) == [("unknown-index", "`k` in this pattern is no index of known size")]


def test_an_entry_without_a_value(tmp_path: Path) -> None:
    mapping = _mapping('files "*.pt"\nfiles "x.pt" with seed = s', "param s\n")
    assert _refused(mapping, tmp_path) == [("unknown-value", "`s` is not known")]
    assert tensormap.plan(mapping, tmp_path / "b", to="a", set={"s": 3}).outputs


def test_a_tensor_that_no_line_holds(tmp_path: Path) -> None:
    ((slug, message),) = _refused(_mapping('files "layer_{i}.safetensors" as l{i}.'), tmp_path)
    assert "`head`" in message, (slug, message)
