"""GGUF files made by hand, byte by byte: right ones, and ones that lie."""

from __future__ import annotations

import struct
from collections.abc import Iterable

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
F32, F16, Q4_0, Q8_0, Q4_K = 0, 1, 2, 8, 12


def text(value: str | bytes, *, length: int | None = None) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data) if length is None else length) + data


def number(kind: int, value: float) -> bytes:
    forms = {UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "B"}
    forms |= {UINT64: "Q", INT64: "q", FLOAT64: "d"}
    return struct.pack("<" + forms[kind], value)


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, items: Iterable[bytes], *, count: int | None = None) -> bytes:
    data = list(items)
    return struct.pack("<IQ", kind, len(data) if count is None else count) + b"".join(data)


def record(name: str | bytes, shape: tuple[int, ...], kind: int, offset: int, *, rank: int | None = None) -> bytes:
    """A tensor's record; the shape as it is in memory, the slowest axis first."""
    sizes = shape[::-1]
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(shape) if rank is None else rank, *sizes, kind, offset)


def made(
    pairs: list[bytes] = [],  # noqa: B006 - never changed
    records: list[bytes] = [],  # noqa: B006
    data: bytes = b"",
    *,
    version: int = 3,
    tensors: int | None = None,
    keys: int | None = None,
    alignment: int = 32,
) -> bytes:
    """Return a file; counts may be lies."""
    counts = len(records) if tensors is None else tensors, len(pairs) if keys is None else keys
    header = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(pairs) + b"".join(records)
    return header + bytes(-len(header) % alignment) + data
