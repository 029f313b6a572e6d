"""What an included file calls its own stays its own: names in arguments of generators too, but not the words of its params."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tensormap
from tests.stored import read_safetensors

COMMON = """
param naming in old, new = new
config {
    base = theta <-> theta
}
block a. <-> b. {
    x [d] <-> x [d] when naming == "old"
    y [d] <-> x [d] when naming == "new"
    rope_inv_freq(2 * h, base) <-> frequencies [h]
}
"""

MAPPING = """
mapping a <-> b
use "common.tmap" with d = d
let base = 3
c [d] <-> c [d]
"""


@pytest.mark.parametrize("naming", ["new", "old"])
def test_names_of_an_included_file(naming: str, tmp_path: Path) -> None:
    (tmp_path / "common.tmap").write_text(COMMON)
    (tmp_path / "mapping.tmap").write_text(MAPPING)
    (tmp_path / "b").mkdir()
    frequencies = 1.0 / 100.0 ** (torch.arange(0, 8, 2).float() / 8)
    tensors = {"c": torch.zeros(6), "b.x": torch.ones(6), "b.frequencies": frequencies}
    save_file(tensors, tmp_path / "b" / "model.safetensors")
    (tmp_path / "b" / "config.json").write_text('{"theta": 100.0}')
    mapping = tensormap.load(tmp_path / "mapping.tmap")
    settings = {} if naming == "new" else {"naming": "old"}
    tensormap.apply(mapping, tmp_path / "b", tmp_path / "a", to="a", set=settings)
    assert read_safetensors(tmp_path / "a").keys() == {"c", "a.y" if naming == "new" else "a.x"}


def test_what_is_written_is_known_to_an_included_file(tmp_path: Path) -> None:
    (tmp_path / "common.tmap").write_text("config {\n    dtype = torch_dtype <- _\n}\n")
    (tmp_path / "mapping.tmap").write_text('mapping a <-> b\nuse "common.tmap"\nc [d] <-> c [d]\n')
    (tmp_path / "b").mkdir()
    save_file({"c": torch.zeros(6, dtype=torch.bfloat16)}, tmp_path / "b" / "model.safetensors")
    tensormap.apply(tensormap.load(tmp_path / "mapping.tmap"), tmp_path / "b", tmp_path / "a", to="a")
    assert json.loads((tmp_path / "a" / "config.json").read_text()) == {"torch_dtype": "bfloat16"}
