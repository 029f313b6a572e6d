"""What `torch.save` writes since 1.6: a zip archive of stored records; its pickle says which tensor views which record.

Read without torch; no code of a file is run. `layout` writes the same form.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tensormap.checkpoints import content, strict_json
from tensormap.checkpoints.catalog import OpenFile, TensorInfo
from tensormap.checkpoints.pickle_reader import load
from tensormap.checkpoints.pickle_values import Fault, Truncated
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.checkpoints.torch_layout import ORIGIN, layout
from tensormap.checkpoints.torch_objects import TorchRules, contents, place
from tensormap.checkpoints.zip_records import Archive, check_record, open_archive, read_record
from tensormap.diagnostics import CheckpointError

__all__ = ["layout", "open_file", "verify_records"]

PICKLE_CAP = 256_000_000
ORIGIN_CAP = 1 << 16


def open_file(path: Path, relative: str) -> OpenFile:
    """Read the directory and the pickle of a torch file; `relative` is its name in the catalog and in messages."""
    with Reader(path, relative) as file:
        archive = _archive(file)
        data = read_record(file, archive, "data.pkl", PICKLE_CAP)
        rules = TorchRules()
        try:
            value, end, opcodes = load(data, 0, rules)
            if end != len(data):
                raise _refused(file, "more follows its end")
            found = contents(value, opcodes)
            _check_sizes(file, archive, rules)
            tensors: dict[tuple[str, ...], TensorInfo] = {}
            for keys, tensor in found.tensors.items():
                record = archive.records[f"data/{tensor.storage.key}"]
                tensors[keys] = place(keys, tensor, record.start, record.size, file.size)
        except Fault as error:
            raise _refused(file, str(error)) from error
        except Truncated:
            raise _refused(file, "it ends too early") from None
        digest = hashlib.sha256(archive.digest + data).hexdigest()
        return OpenFile("torch", file.source(digest), tensors, _origin(file, archive), found.objects)


def verify_records(path: Path, relative: str) -> None:
    """Read a whole torch file; CheckpointError where a record's bytes are not those that were written."""
    with Reader(path, relative) as file:
        archive = _archive(file)
        for name in archive.records:
            check_record(file, archive, name)


def _archive(file: Reader) -> Archive:
    found = content.kind(file.head(content.HEAD), file.size)
    if found != "zip":
        raise content.renamed(file, found, "a torch file")
    archive = open_archive(file)
    if "constants.pkl" in archive.records:
        raise refusal(
            "torch-script",
            f"{shown(file.name)} is a TorchScript program, not a checkpoint",
            help=["save its `state_dict()`"],
        )
    if "data.pkl" not in archive.records:
        raise refusal("format-unknown", f"{shown(file.name)} is a zip archive, but not one that `torch.save` wrote")
    if "byteorder" in archive.records:
        order = read_record(file, archive, "byteorder", 16)
        if order != b"little":
            raise refusal(
                "big-endian",
                f"{shown(file.name)} was written on a machine with byte order {shown(order.decode('latin-1'))}",
            )
    return archive


def _origin(file: Reader, archive: Archive) -> dict[str, str]:
    """Return what an earlier conversion noted of itself."""
    if ORIGIN not in archive.records:
        return {}
    table = strict_json.parse(read_record(file, archive, ORIGIN, ORIGIN_CAP), file.name, f"its record {shown(ORIGIN)}")
    if isinstance(table, dict) and all(isinstance(each, str) for each in table.values()):
        return {key: value for key, value in table.items() if key.startswith("tensormap.")}
    raise refusal("metadata-invalid", f"{shown(file.name)}: its record {shown(ORIGIN)} must map names to strings")


def _check_sizes(file: Reader, archive: Archive, rules: TorchRules) -> None:
    for storage in rules.storages.values():
        record = archive.records.get(f"data/{storage.key}")
        if record is None:
            raise _refused(file, f"its storage {shown(storage.key)} has no record")
        if record.size != storage.bytes:
            raise _refused(
                file, f"its storage {shown(storage.key)} has {storage.bytes} bytes, but its record {record.size}"
            )


def _refused(file: Reader, says: str) -> CheckpointError:
    return refusal("pickle-invalid", f"{shown(file.name)}: its pickle is not accepted: {says}")
