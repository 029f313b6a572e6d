from __future__ import annotations

import json

import pytest

from tensormap.checkpoints.shards import index, shard_names, split
from tensormap.diagnostics import CheckpointError


@pytest.mark.parametrize(
    ("sizes", "limit", "groups"),
    [
        ([], 10, []),
        ([4, 4, 4], 12, [[0, 1, 2]]),
        ([4, 4, 4], 11, [[0, 1], [2]]),
        ([4, 20, 4], 10, [[1], [0, 2]]),  # a large tensor is written at once, and the shard before it goes on
        ([10, 10], 10, [[0], [1]]),
        ([0, 0, 10, 0], 10, [[0, 1, 2, 3]]),
    ],
)
def test_tensors_are_split_greedily(sizes: list[int], limit: int, groups: list[list[int]]) -> None:
    assert split(sizes, limit) == groups


def test_shards_are_named_as_hugging_face_names_them() -> None:
    assert shard_names("model", 1, ".safetensors") == ["model.safetensors"]
    assert shard_names("pytorch_model", 2, ".bin") == [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ]


def test_the_index_counts_bytes_and_parameters() -> None:
    text = index([("x-2", [("b", "float16", (2, 3))]), ("x-1", [("a", "uint8", ()), ("c", "float32", (0,))])])
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "metadata": {"total_parameters": 7, "total_size": 13},
        "weight_map": {"a": "x-1", "b": "x-2", "c": "x-1"},
    }
    assert text.index('"a"') < text.index('"b"') < text.index('"c"')


@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 9000])
def test_the_index_is_written_as_json_is(count: int) -> None:
    odd = ['"', "\\", "\n", "\u00e9", "\U0001f600", "\ud800", "/", "\x7f", "a b"]
    names = [f"w.{k}.{odd[k % len(odd)]}" for k in range(count)]
    shards = [
        (f'x"{part}', [(name, "float32", (k % 3, 2)) for k, name in enumerate(names[part::2])]) for part in (0, 1)
    ]
    where = {name: file for file, tensors in shards for name, _, _ in tensors}
    elements = sum(2 * shape[0] for _, tensors in shards for _, _, shape in tensors)
    table = {"metadata": {"total_parameters": elements, "total_size": 4 * elements}, "weight_map": where}
    assert index(shards) == json.dumps(table, indent=2, sort_keys=True) + "\n"


def test_a_tensor_in_two_shards_is_refused() -> None:
    with pytest.raises(CheckpointError) as error:
        index([("x", [("a", "uint8", ())]), ("y", [("a", "uint8", ())])])
    assert error.value.diagnostics[0].message == "`a` is in both `x` and `y`"
