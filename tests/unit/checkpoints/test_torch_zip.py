from __future__ import annotations

import argparse
import collections
import io
import itertools
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import serialization

from tensormap.checkpoints import torch_zip
from tensormap.checkpoints.catalog import Opaque
from tensormap.diagnostics import CheckpointError
from tests.stored import Stored
from tests.unit.checkpoints.test_safetensors import DTYPES, SHAPES, some
from tests.unit.checkpoints.values import FIXTURE_FILES, flat, values
from tests.unit.checkpoints.written import write

TREE = {
    "iteration": 5,
    "loss": 1.5,
    "nothing": None,
    "numbers": [1, 2, 255, 256, 65535, 65536, -1, 2**31, -(2**31), 2**40, -(2**40), 2**63, -128 - 2**32, True],
    "empty": {"list": [], "dict": {}, "tuple": ()},
    "tuples": ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "text": "é\n\U0001f600",
    "one": ["x"],
}


@pytest.mark.parametrize("path", FIXTURE_FILES, ids=lambda path: "/".join(path.parts[-3:]))
def test_a_real_file_reads_as_torch_reads_it(path: Path) -> None:
    found = torch_zip.open_file(path, path.name)
    expected = dict(flat(torch.load(path, map_location="cpu", weights_only=False)))
    assert list(found.tensors) == list(expected)
    assert values(path, found) == {keys: Stored.of(tensor) for keys, tensor in expected.items()}
    torch_zip.verify_records(path, path.name)


def test_there_are_views_among_the_real_files() -> None:
    infos = [info for path in FIXTURE_FILES for info in torch_zip.open_file(path, path.name).tensors.values()]
    assert len(infos) > 300


def saved(tmp_path: Path, value: Any, **options: Any) -> Path:
    path = tmp_path / "saved.pt"
    torch.save(value, path, **options)
    return path


def test_views_are_found(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "all": base,
        "row": base[2],
        "column": base[:, 3],
        "transposed": base.T,
        "every other": base[::2, 1::3],
        "expanded": torch.arange(3).expand(2, 3),
        "nothing": base[4:],
        "scalar": base[1, 1],
        "ones": torch.ones(1).expand(1, 1, 1),
    }
    path = saved(tmp_path, tensors)
    found = torch_zip.open_file(path, "a")
    assert values(path, found) == {(name,): Stored.of(tensor) for name, tensor in tensors.items()}
    assert found.tensors["row",].strides is None
    assert found.tensors["transposed",].strides == (1, 6)
    assert found.tensors["expanded",].strides == (0, 1)
    assert found.tensors["ones",].strides is None
    assert found.tensors["row",].offset - found.tensors["all",].offset == 48


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype_and_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    tensors = {f"{dtype} {shape}": some(dtype, shape) for dtype in (*DTYPES, "complex128") for shape in SHAPES}
    path = saved(tmp_path, {"a": {"b": tensors}}, pickle_protocol=protocol)
    found = torch_zip.open_file(path, "a")
    assert values(path, found) == {("a", "b", name): Stored.of(tensor) for name, tensor in tensors.items()}


