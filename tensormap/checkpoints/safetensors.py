"""The safetensors format: eight bytes of length, a JSON header, the tensors' bytes without a gap. Only headers are read.

https://github.com/huggingface/safetensors#format. Stricter than the reference reader: no key may occur twice, sizes are bounded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from tensormap.checkpoints import content, strict_json
from tensormap.checkpoints.catalog import FileLayout, OpenFile, Piece, TensorInfo
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.diagnostics import CheckpointError
from tensormap.dtypes import BY_CODE, BY_NAME

TENSOR_CAP = 4_000_000
RANK_CAP = 64
LARGEST = 2**63 - 1  # bytes that any consumer can count; numpy counts those of an empty tensor without its zeros

# The reference writer sorts by this order, last first, then by name (safetensors/src/tensor.rs, enum Dtype): wide elements
# come first, so that each is aligned. No other code may be in a file.
_ORDER = (
    *(
        "BOOL",
        "F4",
        "F6_E2M3",
        "F6_E3M2",
        "U8",
        "I8",
        "F8_E5M2",
        "F8_E4M3",
        "F8_E8M0",
        "F8_E4M3FNUZ",
        "F8_E5M2FNUZ",
        "I16",
    ),
    *("U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64"),
)
_RANK = {code: rank for rank, code in enumerate(_ORDER)}


def open_file(path: Path, relative: str) -> OpenFile:
    """Read the header of a safetensors file; `relative` is its name in the catalog and in messages."""
    with Reader(path, relative) as file:
        header = _header(file)
        table = strict_json.parse(header, relative, "its header")
        if not isinstance(table, dict):
            raise refusal("header-invalid", f"{shown(relative)}: its header is not a JSON object")
        metadata = _metadata(file, table.pop("__metadata__", {}))
        tensors = _tensors(file, table, 8 + len(header))
        digest = hashlib.sha256(len(header).to_bytes(8, "little") + header).hexdigest()
        return OpenFile("safetensors", file.source(digest), {(each.name,): each for each in tensors}, metadata)


def _header(file: Reader) -> bytes:
    head = file.head(content.HEAD)
    length = int.from_bytes(head[:8], "little")
    found = content.kind(head, file.size)
    if found not in ("safetensors", "unknown"):
        raise content.renamed(file, found, "a safetensors file")
    if file.size < 8 or length > content.HEADER_CAP or 8 + length > file.size:
        if file.size < 8:
            raise refusal("file-truncated", f"{shown(file.name)} has {file.size} bytes, too few for a safetensors file")
        if length > content.HEADER_CAP:
            raise refusal(
                "header-too-large",
                f"{shown(file.name)} says that its header has {length} bytes; at most {content.HEADER_CAP} are read",
                help=["this is probably no safetensors file"],
            )
        raise refusal(
            "file-truncated", f"{shown(file.name)} has {file.size} bytes, but its header alone should have {length}"
        )
    header = file.read(8, length)
    # Bound what the header takes as Python objects before it is parsed: nothing in it comes without a comma.
    tensors = header.count(b'"data_offsets"')
    if tensors > TENSOR_CAP or header.count(b",") > 4_000_000 + (RANK_CAP + 5) * tensors:
        raise refusal("too-many-tensors", f"{shown(file.name)}: its header has more than {TENSOR_CAP} entries")
    return header


def _metadata(file: Reader, value: Any) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
        return value
    raise refusal("metadata-invalid", f"{shown(file.name)}: `__metadata__` must map names to strings")


def _tensors(file: Reader, table: dict[str, Any], start: int) -> list[TensorInfo]:
    """Check every record and that together they cover the rest of the file; return them in the order of their bytes."""
    room = file.size - start
    tensors: list[TensorInfo] = []
    forms: dict[tuple[str, str], tuple[str, tuple[int, ...], int]] = {}  # a few, for ten thousands of tensors
    reached = 0
    gapless = True
    for name, record in table.items():
        try:
            code, shape, (begin, end) = record["dtype"], record["shape"], record["data_offsets"]
            form = forms.get((code, str(shape)))
        except (TypeError, KeyError, ValueError):
            raise _invalid(file, name, record) from None
        if form is None:
            form = forms[code, str(shape)] = _form(file, name, record)
        dtype, sizes, bits = form
        if type(shape) is not list or type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
            raise _invalid(file, name, record)
        if end > room:
            raise refusal(
                "file-truncated",
                f"{shown(file.name)} has {room} bytes of data, but {shown(name)} should end at byte {end} of them",
            )
        if (end - begin) * 8 != bits:
            raise refusal(
                "tensor-size",
                f"{shown(file.name)}: {shown(name)} of shape {shown(shape)} and dtype {code} does not fit {end - begin} bytes",
            )
        gapless &= begin == reached
        reached = end
        tensors.append(TensorInfo(name, dtype, sizes, 0, start + begin))
    return tensors if gapless and reached == room else _by_offset(file, tensors, table, room)


def _form(file: Reader, name: str, record: dict[str, Any]) -> tuple[str, tuple[int, ...], int]:
    """Check a record's dtype and shape; return them with how many bits such a tensor has."""
    code, shape = record["dtype"], record["shape"]
    dtype = BY_CODE[code] if code in _RANK else None
    if dtype is None:
        raise refusal("dtype-unknown", f"{shown(file.name)}: {shown(name)} has the unknown dtype {shown(code)}")
    if type(shape) is not list or len(shape) > RANK_CAP:
        raise _invalid(file, name, record)
    count = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= LARGEST:
            raise _invalid(file, name, record)
        count *= size
    if (count or _product(shape)) * dtype.bits > 8 * LARGEST:
        raise _invalid(file, name, record)
    return dtype.name, tuple(shape), count * dtype.bits


