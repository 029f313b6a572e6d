"""Torch files whose tensors lie one dictionary deeper than a mapping says: what lies around them is named, and how to say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tensormap
from tensormap.diagnostics import CheckpointError

RULE = "a.{i} [x y] <-> b.{i} [y x]\n"
TENSORS = {"a.0": torch.ones(2, 3), "a.1": torch.ones(2, 3)}


@pytest.mark.parametrize("to", ["right", None])
@pytest.mark.parametrize(
    ("held", "key", "line"),
    [
        ({"model": TENSORS, "epoch": 3}, "model", "at model"),
        ({"state_dict": TENSORS, "optimizer": {"exp_avg": torch.ones(3)}}, "state_dict", "at state_dict"),
        ({"model": {"inner": TENSORS}}, "model.inner", "at model.inner"),
        ({f"module.{name}": each for name, each in TENSORS.items()}, "module", "under module."),
    ],
    ids=["model", "state_dict", "two keys", "a prefix"],
)
def test_what_lies_around_them_is_named(tmp_path: Path, held: Any, key: str, line: str, to: str | None) -> None:
    torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError) as error:
        tensormap.plan(tensormap.loads(RULE), tmp_path, to=to)
    (found,) = error.value.diagnostics
    assert found.slug == "wrapped-tensors"
    assert f"under `{key}`" in found.message
    said = f'side left {{ files "pytorch_model.bin" {line} }}'
    assert any(said in each for each in found.help)
    rest = '"optimizer.*" -> _\n' if "optimizer" in held else ""
    if not rest:
        plan = tensormap.plan(tensormap.loads(f"{said}\n{RULE}{rest}"), tmp_path, to="right")
        assert [each.name for each in plan.outputs[0].tensors] == ["b.0", "b.1"]


def test_what_only_has_other_names_is_no_wrapper(tmp_path: Path) -> None:
    torch.save({"model": {"other": torch.ones(2)}}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError) as error:
        tensormap.plan(tensormap.loads(RULE), tmp_path)
    assert error.value.diagnostics[0].slug == "wrong-model"


def test_where_some_names_are_known_the_others_are_only_unknown(tmp_path: Path) -> None:
    torch.save(TENSORS | {"module.a.0": torch.ones(2, 3)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError) as error:
        tensormap.plan(tensormap.loads(RULE), tmp_path, to="right")
    assert [each.slug for each in error.value.diagnostics] == ["unclaimed-tensor"]
