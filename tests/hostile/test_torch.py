"""Attacks on the readers of torch files: one file, one test, named by what it tries."""

from __future__ import annotations

import os
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from tensormap.checkpoints.catalog import Catalog, Opaque
from tensormap.checkpoints.open import open_checkpoint, open_file, verify_records
from tensormap.checkpoints.read import load_tensor
from tensormap.diagnostics import CheckpointError
from tests.hostile.refusals import refused
from tests.hostile.zips import (
    FOUR,
    MAGIC,
    End,
    Member,
    archive,
    held,
    integer,
    legacy,
    members,
    numbers,
    pickled,
    storage,
    tensor,
    text,
    torch_file,
)

NAME = "dir/a.pt"


def changed(k: int, **fields: object) -> bytes:
    """Return a torch file with one member changed."""
    found = members()
    found[k] = replace(found[k], **fields)  # type: ignore[arg-type]
    return archive(found)


def with_end(**fields: object) -> bytes:
    return archive(members(), End(**fields))  # type: ignore[arg-type]


def without(name: bytes) -> bytes:
    return archive([each for each in members() if each.name != name])


def marked(data: bytes, *more: Member, crc: int | None = None) -> bytes:
    """Return a torch file that says where it comes from."""
    return archive([*members(), Member(b"x/extra/tensormap.json", data, crc=crc), *more])


def squeezed() -> Member:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(FOUR) + packer.flush()
    return Member(b"x/data/0", data, method=8, size=len(FOUR), crc=zlib.crc32(FOUR))


def bomb(depth: int, opening: bytes, middle: bytes, closing: bytes, seed: bytes = b"N") -> bytes:
    """Return a pickle of a container that holds twice what it held before, `depth` times."""
    body = seed
    for k in range(depth):
        place = struct.pack("<L", k)
        body += b"r" + place + b"0" + opening + b"j" + place + middle + b"j" + place + closing
    return pickled(body)


