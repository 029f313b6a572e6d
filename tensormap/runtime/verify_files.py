"""Are the files around the tensors what a plan would write? Headers, checksums, padding, the index, the config, what was copied.

Tensors are `verify`'s business: their bytes are read here only where a checksum is of them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tensormap.checkpoints.catalog import Piece
from tensormap.checkpoints.reader import Reader
from tensormap.lowering.plan import OutputFile, Plan
from tensormap.runtime.tiling import tensor_bytes

_CHUNK = 512 << 10
Reason: TypeAlias = Literal["missing", "size", "bytes"]


@dataclass(frozen=True, slots=True)
class FileDifference:
    """How one file differs: it is not there, its size is `found` and not `wanted`, or its byte `at` is another."""

    path: str
    reason: Reason
    wanted: int = 0
    found: int = 0
    at: int = 0


def compare_files(plan: Plan, target: Path, *, workers: int = 2) -> tuple[FileDifference, ...]:
    """Compare all files that `plan` would write with those below `target`; nothing found, and no tensor either, means equal bytes.

    CheckpointError or OSError where a file cannot be read.
    """
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_output, each, target / each.path) for each in plan.outputs]
        jobs += [pool.submit(_text, each.path, each.data, target / each.path) for each in plan.texts]
        jobs += [
            pool.submit(_copy, each.path, Path(plan.root, each.source), target / each.path) for each in plan.companions
        ]
        found = [job.result() for job in jobs]
    return tuple(each for each in found if each is not None)


def file_count(plan: Plan) -> int:
    """Return how many files a plan writes."""
    return len(plan.outputs) + len(plan.texts) + len(plan.companions)


def _output(output: OutputFile, path: Path) -> FileDifference | None:
    layout = output.layout
    tensors = [(start, tensor_bytes(each)) for start, each in zip(layout.offsets, output.tensors, strict=True)]
    if not path.is_file():
        return FileDifference(output.path, "missing")
    with Reader(path, os.fspath(path)) as file:
        if file.size != layout.size:
            return FileDifference(output.path, "size", layout.size, file.size)
        pieces = list(layout.pieces)
        for checksum in layout.checksums:
            crc = _crc(file, checksum.start, checksum.size).to_bytes(4, "little")
            pieces += [Piece(offset, crc) for offset in checksum.into]
        pieces.sort(key=lambda each: each.offset)
        first = 0
        for low, high in _gaps(sorted(tensors), layout.size):
            while first < len(pieces) and pieces[first].offset + len(pieces[first].data) <= low:
                first += 1
            at = _differs(file, low, _filled(low, high, pieces, first))
            if at is not None:
                return FileDifference(output.path, "bytes", at=at)
    return None


def _gaps(tensors: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Yield what of a file is no tensor's, in stretches of a bounded size."""
    position = 0
    for start, length in (*tensors, (size, 0)):
        for low in range(position, start, _CHUNK):
            yield low, min(low + _CHUNK, start)
        position = max(position, start + length)


def _filled(low: int, high: int, pieces: Sequence[Piece], first: int) -> bytes:
    """Return what stands at bytes `low` to `high`: pieces, the `first` of which may reach into it, and zeros between them."""
    data = bytearray(high - low)
    for index in range(first, len(pieces)):
        piece = pieces[index]
        if piece.offset >= high:
            break
        start, end = max(low, piece.offset), min(high, piece.offset + len(piece.data))
        if start < end:
            data[start - low : end - low] = piece.data[start - piece.offset : end - piece.offset]
    return bytes(data)


def _differs(file: Reader, low: int, wanted: bytes) -> int | None:
    found = file.read(low, len(wanted))
    if found == wanted:
        return None
    return low + next(k for k, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other)


def _crc(file: Reader, start: int, size: int) -> int:
    crc = 0
    for offset in range(start, start + size, _CHUNK):
        crc = zlib.crc32(file.read(offset, min(_CHUNK, start + size - offset)), crc)
    return crc


def _text(name: str, data: bytes, path: Path) -> FileDifference | None:
    if not path.is_file():
        return FileDifference(name, "missing")
    with Reader(path, os.fspath(path)) as file:
        if file.size != len(data):
            return FileDifference(name, "size", len(data), file.size)
        at = _differs(file, 0, data)
    return None if at is None else FileDifference(name, "bytes", at=at)


def _copy(name: str, source: Path, path: Path) -> FileDifference | None:
    if not path.is_file():
        return FileDifference(name, "missing")
    with Reader(source, os.fspath(source)) as original, Reader(path, os.fspath(path)) as file:
        if file.size != original.size:
            return FileDifference(name, "size", original.size, file.size)
        for low in range(0, file.size, _CHUNK):
            at = _differs(file, low, original.read(low, min(_CHUNK, file.size - low)))
            if at is not None:
                return FileDifference(name, "bytes", at=at)
    return None
