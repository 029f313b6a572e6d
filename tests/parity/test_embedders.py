"""Against transformers 5's own two writers: encoders as published, and as its modules hold their projections."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import tensormap
from tests.parity.cases.embedders import CASES
from tests.parity.harness import Case, build
from tests.stored import Stored, assert_same, read_safetensors


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_its_writers_write(case: Case, tmp_path: Path) -> None:
    model = build(case)
    model.save_pretrained(tmp_path / "published")
    model.save_pretrained(tmp_path / "apart", save_original_format=False)
    tensormap.apply(case.mapping, tmp_path / "published", tmp_path / "there", "apart")
    assert_same(read_safetensors(tmp_path / "there"), read_safetensors(tmp_path / "apart"))
    tensormap.apply(case.mapping, tmp_path / "apart", tmp_path / "back", "published", set=dict(case.back))
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(tmp_path / "published"))


def test_names_behind_the_prefix_of_the_published_files(tmp_path: Path) -> None:
    case = next(each for each in CASES if each.mapping == "gte/apart")
    model = build(case)
    model.save_pretrained(tmp_path / "published")
    model.save_pretrained(tmp_path / "apart", save_original_format=False)
    file = tmp_path / "published" / "model.safetensors"
    tensors = {f"new.{name}": tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    config = json.loads((file.parent / "config.json").read_text()) | {"model_type": "new"}
    (file.parent / "config.json").write_text(json.dumps(config))
    tensormap.apply(case.mapping, tmp_path / "published", tmp_path / "there", "apart")
    assert_same(read_safetensors(tmp_path / "there"), read_safetensors(tmp_path / "apart"))
    tensormap.apply(case.mapping, tmp_path / "there", tmp_path / "back", "published")
    assert_same(read_safetensors(tmp_path / "back"), {name: Stored.of(each) for name, each in tensors.items()})