ZIPS: dict[str, tuple[bytes, str]] = {
    # what is no zip archive
    "empty file": (b"", "file-empty"),
    "signature only": (b"PK\x03\x04", "file-truncated"),
    "cut in the middle": (torch_file()[:300], "file-truncated"),
    "last byte missing": (torch_file()[:-1], "file-truncated"),
    "byte appended": (torch_file() + b"\0", "file-truncated"),
    "archive comment": (with_end(comment=b"hello"), "file-truncated"),
    "two archives in a row": (torch_file() * 2, "zip-invalid"),
    "bytes before the archive": (b"PK\x03\x04" + bytes(40) + torch_file(), "zip-invalid"),
    "empty archive": (archive([]), "zip-invalid"),
    "safetensors file": (b"\x02\0\0\0\0\0\0\0{}", "file-renamed"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "lfs-pointer"),
    "web page": (b"<html><body>404</body></html>", "html-page"),
    "tar archive": (bytes(257) + b"ustar\0" + bytes(1000), "torch-tar"),
    "tar archive with a name": (b"storages".ljust(257, b"\0") + b"ustar\0" + bytes(1000), "torch-tar"),
    # the directory
    "directory beyond the file": (with_end(start=2**31), "zip-invalid"),
    "directory that starts too early": (with_end(start=0), "zip-invalid"),
    "directory larger than the file": (with_end(size=2**31), "zip-invalid"),
    "directory of no size": (with_end(size=0), "zip-invalid"),
    "count too small": (with_end(total=3), "zip-invalid"),
    "count too large": (with_end(total=5), "zip-invalid"),
    "count too large beside a long name": (
        archive([*members(), Member(b"x/" + b"y" * 100, b"")], End(total=6)),
        "zip-invalid",
    ),
    "old end that counts less than the zip64 end": (with_end(total=3, wide={}), "zip-invalid"),
    "old end that starts elsewhere than the zip64 end": (with_end(start=5, wide={}), "zip-invalid"),
    "directory without its signatures": (torch_file().replace(b"PK\x01\x02", b"PK\x01\x03"), "zip-invalid"),
    "directory with an endless comment": (
        torch_file()[: torch_file().rindex(b"PK\x01\x02") + 32]
        + b"\xff\x7f"
        + torch_file()[torch_file().rindex(b"PK\x01\x02") + 34 :],
        "zip-invalid",
    ),
    "member of two sizes that its header leaves open": (
        changed(2, flags=8, packed=8, local_size=0, local_crc=0),
        "zip-invalid",
    ),
    "count far too large": (with_end(total=60_000), "zip-invalid"),
    "two counts": (with_end(here=3), "zip-invalid"),
    "several volumes": (with_end(disks=(1, 1)), "zip-invalid"),
    "zip64 end that disagrees": (with_end(wide={"start": 5}), "zip-invalid"),
    "zip64 end with another count": (with_end(wide={"here": 5, "total": 5}), "zip-invalid"),
    "zip64 end elsewhere": (with_end(wide={"at": 3}), "zip-invalid"),
    "zip64 end of the largest offset": (with_end(wide={"at": 2**64 - 1}), "zip-invalid"),
    "zip64 end of the largest size": (with_end(size=2**32 - 1, wide={"size": 2**64 - 1}), "zip-invalid"),
    "zip64 end that wraps around": (
        with_end(size=2**32 - 1, start=2**32 - 1, wide={"size": 2**63, "start": 2**64 - 2**63}),
        "zip-invalid",
    ),
    "zip64 end on another volume": (with_end(wide={"disk": 1}), "zip-invalid"),
    "zip64 end with a tail": (with_end(wide={"length": 60}), "zip-invalid"),
    # members
    "compressed record": (archive([*members()[:2], squeezed(), members()[3]]), "zip-compressed"),
    "compressed pickle": (changed(0, method=8), "zip-compressed"),
    "unknown compression": (changed(2, method=99), "zip-compressed"),
    "compressed by its own header only": (changed(2, local_method=8), "zip-invalid"),
    "encrypted record": (changed(2, flags=1), "zip-invalid"),
    "encrypted by its own header only": (changed(2, local_flags=1), "zip-invalid"),
    "strong encryption": (changed(2, flags=0x40), "zip-invalid"),
    "hidden names": (changed(2, flags=0x2000), "zip-invalid"),
    "patched data": (changed(2, flags=0x20), "zip-invalid"),
    "record twice": (archive([*members(), Member(b"x/data/0", bytes(16))]), "zip-invalid"),
    "pickle twice": (archive([*members(), Member(b"x/data.pkl", held(tensor()))]), "zip-invalid"),
    "record twice but for case": (archive([*members(), Member(b"X/DATA/0", bytes(16))]), "zip-invalid"),
    "two members at one place": (archive([*members(), Member(b"x/data/1", offset=0)]), "zip-invalid"),
    "member inside another": (changed(3, offset=5), "zip-invalid"),
    "member inside the directory": (changed(3, offset=len(torch_file()) - 60), "zip-invalid"),
    "member beyond the file": (changed(3, offset=2**31), "zip-invalid"),
    "member of another name": (changed(2, local_name=b"x/data/1"), "zip-invalid"),
    "member of a longer name": (changed(2, local_name=b"x/data/00"), "zip-invalid"),
    "member without its signature": (changed(2, signature=b"PK\x03\x05"), "zip-invalid"),
    "member larger than its place": (changed(2, size=64, packed=64), "zip-invalid"),
    "member of two sizes": (changed(2, size=64), "zip-invalid"),
    "member whose header has another size": (changed(2, local_size=8), "zip-invalid"),
    "member whose header has another checksum": (changed(2, local_crc=1), "zip-invalid"),
    "member on another volume": (changed(2, disk=1), "zip-invalid"),
    "member of 2^32 - 1 bytes without zip64": (changed(2, size=2**32 - 1, packed=2**32 - 1), "zip-invalid"),
    "member of 2^64 - 1 bytes": (
        changed(2, size=2**32 - 1, packed=2**32 - 1, extra=b"\x01\0\x10\0" + b"\xff" * 16),
        "zip-invalid",
    ),
    "zip64 sizes cut short": (changed(2, size=2**32 - 1, packed=2**32 - 1, extra=b"\x01\0\x08\0" + bytes(8)), "zip-invalid"),
    # names
    "member outside": (archive([*members(), Member(b"x/../../etc/passwd", b"x")]), "zip-invalid"),
    "absolute name": (archive([*members(), Member(b"/etc/passwd", b"x")]), "zip-invalid"),
    "backslashes": (archive([*members(), Member(b"x\\y", b"x")]), "zip-invalid"),
    "NUL in a name": (archive([*members(), Member(b"x/data/1\0y", b"x")]), "zip-invalid"),
    "empty name": (archive([*members(), Member(b"", b"x")]), "zip-invalid"),
    "name that is not UTF-8": (archive([*members(), Member(b"x/\xff", b"x")]), "zip-invalid"),
    "two roots": (archive([*members(), Member(b"y/data/0", b"x")]), "zip-invalid"),
    "no root": (archive([Member(b"data.pkl", held(tensor())), Member(b"data/0", FOUR)]), "zip-invalid"),
    "directory with data": (archive([*members(), Member(b"x/data/", b"x")]), "zip-invalid"),
    # records
    "no pickle": (without(b"x/data.pkl"), "format-unknown"),
    "no record": (without(b"x/data/0"), "pickle-invalid"),
    "record too short": (torch_file(record=FOUR[:8]), "pickle-invalid"),
    "record too long": (torch_file(record=FOUR * 2), "pickle-invalid"),
    "big-endian": (archive([members()[0], Member(b"x/byteorder", b"big"), *members()[2:]]), "big-endian"),
    "byte order of a megabyte": (archive([members()[0], Member(b"x/byteorder", b"x" * 2**20), *members()[2:]]), "zip-invalid"),
    "mark that is no JSON": (marked(b"{"), "json-invalid"),
    "mark that is not UTF-8": (marked(b'{"tensormap.side": "\xff"}'), "json-invalid"),
    "mark that is a list": (marked(b"[]"), "metadata-invalid"),
    "mark that holds numbers": (marked(b'{"tensormap.side": 1}'), "metadata-invalid"),
    "mark that says two things": (marked(b'{"a": "", "a": ""}'), "json-duplicate-key"),
    "mark nested 60,000 deep": (marked(b"[" * 60_000), "json-invalid"),
    "mark of a megabyte": (marked(b" " * 2**20), "zip-invalid"),
    "mark that was damaged": (marked(b"{}", crc=5), "record-damaged"),
    "mark in two cases": (marked(b"{}", Member(b"x/EXTRA/tensormap.json", b"{}")), "zip-invalid"),
    "TorchScript": (archive([*members(), Member(b"x/constants.pkl", b"x")]), "torch-script"),
    "bit flip in a record": (changed(2, data=b"\x01" + FOUR[1:], crc=zlib.crc32(FOUR)), "record-damaged"),
    "bit flip in the pickle": (changed(0, crc=5), "record-damaged"),
    "bit flip in a record nobody needs": (changed(3, crc=5), "record-damaged"),
    "storage outside of its folder": (torch_file(held(tensor(storage("../data.pkl")))), "pickle-invalid"),
}  # fmt: skip

