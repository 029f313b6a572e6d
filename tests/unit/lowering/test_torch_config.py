"""A config that lies in the torch files: read there, written there; and a text file that holds a number, or names a directory."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import tensormap
from tests.stored import read_safetensors

TEXT = """
mapping a <-> b

side a {
    tag "latest.txt" = "release", "iter_{n:07}"
    files "rank_{r:02}/x.pt" at model as {r}.{0}. with version = 3.0 when form == "one"
    files "rank_{r:02}_{p:03}/x.pt" at model as {r}.{p}. with version = 3.0 when form == "rows"
    files "rank_{r:02}_{q:03}/x.pt" at model as {r}.{q}. with version = 3.0 when form == "columns"
    config "rank_*/x.pt" at args as namespace
}

param tp = 1
param pp = 1
param form in one, rows, columns = select(pp > 1, "rows", "one")
index r < tp
index p < pp

config {
    e = hidden_size <-> hidden
    tp = tensor_size <-> _
    form = form <-> _
    [0] * pp + [1] = pattern <- _
}
when form == "columns" {
    {r}.{p}.w.weight [k e] <-> w.weight [(r k) p e]
} else {
    {r}.{p}.w.weight [k e] <-> w.weight [(p r k) e]
}
"""


def _source(folder: Path) -> torch.Tensor:
    folder.mkdir()
    weight = torch.arange(48.0).reshape(12, 4)
    save_file({"w.weight": weight}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"hidden": 4}')
    return weight


def test_namespace_is_written_and_read(tmp_path: Path) -> None:
    weight = _source(tmp_path / "b")
    mapping = tensormap.loads(TEXT)
    tensormap.apply(mapping, tmp_path / "b", tmp_path / "a", to="a", set={"tp": 2, "pp": 3})
    assert (tmp_path / "a" / "latest.txt").read_text() == "release"
    paths = sorted(path.relative_to(tmp_path / "a").as_posix() for path in tmp_path.glob("a/**/*.pt"))
    assert paths == [f"release/rank_{r:02}_{p:03}/x.pt" for r in range(2) for p in range(3)]
    with torch.serialization.safe_globals([Namespace]):
        loaded = torch.load(tmp_path / "a" / paths[4], weights_only=True)
    assert loaded["version"] == 3.0
    assert loaded["args"] == Namespace(hidden_size=4, tensor_size=2, form="rows", pattern=[0, 0, 0, 1])
    assert torch.equal(loaded["model"]["w.weight"], weight[6:8])
    with pytest.raises(Exception, match="Namespace"):
        torch.load(tmp_path / "a" / paths[4], weights_only=True)
    tensormap.apply(mapping, tmp_path / "a", tmp_path / "back", to="b")
    assert (tmp_path / "back" / "config.json").read_text() == '{\n  "hidden": 4\n}\n'


def _rank(folder: Path, **args: Any) -> None:
    folder.mkdir(parents=True)
    torch.save({"model": {"w.weight": torch.zeros(2, 4)}, "args": Namespace(**args)}, folder / "x.pt")


def test_a_number_is_formatted(tmp_path: Path) -> None:
    _rank(tmp_path / "iter_0000120" / "rank_00", hidden_size=4)
    (tmp_path / "latest.txt").write_text("120\n")
    assert "w.weight" in str(tensormap.plan(tensormap.loads(TEXT), tmp_path, to="b"))
    (tmp_path / "latest.txt").write_text("7")
    with pytest.raises(tensormap.CheckpointError, match="iter_0000007"):
        tensormap.plan(tensormap.loads(TEXT), tmp_path, to="b")


@pytest.mark.parametrize(("form", "shape"), [("rows", (4, 4)), ("columns", (2, 2, 4))])
def test_the_config_inside_says_which_form_it_is(tmp_path: Path, form: str, shape: tuple[int, ...]) -> None:
    """The file names of two forms are alike."""
    for k in range(2):
        _rank(tmp_path / "a" / f"rank_00_{k:03}", hidden_size=4, form=form)
    tensormap.apply(tensormap.loads(TEXT), tmp_path / "a", tmp_path / "b", to="b")
    assert read_safetensors(tmp_path / "b")["w.weight"].shape == shape


PARTS = """
mapping a <-> b
side a {
    files "rank-{r}-part-{k}.safetensors" as {r}.
}
index r < 2
{r}.w [x] <-> w [(r x)]
{r}.v [x] <-> v [(r x)]
"""


def test_a_number_that_no_index_gives_is_any_when_read_and_0_when_written(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for r in range(2):
        for k, name in enumerate("wv"):
            save_file({name: torch.tensor([r, k])}, tmp_path / "a" / f"rank-{r}-part-{k}.safetensors")
    mapping = tensormap.loads(PARTS)
    tensormap.apply(mapping, tmp_path / "a", tmp_path / "b", to="b")
    found = {name: each.tensor().tolist() for name, each in read_safetensors(tmp_path / "b").items()}
    assert found == {"w": [0, 0, 1, 0], "v": [0, 1, 1, 1]}
    tensormap.apply(mapping, tmp_path / "b", tmp_path / "back", to="a")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [
        "rank-0-part-0.safetensors",
        "rank-1-part-0.safetensors",
    ]


NESTED = """
mapping a <-> b