def _by_offset(file: Reader, tensors: list[TensorInfo], table: dict[str, Any], room: int) -> list[TensorInfo]:
    """Check that tensors cover all bytes of their file, each once; return them in the order of their bytes."""
    ends = [tuple(record["data_offsets"]) for record in table.values()]
    reached = 0
    order = sorted(range(len(ends)), key=ends.__getitem__)
    for k in order:
        begin, end = ends[k]
        if begin != reached:
            slug, says = (
                ("data-overlap", "shares bytes with") if begin < reached else ("data-hole", "leaves unused bytes after")
            )
            before = shown(tensors[order[order.index(k) - 1]].name) if k != order[0] else "the header"
            raise refusal(slug, f"{shown(file.name)}: {shown(tensors[k].name)} {says} {before}")
        reached = end
    if reached != room:
        raise refusal("data-trailing", f"{shown(file.name)} has {room - reached} bytes after its last tensor")
    return [tensors[k] for k in order]


def _product(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size or 1
    return count


def _invalid(file: Reader, name: str, record: Any) -> CheckpointError:
    """Say what is wrong with one tensor's record."""
    says = "has a record that is not an object"
    if isinstance(record, dict):
        shape, offsets = record.get("shape"), record.get("data_offsets")
        missing = [key for key in ("dtype", "shape", "data_offsets") if key not in record]
        if missing:
            says = f"has no {shown(missing[0])}"
        elif not isinstance(record["dtype"], str):
            says = "has a dtype that is not a string"
        elif not isinstance(offsets, list) or len(offsets) != 2 or not all(type(each) is int for each in offsets):
            says = "has `data_offsets` that are not two integers"
        elif not 0 <= offsets[0] <= offsets[1]:
            says = f"has the impossible `data_offsets` {shown(offsets)}"
        elif not isinstance(shape, list) or not all(type(each) is int and each >= 0 for each in shape):
            says = "has a shape that is not a list of sizes"
        elif len(shape) > RANK_CAP:
            says = f"has {len(shape)} dimensions; at most {RANK_CAP} are supported"
        else:
            says = f"has more bytes than can be counted: {shown(shape)}"
    return refusal("header-invalid", f"{shown(file.name)}: {shown(name)} {says}")


def layout(tensors: Sequence[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]) -> FileLayout:
    """Lay out a file for (name, dtype, shape) tensors: the reference writer's very bytes, with metadata keys sorted.

    `offsets` follow the given order, the file the reference writer's. CheckpointError for what the format cannot hold.
    """
    names: set[str] = set()
    forms: dict[tuple[str, tuple[int, ...]], tuple[int, int, str]] = {}  # of a few: place in the order, bytes, text
    order: list[tuple[int, str, int, int, str]] = []
    for k, (name, dtype, shape) in enumerate(tensors):
        if name == "__metadata__" or name in names:
            raise refusal("name-not-in-format", f"safetensors cannot hold two things of the name {shown(name)}")
        names.add(name)
        form = forms.get((dtype, shape))
        if form is None:
            code = BY_NAME[dtype].code
            if code not in _RANK:
                raise refusal(
                    "dtype-not-in-format", f"safetensors cannot hold {shown(name)}: it has no dtype `{dtype}`"
                )
            record = f':{{"dtype":"{code}","shape":[{",".join(map(str, shape))}],"data_offsets":['
            form = forms[dtype, shape] = -_RANK[code], byte_size(name, dtype, shape), record
        order.append((form[0], name, k, form[1], form[2]))
    order.sort()
    records = ['"__metadata__":' + _json(dict(sorted(metadata.items())))] if metadata else []
    begins = [0] * len(order)
    reached = 0
    for _, name, k, size, record in order:
        begins[k] = reached
        begin, reached = reached, reached + size
        records.append(f"{encode_basestring(name)}{record}{begin},{reached}]}}")
    try:
        text = f"{{{','.join(records)}}}".encode()
    except UnicodeError:
        raise refusal("name-not-in-format", "safetensors cannot hold a name that is not Unicode text") from None
    text += b" " * (-len(text) % 8)
    if len(text) > content.HEADER_CAP:
        raise refusal(
            "header-too-large",
            f"the header for {len(tensors)} tensors would have {len(text)} bytes; the format allows {content.HEADER_CAP}",
            help=["write smaller shards"],
        )
    start = 8 + len(text)
    header = len(text).to_bytes(8, "little") + text
    return FileLayout(start + reached, (Piece(0, header),), tuple(start + begin for begin in begins))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def byte_sizes(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> list[int]:
    """Return how many bytes each of these (name, dtype, shape) tensors takes, as `byte_size` does."""
    known: dict[tuple[str, tuple[int, ...]], int] = {}
    sizes: list[int] = []
    for name, dtype, shape in tensors:
        size = known.get((dtype, shape))
        if size is None:
            size = known[dtype, shape] = byte_size(name, dtype, shape)
        sizes.append(size)
    return sizes


def byte_size(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """Return how many bytes a tensor takes; CheckpointError where small elements do not fill the last one."""
    bits = BY_NAME[dtype].bits
    for size in shape:
        bits *= size
    if bits % 8:
        raise refusal(
            "tensor-size", f"{shown(name)} of dtype `{dtype}` and shape {list(shape)} does not end at a whole byte"
        )
    return bits // 8