UNTYPED = storage(kind="torch.storage\nUntypedStorage", count=16)
V3 = "torch._utils\n_rebuild_tensor_v3"

PICKLES: dict[str, bytes] = {
    # the machine
    "empty pickle": b"",
    "no end": b"\x80\x02}",
    "end only": b".",
    "more after the end": held(tensor()) + b".",
    "protocol 6": b"\x80\x06}.",
    "protocol 255": b"\x80\xff}.",
    "unknown opcode": pickled(b"\xff"),
    "extension registry": pickled(b"\x82\x01"),
    "out-of-band buffer": pickled(b"\x97"),
    "stack underflow": pickled(b"000"),
    "tuple of nothing": pickled(b"\x85"),
    "mark missing": pickled(b"t"),
    "memo missing": pickled(b"h\x05"),
    "put of nothing": pickled(b"q\0"),
    "text longer than the file": pickled(b"X\xff\xff\xff\x7f"),
    "text of 2^63 bytes": pickled(b"\x8d" + b"\xff" * 7 + b"\x7f"),
    "bytes of 2^64 - 1 bytes": pickled(b"\x8e" + b"\xff" * 8),
    "integer of two gigabytes": pickled(b"\x8b\xff\xff\xff\x7f"),
    "integer of 100,000 digits": pickled(b"L" + b"9" * 100_000 + b"L\n"),
    "integer that is none": pickled(b"Iabc\n"),
    "float that is none": pickled(b"Fabc\n"),
    "string without quotes": pickled(b"Sabc\n"),
    "text that is not UTF-8": pickled(b"X\x01\0\0\0\xff"),
    "lone surrogate": pickled(b"X\x03\0\0\0\xed\xa0\x80"),
    "lone surrogate as an escape": pickled(b"V\\ud800\n"),
    "dictionary of three": pickled(b"(NNNd"),
    "list as a key": pickled(b"}]Ns"),
    "dictionary as a key": pickled(b"}}Ns"),
    "huge integer as a key": pickled(b"}" + integer(2**61 - 1) + b"Ns"),
    "deep tuple as a key": pickled(b"}" + b")" + b"\x85" * 1000 + b"Ns"),
    "list in a set": pickled(b"\x8f(]\x90"),
    "append to a number": pickled(b"K\x01Na"),
    "item of a number": pickled(b"K\x01NNs"),
    "call of a number with no tuple": pickled(b"K\x01K\x02R"),
    "global whose name is a number": pickled(b"K\x01K\x02\x93"),
    "list that holds itself": pickled(b"]q\0h\0a"),
    "dictionary that holds itself": pickled(b"}q\0" + text("a") + b"h\0s"),
    "lists nested 100,000 deep": pickled(b"]" * 100_000 + b"a" * 99_999),
    "tuples nested 100,000 deep": pickled(b")" + b"\x85" * 100_000),
    "dictionaries nested 1,000 deep": pickled((b"}" + text("a")) * 1000 + b"N" + b"s" * 1000),
    "list doubled forty times": bomb(40, b"(", b"", b"l"),
    "tuple doubled forty times": bomb(40, b"", b"", b"\x86"),
    "dictionary doubled forty times": bomb(40, b"}" + text("a"), b"s" + text("b"), b"s"),
    "tensor reached in 2^30 ways": bomb(30, b"(", b"", b"l", tensor()),
    "tuple doubled forty times as a key": bomb(40, b"", b"", b"\x86")[:-1] + b"r\xff\0\0\x000}j\xff\0\0\0Ns.",
    "tuple doubled forty times in a set": bomb(40, b"", b"", b"\x86")[:-1] + b"r\xff\0\0\x000\x8f(j\xff\0\0\0\x90.",
    "tuple doubled forty times in a set that is called": (
        bomb(40, b"", b"", b"\x86")[:-1] + b"r\xff\0\0\x000cbuiltins\nset\n](j\xff\0\0\0e\x85R."
    ),
    "tuple doubled forty times as a key of pairs": (
        bomb(40, b"", b"", b"\x86")[:-1] + b"r\xff\0\0\x000ccollections\nOrderedDict\n](j\xff\0\0\0N\x86e\x85R."
    ),
    "integer of 2,000 bytes": pickled(b"\x8b\xd0\x07\0\0" + b"\x01" * 2000),
    "bytes of a number": pickled(b"cbuiltins\nbytes\nK\x05\x85R"),
    "bytes of a huge number": pickled(b"cbuiltins\nbytearray\n" + integer(2**60) + b"\x85R"),
    "keys that read the same": pickled(b"}NK\x01s" + text("None") + b"K\x02s"),
    "bytes in an unknown coding": pickled(b"c_codecs\nencode\n(" + text("a") + text("rot13") + b"tR"),
    # storages
    "persistent id that is no tuple": held(b"NQ"),
    "persistent id as text": pickled(b"P5\n"),
    "persistent id of something else": held(b"(" + text("module") + b"NNNtQ"),
    "storage type that is text": held(b"(" + text("storage") + text("FloatStorage") + text("0") + text("cpu") + integer(4) + b"tQ"),
    "storage key that is a number": held(b"(" + text("storage") + b"ctorch\nFloatStorage\nK\0" + text("cpu") + integer(4) + b"tQ"),
    "storage of a negative size": held(tensor(storage(count=-4))),
    "storage of true elements": held(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"\x88tQ"),
    "storage of a huge size": held(tensor(storage(count=2**62))),
    "storage of two sizes": pickled(b"}(" + text("a") + tensor() + text("b") + tensor(storage(count=8)) + b"u"),
    "storage of two types": pickled(b"}(" + text("a") + tensor() + text("b") + tensor(storage(kind="torch\nByteStorage")) + b"u"),
    "storage without a record": held(tensor(storage("1"))),
    "storage with one more part": held(tensor(storage(more=b"N"))),
    # tensors
    "tensor without a storage": held(tensor(b"N")),
    "tensor of a tensor": held(tensor(tensor())),
    "tensor of too few arguments": held(b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"tR"),
    "tensor without arguments": held(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
    "size beyond the storage": held(tensor(shape=(5,))),
    "offset beyond the storage": held(tensor(offset=1)),
    "empty tensor far beyond the storage": held(tensor(offset=5, shape=(0,))),
    "negative offset": held(tensor(offset=-1)),
    "huge offset": held(tensor(offset=2**64 - 1, shape=(1,))),
    "offset that is true": held(b"ctorch._utils\n_rebuild_tensor\n(" + storage() + b"\x88" + numbers((1,)) + numbers((1,)) + b"tR"),
    "empty tensor of huge sizes": held(tensor(shape=(0, 2**62, 2**62), strides=(1, 1, 1))),
    "empty tensor of huge bytes": held(tensor(shape=(0, 2**62), strides=(1, 1))),
    "tensor whose name clears the screen": pickled(b"}" + text("\x1b[2J`\r\n\u202e") + tensor(offset=1) + b"s"),
    "tensor whose name is a megabyte": pickled(b"}" + text("x" * 2**20) + tensor(offset=1) + b"s"),
    "storage whose key clears the screen": pickled(
        b"}(" + text("a") + tensor(storage("\x1b[2J")) + text("b") + tensor(storage("\x1b[2J", count=5)) + b"u"
    ),
    "name that clears the screen, twice": pickled(
        b"}" + text("\x1b[2J") + b"}(" + text("1") + tensor() + b"K\x01" + tensor() + b"us"
    ),
    "negative size": held(tensor(shape=(-1,))),
    "sizes whose product wraps around": held(tensor(shape=(2**32, 2**32), strides=(0, 0))),
    "huge size": held(tensor(shape=(2**70,))),
    "negative stride": held(tensor(offset=3, strides=(-1,))),
    "stride beyond the storage": held(tensor(shape=(2,), strides=(4,))),
    "huge stride": held(tensor(shape=(2,), strides=(2**64,))),
    "stride of 0 for terabytes": held(tensor(shape=(10**6, 10**6), strides=(0, 0))),
    "strides that overlap for terabytes": held(tensor(shape=(2,) * 50, strides=(0,) * 49 + (1,))),
    "more strides than sizes": held(tensor(strides=(1, 1))),
    "a hundred dimensions": held(tensor(shape=(1,) * 100, strides=(1,) * 100)),
    "sizes in a list": held(b"ctorch._utils\n_rebuild_tensor\n(" + storage() + b"K\0](K\x04e" + numbers((1,)) + b"tR"),
    "sizes that are text": held(b"ctorch._utils\n_rebuild_tensor\n(" + storage() + b"K\0" + text("4") + numbers((1,)) + b"tR"),
    "v3 of a wider dtype": held(tensor(UNTYPED, shape=(16,), call=V3, more=b"ctorch\nuint16\n")),
    "v3 without a dtype": held(tensor(call=V3, more=b"N")),
    "two tensors of one name": pickled(b"}(" + text("1") + tensor() + b"K\x01" + tensor() + b"u"),
    "parameter of nothing": held(b"ctorch._utils\n_rebuild_parameter\n)R"),
    "type of nothing": held(b"ctorch._tensor\n_rebuild_from_type_v2\n)R"),
    "dictionary of no pairs": held(b"ccollections\nOrderedDict\n](NNN\x87e\x85R"),
}  # fmt: skip

COUNT = struct.pack("<q", 4)
LEGACY: dict[str, tuple[bytes, str]] = {
    "another protocol version": (legacy(protocol=b"\x80\x02M\xea\x03."), "pickle-invalid"),
    "magic number in a list": (legacy(magic=b"\x80\x02]" + MAGIC[2:-1] + b"a."), "pickle-invalid"),
    "big-endian": (legacy(system=b"\x80\x02}X\x0d\0\0\0little_endian\x89s."), "big-endian"),
    "no byte order": (legacy(system=b"\x80\x02}."), "big-endian"),
    "byte order in a list": (legacy(system=b"\x80\x02]."), "big-endian"),
    "cut in the pickle": (legacy()[:120], "pickle-invalid"),
    "cut before the storages": (legacy(data=b""), "file-truncated"),
    "cut in a storage": (legacy()[:-1], "file-truncated"),
    "byte appended": (legacy() + b"\0", "data-trailing"),
    "storage of another length": (legacy(data=struct.pack("<q", 3) + FOUR[:12]), "pickle-invalid"),
    "storage of a negative length": (legacy(data=struct.pack("<q", -4) + FOUR), "pickle-invalid"),
    "storage of a huge length": (
        legacy(held(tensor(storage(count=2**62, more=b"N"))), data=struct.pack("<q", 2**62) + FOUR),
        "file-truncated",
    ),
    "keys are no list": (legacy(keys=pickled(b"N")), "pickle-invalid"),
    "keys are numbers": (legacy(keys=pickled(b"](K\0e")), "pickle-invalid"),
    "key twice": (legacy(keys=pickled(b"](" + text("0") * 2 + b"e"), data=(COUNT + FOUR) * 2), "pickle-invalid"),
    "key of no storage": (legacy(keys=pickled(b"](" + text("0") + text("1") + b"e"), data=(COUNT + FOUR) * 2), "pickle-invalid"),
    "key missing": (legacy(keys=pickled(b"]"), data=b""), "pickle-invalid"),
    "storage without a view": (legacy(held(tensor())), "pickle-invalid"),
    "view beyond its storage": (
        legacy(held(tensor(storage(more=b"(" + text("v") + integer(2) + integer(4) + b"t")))),
        "pickle-invalid",
    ),
    "view at a negative offset": (
        legacy(held(tensor(storage(more=b"(" + text("v") + integer(-1) + integer(4) + b"t")))),
        "pickle-invalid",
    ),
    "tensor beyond its view": (
        legacy(held(tensor(storage(more=b"(" + text("v") + integer(2) + integer(2) + b"t")))),
        "pickle-invalid",
    ),
    "tensor beyond its storage": (legacy(held(tensor(storage(more=b"N"), offset=1))), "pickle-invalid"),
    "text longer than the file": (legacy(b"\x80\x02X\xff\xff\xff\x7f"), "pickle-invalid"),
    "pickle without the magic number": (b"\x80\x02}.", "pickle-not-torch"),
    "pickle of bytes with the magic number": (b"\x80\x03C\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pickle-invalid"),
}  # fmt: skip


def test_there_are_enough_attacks() -> None:
    assert len(ZIPS) + len(PICKLES) + len(LEGACY) >= 150


def test_what_the_attacks_start_from_is_accepted(tmp_path: Path) -> None:
    for data in (
        torch_file(),
        legacy(),
        with_end(wide={}),
        legacy(held(tensor(storage(more=b"(" + text("v") + integer(0) + integer(4) + b"t")))),
    ):
        path = tmp_path / "a.pt"
        path.write_bytes(data)
        verify_records(path, NAME)
        catalog: Catalog = open_checkpoint(path)
        assert load_tensor(catalog, "w").tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("data", "slug"), ZIPS.values(), ids=ZIPS)
