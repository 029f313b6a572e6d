"""Every mapping is planned at full size: from the header of a published model to the other side, and from there back.

Nothing is computed and nothing larger than a header is written: files are as long as they would be, and hold no data.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

import tensormap
from tensormap import library
from tensormap.checkpoints.open import open_checkpoint
from tests.headers.header import GGUF_NAMES, Header, Tensors
from tests.headers.table import ROWS, Row


def stage(plan: tensormap.Plan, folder: Path) -> None:
    """Write what a plan writes, but for the tensors' bytes."""
    for output in plan.outputs:
        path = folder / output.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for piece in output.layout.pieces:
                file.seek(piece.offset)
                file.write(piece.data)
            file.truncate(output.layout.size)
    for text in plan.steps.texts:
        (folder / text.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / text.path).write_bytes(text.data)


def written(plan: tensormap.Plan) -> Tensors:
    found: Tensors = {}
    for output in plan.outputs:
        for tensor in output.tensors:
            assert tensor.name not in found
            found[tensor.name] = tensor.dtype, tensor.shape
    return found


def differences(actual: Tensors, expected: Tensors) -> list[str]:
    lines = [f"missing: {name}" for name in expected if name not in actual]
    lines += [f"invented: {name}" for name in actual if name not in expected]
    for name, wanted in expected.items():
        if name in actual and actual[name] != wanted:
            lines.append(f"{name}: {actual[name]}, not {wanted}")
    return lines


def assert_same(actual: Tensors, expected: Tensors) -> None:
    lines = differences(actual, expected)
    assert not lines, "\n".join([f"{len(lines)} differences", *lines[:20]])


def without(tensors: Tensors, patterns: tuple[str, ...]) -> Tensors:
    """Leave out the names that a pattern means. Each has to mean some."""
    for pattern in patterns:
        kept = {name: each for name, each in tensors.items() if not fnmatchcase(name, pattern)}
        assert len(kept) < len(tensors), f"nothing is called {pattern}"
        tensors = kept
    return tensors


def assert_known_to_llama_cpp(folder: Path) -> None:
    """Compare the names in a GGUF file with those that llama.cpp's own table has for its architecture."""
    (path,) = folder.glob("*.gguf")
    catalog = open_checkpoint(path)
    known = json.loads(GGUF_NAMES.read_text("utf-8"))[catalog.objects["general.architecture"]]
    plain = {re.sub(r"^blk\.[0-9]+\.", "blk.{bid}.", re.sub(r"\.(weight|bias)$", "", name)) for name in catalog.tensors}
    assert sorted(plain - set(known)) == []


def _rows() -> list[Any]:
    full = [pytest.param(row, 0, id=str(row), marks=[pytest.mark.torture] if row.large else []) for row in ROWS]
    return [*full, *(pytest.param(row, row.layers, id=f"{row}-{row.layers}-layers") for row in ROWS if row.layers)]


@pytest.mark.parametrize(("row", "layers"), _rows())
def test_there_and_back(row: Row, layers: int, tmp_path: Path) -> None:
    def read(name: str) -> Header:
        return Header.read(name).first(layers) if layers else Header.read(name)

    header = read(row.header)
    header.write(tmp_path / "here")
    mapping = tensormap.load(row.mapping)
    there = tensormap.plan(mapping, tmp_path / "here", to=row.to, set=row.set, dtype=row.dtype)
    if row.other is not None:
        assert_same(written(there), without(read(row.other).tensors, row.unwritten))
    if row.back is None:
        return
    stage(there, tmp_path / "there")
    if row.to == "gguf":
        assert_known_to_llama_cpp(tmp_path / "there")
    (here,) = (side for side in mapping.sides if side != row.to)
    back = tensormap.plan(mapping, tmp_path / "there", to=here, set=row.back)
    found = written(back)
    if row.stored:
        stage(back, tmp_path / "back")
        found = {name: (each.dtype, each.shape) for name, each in open_checkpoint(tmp_path / "back").tensors.items()}
    assert_same(found, without(header.tensors, row.lost))


def test_every_mapping_is_here() -> None:
    assert {row.mapping for row in ROWS} == set(library.bundled())


def test_every_mapping_is_planned_in_every_run() -> None:
    assert {row.mapping for row in ROWS if not row.large or row.layers} == {row.mapping for row in ROWS}
