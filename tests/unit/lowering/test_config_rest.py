"""`... <-> ...` in a config block: every key that no other line reads goes along as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.diagnostics import MappingError, Source
from tensormap.language.parser import parse
from tensormap.language.printer import print_file

TEXT = """mapping a <-> b
config {
    "m"  = kind      <-> kind
    n    = width     <-> hidden
    base = rope.base <-> theta
           ...       <-> ...
}
w [n m] <-> v [m n]
"""


def _written(folder: Path, config: dict[str, Any], text: str = TEXT) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config written on the way to `b`, and the one written on the way back."""
    (folder / "a").mkdir()
    save_file({"w": np.ones((3, 4), np.float32)}, folder / "a" / "model.safetensors")
    (folder / "a" / "config.json").write_text(json.dumps(config))
    mapping = tensormap.loads(text)
    tensormap.apply(mapping, folder / "a", folder / "b", to="b")
    tensormap.apply(mapping, folder / "b", folder / "c", to="a")
    there, back = ((folder / each / "config.json").read_text() for each in ("b", "c"))
    return json.loads(there), json.loads(back)


def test_prints_as_written() -> None:
    assert print_file(parse(Source("m.tmap", TEXT))) == TEXT


def test_keys_that_no_line_reads_go_along(tmp_path: Path) -> None:
    config = {
        "kind": "m",
        "width": 3,
        "rope": {"base": 2.5, "more": [1, {"x": None}]},
        "text_config": {"a": 0.1},
        "on": True,
    }
    there, back = _written(tmp_path, config)
    assert there == {
        "kind": "m",
        "hidden": 3,
        "theta": 2.5,
        "rope": {"more": [1, {"x": None}]},
        "text_config": {"a": 0.1},
        "on": True,
    }
    assert back == config


def test_a_table_that_only_held_what_was_read_goes(tmp_path: Path) -> None:
    there, back = _written(tmp_path, {"kind": "m", "width": 3, "rope": {"base": 2.5}})
    assert there == {"kind": "m", "hidden": 3, "theta": 2.5}
    assert back == {"kind": "m", "width": 3, "rope": {"base": 2.5}}


def test_one_way(tmp_path: Path) -> None:
    text = TEXT.replace("...       <-> ...", "...        -> ...")
    there, back = _written(tmp_path, {"kind": "m", "width": 3, "more": 1}, text)
    assert there == {"kind": "m", "hidden": 3, "more": 1}
    assert back == {"kind": "m", "width": 3}


def test_the_rest_is_the_rest_on_both_sides() -> None:
    with pytest.raises(MappingError):
        tensormap.loads(TEXT.replace("<-> ...", "<-> other"))
