"""The zip archive around a torch file: where each record lies. Knows nothing of what they hold, and unpacks none.

Readers disagree about odd archives, and some return neighbouring bytes as weights; so everything odd is refused: compressed
or encrypted members, a name twice, overlaps, headers that disagree with the directory, bytes after the end. (APPNOTE 6.3.10)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

from tensormap.checkpoints.crc import crc32
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.diagnostics import CheckpointError

LOCAL = Struct("<4s5H3L2H")  # signature version flags method time date crc packed size name extra
CENTRAL = Struct(
    "<4s6H3L5H2L"
)  # signature made needed flags method time date crc packed size name extra comment disk int ext offset
END = Struct("<4s4H2LH")  # signature disk start here total size offset comment
END64 = Struct("<4sQ2H2L4Q")  # signature length made needed disk start here total size offset
LOCATOR = Struct("<4sLQL")  # signature disk offset disks

DIRECTORY_CAP = 512_000_000  # bytes
_DESCRIPTOR, _UTF8 = 0x0008, 0x0800
_FLAGS = _DESCRIPTOR | _UTF8 | 0x0006  # the last two say how hard a compressor tried
_MARK16, _MARK32 = 0xFFFF, 0xFFFFFFFF
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes `start` to `start + size` of the file, whose crc32 should be `crc`."""

    start: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Archive:
    """Records by name below the archive's only root, in the order of its directory, whose sha256 is `digest`."""

    root: str
    records: Mapping[str, Record]
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Member:
    name: bytes
    flags: int
    crc: int
    size: int
    header: int


def open_archive(file: Reader) -> Archive:
    """Read the directory and every local header; CheckpointError for anything that not all readers would read alike."""
    directory, start, count = _directory(file)
    members = _members(file, directory, count)
    ordered = sorted(members, key=lambda each: each.header)
    found: dict[bytes, Record] = {}
    for k, member in enumerate(ordered):
        limit = ordered[k + 1].header if k + 1 < len(ordered) else start
        found[member.name] = _record(file, member, limit)
    roots: dict[str, None] = {}
    records: dict[str, Record] = {}
    seen: set[str] = set()
    for member in members:
        name = _name(file, member)
        root, slash, rest = name.partition("/")
        roots[root if slash else ""] = None
        if name.lower() in seen:
            raise _refused(file, f"has the member {shown(name)} twice")
        seen.add(name.lower())
        if rest and not name.endswith("/"):
            records[rest] = found[member.name]
        elif member.size:
            raise _refused(file, f"has a member {shown(name)} that is no file in its root directory")
    if len(roots) != 1 or "" in roots:
        raise _refused(file, "has no single root directory" if roots else "is empty")
    return Archive(next(iter(roots)), records, hashlib.sha256(directory).digest())


def read_record(file: Reader, archive: Archive, name: str, limit: int) -> bytes:
    """Return a small record's bytes, checked against their crc32."""
    record = archive.records[name]
    if record.size > limit:
        raise _refused(file, f"has a record {shown(name)} of {record.size} bytes; at most {limit} are read")
    data = file.read(record.start, record.size)
    if crc32(data) != record.crc:
        raise damaged(file, name)
    return data


def check_record(file: Reader, archive: Archive, name: str) -> None:
    """Read all of a record; CheckpointError where its crc32 is not the one written with it."""
    record = archive.records[name]
    crc = 0
    for offset in range(0, record.size, _CHUNK):
        crc = crc32(file.read(record.start + offset, min(_CHUNK, record.size - offset)), crc)
    if crc != record.crc:
        raise damaged(file, name)


def damaged(file: Reader, name: str) -> CheckpointError:
    return refusal(
        "record-damaged",
        f"{shown(file.name)}: the bytes of record {shown(name)} do not match their checksum",
        help=["the file was damaged after it was written: fetch it again"],
    )


def _refused(file: Reader, says: str) -> CheckpointError:
    return refusal("zip-invalid", f"{shown(file.name)}: its zip archive {says}")