def test_modules_state_and_parameters_are_read(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    marked = torch.nn.Parameter(torch.ones(2))
    marked.tensor_model_parallel = True  # Megatron marks its parameters
    other = torch.zeros(2)
    other.note = "kept"
    state = {"model": module.state_dict(), "marked": marked, "plain": torch.nn.Parameter(torch.ones(1)), "other": other}
    path = saved(tmp_path, state)
    found = torch_zip.open_file(path, "a")
    assert values(path, found) == {keys: Stored.of(tensor) for keys, tensor in flat(state)}
    assert len(found.tensors) == 10


def test_what_is_beside_the_tensors_is_kept_as_plain_values(tmp_path: Path) -> None:
    args = argparse.Namespace(hidden_size=4, layers=[1, 2], dtype=torch.bfloat16, inner=argparse.Namespace(x=1))
    args.me = args
    holder = {
        "args": args,
        "model": {"w": torch.ones(1), "version": 3, "extra": None},
        "listed": [torch.zeros(1), {"lr": 0.1}],
        "settings": {"a": {"b": (1, "x", None, True)}, 5: [1.5]},
        "counts": collections.OrderedDict(x=collections.Counter("aab"), y=collections.defaultdict(int, {1: 2})),
        "random": random.Random(1).getstate()[1][:3],
        "numpy": np.ones(3),
        "bytes": b"xyz",
        "set": {1, 2},
        "size": torch.Size([1, 2]),
        "device": torch.device("cuda:1"),
        "path": Path("/x"),
        "function": len,
    }
    found = torch_zip.open_file(saved(tmp_path, holder), "a")
    assert list(found.tensors) == [("model", "w"), ("listed", "0")]
    objects = dict(found.objects)
    namespace = objects.pop(("args",))
    assert namespace.kind == "argparse.Namespace"
    assert {**namespace.state} == {
        "hidden_size": 4,
        "layers": [1, 2],
        "dtype": "torch.bfloat16",
        "inner": Opaque("argparse.Namespace", {"x": 1}),
        "me": Opaque("argparse.Namespace"),
    }
    assert objects.pop(("random",)) == holder["random"]
    assert objects.pop(("path",)).kind.endswith("PosixPath")
    assert objects == {
        ("model", "version"): 3,
        ("model", "extra"): None,
        ("listed", "1"): {"lr": 0.1},
        ("settings",): holder["settings"],
        ("counts",): {"x": {"a": 2, "b": 1}, "y": {1: 2}},
        ("numpy",): Opaque("numpy.ndarray"),
        ("bytes",): Opaque("bytes"),
        ("set",): Opaque("set"),
        ("size",): (1, 2),
        ("device",): "cuda:1",
        ("function",): Opaque("builtins.len"),
    }


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_tensors_that_are_not_dense_are_named_and_not_read(tmp_path: Path) -> None:
    complex_ = torch.tensor([1 + 2j])
    tensors = {
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.empty(2, device="meta"),
        "conjugate": complex_.conj(),
        "half complex": torch.zeros(1, dtype=torch.complex32),
        "dense": torch.ones(1),
    }
    found = torch_zip.open_file(saved(tmp_path, tensors), "a")
    assert list(found.tensors) == [("dense",)]
    assert {keys: each.kind for keys, each in found.objects.items()} == {
        ("sparse",): "a sparse tensor",
        ("meta",): "a tensor without data",
        ("conjugate",): "a tensor whose conjugate or negative is stored",
        ("half complex",): "a tensor of an unknown dtype",
    }


def test_a_bare_tensor_has_no_name(tmp_path: Path) -> None:
    found = torch_zip.open_file(saved(tmp_path, torch.ones(2)), "a")
    assert [(keys, info.name) for keys, info in found.tensors.items()] == [((), "")]


def test_tensors_below_keys_that_read_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="two objects"):
        torch_zip.open_file(saved(tmp_path, {1: torch.ones(1), "1": torch.ones(1)}), "a")


def test_a_damaged_record_is_found_only_by_reading_it(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.ones(64)})
    info = torch_zip.open_file(path, "a").tensors["a",]
    data = bytearray(path.read_bytes())
    data[info.offset + 17] ^= 1
    path.write_bytes(data)
    torch_zip.open_file(path, "a")
    with pytest.raises(CheckpointError, match="do not match their checksum"):
        torch_zip.verify_records(path, "a")


@pytest.fixture
def laid() -> list[tuple[tuple[str, ...], torch.Tensor]]:
    shapes = (*SHAPES, (2, 1, 2, 2))
    dtypes = (*DTYPES, "complex128")
    return [
        ((f"part {k // 7}", f"{each} {shape}"), some(each, shape)) for k, each in enumerate(dtypes) for shape in shapes
    ]


