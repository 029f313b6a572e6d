"""Any checkpoint, by what its files hold: one file, or a directory as its usual readers would load it.

A format is imported when a file of it is met.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tensormap.checkpoints import content, safetensors
from tensormap.checkpoints.catalog import Catalog, OpenFile, TensorInfo
from tensormap.checkpoints.directory import Selection, by_index, select
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import listed, refusal, shown
from tensormap.checkpoints.shard_index import check_agreement

_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def open_file(path: Path, relative: str) -> OpenFile:
    """Read the header of one file of any format; CheckpointError where its name says that it should be of another."""
    with Reader(path, relative) as file:
        found = content.kind(file.head(content.HEAD), file.size)
        if relative.endswith(".safetensors"):
            found = "safetensors"  # or it will say what else it is
        elif relative.endswith(_TORCH_SUFFIXES) and found not in ("zip", "torch-legacy"):
            raise content.renamed(file, found, "a torch file")
        elif relative.endswith(".gguf") and found != "gguf":
            raise content.renamed(file, found, "a GGUF file")
        elif found not in ("safetensors", "zip", "torch-legacy", "gguf"):
            raise content.misfit(file, found)
    match found:
        case "safetensors":
            return safetensors.open_file(path, relative)
        case "zip":
            from tensormap.checkpoints import torch_zip

            return torch_zip.open_file(path, relative)
        case "gguf":
            from tensormap.checkpoints import gguf

            return gguf.open_file(path, relative)
        case _:
            from tensormap.checkpoints import torch_legacy

            return torch_legacy.open_file(path, relative)


def verify_records(path: Path, relative: str) -> None:
    """Read a whole file and hold it against the checksums it carries, if any; CheckpointError where they differ."""
    with Reader(path, relative) as file:
        found = content.kind(file.head(content.HEAD), file.size)
    if found == "zip":
        from tensormap.checkpoints import torch_zip

        torch_zip.verify_records(path, relative)


class Shelf:
    """The headers that were read for one purpose, for who looks at the same files again."""

    def __init__(self) -> None:
        self._files: dict[tuple[Path, str], OpenFile] = {}
        self._checkpoints: dict[Path, Catalog] = {}

    def file(self, path: Path, relative: str) -> OpenFile:
        """Return what `open_file` does."""
        key = (path, relative)
        if key not in self._files:
            self._files[key] = open_file(path, relative)
        return self._files[key]

    def checkpoint(self, path: Path) -> Catalog:
        """Return what `open_checkpoint` does."""
        if path not in self._checkpoints:
            self._checkpoints[path] = open_checkpoint(path, shelf=self)
        return self._checkpoints[path]


def open_checkpoint(path: Path, *, files: Sequence[Path] | None = None, shelf: Shelf | None = None) -> Catalog:
    """Read the headers of a file, of a directory's checkpoint, or of just these `files` below it, unless they are on the `shelf`.

    Where several files hold tensors of the same name, all names begin with their file's: `consolidated.00.pth:norm.weight`.
    """
    held = shelf or Shelf()
    if files is not None:
        return _collect(path, Selection(tuple(each.as_posix() for each in files)), held)
    if path.is_dir():
        return _collect(path, select(path), held)
    if path.name.endswith(".index.json"):
        return _collect(path.parent, by_index(path.parent, path.name), held)
    return _collect(path.parent, Selection((path.name,)), held)


def _collect(root: Path, selection: Selection, shelf: Shelf) -> Catalog:
    if not selection.files:
        raise refusal("no-checkpoint", f"no file of {shown(os.fspath(root))} is chosen")
    opened = {each: shelf.file(root / each, each) for each in selection.files}
    held = {each: [info.name for info in found.tensors.values()] for each, found in opened.items()}
    if selection.index is not None and selection.where is not None:
        check_agreement(selection.index, selection.where, held)
    shared = _shared(held.values())
    if shared:
        for each, names in held.items():
            _check_names(each, names)
    shared = shared or _shared(
        [*{".".join(keys) for keys in found.objects}] for found in opened.values() if found.format != "gguf"
    )
    tensors: dict[str, TensorInfo] = {}
    objects: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for k, (each, found) in enumerate(opened.items()):
        prefix = f"{each}:" if shared else ""
        if k or shared:
            tensors.update((info.name, info) for info in renumbered(found.tensors.values(), k, prefix))
        else:
            tensors.update(zip(held[each], found.tensors.values(), strict=True))
        for keys, value in found.objects.items():
            if found.format == "gguf":  # the parts of a model say some things again, such as how many parts there are
                objects.setdefault(".".join(keys), value)
            else:
                objects[prefix + ".".join(keys)] = value
        metadata = {**found.metadata, **metadata}
    formats = list(dict.fromkeys(found.format for found in opened.values()))
    sources = tuple(found.file for found in opened.values())
    return Catalog(root, formats[0] if len(formats) == 1 else "mixed", sources, tensors, metadata, objects)


def renumbered(tensors: Iterable[TensorInfo], file: int, prefix: str) -> Iterator[TensorInfo]:
    """Yield tensors as those of another file, their names behind a prefix."""
    for name, dtype, shape, _, offset, strides, encoding in tensors:
        yield TensorInfo(prefix + name, dtype, shape, file, offset, strides, encoding)


def _check_names(file: str, names: Sequence[str]) -> None:
    """Refuse keys that read the same once they are joined: `a` in `b` beside `b.a`."""
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    twice = []
    for name in names:
        if name in seen:
            twice.append(name)
        seen.add(name)
    raise refusal("tensor-name-twice", f"{shown(file)} has several tensors of the name {listed(twice)}")


def _shared(lists: Iterable[Sequence[str]]) -> bool:
    """Tell whether a name is in two of these lists, or twice in one."""
    total = 0
    names: set[str] = set()
    for each in lists:
        total += len(each)
        names.update(each)
    return len(names) != total
