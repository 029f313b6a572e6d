"""The bytes of a GGUF file around its tensors: version 3, as `gguf.GGUFWriter` lays it out. Nothing is quantised here.

Keys are written in the given order, but `general.architecture` first. (gguf-py/gguf/gguf_writer.py)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tensormap.checkpoints.catalog import FileLayout, Piece
from tensormap.checkpoints.gguf_types import (
    ALIGNMENT,
    ARRAY,
    BOOL,
    FLOAT32,
    INT32,
    INT64,
    LARGEST_FLOAT,
    MAGIC,
    NAME_CAP,
    NUMBERS,
    PLAIN,
    RANK_CAP,
    STRING,
    UINT32,
    UINT64,
    VERSIONS,
)
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.checkpoints.safetensors import byte_size

_ARCHITECTURE = "general.architecture"


def layout(tensors: Sequence[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, Any]) -> FileLayout:
    """Lay out a file for (name, dtype, shape) tensors, which lie in this order, and metadata; tables in it become dotted keys.

    A whole number is written as uint32, a number with a point as float32, as llama.cpp wants them; in arrays, int32.
    CheckpointError for what the format cannot hold.
    """
    keys = dict(sorted(_flat(metadata, ""), key=lambda pair: pair[0] != _ARCHITECTURE))
    architecture = keys.get(_ARCHITECTURE)
    if not isinstance(architecture, str):
        raise refusal("metadata-invalid", f"a GGUF file needs {shown(_ARCHITECTURE)}, and the config has none")
    keys = {_spelled(key, architecture): value for key, value in keys.items()}
    out = [MAGIC, struct.pack("<IQQ", VERSIONS[-1], len(tensors), len(keys))]
    for key, value in keys.items():
        out += [_text(key), _value(key, value)]
    names: set[str] = set()
    ends: list[tuple[int, int]] = []
    reached = 0
    for name, dtype, shape in tensors:
        _check(name, dtype, shape, names)
        sizes = shape[::-1]
        out.append(_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, PLAIN[dtype], reached))
        size = byte_size(name, dtype, shape)
        ends.append((reached, reached + size))
        reached = _aligned(reached + size)
    header = b"".join(out)
    start = _aligned(len(header))
    pieces = [Piece(0, header + bytes(start - len(header)))]
    pieces += [Piece(start + end, bytes(_aligned(end) - end)) for _, end in ends if end % ALIGNMENT]
    return FileLayout(start + reached, tuple(pieces), tuple(start + begin for begin, _ in ends))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None and value not in ([], ()):
            yield prefix + key, value


def _spelled(key: str, architecture: str) -> str:
    """Return the key as it is written: a config names `command-r.` as `command_r.`, for a name holds no dash."""
    plain = architecture.replace("-", "_") + "."
    return f"{architecture}.{key.removeprefix(plain)}" if key.startswith(plain) else key


def _check(name: str, dtype: str, shape: tuple[int, ...], names: set[str]) -> None:
    if dtype not in PLAIN:
        raise refusal("dtype-not-in-format", f"GGUF cannot hold {shown(name)}: it has no dtype `{dtype}`")
    if len(shape) > RANK_CAP:
        message = f"GGUF cannot hold {shown(name)} of shape {list(shape)}: it has at most {RANK_CAP} dimensions"
        raise refusal("tensor-size", message)
    if name in names:
        raise refusal("name-not-in-format", f"GGUF cannot hold two tensors of the name {shown(name)}")
    if len(name.encode("utf-8", "surrogatepass")) > NAME_CAP:
        message = f"GGUF cannot hold the name {shown(name)}, which is longer than {NAME_CAP} bytes"
        raise refusal("name-not-in-format", message)
    names.add(name)


def _text(value: str) -> bytes:
    try:
        data = value.encode("utf-8")
    except UnicodeError:
        raise refusal("name-not-in-format", f"GGUF cannot hold {shown(value)}, which is not Unicode text") from None
    return struct.pack("<Q", len(data)) + data


def _value(key: str, value: Any) -> bytes:
    """Return a value with the number of its type before it."""
    if not isinstance(value, (list, tuple)):
        kind = _kind(key, value)
        return struct.pack("<I", kind) + _scalar(kind, value)
    kinds = {_kind(key, each) for each in value}
    if kinds <= {UINT32, INT32}:
        kinds = {INT32} if all(each < 2**31 for each in value) else {INT64}
    elif kinds <= {UINT32, INT32, FLOAT32}:
        kinds = {FLOAT32}
    if len(kinds) != 1:
        raise refusal("metadata-invalid", f"GGUF cannot hold {shown(key)}, a list of values of different kinds")
    (kind,) = kinds
    return struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(_scalar(kind, each) for each in value)


def _kind(key: str, value: Any) -> int:
    match value:
        case bool():
            return BOOL
        case int() if 0 <= value < 2**32:
            return UINT32
        case int() if -(2**31) <= value < 0:
            return INT32
        case int():
            return UINT64 if value >= 0 else INT64
        case float():
            if math.isfinite(value) and abs(value) > LARGEST_FLOAT:
                raise refusal("metadata-invalid", f"GGUF cannot hold {shown(key)}, which is too large: {value}")
            return FLOAT32
        case str():
            return STRING
        case _:
            raise refusal("metadata-invalid", f"GGUF cannot hold {shown(key)}: {shown(value)}")


def _scalar(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _text(value)
    return struct.pack("<?" if kind == BOOL else NUMBERS[kind], value)