def test_a_layout_is_loaded_by_torch_and_ourselves(
    tmp_path: Path, laid: list[tuple[tuple[str, ...], torch.Tensor]]
) -> None:
    described = [(keys, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for keys, tensor in laid]
    stored = {keys: Stored.of(tensor) for keys, tensor in laid}
    path = write(tmp_path / "a.pt", torch_zip.layout(TREE, described), [each.data for each in stored.values()])
    for mmap in (False, True):
        loaded = torch.load(path, weights_only=True, mmap=mmap)
        assert {keys: Stored.of(tensor) for keys, tensor in flat(loaded)} == stored
        assert {key: loaded[key] for key in TREE} == TREE
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    found = torch_zip.open_file(path, "a.pt")
    torch_zip.verify_records(path, "a.pt")
    assert values(path, found) == stored
    assert found.objects == {(key,): value for key, value in TREE.items()}
    assert all(info.offset % 64 == 0 for info in found.tensors.values())


def test_a_layout_has_torchs_own_bytes(tmp_path: Path, laid: list[tuple[tuple[str, ...], torch.Tensor]]) -> None:
    described = [(keys, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for keys, tensor in laid]
    layout = torch_zip.layout(TREE, described)
    path = write(tmp_path / "a.pt", layout, [Stored.of(tensor).data for _, tensor in laid])
    tree: dict[str, Any] = dict(TREE)
    for (part, name), tensor in laid:
        tree.setdefault(part, {})[name] = tensor
    file = io.BytesIO()
    torch.save(tree, file)
    end = layout.pieces[-1].offset  # what follows the last tensor differs: torch adds a record with an identifier
    assert path.read_bytes()[:end] == file.getvalue()[:end]


MARK = {"tensormap.side": "hf", "tensormap.mapping": "a \u00e9 b"}


def test_where_a_file_comes_from_is_in_it(tmp_path: Path) -> None:
    """torch does not look at it, whichever way it reads; the bytes before are the same without."""
    tensors = [(("w",), "float32", (2, 3))]
    data = np.arange(6, dtype=np.float32)
    plain, marked = torch_zip.layout({"n": 1}, tensors), torch_zip.layout({"n": 1}, tensors, MARK)
    assert marked == torch_zip.layout({"n": 1}, tensors, dict(reversed(MARK.items())))
    assert plain.pieces[0] == marked.pieces[0]
    path = write(tmp_path / "a.pt", marked, [data.tobytes()])
    for calculated, mmap, safe in itertools.product((False, True), repeat=3):
        with serialization.config.patch("load.calculate_storage_offsets", calculated):
            loaded = torch.load(path, weights_only=safe, mmap=mmap)
        assert list(loaded) == ["n", "w"]
        assert loaded["w"].tolist() == data.reshape(2, 3).tolist()
    found = torch_zip.open_file(path, "a.pt")
    assert found.metadata == MARK
    assert list(found.tensors) == [("w",)]
    assert found.objects == {("n",): 1}
    torch_zip.verify_records(path, "a.pt")
    reader = torch._C.PyTorchFileReader(str(path))
    assert reader.get_record("extra/tensormap.json").endswith(b"}\n")
    without = torch_zip.open_file(write(tmp_path / "b.pt", plain, [data.tobytes()]), "b.pt")
    assert without.metadata == {}
    assert without.file.header != found.file.header


@pytest.mark.parametrize("count", [1, 2, 999, 1000, 1001, 2000])
def test_a_pickle_has_torchs_own_bytes_for_any_number_of_tensors(count: int) -> None:
    file = io.BytesIO()
    torch.save({f"k{k}": torch.zeros(1) for k in range(count)}, file)
    layout = torch_zip.layout({}, [((f"k{k}",), "float32", (1,)) for k in range(count)])
    size = zipfile.ZipFile(file).getinfo("archive/data.pkl").file_size
    assert layout.pieces[0].data[: 64 + size] == file.getvalue()[: 64 + size]


def test_a_pickle_has_torchs_own_bytes_for_any_forms_in_any_order() -> None:
    dtypes = ("float32", "bfloat16", "uint16", "float8_e4m3fn", "int64")
    shapes = ((), (1,), (3, 2), (1, 2, 3, 4), (0,), (70_000, 0), (300, 1))
    forms = [*itertools.product(dtypes, shapes)] * 5
    random.Random(0).shuffle(forms)
    file = io.BytesIO()
    tree: dict[str, Any] = {"first": {}, "then": {}}
    described = []
    for k, (dtype, shape) in enumerate(forms):
        part, name = "first" if k < 140 else "then", f"layer.{k}"
        tree[part][name] = torch.zeros(shape, dtype=getattr(torch, dtype))
        described.append(((part, name), dtype, shape))
    torch.save(tree, file)
    layout = torch_zip.layout({}, described)
    size = zipfile.ZipFile(file).getinfo("archive/data.pkl").file_size
    assert layout.pieces[0].data[: 64 + size] == file.getvalue()[: 64 + size]


def test_files_beyond_four_gigabytes_are_written_and_read(tmp_path: Path) -> None:
    large = 5 * 2**30
    names = [("a", "uint8", (100,)), ("b", "uint8", (large,)), ("c", "float32", (4,)), ("d", "uint8", (large,))]
    layout = torch_zip.layout({}, [((name,), dtype, shape) for name, dtype, shape in names])
    path = tmp_path / "a.pt"
    with path.open("wb") as file:  # sparse: it takes no room
        file.truncate(layout.size)
        for piece in layout.pieces:
            file.seek(piece.offset)
            file.write(piece.data)
        file.seek(layout.offsets[2])
        file.write(np.full(4, 1, np.float32).tobytes())
        file.seek(layout.offsets[3] + large - 1)
        file.write(b"x")
    found = torch_zip.open_file(path, "a.pt").tensors
    assert [info.offset for info in found.values()] == list(layout.offsets)
    loaded = torch.load(path, mmap=True, weights_only=True)
    assert loaded["c"].tolist() == [1, 1, 1, 1]
    assert loaded["d"][-1] == ord("x")
    assert [each.file_size for each in zipfile.ZipFile(path).infolist()][4:8] == [100, large, 16, large]


@pytest.mark.parametrize(
    ("tree", "tensors", "slug"),
    [
        ({"a": 1}, [(("a",), "uint8", ())], "name-not-in-format"),
        ({"a": 1}, [(("a", "b"), "uint8", ())], "name-not-in-format"),
        ({}, [(("a",), "uint8", ()), (("a",), "uint8", ())], "name-not-in-format"),
        ({}, [((), "uint8", ())], "name-not-in-format"),
        ({"a": {1, 2}}, [], "object-not-in-format"),
        ({"a": "\ud800"}, [], "name-not-in-format"),
        ({"a": 1 << 2040}, [], "object-not-in-format"),
        ({}, [(("a",), "float6_e2m3fn", (4,))], "dtype-not-in-format"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tree: dict[str, Any], tensors: list[Any], slug: str) -> None:
    with pytest.raises(CheckpointError) as error:
        torch_zip.layout(tree, tensors)
    assert [each.slug for each in error.value.diagnostics] == [slug]
