"""Read checkpoints with the formats' own libraries, and compare them tensor by tensor: the referee of every test here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

Tensors = dict[str, "Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it lies in a file: its bytes row-major, whatever the strides were."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Stored:
        rows = tensor.detach().contiguous().reshape(-1)
        data = rows.view(torch.uint8).numpy().tobytes() if rows.numel() else b""
        return cls(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), data)

    def tensor(self) -> torch.Tensor:
        if not self.data:
            return torch.empty(self.shape, dtype=getattr(torch, self.dtype))
        return torch.frombuffer(bytearray(self.data), dtype=getattr(torch, self.dtype)).reshape(self.shape)


def read_safetensors(folder: Path) -> Tensors:
    """Read every tensor of every .safetensors file in a folder."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                assert name not in found, f"{name} is in two files"
                found[name] = Stored.of(file.get_tensor(name))
    assert found, f"no tensors in {sorted(path.name for path in folder.rglob('*'))}"
    return found


def read_torch(folder: Path) -> Tensors:
    """Read every tensor of every torch file below a folder as `file name:dotted.path`. The files are trusted: their own
    program wrote them, with states of random generators that the restricted loader refuses.
    """
    found: Tensors = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".pt", ".pth", ".bin"}:
            loaded = torch.load(path, map_location="cpu", weights_only=False)
            for name, tensor in _leaves(loaded, ""):
                assert f"{path.name}:{name}" not in found, f"{path.name} is there twice"
                found[f"{path.name}:{name}"] = Stored.of(tensor)
    assert found, f"no tensors in {sorted(path.name for path in folder.rglob('*'))}"
    return found


def _leaves(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    # random states are tensors too, at the top of a training checkpoint; weights are below `module`, or all there is
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key not in {"rng_state", "torch_rng_state", "cuda_rng_state", "random_rng_state"}:
                yield from _leaves(each, f"{path}.{key}" if path else str(key))


def differences(actual: Mapping[str, Stored], expected: Mapping[str, Stored]) -> list[str]:
    """Say in one line each what is missing, unexpected or different; an empty list where all is the same."""
    lines = [f"missing: {name}" for name in expected if name not in actual]
    lines += [f"unexpected: {name}" for name in actual if name not in expected]
    for name, wanted in expected.items():
        got = actual.get(name)
        if got is None or got == wanted:
            continue
        if (got.dtype, got.shape) != (wanted.dtype, wanted.shape):
            lines.append(f"{name}: {got.dtype} {list(got.shape)}, not {wanted.dtype} {list(wanted.shape)}")
        else:
            count = int((got.tensor() != wanted.tensor()).sum())
            lines.append(f"{name}: {count} of {got.tensor().numel()} elements differ")
    return lines


def assert_same(actual: Mapping[str, Stored], expected: Mapping[str, Stored]) -> None:
    """Assert that names, dtypes, shapes and bytes are the same."""
    lines = differences(actual, expected)
    assert not lines, "\n".join([f"{len(lines)} differences", *lines[:20]])
