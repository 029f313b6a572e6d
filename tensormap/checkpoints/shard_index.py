"""The index of a sharded checkpoint as a reader meets it: untrusted, and held against the files it speaks of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from tensormap.checkpoints import content, strict_json
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import listed, refusal, shown
from tensormap.diagnostics import CheckpointError, Diagnostic

INDEX_CAP = 256_000_000  # bytes


def read_index(root: Path, name: str) -> dict[str, str]:
    """Return the file of every tensor that an index names; each file's name is checked to stay in the directory."""
    with Reader(root / name, name) as file:
        if file.size > INDEX_CAP:
            raise refusal("index-invalid", f"{shown(name)} has {file.size} bytes; at most {INDEX_CAP} are read")
        if not file.size:
            raise refusal("file-empty", f"{shown(name)} is empty")
        found = content.kind(file.head(content.HEAD), file.size)
        if found in ("lfs", "html"):
            raise content.misfit(file, found)
        table = strict_json.parse(file.read(0, file.size), name, "the index")
    where = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(where, dict) or not where or not all(isinstance(each, str) for each in where.values()):
        raise refusal("index-invalid", f"{shown(name)}: its `weight_map` does not map names to files")
    metadata = table.get("metadata", {})
    total = metadata.get("total_size", 0) if isinstance(metadata, dict) else None
    if not isinstance(total, (int, float)) or isinstance(total, bool) or not 0 <= total < inf:
        raise refusal("index-invalid", f"{shown(name)}: its `total_size` is no number of bytes")
    for each in dict.fromkeys(where.values()):
        if not _inside(each):
            raise refusal("index-outside", f"{shown(name)} names {shown(each)}, which is no file in its directory")
    files: dict[str, str] = {}
    for each in where.values():
        if files.setdefault(each.casefold(), each) != each:
            both = f"{shown(files[each.casefold()])} and {shown(each)}"
            raise refusal("index-invalid", f"{shown(name)} names {both}, which are one file on some disks")
    return where


def _inside(name: str) -> bool:
    return not re.search(r"[\\\0:]", name) and all(part not in ("", ".", "..") for part in name.split("/"))


def check_agreement(index: str, where: Mapping[str, str], held: Mapping[str, Sequence[str]]) -> None:
    """Refuse an index that does not say exactly which names its files hold; all disagreements in one report."""
    agreed: dict[str, str] = {}
    for file, names in held.items():
        agreed.update(dict.fromkeys(names, file))
    if agreed == where and len(agreed) == sum(map(len, held.values())):
        return
    holders: dict[str, list[str]] = {}
    for file, names in held.items():
        for name in names:
            holders.setdefault(name, []).append(file)
    twice = [name for name, files in holders.items() if len(files) > 1]
    missing = [name for name in where if name not in holders]
    moved = [name for name, file in where.items() if name in holders and file not in holders[name]]
    unknown = [name for name in holders if name not in where]
    found_: list[Diagnostic] = []
    for slug, names, says in (
        ("tensor-in-two-shards", twice, "{} in several files"),
        ("index-tensor-missing", missing, "{} in the index, but in no file"),
        ("index-tensor-moved", moved, "{} in another file than the index says"),
        ("index-tensor-unknown", unknown, "{} in a file, but not in the index"),
    ):
        if names:
            count = "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"
            notes = [listed(names)]
            if slug == "tensor-in-two-shards":
                notes.append(f"{shown(names[0])} is in {listed(holders[names[0]])}")
            found_.append(Diagnostic(slug, f"{shown(index)}: {says.format(count)}", notes=tuple(notes)))
    if found_:
        raise CheckpointError(found_)
