"""What `torch.save` wrote before 1.6, and still does on request: five pickles in a row, then every storage's bytes.

Read by position like any other file: only the pickles and each storage's length are read here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tensormap.checkpoints import content
from tensormap.checkpoints.catalog import OpenFile, TensorInfo
from tensormap.checkpoints.pickle_reader import load
from tensormap.checkpoints.pickle_values import Fault, Truncated
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.checkpoints.torch_objects import Storage, TorchRules, contents, place
from tensormap.diagnostics import CheckpointError

PICKLE_CAP = 256_000_000
PROTOCOL = 1001  # torch/serialization.py


def open_file(path: Path, relative: str) -> OpenFile:
    """Read the pickles of a torch file of the old format; `relative` is its name in the catalog and in messages."""
    with Reader(path, relative) as file:
        found = content.kind(file.head(content.HEAD), file.size)
        if found != "torch-legacy":
            raise content.renamed(file, found, "a torch file of the old format")
        pickles = _Pickles(file)
        rules = TorchRules(legacy=True)
        try:
            if pickles.next(TorchRules()) != content.LEGACY_MAGIC or pickles.next(TorchRules()) != PROTOCOL:
                raise _refused(file, "it does not begin as one")
            system = pickles.next(TorchRules())
            if not isinstance(system, dict) or system.get("little_endian") is not True:
                raise refusal("big-endian", f"{shown(relative)} was written on a machine of another byte order")
            value = pickles.next(rules)
            parts = contents(value, pickles.opcodes)
            keys = pickles.next(TorchRules())
            starts = _starts(file, keys, rules, pickles.at)
            tensors: dict[tuple[str, ...], TensorInfo] = {}
            for path_, tensor in parts.tensors.items():
                start, size = _bytes(tensor.storage, starts)
                tensors[path_] = place(path_, tensor, start, size, file.size)
        except Fault as error:
            raise _refused(file, str(error)) from error
        except Truncated:
            raise _refused(file, "it ends too early") from None
        digest = hashlib.sha256(pickles.data[: pickles.at]).hexdigest()
        return OpenFile("torch-legacy", file.source(digest), tensors, {}, parts.objects)


class _Pickles:
    """Pickles that follow each other; nothing says how long they are, so more is read when one does not end."""

    def __init__(self, file: Reader) -> None:
        self.file = file
        self.data = file.head(1 << 20)
        self.at = 0
        self.opcodes = 0

    def next(self, rules: TorchRules) -> Any:
        while True:
            try:
                rules.storages.clear()
                value, self.at, self.opcodes = load(self.data, self.at, rules)
            except Truncated:
                if len(self.data) == self.file.size:
                    raise
                if len(self.data) >= PICKLE_CAP:
                    raise Fault(f"it is longer than {PICKLE_CAP} bytes") from None
                self.data = self.file.head(min(8 * len(self.data), PICKLE_CAP))
            else:
                return value


def _starts(file: Reader, keys: Any, rules: TorchRules, at: int) -> dict[str, int]:
    """Return where each storage's bytes start: in the order of their keys, each after its length."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise _refused(file, "its list of storages is none")
    starts: dict[str, int] = {}
    for key in keys:
        storage = rules.storages.get(key)
        if storage is None or key in starts:
            raise _refused(file, f"its storage {shown(key)} is listed {'twice' if storage else 'but not used'}")
        count = int.from_bytes(file.read(at, 8), "little", signed=True)
        if count != storage.count:
            raise _refused(file, f"its storage {shown(key)} has {storage.count} elements, but {count} follow")
        starts[key] = at + 8
        at += 8 + storage.bytes
        if at > file.size:
            raise refusal("file-truncated", f"{shown(file.name)} ends inside its storage {shown(key)}")
    missing = [key for key in rules.storages if key not in starts]
    if missing:
        raise _refused(file, f"its storage {shown(missing[0])} has no bytes")
    if at != file.size:
        raise refusal("data-trailing", f"{shown(file.name)} has {file.size - at} bytes after its last storage")
    return starts


def _bytes(storage: Storage, starts: dict[str, int]) -> tuple[int, int]:
    start, item = starts[storage.key], storage.dtype.size
    if storage.view is None:
        return start, storage.bytes
    return start + storage.view.offset * item, storage.view.count * item


def _refused(file: Reader, says: str) -> CheckpointError:
    return refusal("pickle-invalid", f"{shown(file.name)}: its pickle is not accepted: {says}")
