"""`inspect` and `diff`: what checkpoints hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensormap import shown
from tensormap.commands import differences, options, outcome, terminal
from tensormap.commands.progress import bar

if TYPE_CHECKING:
    from tensormap.checkpoints.catalog import Catalog, SourceFile, TensorInfo

_LONG = 100  # characters of a value that is shown
_FEW = 8  # values of a list that is shown
_MANY = 40  # lines about what is no tensor


@click.command(cls=outcome.Command)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help="One line for each tensor, each value and each file.")
@options.json_option
def inspect(path: Path, *, every: bool, as_json: bool) -> None:
    """Show what a checkpoint holds: names, dtypes, shapes, sizes. Tensors that differ in numbers only stand on one line.

    PATH is a file or a directory of any supported format. Headers are read, tensors are not.
    """
    from tensormap.checkpoints.open import open_checkpoint

    catalog = open_checkpoint(path)
    if as_json:
        terminal.out_json(_as_data(catalog))
    else:
        for line in _lines(catalog, every=every):
            terminal.out(line)


def _size(tensor: TensorInfo) -> int:
    from tensormap.checkpoints.gguf_types import ENCODINGS
    from tensormap.lowering.plan_families import tensor_bytes

    if tensor.encoding is not None:
        stored = ENCODINGS[tensor.encoding]
        return prod(tensor.shape) // stored.block * stored.size
    return tensor_bytes(tensor.dtype, tensor.shape)


def _stored(tensor: TensorInfo) -> str:
    """Return how a tensor's elements are stored: quantised ones under the name of their blocks."""
    return tensor.encoding or tensor.dtype


def _lines(catalog: Catalog, *, every: bool) -> Iterator[str]:
    from tensormap.families import collapse

    tensors = list(catalog.tensors.values())
    total = sum(each.size for each in catalog.files)
    yield (
        f"{shown.plain(str(catalog.root))}: {catalog.format}, {shown.counted(len(catalog.files), 'file')},"
        f" {shown.size(total)}, {shown.counted(len(tensors), 'tensor')}"
    )
    yield ""
    yield from _by_file(list(_tensor_rows(catalog, every=every)))
    yield ""
    yield f"{shown.counted(sum(prod(each.shape) for each in tensors), 'element')}: {_by_dtype(tensors)}"
    yield ""
    yield "files"
    files = catalog.files
    for family in collapse((each.path, k if every else 0) for k, each in enumerate(files)):
        count = len(family.members)
        times = f"  x{count:,}" if count > 1 else ""
        yield f"  {shown.plain(family.pattern)}{times}  {shown.size(sum(files[k].size for k in family.members))}"
    for title, values in (("metadata", catalog.metadata), ("beside the tensors", catalog.objects)):
        if values:
            yield ""
            yield title
            rows = list(_value_rows(catalog, values, every=every))
            yield from _by_file(rows if every else rows[:_MANY])
            if len(rows) > _MANY and not every:
                yield f"  and {len(rows) - _MANY:,} more; `--all` shows them"


@dataclass(frozen=True, slots=True)
class _Row:
    """A line about tensors or values whose names begin with that of their file, or do not."""

    file: str
    cells: tuple[str, ...]


def _tensor_rows(catalog: Catalog, *, every: bool) -> Iterator[_Row]:
    from tensormap.families import collapse

    tensors = list(catalog.tensors.values())
    for family in collapse(
        (each.name, (_stored(each), each.shape, k if every else 0)) for k, each in enumerate(tensors)
    ):
        count = len(family.members)
        first = tensors[family.members[0]]
        times = f"x{count:,}" if count > 1 else ""
        file, name = _parted([catalog.files[first.file]], first.name, family.pattern)
        yield _Row(file, (name, _stored(first), str(list(first.shape)), times, shown.size(count * _size(first))))


def _value_rows(catalog: Catalog, values: Mapping[str, Any], *, every: bool) -> Iterator[_Row]:
    from tensormap.families import collapse

    values = dict(_flat(values)) if every else values
    names = list(values)
    for family in collapse((name, (_value(values[name]), k if every else 0)) for k, name in enumerate(names)):
        file, name = _parted(catalog.files, names[family.members[0]], family.pattern)
        yield _Row(file, (name, family.key[0]))


