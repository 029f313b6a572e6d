"""`config.json` and `params.json`: read strictly, written as transformers writes them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensormap.checkpoints.config_text import DEEPEST, place, plain, read_text, refused
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import Label, Source, Span


def read_json(path: Path) -> dict[str, Any]:
    """Read an object; NaN and Infinity are floats.

    CheckpointError: `bad-config`, or `duplicate-key` where an object has a key twice.
    """
    source = read_text(path, mark=False)
    try:
        value = json.loads(source.text, object_pairs_hook=_unique, parse_float=_finite, parse_int=_integer)
        json.dumps(value, ensure_ascii=False).encode()
    except _TwiceError as error:
        raise _twice(source, str(error)) from None
    except json.JSONDecodeError as error:
        span = Span(source, error.pos, error.pos + 1)
        raise refused("bad-config", f"{place(span)}: {error.msg.lower()}", Label(span)) from None
    except RecursionError:
        raise refused("bad-config", f"{path} is nested more than {DEEPEST} deep") from None
    except UnicodeEncodeError:
        raise refused("bad-config", f"{path} holds half of a surrogate pair, which is no character") from None
    except ValueError as error:  # a number with more digits than Python reads
        raise refused("bad-config", f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise refused("bad-config", f"{path} is no config: it does not hold an object")
    return dict(plain(value, str(path)))


def write_json(config: Mapping[str, Any]) -> bytes:
    """Return the config as transformers writes it: two spaces, keys sorted, everything but ASCII escaped, a newline at the end."""
    return (json.dumps(plain(config), indent=2, sort_keys=True) + "\n").encode()


_MOST_DIGITS = 1000


class _TwiceError(Exception):
    """A key that an object has twice."""


def _finite(text: str) -> float:
    """Read a number; one that would become infinity is none that a config means."""
    if math.isinf(number := float(text)):
        raise ValueError(f"the number `{text[:50]}` is beyond all that can be written")
    return number


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise _TwiceError(key)
        table[key] = value
    return table


def _twice(source: Source, key: str) -> Exception:
    """Name the lines where the key stands, if it stands nowhere else."""
    found = [match.span() for match in re.finditer(re.escape(json.dumps(key)) + r"(?=\s*:)", source.text)]
    spans = [Span(source, *each) for each in found]
    where = f"{place(spans[1])}: " if len(spans) == 2 else f"{source.name}: "
    labels = [Label(spans[1], "again"), Label(spans[0], "first", primary=False)] if len(spans) == 2 else []
    return refused("duplicate-key", f"{where}the key {shown(key)} is there twice", *labels)
