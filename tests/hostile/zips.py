"""Zip archives and torch pickles made by hand, so that each part can lie."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field


@dataclass
class Member:
    """One member: what the directory says of it, and what its own header says where that differs."""

    name: bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    extra: bytes = b""
    comment: bytes = b""
    disk: int = 0
    offset: int | None = None
    local_name: bytes | None = None
    local_method: int | None = None
    local_flags: int | None = None
    local_crc: int | None = None
    local_size: int | None = None
    local_extra: bytes = b""
    signature: bytes = b"PK\x03\x04"
    hidden: bool = False  # not in the directory


@dataclass
class End:
    """The end record, and where it lies about the directory."""

    here: int | None = None
    total: int | None = None
    size: int | None = None
    start: int | None = None
    disks: tuple[int, int] = (0, 0)
    comment: bytes = b""
    wide: dict[str, int] | None = None  # a zip64 end record with these fields changed
    after: bytes = b""
    before: bytes = field(default=b"")  # between the last member and the directory


def archive(members: list[Member], end: End | None = None) -> bytes:
    """Return the archive's bytes."""
    end = end or End()
    out = bytearray()
    directory = bytearray()
    count = 0
    for each in members:
        crc = zlib.crc32(each.data) if each.crc is None else each.crc
        size = len(each.data) if each.size is None else each.size
        packed = len(each.data) if each.packed is None else each.packed
        at = len(out)
        name = each.name if each.local_name is None else each.local_name
        local_size = min(size, 2**32 - 1) if each.local_size is None else each.local_size
        out += struct.pack(
            "<4s5H3L2H",
            each.signature,
            20,
            each.flags if each.local_flags is None else each.local_flags,
            each.method if each.local_method is None else each.local_method,
            0,
            0,
            crc if each.local_crc is None else each.local_crc,
            local_size if each.local_size is not None else min(packed, 2**32 - 1),
            local_size,
            len(name),
            len(each.local_extra),
        )
        out += name + each.local_extra + each.data
        if each.hidden:
            continue
        count += 1
        directory += struct.pack(
            "<4s6H3L5H2L",
            *(b"PK\x01\x02", 20, 20, each.flags, each.method, 0, 0, crc, min(packed, 2**32 - 1), min(size, 2**32 - 1)),
            *(
                len(each.name),
                len(each.extra),
                len(each.comment),
                each.disk,
                0,
                0,
                at if each.offset is None else each.offset,
            ),
        )
        directory += each.name + each.extra + each.comment
    out += end.before
    start = len(out)
    out += directory
    total = count if end.total is None else end.total
    here = total if end.here is None else end.here
    size = len(directory) if end.size is None else end.size
    begin = start if end.start is None else end.start
    if end.wide is not None:
        fields = {
            "length": 44,
            "disk": 0,
            "disk2": 0,
            "here": count,
            "total": count,
            "size": len(directory),
            "start": start,
        }
        fields |= {"at": len(out), "disks": 1, "locator disk": 0} | end.wide
        out += struct.pack(
            "<4sQ2H2L4Q",
            b"PK\x06\x06",
            fields["length"],
            45,
            45,
            *(fields[k] for k in ("disk", "disk2", "here", "total", "size", "start")),
        )
        out += struct.pack("<4sLQL", b"PK\x06\x07", fields["locator disk"], fields["at"], fields["disks"])
    out += (
        struct.pack("<4s4H2LH", b"PK\x05\x06", *end.disks, here, total, size, begin, len(end.comment))
        + end.comment
        + end.after
    )
    return bytes(out)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<L", len(data)) + data


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(integer(each) for each in values) + b"t"


def storage(key: str = "0", kind: str = "torch\nFloatStorage", count: int = 4, more: bytes = b"") -> bytes:
    return b"(" + text("storage") + f"c{kind}\n".encode() + text(key) + text("cpu") + integer(count) + more + b"tQ"


def tensor(
    held: bytes | None = None,
    offset: int = 0,
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    call: str = "torch._utils\n_rebuild_tensor_v2",
    more: bytes = b"",
) -> bytes:
    """Return a pickle's opcodes for a tensor."""
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return (
        f"c{call}\n".encode()
        + b"("
        + (held or storage())
        + integer(offset)
        + numbers(shape)
        + numbers(strides)
        + hooks
        + more
        + b"tR"
    )


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def held(body: bytes) -> bytes:
    """Return a pickle of a dictionary with one key."""
    return pickled(b"}" + text("w") + body + b"s")


FOUR = struct.pack("<4f", 1, 2, 3, 4)


def members(data: bytes | None = None, record: bytes = FOUR) -> list[Member]:
    """Return what a torch file consists of."""
    return [
        Member(b"x/data.pkl", held(tensor()) if data is None else data),
        Member(b"x/byteorder", b"little"),
        Member(b"x/data/0", record),
        Member(b"x/version", b"3\n"),
    ]


def torch_file(data: bytes | None = None, record: bytes = FOUR) -> bytes:
    return archive(members(data, record))


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
SYSTEM = b"\x80\x02}(X\x0d\0\0\0little_endian\x88X\x10\0\0\0protocol_versionM\xe9\x03u."


def legacy(
    body: bytes | None = None,
    *,
    keys: bytes | None = None,
    data: bytes | None = None,
    magic: bytes = MAGIC,
    protocol: bytes = b"\x80\x02M\xe9\x03.",
    system: bytes = SYSTEM,
) -> bytes:
    """Return a torch file of the old format."""
    value = held(tensor(storage(more=b"N"))) if body is None else body
    listed = pickled(b"]" + text("0") + b"a") if keys is None else keys
    return magic + protocol + system + value + listed + (struct.pack("<q", 4) + FOUR if data is None else data)
