from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tensormap.checkpoints import safetensors
from tensormap.checkpoints.catalog import TensorInfo
from tensormap.diagnostics import CheckpointError
from tensormap.dtypes import BY_CODE, BY_NAME
from tests.stored import Stored
from tests.unit.checkpoints.written import write

DTYPES = (
    *(
        "bool",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float16",
        "bfloat16",
        "float32",
    ),
    *("float64", "complex64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
SHAPES = ((), (0,), (1,), (3,), (2, 3), (2, 0, 5), (1, 2, 1, 2, 1))


def some(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    size = BY_NAME[dtype].size
    for each in shape:
        size *= each
    values = torch.arange(7, 7 + size, dtype=torch.int64).to(torch.uint8)
    return (values % 2 if dtype == "bool" else values).view(getattr(torch, dtype)).reshape(shape)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    found = {f"{shape}.{dtype}": some(dtype, shape) for shape in SHAPES for dtype in DTYPES}
    return {'ünïcode "quoted" \\ \t\x01\x7f': some("float16", (2,)), **found}


def test_the_layout_has_the_reference_writers_bytes(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    described = [(name, str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()]
    layout = safetensors.layout(described, {"format": "pt"})
    path = write(tmp_path / "a", layout, [Stored.of(t).data for t in tensors.values()])
    assert path.read_bytes() == save(tensors, {"format": "pt"})


def test_the_layout_without_tensors_or_metadata_has_the_reference_writers_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a", safetensors.layout([], {}), []).read_bytes() == save({})


def test_every_tensor_of_a_layout_is_aligned() -> None:
    layout = safetensors.layout([("a", "uint8", (3,)), ("b", "float64", (1,)), ("c", "float16", (1,))], {})
    assert [offset % size for offset, size in zip(layout.offsets, (1, 8, 2), strict=True)] == [0, 0, 0]


def test_metadata_is_sorted() -> None:
    one = safetensors.layout([("a", "uint8", (1,))], {"b": "2", "a": "1"})
    two = safetensors.layout([("a", "uint8", (1,))], {"a": "1", "b": "2"})
    assert one == two


def test_a_files_tensors_are_found(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(tensors, {"format": "pt"}))
    found = safetensors.open_file(path, "dir/a.safetensors")
    data = path.read_bytes()
    assert (found.format, found.metadata, found.objects) == ("safetensors", {"format": "pt"}, {})
    assert found.file.path == "dir/a.safetensors"
    assert found.file.size == len(data)
    assert found.file.mtime_ns == path.stat().st_mtime_ns
    assert found.file.header == hashlib.sha256(data[: 8 + int.from_bytes(data[:8], "little")]).hexdigest()
    for (name,), info in found.tensors.items():
        wanted = Stored.of(tensors[name])
        assert (info.name, info.dtype, info.shape, info.file, info.strides) == (
            name,
            wanted.dtype,
            wanted.shape,
            0,
            None,
        )
        assert data[info.offset : info.offset + len(wanted.data)] == wanted.data
    assert {name for (name,) in found.tensors} == set(tensors)
    assert [info.offset for info in found.tensors.values()] == sorted(info.offset for info in found.tensors.values())


def test_packed_elements_take_part_of_a_byte(tmp_path: Path) -> None:
    layout = safetensors.layout([("f4", "float4_e2m1fn_x2", (3, 2)), ("f6", "float6_e2m3fn", (4,))], {})
    path = write(tmp_path / "a", layout, [b"abc", b"def"])
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == {"f4", "f6"}
    found = safetensors.open_file(path, "a").tensors
    assert found["f4",] == TensorInfo("f4", "float4_e2m1fn_x2", (3, 2), 0, layout.offsets[0])
    assert {layout.offsets[1] - layout.offsets[0], layout.size - layout.offsets[0]} >= {3}


@pytest.mark.parametrize(
    ("tensors", "slug"),
    [
        ([("a", "complex128", (1,))], "dtype-not-in-format"),
        ([("a", "uint8", (1,)), ("a", "uint8", (1,))], "name-not-in-format"),
        ([("__metadata__", "uint8", (1,))], "name-not-in-format"),
        ([("\ud800", "uint8", (1,))], "name-not-in-format"),
        ([("a", "float4_e2m1fn_x2", (3,))], "tensor-size"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tensors: list[tuple[str, str, tuple[int, ...]]], slug: str) -> None:
    with pytest.raises(CheckpointError) as error:
        safetensors.layout(tensors, {})
    assert [each.slug for each in error.value.diagnostics] == [slug]


def test_a_header_beyond_the_cap_is_refused() -> None:
    with pytest.raises(CheckpointError) as error:
        safetensors.layout([("x" * 100_000_000, "uint8", (1,))], {})
    assert error.value.diagnostics[0].slug == "header-too-large"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08\0\0", "`a` has 3 bytes, too few for a safetensors file"),
        (b"\x09\0\0\0\0\0\0\0{}", "`a` has 10 bytes, but its header alone should have 9"),
    ],
)
def test_a_short_file_is_said_to_be_short(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        safetensors.open_file(tmp_path / "a", "a")
    assert error.value.diagnostics[0].message == message


def test_no_code_is_accepted_that_the_reference_reader_refuses(tmp_path: Path) -> None:
    for code in [*BY_CODE, "F128", "f32", ""]:
        header = json.dumps({"a": {"dtype": code, "shape": [0], "data_offsets": [0, 0]}}).encode()
        path = tmp_path / "a"
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        try:
            safe_open(path, framework="np").__enter__()
        except SafetensorError:
            with pytest.raises(CheckpointError):
                safetensors.open_file(path, "a")
        else:
            safetensors.open_file(path, "a")


@pytest.mark.parametrize("colon", ["", ":"], ids=["quick look", "close look"])
def test_a_hundred_thousand_tensors_open_quickly(tmp_path: Path, colon: str) -> None:
    described = [(f"model.layers.{k // 100}.mlp.experts.{k % 100}{colon}", "bfloat16", (2, 3)) for k in range(100_000)]
    layout = safetensors.layout(described, {"format": "pt"})
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(layout.pieces[0].data)
        file.truncate(layout.size)
    began = time.process_time()
    found = safetensors.open_file(path, "a")
    assert time.process_time() - began < 4  # 0.5 s on a quiet machine
    assert len(found.tensors) == 100_000
