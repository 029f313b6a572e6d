"""What names say where conditions and sizes depend on positions: biases that are there or not, stages of unequal length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tensormap
from tests.stored import assert_same, read_safetensors

BIAS = """
mapping a <-> b
param bias in none, added
index s in weight, bias
index i < layers
when s == 0 or bias == "added" {
    l.{i}.{s} [w ...] <-> $joined.{i}.{s} [w ...]
    $joined.{i}.{s} [(x + y) ...] <-> x.{i}.{s} [x ...], y.{i}.{s} [y ...]
}
"""

STAGES = """
mapping a <-> b
param stages
index p < len(stages)
index l < stages[p]
{p}.{l}.w <-> {(p l)}.w
"""


@pytest.mark.parametrize("names", [("weight",), ("weight", "bias")])
def test_a_variant_under_a_condition_on_a_position(names: tuple[str, ...], tmp_path: Path) -> None:
    """The names decide whether there are biases; a virtual tensor's sizes join although the condition holds for some positions."""
    (tmp_path / "b").mkdir()
    shapes = {"weight": (3, 2), "bias": (3,)}
    tensors = {f"{x}.{i}.{s}": torch.randn(shapes[s]) for x in "xy" for i in range(2) for s in names}
    save_file(tensors, tmp_path / "b" / "model.safetensors")
    mapping = tensormap.loads(BIAS)
    tensormap.apply(mapping, tmp_path / "b", tmp_path / "a", to="a")
    assert read_safetensors(tmp_path / "a").keys() == {f"l.{i}.{s}" for i in range(2) for s in names}
    tensormap.apply(mapping, tmp_path / "a", tmp_path / "back", to="b", set={"x": 3})
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(tmp_path / "b"))


def test_stages_of_unequal_length_are_read_off_the_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    stages = {0: 5, 1: 4, 2: 3}
    tensors = {f"{p}.{k}.w": torch.tensor([p, k]) for p, count in stages.items() for k in range(count)}
    save_file(tensors, tmp_path / "a" / "model.safetensors")
    tensormap.apply(tensormap.loads(STAGES), tmp_path / "a", tmp_path / "b", to="b")
    expected = {f"{n}.w": tensor for n, tensor in enumerate(tensors.values())}
    found = read_safetensors(tmp_path / "b")
    assert {name: each.tensor().tolist() for name, each in found.items()} == {
        k: v.tolist() for k, v in expected.items()
    }


LISTED = """
mapping a <-> b
index i < layers
config {
    layers = depth <-> depth
    kinds  = kinds <-> kinds
}
"l.{layers}.*" -> _
when kinds[i] == "wide" {
    l.{i}.w [e f] <-> m.{i}.w [e f]
}
"""


def test_a_condition_is_not_asked_of_a_layer_that_there_is_not(tmp_path: Path) -> None:
    """The layer behind the last has names like the others, and no place in the list."""
    (tmp_path / "a").mkdir()
    save_file({f"l.{k}.w": torch.ones(2, 3) for k in range(3)}, tmp_path / "a" / "model.safetensors")
    (tmp_path / "a" / "config.json").write_text('{"depth": 2, "kinds": ["wide", "wide"]}')
    tensormap.apply(tensormap.loads(LISTED), tmp_path / "a", tmp_path / "b", to="b")
    assert read_safetensors(tmp_path / "b").keys() == {"m.0.w", "m.1.w"}


@pytest.mark.parametrize("declared", ["", "index i < n\n"])
def test_a_condition_on_a_position_is_one_whether_the_index_is_declared_or_not(declared: str, tmp_path: Path) -> None:
    """An index that nothing declares has the name of its own size; a condition means its position."""
    text = f"{declared}x.{{i}} [e] <-> y.{{i}} [e] when i == 0\nx.{{i}} [e] <-> z.{{i}} [e] when i > 0\n"
    tensors = {f"x.{i}": torch.randn(4) for i in range(3)}
    wanted = {"y.0": tensors["x.0"], "z.1": tensors["x.1"], "z.2": tensors["x.2"]}
    mapping = tensormap.loads(text)
    converted = mapping.convert(tensors, "right")
    assert sorted(converted) == sorted(wanted)
    assert all(torch.equal(converted[name], each) for name, each in wanted.items())
    for name, each in (("in", tensors), ("wanted", wanted)):
        (tmp_path / name).mkdir()
        save_file(each, tmp_path / name / "model.safetensors")
    tensormap.apply(mapping, tmp_path / "in", tmp_path / "out", to="right")
    assert_same(read_safetensors(tmp_path / "out"), read_safetensors(tmp_path / "wanted"))


def test_a_condition_of_a_config_line_means_the_size(tmp_path: Path) -> None:
    text = 'when x > 1 {\n    config {\n        "many" = _ <-> kind\n    }\n}\ne.{x} [f] <-> e [x f]\n'
    (tmp_path / "in").mkdir()
    save_file({f"e.{k}": torch.randn(2) for k in range(3)}, tmp_path / "in" / "model.safetensors")
    plan = tensormap.plan(tensormap.loads(text), tmp_path / "in", to="right")
    assert '"kind": "many"' in str(plan)
