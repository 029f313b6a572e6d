"""Tensors in packed blocks: every way of reading them gives the elements that gguf decodes, whatever the tiles."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import tensormap
from tensormap.checkpoints.catalog import SourceFile
from tensormap.checkpoints.gguf_types import ENCODINGS
from tensormap.checkpoints.open import open_checkpoint
from tensormap.lowering import plan_json
from tensormap.runtime.decoding import CHUNK, Decoder
from tensormap.runtime.diff import diff
from tensormap.runtime.parts import Encoded
from tensormap.runtime.sources import Handles, Sources
from tensormap.runtime.verify import compare
from tests.hostile.ggufs import made, record

gguf = pytest.importorskip("gguf")

KINDS = [name for name in ENCODINGS if getattr(gguf.GGMLQuantizationType, name, None) in gguf.quants._type_traits]
NUMBERS = {kind.name: int(kind) for kind in gguf.GGMLQuantizationType}


def blocks(kind: str, elements: int, seed: int = 0) -> tuple[bytes, np.ndarray]:
    """Random blocks of a kind, and what they decode to."""
    stored = ENCODINGS[kind]
    raw = np.random.default_rng(seed).integers(0, 256, elements // stored.block * stored.size, np.uint8)
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(raw.reshape(1, -1), gguf.GGMLQuantizationType[kind]).reshape(-1)
    return raw.tobytes(), values


def quantised(kind: str, shape: tuple[int, ...], seed: int = 0) -> tuple[bytes, np.ndarray]:
    """Finite values in blocks, and what the blocks decode to."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    raw = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    return raw.tobytes(), gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind])


