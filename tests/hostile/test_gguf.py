"""Attacks on the GGUF reader: one file, one test, named by what it tries."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

import pytest

from tensormap.checkpoints.open import open_file
from tensormap.diagnostics import CheckpointError
from tests.hostile.ggufs import (
    ARRAY,
    BOOL,
    F32,
    FLOAT32,
    Q4_0,
    Q4_K,
    STRING,
    UINT8,
    UINT32,
    array,
    made,
    number,
    pair,
    record,
    text,
)
from tests.hostile.refusals import refused

NAME = "dir/a.gguf"
ONE = number(UINT32, 1)
GOOD = record("a", (2, 4), F32, 0)
DATA = bytes(32)

ATTACKS: dict[str, tuple[bytes, str]] = {
    # the first bytes
    "empty file": (b"", "file-empty"),
    "magic only": (b"GGUF", "file-truncated"),
    "half a header": (b"GGUF\x03\0\0\0\x01\0", "file-truncated"),
    "another format": (b"PK\x03\x04" + bytes(60), "file-renamed"),
    "the format before this one": (b"tjgg" + bytes(60), "format-unknown"),
    "version 0": (made(version=0), "gguf-unsupported"),
    "version 1": (made(version=1), "gguf-unsupported"),
    "version of the future": (made(version=4), "gguf-unsupported"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "gguf-unsupported"),
    # counts
    "more tensors than there are": (made([], [GOOD], b"\xff" * 32, tensors=2, alignment=1), "file-truncated"),
    "tensors beyond the cap": (made(tensors=2**64 - 1), "too-many-tensors"),
    "keys beyond the cap": (made(keys=2**63), "too-many-tensors"),
    "more keys than there are": (made(keys=1000), "file-truncated"),
    # keys and values
    "key of the length of everything": (made([text("a", length=2**64 - 1)]), "file-truncated"),
    "key that is not UTF-8": (made([pair(b"\xff", UINT32, ONE)]), "header-invalid"),
    "key twice": (made([pair("a", UINT32, ONE), pair("a", UINT32, ONE)]), "header-invalid"),
    "value of an unknown type": (made([pair("a", 13, ONE)]), "header-invalid"),
    "truth value of 2": (made([pair("a", BOOL, b"\x02")]), "header-invalid"),
    "string longer than the file": (made([pair("a", STRING, text("b", length=10**12))]), "file-truncated"),
    "array of arrays": (made([pair("a", ARRAY, array(ARRAY, [array(UINT8, [])]))]), "header-invalid"),
    "array of an unknown type": (made([pair("a", ARRAY, array(77, [ONE]))]), "header-invalid"),
    "long array of an unknown type": (made([pair("a", ARRAY, array(77, [ONE], count=10**6))]), "header-invalid"),
    "array of more bytes than there are": (made([pair("a", ARRAY, array(UINT32, [ONE], count=10**6))]), "file-truncated"),
    "array of more strings than there are": (made([pair("a", ARRAY, array(STRING, [], count=10**6))]), "file-truncated"),
    "array beyond the cap": (made([pair("a", ARRAY, array(UINT8, [], count=2**64 - 1))]), "header-too-large"),
    "key that turns text around": (made([pair("\u202e`x`", 13, ONE)]), "header-invalid"),
    # alignment
    "alignment of zero": (made([pair("general.alignment", UINT32, number(UINT32, 0))]), "header-invalid"),
    "alignment that is no power of two": (made([pair("general.alignment", UINT32, number(UINT32, 24))]), "header-invalid"),
    "alignment of a gigabyte": (made([pair("general.alignment", UINT32, number(UINT32, 2**30))]), "header-invalid"),
    "alignment that is a string": (made([pair("general.alignment", STRING, text("32"))]), "header-invalid"),
    "alignment that is a truth value": (made([pair("general.alignment", BOOL, b"\x01")]), "header-invalid"),
    "alignment that is no whole number": (made([pair("general.alignment", FLOAT32, number(FLOAT32, 32))]), "header-invalid"),
    # records
    "name that is not UTF-8": (made([], [record(b"\xc0\x80", (2, 4), F32, 0)], DATA), "header-invalid"),
    "name twice": (made([], [GOOD, record("a", (2, 4), F32, 32)], DATA * 2), "tensor-name-twice"),
    "five dimensions": (made([], [record("a", (1,) * 5, F32, 0)], DATA), "header-invalid"),
    "four billion dimensions": (made([], [record("a", (), F32, 0, rank=2**32 - 1)], DATA), "header-invalid"),
    "unknown type": (made([], [record("a", (2, 4), 4, 0)], DATA), "dtype-unknown"),
    "type of the future": (made([], [record("a", (2, 4), 10_000, 0)], DATA), "dtype-unknown"),
    "more elements than can be counted": (made([], [record("a", (2**40, 2**40), F32, 0)], DATA), "header-invalid"),
    "sizes whose product wraps to something small": (made([], [record("a", (2**33, 2**31), F32, 0)], DATA), "header-invalid"),
    "no elements, and more than can be counted": (made([], [record("a", (0, 2**63, 4), F32, 0)], DATA), "header-invalid"),
    "rows that are no whole blocks": (made([], [record("a", (4, 33), Q4_0, 0)], DATA * 4), "tensor-size"),
    "blocks that run on into the next row": (made([], [record("a", (8, 32), Q4_K, 0)], DATA * 8), "tensor-size"),
    "blocks in a tensor of no dimensions": (made([], [record("a", (), Q4_0, 0)], DATA), "tensor-size"),
    # places
    "offset that is not aligned": (made([], [record("a", (2, 4), F32, 4)], DATA * 2), "header-invalid"),
    "offset beyond the file": (made([], [record("a", (2, 4), F32, 2**40)], DATA), "file-truncated"),
    "offset that wraps": (made([], [record("a", (2, 4), F32, 2**64 - 32)], DATA), "header-invalid"),
    "tensor cut short": (made([], [GOOD], DATA[:-1]), "file-truncated"),
    "no data": (made([], [GOOD]), "file-truncated"),
    "two tensors at one place": (made([], [GOOD, record("b", (2, 4), F32, 0)], DATA * 2), "data-overlap"),
    "tensor inside another": (made([], [record("a", (4, 8), F32, 0), record("b", (2,), F32, 64)], DATA * 4), "data-overlap"),
    "empty tensor does not hide an overlap": (
        made([], [record("a", (4, 8), F32, 0), record("b", (0,), F32, 32), record("c", (2,), F32, 64)], DATA * 4),
        "data-overlap",
    ),
}  # fmt: skip


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 45


@pytest.mark.parametrize(("data", "slug"), ATTACKS.values(), ids=ATTACKS)
def test_it_is_refused(tmp_path: Path, data: bytes, slug: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    assert refused(path, NAME, traced=True).slug == slug


def test_a_header_that_never_ends_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(made([pair("a", STRING, text("b", length=2**40))]))
    os.truncate(path, 2**41)
    assert refused(path, NAME, traced=True).slug == "header-too-large"


def test_many_empty_strings_are_bounded_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(made([pair("a", ARRAY, array(STRING, [text("")] * 1_000_000, count=4_000_000))]))
    assert refused(path, NAME).slug == "file-truncated"


ACCEPTED: dict[str, bytes] = {
    "nothing": made(),
    "version 2": made([], [GOOD], DATA, version=2),
    "no padding behind the last tensor": made([], [record("a", (3,), F32, 0)], bytes(12)),
    "trailing bytes": made([], [GOOD], DATA + b"more"),
    "a hole between tensors": made([], [GOOD, record("b", (2, 4), F32, 64)], DATA * 3),
    "records in another order": made([], [record("b", (2, 4), F32, 32), GOOD], DATA * 2),
    "an empty tensor": made([], [record("a", (0, 4), F32, 0)]),
    "a tensor of no dimensions": made([], [record("a", (), F32, 0)], bytes(4)),
    "an empty name": made([], [record("", (2, 4), F32, 0)], DATA),
    "a name that is a path": made([], [record("../../etc/passwd", (2, 4), F32, 0)], DATA),
    "an alignment of one": made([pair("general.alignment", UINT32, ONE)], [record("a", (2,), F32, 0)], bytes(8), alignment=1),
    "a string that is not UTF-8": made([pair("a", STRING, text(b"\xff"))]),
    "a number that is none": made([pair("a", FLOAT32, number(FLOAT32, float("nan")))]),
}  # fmt: skip


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_odd_but_clear_is_accepted(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    found = open_file(path, NAME)
    assert found.format == "gguf"
    assert all(info.offset <= len(data) for info in found.tensors.values())


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    pairs = [
        pair("general.architecture", STRING, text("llama")),
        pair("llama.block_count", UINT32, ONE),
        pair("list", ARRAY, array(STRING, [text("a"), text("b")])),
        pair("flag", BOOL, b"\x01"),
    ]
    good = made(pairs, [GOOD, record("b", (2, 32), Q4_0, 32)], DATA * 3)
    rng = random.Random(0)
    path = tmp_path / "a.gguf"
    outcomes = {True: 0, False: 0}
    began = time.process_time()
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(4, len(data) - 64)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        path.write_bytes(data[: rng.randint(8, len(data))] if rng.random() < 0.2 else data)
        try:
            open_file(path, NAME)
            outcomes[True] += 1
        except CheckpointError:
            outcomes[False] += 1
    assert all(outcomes.values())
    assert time.process_time() - began < 30
