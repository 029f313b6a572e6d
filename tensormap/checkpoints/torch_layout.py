"""The bytes of a torch file around its tensors: the zip archive that `torch.save` writes, record for record.

Checksums of the tensors are left to who writes their bytes. (caffe2/serialize/inline_container.cc; miniz)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tensormap.checkpoints.catalog import Checksum, FileLayout, Piece
from tensormap.checkpoints.crc import crc32
from tensormap.checkpoints.pickle_writer import dump, nested
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.checkpoints.zip_records import CENTRAL, END, END64, LOCAL, LOCATOR
from tensormap.dtypes import BY_NAME

ROOT = "archive"
ALIGNMENT = 64
ORIGIN = "extra/tensormap.json"
"""The record that says where a file comes from. TorchScript files keep what others add to them below `extra/`, too."""

_PADDINGS = tuple(b"FB" + each.to_bytes(2, "little") + b"Z" * each for each in range(ALIGNMENT))

_UTF8, _DESCRIPTOR = 0x0800, 0x0008  # flags: how names are written, and that sizes and checksum follow the data
_MARK16, _MARK32 = 0xFFFF, 0xFFFFFFFF


def layout(
    tree: Mapping[str, Any],
    tensors: Sequence[tuple[tuple[str, ...], str, tuple[int, ...]]],
    metadata: Mapping[str, str] | None = None,
) -> FileLayout:
    """Lay out a torch file: `tree` of plain values, with the (path, dtype, shape) tensors put into it.

    `offsets` follow the given order. `metadata` goes into a record that `torch.load` does not look at, behind all that it does.
    Raises CheckpointError for what the format cannot hold.
    """
    sizes = []
    for path, dtype, shape in tensors:
        known = BY_NAME[dtype]
        if not known.size:
            raise refusal(
                "dtype-not-in-format", f"a torch file is not given {shown('.'.join(path))} of dtype `{dtype}`"
            )
        count = known.size
        for size in shape:
            count *= size
        sizes.append(count)
    archive = _Archive()
    archive.known("data.pkl", dump(nested(tree, tensors)))
    archive.known(".format_version", b"1")
    archive.known(".storage_alignment", b"%d" % ALIGNMENT)
    archive.known("byteorder", b"little")
    offsets = [archive.later(f"data/{k}", size) for k, size in enumerate(sizes)]
    archive.known("version", b"3\n")
    if metadata:
        archive.known(ORIGIN, json.dumps(metadata, indent=1, sort_keys=True).encode() + b"\n")
    return archive.close(tuple(offsets))


class _Entry(NamedTuple):
    name: bytes
    start: int  # of the local header
    data: int
    size: int
    crc: int

    @property
    def descriptor(self) -> int:
        """Where its checksum goes, behind its data."""
        return self.data + self.size + 4


@dataclass(slots=True)
class _Archive:
    """An archive as it grows: what is written since the last gap, and where that began."""

    entries: list[_Entry] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    begin: int = 0
    out: bytearray = field(default_factory=bytearray)

    @property
    def at(self) -> int:
        return self.begin + len(self.out)

    def known(self, name: str, data: bytes) -> None:
        """Add a record."""
        entry = self.header(name, len(data), crc32(data))
        self.out += data
        self.descriptor(entry)

    def later(self, name: str, size: int) -> int:
        """Leave room for a record that is written later; return where its bytes go."""
        entry = self.header(name, size, 0)
        if size:
            self.pieces.append(Piece(self.begin, bytes(self.out)))
            self.begin, self.out = entry.data + size, bytearray()
        self.descriptor(entry)
        return entry.data

    def header(self, name: str, size: int, crc: int) -> _Entry:
        """Write a local header, padded so that the data after it are aligned."""
        encoded = f"{ROOT}/{name}".encode()
        start = self.begin + len(self.out)
        wide = _zip64(size, start)
        before = start + LOCAL.size + len(encoded) + len(wide) + 4
        padding = -before % ALIGNMENT
        entry = _Entry(encoded, start, before + padding, size, crc)
        length = len(wide) + 4 + padding
        flags = _UTF8 | _DESCRIPTOR if size else _UTF8
        self.out += LOCAL.pack(b"PK\x03\x04", 0, flags, 0, 0, 0, 0, 0, 0, len(encoded), length)
        self.out += encoded + wide + _PADDINGS[padding]
        self.entries.append(entry)
        return entry

    def descriptor(self, entry: _Entry) -> None:
        """Write what follows a record's data; torch writes nothing after an empty record."""
        if not entry.size:
            return
        width = 8 if entry.size >= _MARK32 or entry.start >= _MARK32 else 4
        size = entry.size.to_bytes(width, "little")
        self.out += b"PK\x07\x08" + entry.crc.to_bytes(4, "little") + size + size

    def close(self, offsets: tuple[int, ...]) -> FileLayout:
        """Write the directory and the end records."""
        start = self.at
        checksums = []
        later = frozenset(offsets)
        for entry in self.entries:
            name, header, data, size, crc = entry
            if size and data in later:
                checksums.append(Checksum(data, size, (entry.descriptor, self.begin + len(self.out) + 16)))
            wide = _zip64(size, header)
            flags = _UTF8 | _DESCRIPTOR if size else _UTF8
            short, header = min(size, _MARK32), min(header, _MARK32)
            numbers = (0, 0, flags, 0, 0, 0, crc, short, short, len(name), len(wide), 0, 0, 0, 0, header)
            self.out += CENTRAL.pack(b"PK\x01\x02", *numbers) + name + wide
        end, count = self.at, len(self.entries)
        size = end - start
        self.out += END64.pack(b"PK\x06\x06", END64.size - 12, 0x031E, 0x2D, 0, 0, count, count, size, start)
        self.out += LOCATOR.pack(b"PK\x06\x07", 0, end, 1)
        few = min(count, _MARK16)
        self.out += END.pack(b"PK\x05\x06", 0, 0, few, few, min(size, _MARK32), min(start, _MARK32), 0)
        return FileLayout(self.at, (*self.pieces, Piece(self.begin, bytes(self.out))), offsets, tuple(checksums))


def _zip64(size: int, start: int) -> bytes:
    """Return the extra field that holds the numbers that are too wide for their own fields."""
    if size < _MARK32 and start < _MARK32:
        return b""
    values = [each for each in (size, size, start) if each >= _MARK32]
    return (
        b"\x01\x00" + (8 * len(values)).to_bytes(2, "little") + b"".join(each.to_bytes(8, "little") for each in values)
    )
