"""GGUF files: headers read and written as the `gguf` package does it, where that is installed."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensormap.checkpoints import gguf_blocks, gguf_types
from tensormap.checkpoints.catalog import Opaque
from tensormap.checkpoints.gguf_layout import layout
from tensormap.checkpoints.open import open_checkpoint, open_file
from tensormap.checkpoints.read import load_tensor
from tensormap.diagnostics import CheckpointError
from tests.hostile.ggufs import (
    ARRAY,
    BOOL,
    F16,
    F32,
    FLOAT32,
    FLOAT64,
    INT8,
    INT64,
    Q8_0,
    STRING,
    UINT16,
    UINT32,
    array,
    made,
    number,
    pair,
    record,
    text,
)


def written(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> Path:
    """Write a file as a plan would be executed: known pieces, and tensors at their offsets."""
    described = [(name, str(each.dtype), each.shape) for name, each in tensors.items()]
    plan = layout(described, metadata)
    data = bytearray(b"\xee" * plan.size)
    for piece in plan.pieces:
        data[piece.offset : piece.offset + len(piece.data)] = piece.data
    for offset, each in zip(plan.offsets, tensors.values(), strict=True):
        data[offset : offset + each.nbytes] = each.tobytes()
    assert b"\xee\xee" not in data, "bytes that nobody writes"
    path.write_bytes(data)
    return path


ARCHITECTURE = {"general": {"architecture": "llama"}}


# --- reading


def test_values_are_read_under_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(
        made(
            [
                pair("general.architecture", STRING, text("llama")),
                pair("llama.block_count", UINT32, number(UINT32, 2)),
                pair("small", INT8, number(INT8, -3)),
                pair("large", INT64, number(INT64, -(2**40))),
                pair("short", UINT16, number(UINT16, 7)),
                pair("wide", FLOAT64, number(FLOAT64, math.pi)),
                pair("flag", BOOL, b"\x01"),
                pair("list", ARRAY, array(STRING, [text("a"), text("ü")])),
                pair("numbers", ARRAY, array(UINT32, [number(UINT32, k) for k in range(5)])),
                pair("none", ARRAY, array(UINT32, [])),
                pair("bytes", STRING, text(b"\xff")),
            ]
        )
    )
    values = open_checkpoint(path).objects
    assert values["llama.block_count"] == 2
    assert values["small"], values["large"] == (-3, -(2**40))
    assert values["short"] == 7
    assert values["wide"] == math.pi
    assert values["flag"] is True
    assert values["list"] == ["a", "ü"]
    assert values["numbers"] == [0, 1, 2, 3, 4]
    assert values["none"] == []
    assert values["bytes"] == Opaque("string that is not UTF-8")


@pytest.mark.parametrize("value", [1e-5, 1e-6, 10000.0, 500000.0, 0.1, 1 / 3, 3.4028235e38, 1e-45, 0.0, -1.5])
def test_a_float_is_the_shortest_decimal_that_means_it(value: float, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(made([pair("x", FLOAT32, number(FLOAT32, value))]))
    found = open_checkpoint(path).objects["x"]
    assert np.float32(found) == np.float32(value)
    assert len(repr(found)) <= len(str(np.float32(value))) + 2


def test_a_vocabulary_is_only_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    words = [text(f"word {k}") for k in range(5000)]
    numbers = [number(FLOAT32, k) for k in range(300_000)]
    path.write_bytes(
        made(
            [pair("t", ARRAY, array(STRING, words)), pair("s", ARRAY, array(FLOAT32, numbers)), pair("z", BOOL, b"\0")]
        )
    )
    values = open_checkpoint(path).objects
    assert values["t"] == Opaque("array of 5000 values")
    assert values["s"] == Opaque("array of 300000 values")
    assert values["z"] is False


def test_shapes_are_turned_round_and_tensors_are_read(tmp_path: Path) -> None:
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    half = np.arange(4, dtype=np.float16)
    records = [record("a", (2, 4), F32, 0), record("b", (4,), F16, 32), record("c", (3, 64), Q8_0, 64)]
    path = tmp_path / "a.gguf"
    path.write_bytes(made([], records, rows.tobytes() + half.tobytes() + bytes(24 + 3 * 2 * 34)))
    catalog = open_checkpoint(path)
    assert [(each.dtype, each.shape, each.encoding) for each in catalog.tensors.values()] == [
        ("float32", (2, 4), None),
        ("float16", (4,), None),
        ("float32", (3, 64), "Q8_0"),
    ]
    assert np.array_equal(load_tensor(catalog, "a"), rows)
    assert np.array_equal(load_tensor(catalog, "b"), half)


def test_parts_of_a_model_are_one_checkpoint(tmp_path: Path) -> None:
    for k in range(2):
        own = pair("split.no", UINT16, number(UINT16, k)), pair("split.count", UINT16, number(UINT16, 2))
        first = [pair("general.architecture", STRING, text("llama"))] if not k else []
        data = np.full(4, k, np.float32).tobytes()
        (tmp_path / f"m-0000{k + 1}-of-00002.gguf").write_bytes(
            made([*own, *first], [record(f"t.{k}", (4,), F32, 0)], data)
        )
    catalog = open_checkpoint(tmp_path)
    assert list(catalog.tensors) == ["t.0", "t.1"]
    assert catalog.objects == {"split.no": 0, "split.count": 2, "general.architecture": "llama"}
    assert load_tensor(catalog, "t.1").tolist() == [1, 1, 1, 1]
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(tmp_path)
    assert error.value.diagnostics[0].slug == "shard-missing"


# --- writing


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    tensors = {"b": np.arange(3, dtype=np.float32), "a": np.arange(24, dtype=np.int8).reshape(2, 3, 4)}
    metadata = {
        "llama": {"block_count": 2, "rope": {"freq_base": 5e5}, "skipped": None},
        "general": {"architecture": "llama", "tags": ["x", "y"], "empty": []},
        "list": [1, -2],
        "mixed": [1, 2.5],
        "flag": False,
        "below": -1,
        "beyond": 2**40,
    }
    path = written(tmp_path / "a.gguf", tensors, metadata)
    catalog = open_checkpoint(path)
    assert next(iter(catalog.objects)) == "general.architecture"
    assert catalog.objects == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.rope.freq_base": 5e5,
        "general.tags": ["x", "y"],
        "list": [1, -2],
        "mixed": [1.0, 2.5],
        "flag": False,
        "below": -1,
        "beyond": 2**40,
    }
    assert list(catalog.tensors) == ["b", "a"]
    for name, each in tensors.items():
        assert np.array_equal(load_tensor(catalog, name), each)


@pytest.mark.parametrize(
    ("tensors", "metadata", "slug"),
    [
        ([], {}, "metadata-invalid"),
        ([], {"general": {"architecture": 3}}, "metadata-invalid"),
        ([], ARCHITECTURE | {"x": ["a", 1]}, "metadata-invalid"),
        ([], ARCHITECTURE | {"x": [[1]]}, "metadata-invalid"),
        ([], ARCHITECTURE | {"x": 1e39}, "metadata-invalid"),
        ([("a", "float8_e4m3fn", (1,))], ARCHITECTURE, "dtype-not-in-format"),
        ([("a", "bool", (1,))], ARCHITECTURE, "dtype-not-in-format"),
        ([("a", "float32", (1,) * 5)], ARCHITECTURE, "tensor-size"),
        ([("a" * 64, "float32", (1,))], ARCHITECTURE, "name-not-in-format"),
        ([("a", "float32", (1,))] * 2, ARCHITECTURE, "name-not-in-format"),
        ([("\ud800", "float32", (1,))], ARCHITECTURE, "name-not-in-format"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tensors: list[Any], metadata: dict[str, Any], slug: str) -> None:
    with pytest.raises(CheckpointError) as error:
        layout(tensors, metadata)
    assert error.value.diagnostics[0].slug == slug


def test_the_dash_of_an_architecture_is_in_its_keys(tmp_path: Path) -> None:
    metadata = {"general.architecture": "command-r", "command_r": {"rope": {"freq_base": 5.0}}, "a_b": {"c_d": 1}}
    path = written(tmp_path / "a.gguf", {}, metadata)
    assert open_checkpoint(path).objects == {
        "general.architecture": "command-r",
        "command-r.rope.freq_base": 5.0,
        "a_b.c_d": 1,
    }


def test_the_file_is_the_one_that_gguf_writes(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    tensors = {
        "token_embd.weight": np.arange(60, dtype=np.float32).reshape(12, 5),
        "x": np.arange(5, dtype=np.float16),
        "y": np.arange(7, dtype=np.int32),
    }
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    writer.add_block_count(3)
    writer.add_rope_freq_base(10000.0)
    writer.add_head_count([1, 2, 3])
    writer.add_causal_attention(False)
    writer.add_string("general.name", "a name")
    for name, each in tensors.items():
        writer.add_tensor(name, each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 3,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.head_count": [1, 2, 3],
        "llama.attention.causal": False,
        "general.name": "a name",
    }
    ours = written(tmp_path / "ours.gguf", tensors, metadata)
    assert ours.read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


# --- what the package knows


def test_the_sizes_of_blocks_are_those_of_gguf() -> None:
    gguf = pytest.importorskip("gguf")
    theirs = {kind.value: (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    theirs.pop(9)  # Q8_1 is in no file, and older packages have it too large
    ours = {number: (each.name, each.block, each.size) for number, each in gguf_types.TENSORS.items()}
    assert {number: each for number, each in ours.items() if number in theirs} == {
        number: each for number, each in theirs.items() if number in ours
    }
    assert len(theirs.keys() & ours.keys()) > 30


def test_without_the_package_the_header_is_read_and_the_blocks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(made([], [record("c", (3, 64), Q8_0, 0)], bytes(3 * 2 * 34)))
    gguf_blocks.require.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert open_file(path, "a.gguf").tensors["c",].encoding == "Q8_0"
    with pytest.raises(CheckpointError) as error:
        load_tensor(open_checkpoint(path), "c")
    (found,) = error.value.diagnostics
    assert found.slug == "missing-extra"
    assert "tensormap[gguf]" in found.help[0]
