"""The record of the parity tests' models: what their files say, without the libraries that wrote them. `record.py` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "headers.json"

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """A small checkpoint of a real library: its config, and its tensors' dtypes and shapes; and how a parity test converts it."""

    name: str
    mapping: str
    here: str
    to: str
    set: Mapping[str, Any]
    back: Mapping[str, Any]
    config: Mapping[str, Any]
    tensors: Tensors


@cache
def headers() -> tuple[Header, ...]:
    """Return the record, in the order of its names."""
    return tuple(
        Header(
            name,
            held["mapping"],
            held["here"],
            held["to"],
            held["set"],
            held["back"],
            held["config"],
            dict(sorted(_unfolded(held["tensors"]))),
        )
        for name, held in json.loads(RECORD.read_text("utf-8")).items()
    )


def text_of(given: list[Header]) -> str:
    """Return the text of the record: a line for each family of tensors."""
    held = {
        each.name: {
            "mapping": each.mapping,
            "here": each.here,
            "to": each.to,
            "set": dict(each.set),
            "back": dict(each.back),
            "config": dict(each.config),
            "tensors": _folded(each.tensors),
        }
        for each in given
    }
    lines = []
    for name, fields in held.items():
        inner = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(value, sort_keys=True)}"
            if key != "tensors"
            else '  "tensors": {\n'
            + ",\n".join(f"   {json.dumps(family)}: {json.dumps(said)}" for family, said in value.items())
            + "\n  }"
            for key, value in fields.items()
        )
        lines.append(f" {json.dumps(name)}: {{\n{inner}\n }}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
RANGE = re.compile(r"\{(\d+)-(\d+)\}")


def _folded(tensors: Tensors) -> dict[str, list[Any]]:
    """Write names that differ in numbers only, of one dtype and shape, as ranges where they are all of a block of numbers."""
    families: dict[tuple[str, str, tuple[int, ...]], list[tuple[int, ...]]] = {}
    for name, (dtype, shape) in tensors.items():
        numbers = tuple(int(each) for each in NUMBER.findall(name))
        families.setdefault((NUMBER.sub("#", name), dtype, shape), []).append(numbers)
    found: dict[str, list[Any]] = {}
    for (family, dtype, shape), places in families.items():
        spans = [(min(each), max(each)) for each in zip(*places, strict=True)]
        whole = {tuple(each) for each in product(*(range(low, high + 1) for low, high in spans))} == set(places)
        for place in [None] if whole else places:
            numbers = iter(
                [f"{{{low}-{high}}}" if low < high else str(low) for low, high in spans]
                if place is None
                else [str(each) for each in place]
            )
            found[re.sub("#", lambda _, numbers=numbers: next(numbers), family)] = [dtype, list(shape)]  # type: ignore[misc]
    return found


def _unfolded(families: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    for family, (dtype, shape) in families.items():
        spans = [range(int(low), int(high) + 1) for low, high in RANGE.findall(family)]
        for place in product(*spans):
            numbers = iter(place)
            yield RANGE.sub(lambda _, numbers=numbers: str(next(numbers)), family), (dtype, tuple(shape))
