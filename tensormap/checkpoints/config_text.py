"""The text of a config file: how it is read, how it is refused, and which values a config may hold. Knows neither JSON nor YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic, Label, Source, Span

LARGEST = 16 * 2**20  # bytes of a config file
DEEPEST = 64  # lists and tables inside each other


def read_text(path: Path, *, mark: bool) -> Source:
    """Read a UTF-8 file; a byte order mark is refused unless `mark`. OSError where the disk fails."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    source = Source(str(path), "")
    if len(data) > LARGEST:
        raise refused("bad-config", f"{path} is larger than {LARGEST // 2**20} MiB, which no config is")
    if data.startswith(b"\xef\xbb\xbf"):
        if not mark:
            raise refused("bad-config", f"{path} begins with a byte order mark; save it as UTF-8 without one")
        data = data[3:]
    try:
        return Source(source.name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise refused("bad-config", f"{path} is not UTF-8 text: byte {error.start} cannot be read") from None


def refused(slug: str, message: str, *labels: Label) -> CheckpointError:
    """Return the error for one finding about a config."""
    return CheckpointError(Diagnostic(slug, message, labels))


def place(span: Span) -> str:
    """Return `file:line` of where a span begins."""
    return f"{span.source.name}:{span.source.text.count(chr(10), 0, span.start) + 1}"


def same(left: Any, right: Any) -> bool:
    """Compare two values of configs: `1` is `1.0`, but not `true`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right)


def plain(config: Any, name: str = "the config") -> Any:
    """Return a config as dicts, lists and scalars; CheckpointError `bad-config` where it holds anything else, or too deeply."""

    def copy(value: Any, key: str, depth: int) -> Any:
        if depth > DEEPEST:
            raise refused("bad-config", f"{name} is nested more than {DEEPEST} deep")
        match value:
            case None | bool() | int() | float() | str():
                return value
            case Mapping():
                for each in value:
                    if not isinstance(each, str):
                        raise refused("bad-config", f"{name} has the key {shown(each)}, which is not a string")
                return {each: copy(inner, each, depth + 1) for each, inner in value.items()}
            case list() | tuple():
                return [copy(inner, key, depth + 1) for inner in value]
            case _:
                raise refused("bad-config", f"{name} holds under {shown(key)} what no config can hold: {shown(value)}")

    return copy(config, "", 0)
