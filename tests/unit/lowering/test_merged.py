"""Replicas, shares, constants and formulas on files: what comes out, element by element, and what is refused when it differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tensormap
from tensormap.diagnostics import TensormapError

A = np.array([1, 2, 3, 4], np.float32)
B = np.array([5, 6, 8, 8], np.float32)
M = np.arange(12, dtype=np.float32).reshape(3, 4)


def _applied(text: str, tensors: dict[str, Any], to: str, folder: Path, **settings: Any) -> dict[str, Any]:
    source = folder / "source"
    source.mkdir()
    save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, source / "model.safetensors")
    tensormap.apply(tensormap.loads(text), source, folder / "target", to=to, set=settings)
    return load_file(folder / "target" / "model.safetensors")


REPLICAS = "index r < 2\nx.{r} [e] <-> y [e] replicated r"

CASES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "equal copies": (REPLICAS, {"x.0": A, "x.1": A}, "right", {"y": A}),
    "copies are written": (REPLICAS, {"y": A}, "left", {"x.0": A, "x.1": A}),
    "mean": (f"{REPLICAS} by mean", {"x.0": A, "x.1": B}, "right", {"y": (A + B) / 2}),
    "sum": (f"{REPLICAS} by sum", {"x.0": A, "x.1": B}, "right", {"y": A + B}),
    "shares": (f"{REPLICAS} by sum", {"y": A}, "left", {"x.0": A / 2, "x.1": A / 2}),
    "the first": (f"{REPLICAS} by first", {"x.0": A, "x.1": B}, "right", {"y": A}),
    "sum over an axis": ("x [k e] <-> y [e] replicated k by sum", {"x": M}, "right", {"y": M.sum(0)}),
    "mean over an axis": ("x [e k] <-> y [e] replicated k by mean", {"x": M}, "right", {"y": M.mean(1)}),
    "the first along an axis": ("x [e k] <-> y [e] replicated k by first", {"x": M}, "right", {"y": M[:, 0]}),
    "padding": ("x [a], 0 [2] <-> y [(a + 2)]", {"x": A}, "right", {"y": np.append(A, [0, 0]).astype(np.float32)}),
    "padding in front": (
        "-1 [2], x [a] <-> y [(2 + a)]",
        {"x": A},
        "right",
        {"y": np.append([-1, -1], A).astype(np.float32)},
    ),
    "padding is taken off": (
        "x [a], 0 [2] <-> y [(a + 2)]",
        {"y": np.append(A, [0, 0]).astype(np.float32)},
        "left",
        {"x": A},
    ),
    "what nobody cares about": (
        "x [a], _ [2] <-> y [(a + 2)]",
        {"y": np.append(A, [3, 4]).astype(np.float32)},
        "left",
        {"x": A},
    ),
    "one less": ("x [e] - 1 <-> y [e]", {"x": A}, "right", {"y": A - 1}),
    "one more on the way back": ("x [e] - 1 <-> y [e]", {"y": A}, "left", {"x": A + 1}),
    "from one": ("1 - x [e] <-> y [e]", {"x": A}, "right", {"y": 1 - A}),
    "from one, back": ("1 - x [e] <-> y [e]", {"y": A}, "left", {"x": 1 - A}),
    "half": ("x [e] / 2 <-> y [e]", {"x": A}, "right", {"y": A / 2}),
    "half, back": ("x [e] / 2 <-> y [e]", {"y": A}, "left", {"x": A * 2}),
    "one over": ("2 / x [e] <-> y [e]", {"x": A}, "right", {"y": 2 / A}),
    "one over, back": ("2 / x [e] <-> y [e]", {"y": A}, "left", {"x": 2 / A}),
    "negative": ("-x [e f] <-> y [f e]", {"x": M}, "right", {"y": -M.T}),
    "two tensors": ("a [e] + b [e] -> y [e]", {"a": A, "b": B}, "right", {"y": A + B}),
    "a row times a matrix": ("a [k e] * b [e] -> y [e k]", {"a": M, "b": A}, "right", {"y": (M * A).T}),
    "a sum of products": (
        "(a [e] - 2) * b [e] + 1 -> y [e]",
        {"a": A, "b": B},
        "right",
        {"y": (A - 2) * B + 1},
    ),
    "a transposed virtual tensor": (
        "x [a b] <-> $t [b a]\n$t [(c d) a] <-> y [c a d]",
        {"x": M.reshape(3, 4)},
        "right",
        {"y": M.T.reshape(2, 2, 3).transpose(0, 2, 1)},
    ),
    "parts of a virtual tensor": (
        "x [a], z [b] <-> $t [(a + b)]\n$t [(r n)] <-> y.{r} [n]",
        {"x": A, "z": B},
        "right",
        {"y.0": A[:2], "y.1": A[2:], "y.2": B[:2], "y.3": B[2:]},
    ),
    "a constant that is checked": (
        "x [e] <-> y [e]\nz [e] <-> 0 [e] optional",
        {"x": A, "z": 0 * A},
        "right",
        {"y": A},
    ),
    "the rest": (
        "x [... e] <-> y [e ...]",
        {"x": M.reshape(3, 2, 2)},
        "right",
        {"y": M.reshape(3, 2, 2).transpose(2, 0, 1)},
    ),
}
SETTINGS = {"parts of a virtual tensor": {"n": 2}, "a transposed virtual tensor": {"c": 2}}


@pytest.mark.parametrize("name", CASES)
def test_what_comes_out(name: str, tmp_path: Path) -> None:
    text, tensors, to, expected = CASES[name]
    found = _applied(text, tensors, to, tmp_path, **SETTINGS.get(name, {}))
    assert sorted(found) == sorted(expected)
    for key, each in expected.items():
        np.testing.assert_allclose(found[key], each, rtol=1e-6, err_msg=key)
        assert found[key].shape == each.shape
        assert found[key].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "tensors", "to"),
    [
        (REPLICAS, {"x.0": A, "x.1": B}, "right"),
        ("x [e k] <-> y [e] replicated k", {"x": M}, "right"),
        ("x [e] <-> y [e]\nz [e] <-> 0 [e] optional", {"x": A, "z": A}, "right"),
        ("x [e] <-> y [e]\nz [e] <-> 3 [e] optional", {"x": A, "z": np.array([3, 3, 3, 4], np.float32)}, "right"),
        ("x [e] <-> y [e]\n2 * z [e] <-> 3 [e] optional", {"x": A, "z": 3 + 0 * A}, "right"),
        ("x [a], 0 [2] <-> y [(a + 2)]", {"y": A}, "left"),
    ],
)
def test_what_has_to_be_equal_is_compared(text: str, tensors: dict[str, Any], to: str, tmp_path: Path) -> None:
    with pytest.raises(TensormapError):
        _applied(text, tensors, to, tmp_path)
    assert not (tmp_path / "target").exists()


def test_a_check_computes_before_it_compares(tmp_path: Path) -> None:
    text = "x [e] <-> y [e]\n2 * z [e] <-> 3 [e] optional"
    assert list(_applied(text, {"x": A, "z": 1.5 + 0 * A}, "right", tmp_path)) == ["y"]


def test_whole_numbers_have_shares_that_are_no_whole_numbers(tmp_path: Path) -> None:
    text = f"{REPLICAS.replace(' <->', ' as float32 <->')} by sum"
    made = _applied(text, {"y": np.array([1, 2, 3])}, "left", tmp_path)
    assert made["x.0"].tolist() == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("text", "tensors", "slug", "message"),
    [
        (
            f"{REPLICAS} by sum",
            {"y": np.array([1, 2])},
            "integer-shares",
            "`x.0` would be a share of `int64`, and whole numbers have no equal shares",
        ),
        (
            f"{REPLICAS.replace(' <->', ' as int32 <->')} by sum",
            {"y": A},
            "integer-shares",
            "`x.0` would be a share of `int32`, and whole numbers have no equal shares",
        ),
        (
            "x [a], z [b] <-> y [(a + b)]",
            {"x": A, "z": A.astype(np.float16)},
            "mixed-dtypes",
            "`y` is made of tensors of different dtypes: float32 and float16",
        ),
        ("x [a b] <-> y [b a]", {"x": A}, "wrong-rank", "`x` is [4], and its layout has 2 axes"),
        ("x [a ... b] <-> y [b ... a]", {"x": A}, "wrong-rank", "`x` is [4], and its layout has at least 2 axes"),
    ],
)
def test_what_is_refused(text: str, tensors: dict[str, Any], slug: str, message: str, tmp_path: Path) -> None:
    to = "left" if "y" in tensors else "right"
    with pytest.raises(TensormapError) as caught:
        _applied(text, tensors, to, tmp_path)
    assert [(each.slug, each.message) for each in caught.value.diagnostics] == [(slug, message)]
