"""Rules whose numbers interleave, such as even and odd layers, and sizes that only the other direction needs."""

from __future__ import annotations

import numpy as np
import pytest

import tensormap

TEXT = "l.{2 * i} [x y] <-> a.{i} [y x]\nl.{2 * j + 1} [z x] <-> b.{j} [x z]\n"


@pytest.mark.parametrize("count", [2, 5, 6])
def test_even_and_odd_layers_are_counted_apart(count: int) -> None:
    random = np.random.default_rng(0)
    layers = {f"l.{k}": random.standard_normal((4, 3) if k % 2 else (3, 5)) for k in range(count)}
    mapping = tensormap.loads(TEXT)
    there = mapping.convert(layers, "right")
    assert set(there) == {f"{'ab'[k % 2]}.{k // 2}" for k in range(count)}
    for name, tensor in there.items():
        number = 2 * int(name[2:]) + (name[0] == "b")
        np.testing.assert_array_equal(tensor, layers[f"l.{number}"].T)
    back = mapping.convert(there, "left")
    assert {name: tensor.tobytes() for name, tensor in back.items()} == {k: v.tobytes() for k, v in layers.items()}


def test_a_layer_between_is_missed() -> None:
    with pytest.raises(tensormap.CheckpointError) as caught:
        tensormap.loads(TEXT).convert({f"l.{k}": np.zeros((2, 2)) for k in (0, 1, 4, 5)}, "right")
    assert [each.slug for each in caught.value.diagnostics] == ["missing-tensor", "missing-tensor"]


@pytest.mark.parametrize("rule", ["x.{i} -> _", "x.{i} [q r] -> _", "x.{i} [(q r)] -> y.{i} [q r]"])
def test_a_rule_for_the_other_direction_asks_for_no_size(rule: str) -> None:
    mapping = tensormap.loads(f"w <-> v\n{rule}\n")
    assert list(mapping.convert({"v": np.zeros(2)}, "left")) == ["w"]


def test_a_rule_for_the_other_direction_still_refuses_what_it_writes() -> None:
    mapping = tensormap.loads("w <-> v\nx.{i} [q r] -> y.{i} [r q]\n")
    with pytest.raises(tensormap.CheckpointError) as caught:
        mapping.convert({"v": np.zeros(2), "y.0": np.zeros((2, 2))}, "left")
    assert [each.slug for each in caught.value.diagnostics] == ["one-way"]