def _directory(file: Reader) -> tuple[bytes, int, int]:
    """Return the central directory's bytes, its offset and its number of entries."""
    at = file.size - END.size
    if at < 0:
        raise refusal("file-truncated", f"{shown(file.name)} has {file.size} bytes, too few for a zip archive")
    signature, *disks, total, size, start, comment = END.unpack(file.read(at, END.size))
    if signature != b"PK\x05\x06" or comment:
        raise refusal(
            "file-truncated",
            f"{shown(file.name)} does not end as a zip archive ends",
            help=["it was cut short, or something was appended: fetch the file again"],
        )
    here = disks[2]
    if at >= LOCATOR.size and (tail := file.read(at - LOCATOR.size, LOCATOR.size))[:4] == b"PK\x06\x07":
        _, disk, at64, _ = LOCATOR.unpack(tail)
        if at64 != at - LOCATOR.size - END64.size:
            raise _refused(file, "has its zip64 end record in an odd place")
        old = (here, total, size, start)
        signature, length, _, _, *disks64, here, total, size, start = END64.unpack(file.read(at64, END64.size))
        if signature != b"PK\x06\x06" or length != END64.size - 12 or disk or any(disks64):
            raise _refused(file, "has an invalid zip64 end record")
        marks = (_MARK16, _MARK16, _MARK32, _MARK32)
        if any(a not in (b, mark) for a, b, mark in zip(old, (here, total, size, start), marks, strict=True)):
            raise _refused(file, "has two end records that disagree")
        at = at64
    if any(disks[:2]) or here != total:
        raise _refused(file, "has several volumes")
    if start + size != at or total * CENTRAL.size > size or size > DIRECTORY_CAP:
        raise _refused(file, "has a directory that is not where its end record says")
    return file.read(start, size), start, total


def _members(file: Reader, directory: bytes, count: int) -> list[_Member]:
    members = []
    at = 0
    for _ in range(count):
        if at + CENTRAL.size > len(directory):
            raise _refused(file, "has a directory that is cut short")
        fields = CENTRAL.unpack_from(directory, at)
        signature, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment, disk, _, _, header = (
            fields
        )
        at += CENTRAL.size
        name = directory[at : at + name_size]
        extra = directory[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment
        if signature != b"PK\x01\x02" or at > len(directory):
            raise _refused(file, "has an invalid directory")
        if flags & ~_FLAGS or disk:
            raise _refused(file, f"has an encrypted or otherwise unusual member {_label(name)}")
        if method:
            raise refusal(
                "zip-compressed",
                f"{shown(file.name)}: its member {_label(name)} is compressed",
                help=["torch never compresses: unpack the archive and pack it again with stored members"],
            )
        size, packed, header = _wide(file, extra, name, (size, packed, header))
        if size != packed:
            raise _refused(file, f"gives two sizes for member {_label(name)}")
        members.append(_Member(name, flags, crc, size, header))
    if at != len(directory):
        raise _refused(file, f"has a directory with more than its {count} entries")
    return members


def _wide(file: Reader, extra: bytes, name: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Take the sizes and the offset that are too wide for their fields from the zip64 extra field."""
    if _MARK32 not in values:
        return values
    fields = _zip64(extra)
    if len(fields) != 8 * values.count(_MARK32):
        raise _refused(file, f"has no zip64 sizes for member {_label(name)}")
    wide = iter(int.from_bytes(fields[k : k + 8], "little") for k in range(0, len(fields), 8))
    size, packed, header = (next(wide) if each == _MARK32 else each for each in values)
    return size, packed, header


def _zip64(extra: bytes) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        end = at + 4 + int.from_bytes(extra[at + 2 : at + 4], "little")
        if extra[at : at + 2] == b"\x01\x00":
            return extra[at + 4 : end]
        at = end
    return b""


def _record(file: Reader, member: _Member, limit: int) -> Record:
    """Read a member's local header, which must agree with the directory; its bytes must end before `limit`."""
    if member.header + LOCAL.size + len(member.name) > limit:
        raise _refused(file, f"has overlapping members at {_label(member.name)}")
    head = file.read(member.header, LOCAL.size + len(member.name))
    signature, _, flags, method, _, _, crc, packed, size, name_size, extra_size = LOCAL.unpack_from(head)
    if signature != b"PK\x03\x04" or name_size != len(member.name) or head[LOCAL.size :] != member.name:
        raise _refused(file, f"has no member {_label(member.name)} where its directory says")
    later = flags & _DESCRIPTOR
    if method or (flags ^ member.flags) & ~0x0006:
        raise _refused(file, f"says two things about member {_label(member.name)}")
    for here, there in ((crc, member.crc), (size, member.size), (packed, member.size)):
        if here != there and not (later and not here) and here != _MARK32:
            raise _refused(file, f"says two things about member {_label(member.name)}")
    start = member.header + LOCAL.size + name_size + extra_size
    if start + member.size > limit:
        raise _refused(file, f"has overlapping members at {_label(member.name)}")
    return Record(start, member.size, member.crc)


def _name(file: Reader, member: _Member) -> str:
    try:
        name = member.name.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused(file, f"has a member {_label(member.name)} whose name is not UTF-8") from None
    parts = name.removesuffix("/").split("/")
    if "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise _refused(file, f"has a member with the unsafe name {shown(name)}")
    return name


def _label(name: bytes) -> str:
    return shown(name.decode("utf-8", "backslashreplace"))
