"""What is written where: the order of tensors, their dtypes, the numbers in names of files, and the config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.diagnostics import MappingError, TensormapError


def _save(folder: Path, tensors: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def _zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


def _dtypes(plan: tensormap.Plan) -> dict[str, str]:
    return {each.name: each.dtype for file in plan.outputs for each in file.tensors}


def test_what_comes_of_one_tensor_is_in_the_order_of_numbers(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"all": _zeros(12, 3), "b": _zeros(3)})
    plan = tensormap.plan(
        tensormap.loads("all [i e] <-> x.{i} [e]\nb [e] <-> a [e]"), source, to="right", set={"i": 12}
    )
    assert [each.name for each in plan.outputs[0].tensors] == [*(f"x.{i}" for i in range(12)), "a"]


MIXED = "x [e] <-> a [e]\ny [e] <-> b [e]\nz [e] <-> c [e]\n0 [e] <-> d [e]\n"


@pytest.mark.parametrize(
    ("sizes", "dtype", "expected"),
    [
        ((4, 4, 4), None, {"a": "bfloat16", "b": "float32", "c": "bfloat16", "d": "bfloat16"}),
        ((4, 4, 4), "float16", dict.fromkeys("abcd", "float16")),
    ],
)
def test_a_constant_has_the_dtype_of_most_elements(
    sizes: tuple[int, int, int], dtype: str | None, expected: dict[str, str], tmp_path: Path
) -> None:
    x, y, z = sizes
    tensors = {
        "x": _zeros(x, dtype=ml_dtypes.bfloat16),
        "y": _zeros(y),
        "z": _zeros(z, dtype=ml_dtypes.bfloat16),
    }
    source = _save(tmp_path / "a", tensors)
    assert _dtypes(tensormap.plan(tensormap.loads(MIXED), source, to="right", dtype=dtype)) == expected


def test_elements_count_and_not_tensors(tmp_path: Path) -> None:
    text = "x [e] <-> a [e]\ny [e] <-> b [e]\nz [f] <-> c [f]\n0 [e] <-> d [e]\n"
    tensors = {"x": _zeros(2, dtype=np.float16), "y": _zeros(2, dtype=np.float16), "z": _zeros(9)}
    plan = tensormap.plan(tensormap.loads(text), _save(tmp_path / "a", tensors), to="right")
    assert _dtypes(plan)["d"] == "float32"


def test_integers_are_not_cast(tmp_path: Path) -> None:
    tensors = {"x": _zeros(4, dtype=np.int64), "y": _zeros(4), "z": _zeros(4)}
    plan = tensormap.plan(tensormap.loads(MIXED), _save(tmp_path / "a", tensors), to="right", dtype="bfloat16")
    assert _dtypes(plan) == {"a": "int64", "b": "bfloat16", "c": "bfloat16", "d": "bfloat16"}


def test_a_dtype_that_a_rule_says_stays(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(4), "y": _zeros(4)})
    text = "x [e] <-> a [e] as float32\ny [e] <-> b [e]\n"
    plan = tensormap.plan(tensormap.loads(text), source, to="right", dtype="bfloat16")
    assert _dtypes(plan) == {"a": "float32", "b": "bfloat16"}


@pytest.mark.parametrize(("limit", "files"), [("1GB", 1), (500, 3), (900, 2)])
def test_files_of_a_size(limit: Any, files: int, tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {name: _zeros(100) for name in "xyz"})
    plan = tensormap.plan(
        tensormap.loads("x [e] <-> a [e]\ny [e] <-> b [e]\nz [e] <-> c [e]"), source, to="right", max_shard_size=limit
    )
    assert len(plan.outputs) == files
    index = [json.loads(each.data) for each in plan.steps.texts if each.path == "model.safetensors.index.json"]
    assert len(index) == (files > 1)
    if index:
        assert index[0]["weight_map"] == {each.name: file.path for file in plan.outputs for each in file.tensors}
        assert index[0]["metadata"]["total_size"] == 1200


CONFIG = """
mapping a <-> b
config {
    n = size <-> width
    k = kind <-> family
    2 * n = _ <-> double
}
x [n] <-> y [n]
"""


def _config(plan: tensormap.Plan) -> Any:
    (text,) = [each.data for each in plan.steps.texts if each.path == "config.json"]
    return json.loads(text)


def test_every_size_is_written_as_solved(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(6)}, {"kind": "small"})
    plan = tensormap.plan(tensormap.loads(CONFIG), source, to="b")
    assert _config(plan) == {"width": 6, "family": "small", "double": 12}


def test_what_is_not_known_is_noted(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(6)}, {"other": 1})
    plan = tensormap.plan(tensormap.loads(CONFIG), source, to="b")
    assert _config(plan) == {"width": 6, "double": 12}
    assert "`family` is not written: `k` is not known" in plan.steps.notes


def test_a_line_under_a_condition_that_does_not_hold_is_not_written(tmp_path: Path) -> None:
    text = CONFIG + "when n > 6 {\n    config {\n        true = _ <-> large\n    }\n}\n"
    for size, extra in ((6, {}), (7, {"large": True})):
        source = _save(tmp_path / f"a{size}", {"x": _zeros(size)}, {"kind": "u"})
        plan = tensormap.plan(tensormap.loads(text), source, to="b")
        assert _config(plan) == {"width": size, "family": "u", "double": 2 * size} | extra


def test_two_lines_that_write_one_key(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(6)}, {"kind": "small"})
    same = CONFIG.replace("2 * n = _ <-> double", "n = _ <-> width")
    assert _config(tensormap.plan(tensormap.loads(same), source, to="b")) == {"width": 6, "family": "small"}
    other = CONFIG.replace("2 * n = _ <-> double", "2 * n = _ <-> width")
    with pytest.raises(MappingError) as caught:
        tensormap.plan(tensormap.loads(other), source, to="b")
    (finding,) = caught.value.diagnostics
    assert (finding.slug, finding.message) == ("written-twice", "two lines write `width`: 6 and 12")


FILES = """
mapping a <-> b
param form in flat, deep
side b {
    files "layer{i:02}.safetensors" as l{i}. when form == "flat"
    files "{i}/layer.safetensors" as l{i}. when form == "deep"
    files "rest.safetensors" as top.
}
x [i e] <-> l{i}.w [e]
y [e] <-> top.y [e]
"""


@pytest.mark.parametrize(
    ("form", "paths"),
    [
        ("flat", [*(f"layer{i:02}.safetensors" for i in range(11)), "rest.safetensors"]),
        ("deep", [*(f"{i}/layer.safetensors" for i in range(11)), "rest.safetensors"]),
    ],
)
def test_numbers_in_names_of_files(form: str, paths: list[str], tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(11, 2), "y": _zeros(2)})
    plan = tensormap.plan(tensormap.loads(FILES), source, to="b", set={"form": form})
    assert [each.path for each in plan.outputs] == paths
    assert [each.name for each in plan.outputs[10].tensors] == ["l10.w"]


def test_the_form_of_the_files_has_to_be_known(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(11, 2), "y": _zeros(2)})
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(tensormap.loads(FILES), source, to="b")
    (finding,) = caught.value.diagnostics
    assert finding.slug == "choice-needed"
    assert "`form` must be chosen" in finding.message


def test_a_tensor_that_no_file_takes(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(11, 2), "y": _zeros(2)})
    with pytest.raises(MappingError) as caught:
        tensormap.plan(tensormap.loads(FILES.replace("as top.", "as tip.")), source, to="b", set={"form": "flat"})
    (finding,) = caught.value.diagnostics
    assert (finding.slug, finding.message) == (
        "no-file",
        "no `files` line of side `b` says where `top.y` goes",
    )


def test_a_tokenizer_goes_along(tmp_path: Path) -> None:
    source = _save(tmp_path / "a", {"x": _zeros(2)})
    plan = tensormap.plan(tensormap.loads("x [e] <-> y [e]"), source, to="right")
    assert "no tokenizer found beside the source: none copied" in plan.steps.notes
    (source / "tokenizer.json").write_text("{}")
    plan = tensormap.plan(tensormap.loads("x [e] <-> y [e]"), source, to="right")
    assert "copied along: tokenizer.json" in plan.steps.notes
    assert [(each.source, each.path, each.size) for each in plan.steps.companions] == [
        ("tokenizer.json", "tokenizer.json", 2)
    ]
