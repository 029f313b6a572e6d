"""Headers of published checkpoints as text: names, dtypes and shapes, with what differs only in its numbers on one line.

    # where the model and the numbers come from
    config {"hidden_size": 4096, ...}
    model.layers.{0..31}.mlp.up_proj.weight bfloat16 [11008, 4096]

`{0..2,5}` stands for 0, 1, 2 and 5, in a part of a name that is a number or ends in one behind `_`. A line with two of them
means every pair.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from tensormap.checkpoints import safetensors

FOLDER = Path(__file__).with_name("published")
GGUF_NAMES = Path(__file__).with_name("gguf_names.json")
"""By architecture: the names that llama.cpp's own table has for its tensors, without `.weight` and `.bias`."""
Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Of each name its dtype and shape."""

_HOLE = re.compile(r"\{([0-9.,]+)\}")
_NUMBER = re.compile(r"(?<![^./_])[0-9]+(?![^./])")


@dataclass(frozen=True, slots=True)
class Header:
    """A checkpoint without its data: its tensors, the config beside them, where both come from, and the name of the file."""

    tensors: Tensors
    config: Mapping[str, Any] = field(default_factory=dict)
    origin: tuple[str, ...] = ()
    file: str = "model.safetensors"

    @staticmethod
    def read(name: str) -> Header:
        """Read the header of this name in `published`."""
        return Header.parse((FOLDER / f"{name}.txt").read_text("utf-8"))

    @staticmethod
    def parse(text: str) -> Header:
        """Read a header from its text. ValueError if two lines mean one name."""
        origin: list[str] = []
        config: dict[str, Any] = {}
        tensors: Tensors = {}
        file = "model.safetensors"
        for line in text.splitlines():
            if line.startswith("# "):
                origin.append(line[2:])
            elif line.startswith("config "):
                config = json.loads(line.removeprefix("config "))
            elif line.startswith("file "):
                file = line.removeprefix("file ")
            else:
                template, dtype, shape = line.split(" ", 2)
                for name in expand(template):
                    if name in tensors:
                        raise ValueError(f"two lines mean {name}")
                    tensors[name] = dtype, tuple(json.loads(shape))
        return Header(tensors, config, tuple(origin), file)

    def text(self) -> str:
        """Return the header as `parse` reads it."""
        lines = [f"# {each}" for each in self.origin]
        if self.file != "model.safetensors":
            lines.append(f"file {self.file}")
        if self.config:
            lines.append(f"config {json.dumps(self.config, sort_keys=True)}")
        lines.extend(f"{template} {dtype} {list(shape)}" for template, dtype, shape in collapse(self.tensors))
        return "\n".join(lines) + "\n"

    def first(self, layers: int) -> Header:
        """Return the same model with its first layers only."""
        count = self.config.get("num_hidden_layers")
        found = {name: each for name, each in self.tensors.items() if _layer(name) < layers}
        config = {
            key: value[:layers] if isinstance(value, list) and len(value) == count else value
            for key, value in self.config.items()
        }
        config |= {key: layers for key in ("num_hidden_layers",) if key in config}
        config |= {key: 0 for key in ("num_nextn_predict_layers",) if key in config}
        return replace(self, tensors=found, config=config)

    def write(self, folder: Path) -> None:
        """Write the checkpoint into a folder: its real header and config, and a hole where the data would be."""
        folder.mkdir(parents=True)
        described = [(name, dtype, shape) for name, (dtype, shape) in self.tensors.items()]
        layout = safetensors.layout(described, {"format": "pt"})
        with (folder / self.file).open("wb") as file:
            for piece in layout.pieces:
                file.seek(piece.offset)
                file.write(piece.data)
            file.truncate(layout.size)
        if self.config:
            (folder / "config.json").write_text(json.dumps(self.config))


def _layer(name: str) -> int:
    """Return the number of the layer that a tensor belongs to; -1 outside of layers."""
    found = re.search(r"\blayers\.([0-9]+)\.", name)
    return int(found[1]) if found else -1


def expand(template: str) -> Iterator[str]:
    """Yield every name that a line means, the last number fastest."""
    parts = _HOLE.split(template)
    for chosen in product(*(numbers(each) for each in parts[1::2])):
        parts[1::2] = map(str, chosen)
        yield "".join(parts)


def numbers(text: str) -> list[int]:
    """Return the numbers that `0..2,5` lists."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("..")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def listed(values: tuple[int, ...]) -> str:
    """Return ascending numbers as `numbers` reads them; one alone is itself, without braces."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    text = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)
    return text if len(values) == 1 else f"{{{text}}}"


def collapse(tensors: Tensors) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield lines, as template, dtype and shape, that together mean these tensors and no others."""
    families: dict[tuple[tuple[str, ...], str, tuple[int, ...]], list[tuple[int, ...]]] = {}
    for name, (dtype, shape) in tensors.items():
        literal = tuple(_NUMBER.split(name))
        families.setdefault((literal, dtype, shape), []).append(tuple(map(int, _NUMBER.findall(name))))
    for (literal, dtype, shape), places in families.items():
        for box in _boxes(sorted(places)):
            holes = [listed(each) for each in box]
            yield "".join(part for pair in zip(literal, (*holes, ""), strict=True) for part in pair), dtype, shape


def _boxes(places: list[tuple[int, ...]]) -> list[tuple[tuple[int, ...], ...]]:
    """Cover places by boxes, each a product of lists: those whose first number leaves the same rest stand together."""
    if not places[0]:
        return [()]
    rests: dict[int, list[tuple[int, ...]]] = {}
    for first, *rest in places:
        rests.setdefault(first, []).append(tuple(rest))
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for first, found in rests.items():
        alike.setdefault(tuple(found), []).append(first)
    return [(tuple(firsts), *box) for rest, firsts in alike.items() for box in _boxes(list(rest))]


def size(tensors: Tensors) -> int:
    """Return how many elements all tensors have."""
    return sum(math.prod(shape) for _, shape in tensors.values())
