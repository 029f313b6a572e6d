"""Functions of a user's in rules: which tensors they are given at which positions, and what becomes of what they return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tensormap
from tensormap import externs
from tensormap.diagnostics import TensormapError


@pytest.fixture(autouse=True)
def _functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(externs, "_registered", {})
    externs.register("turned", lambda weight: weight[::-1].copy())
    externs.register("beside", lambda one, other: np.concatenate([one, other]))
    externs.register("halves", lambda weight: (weight / 2).astype(np.float16), "float16")
    externs.register("wrong", lambda weight: weight[1:])


def _applied(text: str, tensors: dict[str, Any], tmp_path: Path, **settings: Any) -> dict[str, tuple[str, list[Any]]]:
    (tmp_path / "a").mkdir()
    save_file(tensors, tmp_path / "a" / "model.safetensors")
    tensormap.apply(tensormap.loads(text), tmp_path / "a", tmp_path / "b", to="right", set=settings)
    found = load_file(tmp_path / "b" / "model.safetensors")
    return {name: (str(each.dtype), each.tolist()) for name, each in found.items()}


def _row(*numbers: float, dtype: type = np.float32) -> Any:
    return np.array(numbers, dtype)


def test_a_function_at_each_position(tmp_path: Path) -> None:
    text = "extern turned([o]) -> [o]\nturned(w.{i} [o]) -> v [o i]\n"
    found = _applied(text, {"w.0": _row(1, 2, 3), "w.1": _row(4, 5, 6)}, tmp_path)
    assert found == {"v": ("float32", [[3, 6], [2, 5], [1, 4]])}


def test_a_function_of_two_tensors(tmp_path: Path) -> None:
    text = "extern beside([a], [b]) -> [(a + b)]\nbeside(w.{i}, u.{i}) -> v.{i} [(a + b)]\n"
    tensors = {"w.0": _row(1), "u.0": _row(2, 3), "w.1": _row(4), "u.1": _row(5, 6)}
    assert _applied(text, tensors, tmp_path) == {
        "v.0": ("float32", [1, 2, 3]),
        "v.1": ("float32", [4, 5, 6]),
    }


def test_a_layout_of_its_own_is_not_the_signatures(tmp_path: Path) -> None:
    text = "extern turned([o]) -> [o]\nturned(w{}) -> v [o]\n"
    assert _applied(text.format(""), {"w": _row(1, 2)}, tmp_path) == {"v": ("float32", [2, 1])}
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(tensormap.loads(text.format(" [k]")), tmp_path / "a", to="right")
    assert [each.slug for each in caught.value.diagnostics] == ["underdetermined"]
    assert tensormap.plan(tensormap.loads(text.format(" [k]")), tmp_path / "a", to="right", set={"o": 2}).outputs


def test_what_a_function_returns_has_a_dtype(tmp_path: Path) -> None:
    text = "extern halves([o]) -> [o]\nhalves(w [o]) -> v [o]\nhalves(x [o]) -> y [o] as float32\n"
    found = _applied(text, {"w": _row(2, 4), "x": _row(6, 8)}, tmp_path)
    assert found == {"v": ("float16", [1, 2]), "y": ("float32", [3, 4])}


@pytest.mark.parametrize(("how", "values"), [("mean", [5, 4]), ("sum", [10, 8]), ("first", [4, 2])])
def test_replicas_of_what_a_function_returns(how: str, values: list[float], tmp_path: Path) -> None:
    text = f"extern turned([o]) -> [o]\nturned({{r}}.w [o]) -> v [o] replicated r by {how}\n"
    found = _applied(text, {"0.w": _row(2, 4), "1.w": _row(6, 6)}, tmp_path)
    assert found == {"v": ("float32", values)}


def test_replicas_that_must_be_equal(tmp_path: Path) -> None:
    text = "extern turned([o]) -> [o]\nturned({r}.w [o]) -> v [o] replicated r\n"
    with pytest.raises(TensormapError, match="must be equal"):
        _applied(text, {"0.w": _row(2, 4), "1.w": _row(6, 6)}, tmp_path)


def test_the_plan_names_what_a_function_is_given(tmp_path: Path) -> None:
    save_file({"w": _row(1), "u": _row(2, 3)}, tmp_path / "model.safetensors")
    text = "extern beside([a], [b]) -> [(a + b)]\nbeside(w, u) -> v [(a + b)]\n"
    plan = tensormap.plan(tensormap.loads(text), tmp_path, to="right")
    (line,) = [each for each in str(plan).splitlines() if each.strip().startswith("v ")]
    assert "<- w, u" in line


def test_another_shape_than_the_signature_says(tmp_path: Path) -> None:
    text = "extern wrong([o]) -> [o]\nwrong(w [o]) -> v [o]\n"
    with pytest.raises(TensormapError):
        _applied(text, {"w": _row(1, 2)}, tmp_path)


def test_a_tensor_that_a_function_lacks(tmp_path: Path) -> None:
    text = "extern beside([a], [b]) -> [(a + b)]\nbeside(w, u) -> v [(a + b)]\n"
    with pytest.raises(TensormapError, match="the source lacks `u`"):
        _applied(text, {"w": _row(1, 2)}, tmp_path, b=1)