def _flat(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what dictionaries in dictionaries hold under joined keys."""
    from tensormap.checkpoints.catalog import Opaque

    for key, value in values.items():
        inner = value.state if isinstance(value, Opaque) else value
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _parted(files: Iterable[SourceFile], name: str, pattern: str) -> tuple[str, str]:
    """Split a pattern where the file's name ends with which `name`, one of those that it stands for, begins."""
    for each in files:
        if name.startswith(f"{each.path}:"):
            parts = pattern.split(":")
            end = each.path.count(":") + 1
            return ":".join(parts[:end]), ":".join(parts[end:])
    return "", pattern


def _by_file(rows: Sequence[_Row]) -> Iterator[str]:
    """Align rows, and put the names of files on lines of their own."""
    lines = terminal.table([(shown.plain(each.cells[0]), *each.cells[1:]) for each in rows])
    before = ""
    for row, line in zip(rows, lines, strict=True):
        if row.file != before:
            yield f"  {shown.plain(row.file)}"
            before = row.file
        yield f"    {line}" if row.file else f"  {line}"


def _by_dtype(tensors: list[TensorInfo]) -> str:
    sizes: Counter[str] = Counter()
    for each in tensors:
        sizes[_stored(each)] += _size(each)
    return ", ".join(f"{shown.size(size)} of {dtype}" for dtype, size in sizes.most_common())


def _value(value: Any) -> str:
    """Return a value on one line; of a long or a nested one its kind and length."""
    from tensormap.checkpoints.catalog import Opaque

    match value:
        case Opaque(kind, state):
            text = kind if state is None else f"{kind} of {shown.counted(len(state), 'entry', 'entries')}"
        case dict() if value:
            text = f"a dictionary of {shown.counted(len(value), 'entry', 'entries')}"
        case list() | tuple() if len(value) > _FEW or not all(isinstance(each, int | float | str) for each in value):
            text = f"a {type(value).__name__} of {shown.counted(len(value), 'value')}"
        case str():
            text = value
        case _:
            text = repr(value)
    text = shown.plain(text[: 2 * _LONG])
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _as_data(catalog: Catalog) -> dict[str, Any]:
    return {
        "root": os.fspath(catalog.root),
        "format": catalog.format,
        "files": [{"path": each.path, "size": each.size} for each in catalog.files],
        "tensors": [
            {
                "name": each.name,
                "dtype": each.dtype,
                **({} if each.encoding is None else {"encoding": each.encoding}),
                "shape": list(each.shape),
                "bytes": _size(each),
                "file": catalog.files[each.file].path,
                "offset": each.offset,
            }
            for each in catalog.tensors.values()
        ],
        "metadata": dict(catalog.metadata),
        "objects": {name: _plain(value) for name, value in catalog.objects.items()},
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON can say it."""
    from tensormap.checkpoints.catalog import Opaque

    match value:
        case Opaque(kind, state):
            return {"class": kind} if state is None else {"class": kind, "state": _plain(dict(state))}
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float() if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


@click.command(cls=outcome.Command, short_help="Compare two checkpoints, element by element.")
@click.argument("left", metavar="A", type=click.Path(path_type=Path))
@click.argument("right", metavar="B", type=click.Path(path_type=Path))
@options.running
@options.json_option
@options.quiet_option
@click.pass_context
def diff(
    ctx: click.Context, left: Path, right: Path, *, workers: int | None, memory: str, as_json: bool, quiet: bool
) -> None:
    """Compare two checkpoints: names, shapes, dtypes, then every element's bits. Exits with 1 where they differ."""
    from tensormap.api import parse_size
    from tensormap.checkpoints.open import open_checkpoint
    from tensormap.runtime.diff import diff as compare
    from tensormap.runtime.execute import threads

    one, other = open_checkpoint(left), open_checkpoint(right)
    with bar(quiet=quiet) as progress:
        found = compare(one, other, workers=threads(workers), memory=parse_size(memory), progress=progress)
    count = len(one.tensors.keys() | other.tensors.keys())
    ctx.exit(differences.show(found, count, (str(left), str(right)), as_json=as_json, quiet=quiet))
