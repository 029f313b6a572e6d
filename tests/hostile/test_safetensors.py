"""Attacks on the safetensors reader: one file, one test, named by what it tries."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tensormap.checkpoints.open import open_file
from tests.hostile.refusals import refused

NAME = "dir/a.safetensors"


def made(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a file: its header as JSON or as bytes, its data, and a length that may be a lie."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(begin: int, end: int, dtype: str = "U8", shape: Any = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


GOOD = tensor(0, 4)
HUGE = 2**63

ATTACKS: dict[str, tuple[bytes, str]] = {
    # the eight bytes of length
    "empty file": (b"", "file-empty"),
    "one byte": (b"\x08", "file-truncated"),
    "seven bytes": (b"\x08\0\0\0\0\0\0", "file-truncated"),
    "length only": ((2).to_bytes(8, "little"), "file-truncated"),
    "length of one more than the file": (made({"a": GOOD}, b"", length=61 + 4), "file-truncated"),
    "length of the largest integer": (made({}, length=2**64 - 1), "header-too-large"),
    "length of the largest signed integer": (made({}, length=2**63 - 1), "header-too-large"),
    "length that overflows with the eight bytes": (made({}, length=2**64 - 8), "header-too-large"),
    "length just beyond the cap": (made({}, length=100_000_001), "header-too-large"),
    "length at the cap in a short file": (made({}, length=100_000_000), "file-truncated"),
    "length zero": (made(b"", b"abcd"), "json-invalid"),
    "length that cuts the header": (made({"a": GOOD}, b"abcd", length=20), "json-invalid"),
    # the header's text
    "not UTF-8": (made(b'{"\xff": 1}'), "json-invalid"),
    "overlong UTF-8": (made(b'{"\xc0\x80": {}}'), "json-invalid"),
    "surrogate in UTF-8": (made(b'{"\xed\xa0\x80": {}}'), "json-invalid"),
    "byte order mark": (made(b"\xef\xbb\xbf{}"), "json-invalid"),
    "lone surrogate as an escape": (
        made(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
        "json-invalid",
    ),
    "text after the header": (made(b"{} x"), "json-invalid"),
    "NUL after the header": (made(b"{}\0\0\0\0\0\0"), "json-invalid"),
    "two headers": (made(b"{}{}"), "json-invalid"),
    "comma too many": (made(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},}'), "json-invalid"),
    "comment": (made(b"{/**/}"), "json-invalid"),
    "NaN": (made(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}'), "json-invalid"),
    "Infinity": (made(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,Infinity]}}'), "json-invalid"),
    "control character in a name": (made(b'{"\n":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), "json-invalid"),
    "array": (made([]), "header-invalid"),
    "string": (made(b'"abc"'), "header-invalid"),
    "null": (made(b"null"), "header-invalid"),
    "number": (made(b"1"), "header-invalid"),
    "nested arrays": (made(b'{"a":' + b"[" * 200_000), "json-invalid"),
    "nested objects": (made(b'{"a":' * 200_000), "json-invalid"),
    "closed nesting": (made(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), "json-invalid"),
    "integer of many digits": (
        made(b'{"a":{"dtype":"U8","shape":[' + b"9" * 100_000 + b'],"data_offsets":[0,0]}}'),
        "json-invalid",
    ),
    "many commas": (made(b'{"a":[0' + b",0" * 5_000_000 + b"]}"), "too-many-tensors"),
    "many empty arrays": (made(b'{"a":[[]' + b",[]" * 5_000_000 + b"]}"), "too-many-tensors"),
    # keys twice
    "tensor twice, same bytes": (
        made(
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            b"abcd",
        ),
        "json-duplicate-key",
    ),
    "tensor twice, spelled in two ways": (
        made(
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\\u0061":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
            b"abcd",
        ),
        "json-duplicate-key",
    ),
    "tensor twice, first one empty": (
        made(b'{"a":{},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"abcd"),
        "json-duplicate-key",
    ),
    "tensor twice with spaces": (
        made(
            b'{"a" : {"dtype":"U8","shape":[4],"data_offsets":[0,4]},\n"a"\t:{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
            b"abcd",
        ),
        "json-duplicate-key",
    ),
    "dtype twice": (
        made(b'{"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}}', b"abcd"),
        "json-duplicate-key",
    ),
    "offsets twice": (
        made(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8],"data_offsets":[0,4]}}', b"abcd"),
        "json-duplicate-key",
    ),
    "metadata twice": (made(b'{"__metadata__":{},"__metadata__":{}}'), "json-duplicate-key"),
    "metadata key twice": (made(b'{"__metadata__":{"a":"1","a":"2"}}'), "json-duplicate-key"),
    "key twice deep in an extra field": (
        made(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":[{"y":1,"y":2}]}}', b"abcd"),
        "json-duplicate-key",
    ),
    # metadata
    "metadata is a list": (made({"__metadata__": []}), "metadata-invalid"),
    "metadata is null": (made({"__metadata__": None}), "metadata-invalid"),
    "metadata with a number": (made({"__metadata__": {"a": 1}}), "metadata-invalid"),
    "metadata with an object": (made({"__metadata__": {"a": {}}}), "metadata-invalid"),
    "metadata is a tensor": (made({"__metadata__": GOOD}, b"abcd"), "metadata-invalid"),
    # records
    "record is null": (made({"a": None}), "header-invalid"),
    "record is a list": (made({"a": ["U8", [0], [0, 0]]}), "header-invalid"),
    "record is a string": (made({"a": "dtype"}), "header-invalid"),
    "record is a number": (made({"a": 5}), "header-invalid"),
    "no dtype": (made({"a": {"shape": [0], "data_offsets": [0, 0]}}), "header-invalid"),
    "no shape": (made({"a": {"dtype": "U8", "data_offsets": [0, 0]}}), "header-invalid"),
    "no offsets": (made({"a": {"dtype": "U8", "shape": [0]}}), "header-invalid"),
    "unknown dtype": (made({"a": tensor(0, 4, "U7")}, b"abcd"), "dtype-unknown"),
    "lowercase dtype": (made({"a": tensor(0, 4, "u8")}, b"abcd"), "dtype-unknown"),
    "dtype of ours that the format has not": (made({"a": tensor(0, 16, "C128", [1])}, bytes(16)), "dtype-unknown"),
    "dtype of a megabyte": (made({"a": tensor(0, 4, "U" * 2**20)}, b"abcd"), "dtype-unknown"),
    "dtype is null": (made({"a": {"dtype": None, "shape": [4], "data_offsets": [0, 4]}}, b"abcd"), "dtype-unknown"),
    "dtype is a list": (
        made({"a": {"dtype": ["U8"], "shape": [4], "data_offsets": [0, 4]}}, b"abcd"),
        "header-invalid",
    ),
    "shape is null": (made({"a": {"dtype": "U8", "shape": None, "data_offsets": [0, 4]}}, b"abcd"), "header-invalid"),
    "shape is a number": (made({"a": {"dtype": "U8", "shape": 4, "data_offsets": [0, 4]}}, b"abcd"), "header-invalid"),
    "shape is an object": (made({"a": {"dtype": "U8", "shape": {}, "data_offsets": [0, 1]}}, b"a"), "header-invalid"),
    "shape is a string": (made({"a": {"dtype": "U8", "shape": "", "data_offsets": [0, 1]}}, b"a"), "header-invalid"),
    "negative size": (made({"a": tensor(0, 4, shape=[-4])}, b"abcd"), "header-invalid"),
    "two negative sizes": (made({"a": tensor(0, 4, shape=[-2, -2])}, b"abcd"), "header-invalid"),
    "size is a float": (made({"a": tensor(0, 4, shape=[4.0])}, b"abcd"), "header-invalid"),
    "size is true": (made({"a": tensor(0, 1, shape=[True])}, b"a"), "header-invalid"),
    "size is a string": (made({"a": tensor(0, 4, shape=["4"])}, b"abcd"), "header-invalid"),
    "size beyond 64 bits": (made({"a": tensor(0, 4, shape=[2**70])}, b"abcd"), "header-invalid"),
    "sizes that wrap around to four": (made({"a": tensor(0, 4, shape=[2**62, 4 + 1])}, b"abcd"), "header-invalid"),
    "sizes that wrap around to zero": (made({"a": tensor(0, 0, shape=[2**32, 2**32])}), "header-invalid"),
    "huge sizes beside a zero": (made({"a": tensor(0, 0, shape=[0, 2**62, 2**62])}), "header-invalid"),
    "huge sizes before a zero": (made({"a": tensor(0, 0, shape=[2**62, 2**62, 0])}), "header-invalid"),
    "bits that overflow bytes": (made({"a": tensor(0, 0, "F64", [2**60])}), "header-invalid"),
    "bytes of an empty tensor that overflow": (made({"a": tensor(0, 0, "F64", [0, 2**60])}), "header-invalid"),
    "a hundred dimensions": (made({"a": tensor(0, 1, shape=[1] * 100)}, b"a"), "header-invalid"),
    "a hundred thousand dimensions": (made({"a": tensor(0, 1, shape=[1] * 100_000)}, b"a"), "header-invalid"),
    # offsets
    "offsets are null": (made({"a": {"dtype": "U8", "shape": [0], "data_offsets": None}}), "header-invalid"),
    "one offset": (made({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0]}}), "header-invalid"),
    "three offsets": (made({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0, 0]}}), "header-invalid"),
    "offsets are a string": (made({"a": {"dtype": "U8", "shape": [0], "data_offsets": "00"}}), "header-invalid"),
    "offsets are an object": (
        made({"a": {"dtype": "U8", "shape": [0], "data_offsets": {"0": 0, "1": 0}}}),
        "header-invalid",
    ),
    "offset is a float": (made(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4.0]}}', b"abcd"), "header-invalid"),
    "offset is false": (made(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[false,4]}}', b"abcd"), "header-invalid"),
    "offset is negative": (made({"a": tensor(-4, 0)}, b"abcd"), "header-invalid"),
    "offset is minus zero": (
        made(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[-0.0,4]}}', b"abcd"),
        "header-invalid",
    ),
    "offsets are swapped": (made({"a": tensor(4, 0, shape=[4])}, b"abcd"), "header-invalid"),
    "offset beyond the file": (made({"a": tensor(0, 5)}, b"abcd"), "file-truncated"),
    "offset beyond 64 bits": (made({"a": tensor(HUGE * 2, HUGE * 2 + 4, shape=[4])}, b"abcd"), "file-truncated"),
    "offset wraps around": (made({"a": tensor(0, 2**64 + 4, shape=[4])}, b"abcd"), "file-truncated"),
    "no data at all": (made({"a": GOOD}), "file-truncated"),
    "last byte missing": (made({"a": GOOD}, b"abc"), "file-truncated"),
    "shape smaller than its bytes": (made({"a": tensor(0, 4, shape=[3])}, b"abcd"), "tensor-size"),
    "shape larger than its bytes": (made({"a": tensor(0, 4, shape=[5])}, b"abcd"), "tensor-size"),
    "dtype wider than its bytes": (made({"a": tensor(0, 4, "F32", [4])}, b"abcd"), "tensor-size"),
    "scalar without bytes": (made({"a": tensor(0, 0, shape=[])}), "tensor-size"),
    "empty tensor with bytes": (made({"a": tensor(0, 4, shape=[0])}, b"abcd"), "tensor-size"),
    "odd count of half bytes": (made({"a": tensor(0, 2, "F4", [3])}, b"ab"), "tensor-size"),
    "F6 that ends in a byte": (made({"a": tensor(0, 1, "F6_E2M3", [1])}, b"a"), "tensor-size"),
    "same bytes twice": (made({"a": GOOD, "b": GOOD}, b"abcd"), "data-overlap"),
    "overlap by a byte": (made({"a": tensor(0, 4), "b": tensor(3, 7)}, b"abcdefg"), "data-overlap"),
    "one inside the other": (made({"a": tensor(0, 8), "b": tensor(2, 4)}, bytes(8)), "data-overlap"),
    "empty tensor inside another": (made({"a": tensor(0, 8), "b": tensor(4, 4)}, bytes(8)), "data-overlap"),
    "overlap in reverse order": (made({"b": tensor(3, 7), "a": tensor(0, 4)}, b"abcdefg"), "data-overlap"),
    "hole at the start": (made({"a": tensor(1, 5)}, b"abcde"), "data-hole"),
    "hole between tensors": (made({"a": tensor(0, 2), "b": tensor(3, 5)}, b"abcde"), "data-hole"),
    "empty tensor after a hole": (made({"a": tensor(0, 2), "b": tensor(4, 4)}, b"abcd"), "data-hole"),
    "trailing byte": (made({"a": GOOD}, b"abcde"), "data-trailing"),
    "data without tensors": (made({}, b"abcd"), "data-trailing"),
    # names
    "name with an escape sequence in a bad record": (made({"\x1b[31m\r\n`x`": 1}), "header-invalid"),
    "name that turns text around": (made({"\u202eabc\u2066": 1}), "header-invalid"),
    "name of a megabyte in a bad record": (made({"x" * 2**20: 1}), "header-invalid"),
    # other files under this name
    "zip archive": (b"PK\x03\x04" + bytes(60), "file-renamed"),
    "legacy torch file": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(60), "file-renamed"),
    "GGUF file": (b"GGUF\x03\0\0\0" + bytes(60), "file-renamed"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "lfs-pointer"),
    "web page": (b"<!doctype html>" + bytes(60), "html-page"),
    "JSON without a length": (b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}abcd', "format-unknown"),
    "zeros": (bytes(4096), "json-invalid"),
    "random bytes": (bytes(range(255, 0, -1)) * 4, "header-too-large"),
}


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 60


@pytest.mark.parametrize(("data", "slug"), ATTACKS.values(), ids=ATTACKS)
def test_it_is_refused(tmp_path: Path, data: bytes, slug: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    assert refused(path, NAME, traced=len(data) < 2**20).slug == slug


def test_more_tensors_than_the_cap_are_refused_before_they_are_built(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    entry = b'"":{"data_offsets":0},'
    path.write_bytes(made(b"{" + entry * 4_000_001 + b"}"))
    assert refused(path, NAME).slug == "too-many-tensors"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    assert refused(tmp_path / "a.safetensors", NAME).slug == "file-not-regular"


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(made({"a": tensor(0, 2**40)}))
    os.truncate(path, path.stat().st_size + 2**40 - 1)
    assert refused(path, NAME).slug == "file-truncated"


ACCEPTED: dict[str, bytes] = {
    "spaces before the header": made(b'   {"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"abcd"),
    "header that is not aligned": made(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"abcd"),
    "extra field": made({"a": {**GOOD, "x": [1, {"y": None}]}}, b"abcd"),
    "empty name": made({"": GOOD}, b"abcd"),
    "name with a NUL": made({"\0": GOOD}, b"abcd"),
    "name that is a path": made({"../../etc/passwd": GOOD}, b"abcd"),
    "name of a megabyte": made({"x" * 2**20: GOOD}, b"abcd"),
    "name with a colon": made({"a:b": GOOD}, b"abcd"),
    "BOOL that is neither": made({"a": tensor(0, 2, "BOOL")}, b"\x02\xff"),
    "64 dimensions": made({"a": tensor(0, 1, shape=[1] * 64)}, b"a"),
    "empty tensors at one place": made({"b": tensor(0, 4), "a": tensor(0, 0), "c": tensor(4, 4), "d": tensor(4, 4)}, b"abcd"),
    "no tensors": made({}),
    "long metadata": made({"__metadata__": {"a": "[{:,}]" * 100_000}}),
}  # fmt: skip


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_odd_but_clear_is_accepted(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    found = open_file(path, NAME)
    assert found.format == "safetensors"
    assert all(info.offset <= len(data) for info in found.tensors.values())


def test_a_million_empty_tensors_are_bounded_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(made({f"{k:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for k in range(200_000)}))
    began = time.process_time()
    assert len(open_file(path, NAME).tensors) == 200_000
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("record", "slug"),
    [
        (tensor(1, 2, shape=[1.0]), "header-invalid"),
        (tensor(1, 2, shape=[True]), "header-invalid"),
        (tensor(1, 2, shape="[1]"), "header-invalid"),
        (tensor(1, 2, shape={"1": 1}), "header-invalid"),
        (tensor(1, 3, shape=[1]), "tensor-size"),
        (tensor(1, 2, "I8 ", [1]), "dtype-unknown"),
        (tensor(1, 2, "U16", [1]), "tensor-size"),
        ({"dtype": ["U8"], "shape": [1], "data_offsets": [1, 2]}, "header-invalid"),
        ({"dtype": "U8", "shape": [1], "data_offsets": [True, 2]}, "header-invalid"),
        ({"dtype": "U8", "shape": [1], "data_offsets": [1, 2.0]}, "header-invalid"),
        ({"dtype": "U8", "shape": [1], "data_offsets": [2, 1]}, "header-invalid"),
        (tensor(0, 1, shape=[1]), "data-overlap"),
        (tensor(2, 3, shape=[1]), "data-hole"),
        (tensor(4, 5, shape=[1]), "file-truncated"),
    ],
)
def test_a_tensor_almost_like_one_before_is_looked_at_as_closely(
    tmp_path: Path, record: dict[str, Any], slug: str
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(made({"good": tensor(0, 1, shape=[1]), "odd": record}, b"abc"))
    assert refused(path, NAME).slug == slug
