"""What is fuzzed: one function for each reader of untrusted input. It returns, or raises what is no error of ours."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import tensormap
from tensormap.api import Plan
from tensormap.checkpoints.json_config import read_json
from tensormap.checkpoints.open import open_checkpoint, verify_records
from tensormap.checkpoints.yaml_config import read_yaml
from tensormap.diagnostics import CheckpointError, MappingError
from tests.hostile.zips import torch_file

Target = Callable[[bytes], None]
_FOLDER = tempfile.TemporaryDirectory(prefix="tensormap-fuzz-")


def _written(name: str, data: bytes) -> Path:
    path = Path(_FOLDER.name) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _opened(path: Path) -> None:
    try:
        open_checkpoint(path)
        verify_records(path, path.name)
    except CheckpointError as error:
        for each in error.diagnostics:
            assert path.name in each.message, each
            assert each.message.isprintable(), each


def safetensors(data: bytes) -> None:
    """A safetensors file."""
    _opened(_written("a.safetensors", data))


def torch_zip(data: bytes) -> None:
    """A torch file: the records of the archive, and the pickle in it."""
    _opened(_written("a.pt", data))


def torch_legacy(data: bytes) -> None:
    """A torch file of the old format."""
    _opened(_written("a.pth", data))


def gguf(data: bytes) -> None:
    """A GGUF file."""
    _opened(_written("a.gguf", data))


def index(data: bytes) -> None:
    """The index of a checkpoint whose only shard is sound."""
    shard = Path(_FOLDER.name) / "sharded" / "model-00001-of-00001.safetensors"
    if not shard.exists():
        header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
        _written("sharded/" + shard.name, len(header).to_bytes(8, "little") + header + b"\0")
    path = _written("sharded/model.safetensors.index.json", data)
    try:
        open_checkpoint(path.parent)
    except CheckpointError as error:
        assert all(each.message.isprintable() for each in error.diagnostics), error.diagnostics  # noqa: PT017


def pickle(data: bytes) -> None:
    """The pickle of a torch file whose archive is sound."""
    _opened(_written("b.pt", torch_file(data)))


def yaml(data: bytes) -> None:
    """A training config."""
    with suppress(CheckpointError):
        read_yaml([_written("a.yml", data)])


def json(data: bytes) -> None:
    """A model's config."""
    with suppress(CheckpointError):
        read_json(_written("config.json", data))


def plan(data: bytes) -> None:
    """A saved plan."""
    with suppress(CheckpointError):
        Plan.from_json(data.decode("utf-8", "surrogateescape"))


def mapping(data: bytes) -> None:
    """A mapping file, up to what `check` says of it."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        tensormap.loads(text).check()
    except MappingError as error:
        for each in error.diagnostics:
            assert each.labels, each
            assert all(0 <= one.span.start <= one.span.end <= len(one.span.source.text) for one in each.labels), each


TARGETS: dict[str, Target] = {
    each.__name__: each
    for each in (safetensors, torch_zip, torch_legacy, gguf, index, pickle, yaml, json, plan, mapping)
}
