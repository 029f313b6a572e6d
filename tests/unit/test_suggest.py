"""The word that was probably meant."""

from __future__ import annotations

import time

import pytest

from tensormap.suggest import did_you_mean


@pytest.mark.parametrize(
    ("word", "candidates", "meant"),
    [
        ("replicate", ("when", "replicated", "optional"), "replicated"),
        ("idnex", ("index", "let"), "index"),
        ("Layers", ("layers", "heads"), "layers"),
        ("num_layer", ("num_heads", "num_layers"), "num_layers"),
        (
            "model.layer.3.mlp.up.weight",
            ("model.layers.3.mlp.up.weight", "model.layers.3.mlp.down.weight"),
            "model.layers.3.mlp.up.weight",
        ),
        ("tp", ("mp", "pp"), None),
        ("q", ("r",), None),
        ("foo", ("bar", "quux"), None),
        ("same", ("same",), None),
        ("", ("a",), None),
        ("a" * 1000, ("a" * 999,), None),
        ("word", (), None),
    ],
)
def test_near_words(word, candidates, meant):
    assert did_you_mean(word, candidates) == meant


def test_the_first_of_equals_wins():
    assert did_you_mean("abcdx", ["abcdy", "abcdz"]) == "abcdy"


def test_a_hundred_thousand_names_are_no_trouble():
    names = [f"model.layers.{i}.mlp.experts.{j}.up_proj.weight" for i in range(80) for j in range(1250)]
    start = time.process_time()
    assert (
        did_you_mean("model.layers.3.mlp.expert.77.up_proj.weight", names)
        == "model.layers.3.mlp.experts.77.up_proj.weight"
    )
    assert time.process_time() - start < 5
