"""A reference beside the plan: its names, shapes and dtypes are those that must be written, and every difference is listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import tensormap
from tensormap.diagnostics import CheckpointError

TEXT = "w.{i} [e f] <-> v.{i} [f e]\nb [e] <-> c [e]\n"


def _zeros(*shape: int, dtype: type = np.float32) -> NDArray[np.generic]:
    return np.zeros(shape, dtype)


SOURCE = {"w.0": _zeros(2, 3), "w.1": _zeros(2, 3), "b": _zeros(2)}
TARGET = {"v.0": _zeros(3, 2), "v.1": _zeros(3, 2), "c": _zeros(2)}


def _save(folder: Path, tensors: dict[str, NDArray[np.generic]]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_what_is_alike(tmp_path: Path) -> None:
    source, like = _save(tmp_path / "a", SOURCE), _save(tmp_path / "b", TARGET)
    plan = tensormap.plan(tensormap.loads(TEXT), source, to="right", like=like)
    assert sorted(each.name for each in plan.outputs[0].tensors) == ["c", "v.0", "v.1"]


def test_every_difference_is_listed(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", SOURCE)
    reference = {"v.0": _zeros(2, 3), "c": _zeros(2, dtype=np.float16), "x.1": _zeros(1), "x.0": _zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(tensormap.loads(TEXT), source, to="right", like=_save(tmp_path / "b", reference))
    assert [(each.slug, each.message) for each in caught.value.diagnostics] == [
        ("not-written", "the reference has `x.0`, and it would not be written"),
        ("not-written", "the reference has `x.1`, and it would not be written"),
        ("not-in-reference", "`v.1` would be written, and the reference has no such tensor"),
        ("dtype-mismatch", "`c` would be float32, and is float16 in the reference"),
        ("shape-mismatch", "`v.0` would be [3, 2], and is [2, 3] in the reference"),
    ]


def test_a_shape_and_a_dtype_are_two_differences(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", SOURCE)
    like = _save(tmp_path / "b", TARGET | {"c": _zeros(3, dtype=np.float16)})
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(tensormap.loads(TEXT), source, to="right", like=like)
    assert [each.slug for each in caught.value.diagnostics] == ["shape-mismatch", "dtype-mismatch"]


def test_what_was_written_is_not_converted_once_more(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(2, 2)})
    mapping = tensormap.loads("x [a b] <-> x [b a]\n")
    tensormap.apply(mapping, source, tmp_path / "b", to="right")
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(mapping, tmp_path / "b", to="right")
    (finding,) = caught.value.diagnostics
    assert finding.slug == "already-converted"
    assert finding.help == ("convert it back with `--to left`",)
    assert tensormap.plan(mapping, tmp_path / "b", to="left").outputs
    with pytest.raises(CheckpointError, match="already-converted"):
        tensormap.plan(tensormap.loads("x [a b] <-> x [b a]\n", "copy.tmap"), tmp_path / "b", to="right")
    other = tensormap.loads("x [p q] <-> x [q p]\n", "another.tmap")
    assert tensormap.plan(other, tmp_path / "b", to="right").outputs
