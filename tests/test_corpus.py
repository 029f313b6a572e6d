"""Every equation of the conformance corpus moves the elements that the real converters move: both ways, both executions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import tensormap

Side = Literal["left", "right"]
OTHER: dict[Side, Side] = {"left": "right", "right": "left"}


@dataclass(frozen=True, slots=True)
class Case:
    label: str
    equation: str
    dims: dict[str, int]
    tensors: dict[Side, dict[str, NDArray[np.int64]]]


def _case(record: dict[str, Any]) -> Case:
    tensors = {
        side: {name: np.array(rows, dtype=np.int64) for name, rows in record[side].items()}
        for side in ("left", "right")
    }
    return Case(record["label"], record["equation"], record["dims"], tensors)


CASES = [_case(each) for each in json.loads(Path(__file__).with_name("corpus").joinpath("equations.json").read_text())]
cases = pytest.mark.parametrize("case", CASES, ids=[each.label for each in CASES])
directions = pytest.mark.parametrize("to", ["right", "left"])


def _assert_equal(actual: dict[str, Any], expected: dict[str, NDArray[np.int64]]) -> None:
    assert sorted(actual) == sorted(expected)
    for name, wanted in expected.items():
        got = np.asarray(actual[name])
        assert got.dtype == wanted.dtype, name
        np.testing.assert_array_equal(got, wanted, err_msg=name, strict=True)


def test_corpus_is_whole() -> None:
    assert len({each.label for each in CASES}) == len(CASES) >= 34


@cases
@directions
def test_in_memory(case: Case, to: Side) -> None:
    mapping = tensormap.loads(case.equation)
    _assert_equal(mapping.convert(case.tensors[OTHER[to]], to=to, set=case.dims), case.tensors[to])


@cases
@directions
def test_on_files(case: Case, to: Side, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    save_file(case.tensors[OTHER[to]], source / "model.safetensors")
    tensormap.apply(tensormap.loads(case.equation), source, tmp_path / "out", to=to, set=case.dims)
    written: dict[str, Any] = {}
    for path in sorted((tmp_path / "out").glob("*.safetensors")):
        written.update(load_file(path))
    _assert_equal(written, case.tensors[to])


@cases
def test_inverse(case: Case) -> None:
    """Reading a mapping from the other side is the same mapping."""
    mapping = tensormap.loads(case.equation).inverse
    assert mapping.sides == ("right", "left")
    _assert_equal(mapping.convert(case.tensors["left"], to="right", set=case.dims), case.tensors["right"])