side a {
    files "*.pt" at state.model.body as body. with version = 3.0
    files "*.pt" at state.model.top as top.
    config "*.pt" at state.about.config
}

config {
    e   = hidden.size <-> hidden.size
    ... <-> ...
}
top.v [e] <-> v [e]
body.w [e] <-> w [e]
"""


def test_what_several_lines_put_into_one_file_is_all_there(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    save_file({"v": torch.arange(3.0), "w": torch.ones(3)}, tmp_path / "b" / "model.safetensors")
    config = {"hidden": {"size": 3, "kind": "x"}, "rest": {"a": {"b": [1, 2]}}}
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    mapping = tensormap.loads(NESTED)
    tensormap.apply(mapping, tmp_path / "b", tmp_path / "a", to="a")
    stored = torch.load(tmp_path / "a" / "model.pt")
    assert stored["version"] == 3.0
    assert stored["state"]["about"]["config"] == config
    assert stored["state"]["model"].keys() == {"top", "body"}
    tensormap.apply(mapping, tmp_path / "a", tmp_path / "back", to="b")
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == config
    assert read_safetensors(tmp_path / "back").keys() == {"v", "w"}


@pytest.mark.parametrize(
    ("held", "at"),
    [
        ({"args": {"hidden": 2, "deep": {"x": 3}}}, "args"),
        ({"args": Namespace(hidden=2, deep={"x": 3})}, "args"),
        ({"run": {"args": {"hidden": 2, "deep": {"x": 3}}}}, "run.args"),
        ({"run": {"args": Namespace(hidden=2, deep={"x": 3}), "other": 9}}, "run.args"),
    ],
)
def test_a_config_beside_the_tensors_is_read(held: dict[str, Any], at: str, tmp_path: Path) -> None:
    text = f"""
mapping a <-> b
side a {{
    files "x*.pt" at model
    config "x*.pt" at {at}
}}
config {{
    e = hidden <-> width
        deep.x <-> deep.y
}}
w [(e f)] <-> v [e f]
"""
    torch.save({"model": {"w": torch.arange(6.0)}, **held}, tmp_path / "x0.pt")
    torch.save({"model": {}, "args": {"hidden": 3}, "run": {"args": {"hidden": 3}}}, tmp_path / "y0.pt")
    tensormap.apply(tensormap.loads(text), tmp_path, tmp_path / "out", to="b")
    assert read_safetensors(tmp_path / "out")["v"].tensor().shape == (2, 3)
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {"width": 2, "deep": {"y": 3}}


@pytest.mark.parametrize(
    "held",
    [
        {"arguments": {"hidden": 3}, "args2": {"hidden": 3}},
        {"args": 3},
        {"args": None},
        {"args": ["hidden", 3]},
        {"args": {"deep": {"hidden": 3}}},
    ],
)
def test_what_is_no_config_says_nothing(held: dict[str, Any], tmp_path: Path) -> None:
    text = """
mapping a <-> b
side a {
    files "x.pt" at model
    config "x.pt" at args
}
config {
    e = hidden <-> width
}
w [e] <-> v [e]
"""
    torch.save({"model": {"w": torch.arange(6.0)}, **held}, tmp_path / "x.pt")
    plan = tensormap.plan(tensormap.loads(text), tmp_path, to="b")
    assert [each.shape for each in plan.outputs[0].tensors] == [(6,)]


def test_a_config_deeper_than_what_lies_there_says_nothing(tmp_path: Path) -> None:
    text = """
mapping a <-> b
side a {
    files "x.pt" at model
    config "x.pt" at run.args.deep
}
config {
    e = hidden <-> width
}
w [e] <-> v [e]
"""
    for held in (
        {"args": Namespace(deep=3)},
        {"args": Namespace(deep={"hidden": 6})},
        Namespace(args=None),
        {"args": 3},
    ):
        torch.save({"model": {"w": torch.arange(6.0)}, "run": held}, tmp_path / "x.pt")
        plan = tensormap.plan(tensormap.loads(text), tmp_path, to="b")
        assert [each.shape for each in plan.outputs[0].tensors] == [(6,)]


def test_a_config_in_a_file_without_tensors(tmp_path: Path) -> None:
    text = """
mapping a <-> b
side a {
    files "w.pt" at model
    files "info.pt" with version = 2
    config "info.pt" at args
}
config {
    e = hidden <-> width
}
w [(e f)] <-> v [e f]
"""
    torch.save({"model": {"w": torch.arange(6.0)}}, tmp_path / "w.pt")
    torch.save({"version": 2, "args": {"hidden": 3}}, tmp_path / "info.pt")
    plan = tensormap.plan(tensormap.loads(text), tmp_path, to="b")
    assert [each.shape for each in plan.outputs[0].tensors] == [(3, 2)]