def test_an_archive_is_refused(tmp_path: Path, data: bytes, slug: str) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    assert refused(path, NAME, traced=True).slug == slug


@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES)
def test_a_pickle_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(torch_file(data))
    assert refused(path, NAME, traced=True).slug == "pickle-invalid"


@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES)
def test_a_pickle_is_refused_in_the_old_format_too(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(legacy(data.replace(b"tQ", b"NtQ")))  # old persistent ids have one part more
    assert refused(path, NAME).slug == "pickle-invalid"


@pytest.mark.parametrize(("data", "slug"), LEGACY.values(), ids=LEGACY)
def test_a_file_of_the_old_format_is_refused(tmp_path: Path, data: bytes, slug: str) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    assert refused(path, NAME, traced=True).slug == slug


def test_a_damaged_pickle_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(changed(0, crc=5))
    with pytest.raises(CheckpointError, match="do not match their checksum"):
        open_file(path, NAME)


def test_a_pickle_of_many_opcodes_is_refused_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(torch_file(pickled(b"N0" * 6_000_000)))
    assert refused(path, NAME).slug == "pickle-invalid"


def test_a_huge_pickle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    data = torch_file()
    start = data.index(b"PK\x05\x06")
    size = 2**30
    directory = data.index(b"PK\x01\x02")
    head = archive([Member(b"x/data.pkl", b"", size=size, packed=size)])
    at = head.index(b"PK\x01\x02")
    with path.open("wb") as file:  # sparse: a gigabyte of zeros between the header and the directory
        file.write(head[:at])
        file.seek(at + size)
        tail = bytearray(head[at:])
        tail[-6:-2] = struct.pack("<L", at + size)
        file.write(tail)
    assert start > directory
    began = time.process_time()
    assert refused(path, NAME).slug == "zip-invalid"
    assert time.process_time() - began < 2


# --- nothing runs ---

CALLS: dict[str, bytes] = {
    "os.system": b"cos\nsystem\n({shell}tR",
    "posix.system": b"cposix\nsystem\n({shell}tR",
    "subprocess.Popen": b"csubprocess\nPopen\n(({shell}ltR",
    "builtins.exec": b"cbuiltins\nexec\n({code}tR",
    "builtins.eval": b"c__builtin__\neval\n({code}tR",
    "INST": b"({shell}ios\nsystem\n",
    "OBJ": b"(cos\nsystem\n{shell}o",
    "NEWOBJ": b"cos\nsystem\n({shell}t\x81",
    "NEWOBJ_EX": b"cos\nsystem\n({shell}t}}\x92",
    "STACK_GLOBAL": b"{os}{system}\x93({shell}tR",
    "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n({os}tR{system}tR({shell}tR",
    "nested module": b"cos\npath.os.system\n({shell}tR",
    "map": b"cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n({shell}ltRtR",
    "BUILD with a state": b"ccollections\nOrderedDict\n)R}}{setstate}cos\nsystem\nsb",
    "BUILD of an instance": b"cx\nY\n)\x81{shell}b",
    "defaultdict with a factory": b"ccollections\ndefaultdict\n(cos\nsystem\ntR{shell}Ns",
    "rebuild from type": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\ncx\nY\n({shell}tNtR",
    "rebuild of a parameter": b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n({shell}tR\x89NtR",
    "load from bytes": b"ctorch.storage\n_load_from_bytes\n({shell}tR",
    "pickle in a pickle": b"c_pickle\nloads\n({code}tR",
    "numpy load": b"cnumpy\nload\n({code}tR",
    "runpy": b"crunpy\nrun_path\n({code}tR",
    "reconstructor": b"ccopyreg\n_reconstructor\n(cos\nsystem\ncbuiltins\nobject\n{shell}tR",
    "call of what a call returned": b"cos\npopen\n({shell}tR)R",
    "key that would be hashed": b"}}cx\nY\n)\x81Ns",
    "webbrowser": b"cwebbrowser\nopen\n({shell}tR",
    "import of a module that does not exist": b"cnosuchmodule.at.all\nname\n({shell}tR",
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nothing_runs(tmp_path: Path, call: bytes, zipped: bool) -> None:  # noqa: FBT001
    canary = tmp_path / "canary"
    parts = {
        b"{shell}": text(f"touch {canary}"),
        b"{code}": text(f"open({str(canary)!r}, 'w')"),
        b"{os}": text("os"),
        b"{system}": text("system"),
        b"{setstate}": text("__setstate__"),
    }
    for name, value in parts.items():
        call = call.replace(name, value)
    body = pickled(
        b"}("
        + text("w")
        + (tensor() if zipped else tensor(storage(more=b"N")))
        + text("x")
        + call.replace(b"}}", b"}")
        + b"u"
    )
    path = tmp_path / "a.pt"
    path.write_bytes(torch_file(body) if zipped else legacy(body))
    found = open_file(path, NAME)
    assert list(found.tensors) == [("w",)]
    assert not canary.exists()


def test_what_would_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(torch_file(held(b"cos\nsystem\n(" + text("true") + b"tR")))
    assert open_file(path, NAME).objects == {("w",): Opaque("os.system")}


def test_the_canary_would_sing(tmp_path: Path) -> None:
    import pickle

    canary = tmp_path / "canary"
    pickle.loads(pickled(b"cos\nsystem\n(" + text(f"touch {canary}") + b"tR"))
    assert canary.exists()


# --- odd, but clear ---


def test_what_lies_between_members_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(archive([*members(), Member(b"x/unused", b"x", hidden=True)], End(before=b"padding")))
    assert list(open_file(path, NAME).tensors) == [("w",)]


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(torch_file())
    catalog = open_checkpoint(path)
    status = path.stat()
    os.truncate(path, 100)
    os.truncate(path, status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_tensor(catalog, "w").tolist() == [0, 0, 0, 0]  # the same size and time: only checksums can tell
    assert refused(path, NAME).slug in {"zip-invalid", "file-truncated"}
