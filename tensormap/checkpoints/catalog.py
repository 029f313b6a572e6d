"""A checkpoint's header: which tensors it holds, and where their bytes lie. No data is read to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file with tensors, relative to the catalog's root. `header` is the sha256 (hex) of the bytes that say where the
    tensors lie (a safetensors header; a zip's central directory with its pickle; all of a small legacy pickle).
    """

    path: str
    size: int
    mtime_ns: int
    header: str


class TensorInfo(NamedTuple):
    """One stored tensor: `offset` is the byte in its file where its first element lies; `strides` count elements, None for
    row-major without gaps. `dtype` is a name of `tensormap.dtypes`. With an `encoding`, a name of `gguf_types.ENCODINGS`, the
    file has packed blocks, row-major from `offset` on, that decode to `dtype`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: int  # index into Catalog.files
    offset: int
    strides: tuple[int, ...] | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All tensors of a checkpoint by name, in file order. `objects` holds what a torch file has beside its tensors, by dotted
    path, and a GGUF file's metadata, by key, as plain values; what is neither a number, string, bool, None, list, tuple nor
    dict of these is an `Opaque`.
    """

    root: Path
    format: str  # "safetensors", "torch", "torch-legacy", "gguf" or "mixed"
    files: tuple[SourceFile, ...]
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opaque:
    """An object of a pickle that was not built: the name of its class; and, of a namespace or a dictionary, what it holds."""

    kind: str
    state: Mapping[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class OpenFile:
    """What one file holds. Tensor names are the path of their keys: a tuple, for a nested dictionary of a torch file;
    one key for the other formats. Each TensorInfo's `file` is 0 and its `name` the keys joined by dots.
    """

    format: str
    file: SourceFile
    tensors: Mapping[tuple[str, ...], TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)
    objects: Mapping[tuple[str, ...], Any] = field(default_factory=dict)


class Piece(NamedTuple):
    """Bytes of a file that are known before any tensor is read."""

    offset: int
    data: bytes


class Checksum(NamedTuple):
    """The crc32 of the file's bytes `start` to `start + size` goes, as four little-endian bytes, to each offset of `into`."""

    start: int
    size: int
    into: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileLayout:
    """A whole file but for its tensors' bytes: `offsets[k]` is where the k-th tensor's bytes go, row-major, little-endian."""

    size: int
    pieces: tuple[Piece, ...]
    offsets: tuple[int, ...]
    checksums: tuple[Checksum, ...] = ()
