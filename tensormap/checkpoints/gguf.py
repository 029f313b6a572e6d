"""The GGUF format: metadata, then records of tensors, then their bytes, each tensor aligned. Only headers are read.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. Metadata become objects by their keys.
Sizes in a file count from the fastest axis: shapes are turned round here. A quantised tensor has the dtype that its blocks
decode to, and says in `encoding` how they are packed.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensormap.checkpoints import content
from tensormap.checkpoints.catalog import Opaque, OpenFile, TensorInfo
from tensormap.checkpoints.gguf_types import (
    ALIGNMENT,
    ARRAY,
    BOOL,
    LARGEST_FLOAT,
    MAGIC,
    NUMBERS,
    RANK_CAP,
    STRING,
    TENSORS,
    VERSIONS,
    Stored,
)
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.dtypes import BY_NAME

TENSOR_CAP = 1_000_000
KEY_CAP = 100_000
ARRAY_CAP = 4_000_000
ALIGNMENT_CAP = 1 << 20
LONGEST = 4096  # values of an array, beyond which it is only counted: a vocabulary is no config
LARGEST = 2**63 - 1
_CHUNK = 1 << 20


def open_file(path: Path, relative: str) -> OpenFile:
    """Read the header of a GGUF file; `relative` is its name in the catalog and in messages."""
    with Reader(path, relative) as file:
        head = file.head(content.HEAD)
        if not head.startswith(MAGIC):
            raise content.renamed(file, content.kind(head, file.size), "a GGUF file")
        cursor = _Cursor(file)
        tensors, metadata = _header(cursor)
        source = file.source(cursor.digest())
        return OpenFile("gguf", source, {(each.name,): each for each in tensors}, _origin(metadata), metadata)


def _origin(metadata: Mapping[tuple[str, ...], Any]) -> dict[str, str]:
    """Return what the program that wrote a file says of it, as other formats keep it: texts under its own name."""
    return {key: value for (key,), value in metadata.items() if key.startswith("tensormap.") and isinstance(value, str)}


class _Cursor:
    """Reads a header from its first byte on, in bounded pieces, and never beyond the file or the most that a header may have."""

    def __init__(self, file: Reader) -> None:
        self.file = file
        self.position = 0
        self._end = min(file.size, content.HEADER_CAP)
        self._data = b""
        self._start = 0
        self._hash = hashlib.sha256()

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        begin = self.position - self._start
        if begin + size > len(self._data):
            self._more(size)
            begin = 0
        self.position += size
        return self._data[begin : begin + size]

    def skip(self, size: int) -> None:
        """Pass over `size` bytes, which are read all the same: the header's digest covers them."""
        while size:
            piece = min(size, _CHUNK)
            self.take(piece)
            size -= piece

    def _more(self, size: int) -> None:
        if self.position + size > self._end:
            if self._end < self.file.size:
                raise refusal(
                    "header-too-large",
                    f"{shown(self.file.name)} has a header of more than {content.HEADER_CAP} bytes, and no more are read",
                )
            raise refusal(
                "file-truncated",
                f"{shown(self.file.name)} ends at byte {self.file.size}, inside its header",
            )
        self._hash.update(self._data[: self.position - self._start])
        self._data = self.file.read(self.position, min(max(size, _CHUNK), self._end - self.position))
        self._start = self.position

    def digest(self) -> str:
        """Return the sha256 of all that was taken."""
        self._hash.update(self._data[: self.position - self._start])
        self._data, self._start = b"", self.position
        return self._hash.hexdigest()

    def number(self, form: str) -> Any:
        """Return the next number, in a format of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self) -> bytes:
        """Return the next string."""
        return self.take(self.count())

    def count(self) -> int:
        """Return the next length, which the rest of the header must have room for."""
        value: int = self.number("<Q")
        if value > self._end - self.position:
            self._more(value)
        return value


def _header(cursor: _Cursor) -> tuple[list[TensorInfo], dict[tuple[str, ...], Any]]:
    name = cursor.file.name
    cursor.take(len(MAGIC))
    version = cursor.number("<I")
    if version not in VERSIONS:
        big = version and not version & 0xFFFF
        what = "is big-endian" if big else f"is of GGUF version {version}; versions 2 and 3 are read"
        raise refusal("gguf-unsupported", f"{shown(name)} {what}", help=["convert it anew with a current program"])
    tensor_count, key_count = cursor.number("<Q"), cursor.number("<Q")
    if tensor_count > TENSOR_CAP or key_count > KEY_CAP:
        raise refusal(
            "too-many-tensors",
            f"{shown(name)} says that it has {tensor_count} tensors and {key_count} keys",
            notes=[f"at most {TENSOR_CAP} and {KEY_CAP} are read"],
        )
    metadata = _metadata(cursor, key_count)
    alignment = metadata.get(("general.alignment",), ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= ALIGNMENT_CAP or alignment & (alignment - 1):
        what = f"no power of two up to {ALIGNMENT_CAP}"
        raise refusal("header-invalid", f"{shown(name)}: `general.alignment` is {shown(alignment)}, {what}")
    records = [_record(cursor) for _ in range(tensor_count)]
    return _tensors(cursor, records, alignment), metadata


def _metadata(cursor: _Cursor, count: int) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for _ in range(count):
        key = _name(cursor, "a key")
        if (key,) in found:
            raise refusal("header-invalid", f"{shown(cursor.file.name)} has the key {shown(key)} twice")
        found[key,] = _value(cursor, key)
    return found


def _name(cursor: _Cursor, what: str) -> str:
    data = cursor.text()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        message = f"{shown(cursor.file.name)} has {what} that is not UTF-8: {shown(data[:60])}"
        raise refusal("header-invalid", message) from None


def _value(cursor: _Cursor, key: str) -> Any:
    kind = cursor.number("<I")
    if kind != ARRAY:
        return _scalar(cursor, key, kind)
    kind, count = cursor.number("<I"), cursor.number("<Q")
    if kind == ARRAY:
        raise refusal("header-invalid", f"{shown(cursor.file.name)}: {shown(key)} is an array of arrays")
    if count > ARRAY_CAP:
        message = (
            f"{shown(cursor.file.name)}: {shown(key)} says that it has {count} values; at most {ARRAY_CAP} are read"
        )
        raise refusal("header-too-large", message)
    if count <= LONGEST:
        return [_scalar(cursor, key, kind) for _ in range(count)]
    if kind == STRING:
        for _ in range(count):  # each takes 8 bytes at least: the loop ends where the file does
            cursor.skip(cursor.count())
    else:
        size = 1 if kind == BOOL else struct.calcsize(_form(cursor, key, kind))
        cursor.skip(count * size)
    return Opaque(f"array of {count} values")


def _form(cursor: _Cursor, key: str, kind: int) -> str:
    if kind not in NUMBERS:
        raise refusal("header-invalid", f"{shown(cursor.file.name)}: {shown(key)} is of the unknown type {kind}")
    return NUMBERS[kind]


def _scalar(cursor: _Cursor, key: str, kind: int) -> Any:
    if kind == STRING:
        data = cursor.text()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return Opaque("string that is not UTF-8")
    if kind == BOOL:
        value = cursor.number("<B")
        if value > 1:
            raise refusal("header-invalid", f"{shown(cursor.file.name)}: {shown(key)} is neither true nor false")
        return bool(value)
    value = cursor.number(_form(cursor, key, kind))
    return _shortest(value) if kind == 6 else value


def _shortest(value: float) -> float:
    """Return the shortest decimal that is this float32: 1e-05 was written, not 9.999999747378752e-06."""
    if not math.isfinite(value):
        return value
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if abs(short) <= LARGEST_FLOAT and struct.unpack("<f", struct.pack("<f", short))[0] == value:
            return short
    return value


def _record(cursor: _Cursor) -> tuple[str, Stored, tuple[int, ...], int]:
    """Read the record of one tensor: its name, type, shape, and where its bytes begin behind the header."""
    name = _name(cursor, "a tensor's name")
    where = f"{shown(cursor.file.name)}: {shown(name)}"
    rank = cursor.number("<I")
    if rank > RANK_CAP:
        raise refusal("header-invalid", f"{where} has {rank} dimensions; the format has at most {RANK_CAP}")
    shape = tuple(cursor.number("<Q") for _ in range(rank))[::-1]
    kind = cursor.number("<I")
    stored = TENSORS.get(kind)
    if stored is None:
        raise refusal("dtype-unknown", f"{where} is of the unknown type {kind}")
    offset = cursor.number("<Q")
    count = 1
    for size in shape:
        count *= size or 1
    if count * stored.size > LARGEST or offset > LARGEST:
        raise refusal("header-invalid", f"{where} has more elements than can be counted: {shown(list(shape))}")
    if stored.block > 1 and (not shape or shape[-1] % stored.block):
        message = f"{where} of shape {list(shape)} does not consist of `{stored.name}` blocks of {stored.block}"
        raise refusal("tensor-size", message)
    return name, stored, shape, offset


def _tensors(
    cursor: _Cursor, records: list[tuple[str, Stored, tuple[int, ...], int]], alignment: int
) -> list[TensorInfo]:
    """Check that the tensors lie in the file, aligned and apart; return them in the order of their bytes."""
    file = cursor.file
    start = -(-cursor.position // alignment) * alignment
    names: set[str] = set()
    reached, before = start, "the header"
    tensors: list[TensorInfo] = []
    for name, stored, shape, offset in sorted(records, key=lambda record: record[3]):
        where = f"{shown(file.name)}: {shown(name)}"
        if name in names:
            raise refusal("tensor-name-twice", f"{shown(file.name)} has several tensors of the name {shown(name)}")
        names.add(name)
        if offset % alignment:
            raise refusal("header-invalid", f"{where} begins at byte {offset}, which is not aligned to {alignment}")
        size = stored.size
        for each in shape:
            size *= each
        size //= stored.block
        begin = start + offset
        if size and begin < reached:
            raise refusal("data-overlap", f"{where} shares bytes with {before}")
        if begin + size > file.size:
            message = f"{shown(file.name)} has {file.size} bytes, but {shown(name)} should end at byte {begin + size}"
            raise refusal("file-truncated", message)
        reached, before = max(reached, begin + size), shown(name)
        encoding = stored.name if stored.block > 1 else None
        tensors.append(TensorInfo(name, BY_NAME[stored.dtype].name, shape, 0, begin, None, encoding))
    return tensors
