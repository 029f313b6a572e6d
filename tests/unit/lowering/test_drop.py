"""Rules that drop: a `*` takes what is left, and a hole beside it stands for its own numbers only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tensormap
from tensormap.diagnostics import CheckpointError

TEXT = """mapping a <-> b
index i < layers
config {
    layers = layers <-> layers
}
layers.{i}.w [n] <-> h.{i}.v [n]
"layers.{layers}.*" -> _
"""


def _source(folder: Path, *names: str) -> Path:
    folder.mkdir()
    save_file({name: np.full(3, k, np.float32) for k, name in enumerate(names)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"layers": 2}')
    return folder


def test_a_hole_beside_a_star_is_its_number(tmp_path: Path) -> None:
    source = _source(tmp_path / "a", "layers.0.w", "layers.1.w", "layers.2.w", "layers.2.more.x")
    tensormap.apply(tensormap.loads(TEXT), source, tmp_path / "b", to="b")
    assert sorted(load_file(tmp_path / "b" / "model.safetensors")) == ["h.0.v", "h.1.v"]


@pytest.mark.parametrize("name", ["layers.1.bias", "layers.3.w", "layers.20.w"])
def test_no_other_number_is_dropped(name: str, tmp_path: Path) -> None:
    source = _source(tmp_path / "a", "layers.0.w", "layers.1.w", name)
    with pytest.raises(CheckpointError) as caught:
        tensormap.apply(tensormap.loads(TEXT), source, tmp_path / "b", to="b")
    assert name in str(caught.value)


def test_an_index_beside_a_star_is_each_of_its_positions(tmp_path: Path) -> None:
    text = TEXT.replace('"layers.{layers}.*"', '"layers.{i}.attn.*"')
    kept, gone = ("layers.0.w", "layers.1.w"), ("layers.0.attn.bias", "layers.1.attn.mask.x")
    tensormap.apply(tensormap.loads(text), _source(tmp_path / "a", *kept, *gone), tmp_path / "b", to="b")
    assert sorted(load_file(tmp_path / "b" / "model.safetensors")) == ["h.0.v", "h.1.v"]
    with pytest.raises(CheckpointError):
        tensormap.apply(
            tensormap.loads(text), _source(tmp_path / "c", *kept, "layers.2.attn.bias"), tmp_path / "d", to="b"
        )