def write(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    records, data = [], bytearray()
    for name, (kind, shape, raw) in tensors.items():
        records.append(record(name, shape, NUMBERS[kind], len(data)))
        data += raw + bytes(-len(raw) % 32)
    path.write_bytes(made([], records, bytes(data)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_any_bytes_can_be_read(kind: str, tmp_path: Path) -> None:
    raw, values = blocks(kind, 200 * ENCODINGS[kind].block)
    (tmp_path / "raw").write_bytes(b"x" * 13 + raw)
    status = (tmp_path / "raw").stat()
    sources = Sources((tmp_path, [SourceFile("raw", status.st_size, status.st_mtime_ns, "")]))
    handles = Handles(sources, 1)
    decoder = Decoder(handles, Encoded(kind, 13))
    expected = values.tobytes()
    rng = random.Random(kind)
    for _ in range(10):
        pieces, size = [], 0
        for _ in range(rng.randint(1, 40)):
            begin = rng.randrange(len(expected)) // 4 * 4
            end = min(len(expected), begin + 4 * rng.choice([1, 5, 32, 96, 5000, 100_000]))
            pieces.append((begin, size, end - begin))
            size += end - begin
        target = memoryview(bytearray(size))
        decoder.scatter(0, list(pieces), target, rng.choice([0, 4096]))
        for begin, into, count in pieces:
            assert bytes(target[into : into + count]) == expected[begin : begin + count]
    handles.close()


TEXT = """
a.plain [x y] <-> b.plain [x y]
a.turned [x y] <-> b.turned [y x]
a.heads [(h p 2) y] <-> b.heads [(h 2 p) y]
a.one [(u + w) y] <-> b.first [u y], b.second [y w]
a.stack [n x y] <-> b.stack.{n} [x y]
a.half [x y] <-> b.half [x y] as float16
a.plus [x y] <-> b.plus [x y] + 1
a.row [y] <-> b.row [y]
"""


def case(folder: Path) -> dict[str, np.ndarray]:
    """Write a file that the mapping above reads; return what it should make of it."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "plain": ("Q4_1", (24, 96)),
        "turned": ("Q8_0", (24, 96)),
        "heads": ("Q5_0", (24, 96)),
        "one": ("Q5_1", (24, 96)),
        "stack": ("Q4_0", (3, 24, 96)),
        "half": ("Q8_0", (24, 96)),
        "plus": ("Q4_1", (24, 96)),
        "row": ("Q8_0", (96,)),
    }
    tensors, held = {}, {}
    for seed, (name, (kind, shape)) in enumerate(shapes.items()):
        raw, held[name] = quantised(kind, shape, seed)
        tensors[f"a.{name}"] = kind, shape, raw
    write(folder / "a.gguf", tensors)
    return {
        "b.plain": held["plain"],
        "b.turned": held["turned"].T,
        "b.heads": held["heads"].reshape(2, 6, 2, 96).transpose(0, 2, 1, 3).reshape(24, 96),
        "b.first": held["one"][:10],
        "b.second": held["one"][10:].T,
        **{f"b.stack.{k}": held["stack"][k] for k in range(3)},
        "b.half": held["half"].astype(np.float16),
        "b.plus": held["plus"] - np.float32(1),
        "b.row": held["row"],
    }


SETTINGS: dict[str, Any] = {"set": {"h": 2, "u": 10}}


@pytest.mark.parametrize("tile", [None, 64, 1000, 5000])
def test_a_mapping_reads_them(tile: int | None, tmp_path: Path) -> None:
    from tensormap.runtime import execute

    expected = case(tmp_path)
    plan = tensormap.plan(tensormap.loads(TEXT), tmp_path / "a.gguf", "right", **SETTINGS)
    execute.run(plan.steps, tmp_path / "b", tile=tile, workers=2)
    found = load_file(tmp_path / "b" / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        assert found[name].dtype == each.dtype
        assert np.array_equal(found[name], each), name


def test_every_other_way_reads_the_same(tmp_path: Path) -> None:
    expected = case(tmp_path)
    mapping = tensormap.loads(TEXT)
    plan = tensormap.plan(mapping, tmp_path / "a.gguf", "right", **SETTINGS)
    assert plan_json.load(plan_json.dump(plan.steps)) == plan.steps
    assert "decoded from Q4_1" in str(plan)
    for name, each in plan.iter_tensors():
        assert np.array_equal(each, expected[name]), name
    opened = tensormap.open(tmp_path / "a.gguf")
    assert np.array_equal(opened["a.turned"].T, expected["b.turned"])
    for name, each in mapping.convert(opened, to="right", **SETTINGS).items():
        assert np.array_equal(each, expected[name]), name
    tensormap.apply(plan, tmp_path / "b")
    catalog = open_checkpoint(tmp_path / "a.gguf")
    assert not diff(catalog, catalog)
    assert not compare(plan.steps, open_checkpoint(tmp_path / "b"))
    same = tensormap.loads("a.{n} <-> a.{n}\nindex n in plain, turned, heads, one, stack, half, plus, row")
    tensormap.apply(same, tmp_path / "a.gguf", tmp_path / "c", to="right")
    assert not diff(catalog, open_checkpoint(tmp_path / "c"))
    assert not compare(tensormap.plan(same, tmp_path / "c", "left").steps, catalog)


def test_a_plan_with_an_encoding_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    case(tmp_path)
    plan = tensormap.plan(tensormap.loads(TEXT), tmp_path / "a.gguf", "right", **SETTINGS)
    for right, wrong in (('"Q4_1"', '"Q4_K"'), ('"Q4_1"', '"Q4_9"'), ('"Q4_1"', "4")):
        with pytest.raises(tensormap.CheckpointError) as caught:
            plan_json.load(plan_json.dump(plan.steps).replace(right, wrong))
        assert caught.value.diagnostics[0].slug == "bad-plan"


def test_memory_does_not_grow_with_the_tensor(tmp_path: Path) -> None:
    stored = ENCODINGS["Q8_0"]
    shape = (4096, 4096)
    raw = bytes(shape[0] * shape[1] // stored.block * stored.size)
    write(tmp_path / "a.gguf", {"a": ("Q8_0", shape, raw)})
    del raw
    plan = tensormap.plan(tensormap.loads("a [x y] <-> b [y x]"), tmp_path / "a.gguf", "right")
    tracemalloc.start()
    tensormap.apply(plan, tmp_path / "b", workers=2, memory="16MB")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (32 << 20) + 40 * CHUNK  # the tensor has 64 MB
