"""Plans made by hand: source files that are nothing but bytes, and what a plan needs to know of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tensormap.checkpoints.catalog import Catalog, Checksum, FileLayout, Piece, SourceFile, TensorInfo
from tensormap.dtypes import BY_NAME
from tensormap.lowering.plan import (
    Companion,
    Copy,
    Generator,
    Input,
    Operand,
    Output,
    OutputFile,
    Plan,
    Region,
    Step,
    TextFile,
    Verify,
)
from tensormap.runtime.boxes import row_major


def array_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(name) if BY_NAME[name].numpy else np.dtype(getattr(ml_dtypes, name))


def random_array(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Random bits of a dtype, all NaNs and denormals among them."""
    kind = array_dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(np.random.default_rng(seed).bytes(count * kind.itemsize), kind).reshape(shape).copy()


class Bench:
    """A source directory and the plan that is being made on it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "source"
        self.root.mkdir(parents=True, exist_ok=True)
        self.files: list[SourceFile] = []
        self.inputs: list[Input] = []
        self.arrays: list[np.ndarray] = []
        self.outputs: list[OutputFile] = []
        self.verifications: list[Verify] = []
        self.texts: list[TextFile] = []
        self.companions: list[Companion] = []

    def source(self, path: str, arrays: dict[str, np.ndarray], *, prefix: int = 3) -> list[int]:
        """Write a file of arrays, after `prefix` bytes of something else; return their indices as inputs."""
        data = bytearray(b"\xee" * prefix)
        indices = []
        for name, array in arrays.items():
            self.inputs.append(Input(name, str(array.dtype), array.shape, len(self.files), len(data)))
            self.arrays.append(array)
            indices.append(len(self.inputs) - 1)
            data += array.tobytes() + b"\xdd"
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        status = place.stat()
        self.files.append(SourceFile(path, status.st_size, status.st_mtime_ns, "0" * 64))
        return indices

    def generated(self, name: str, dtype: str, shape: tuple[int, ...], *arguments: float) -> int:
        self.inputs.append(Input(name, dtype, shape, -1, 0, None, Generator(name, arguments)))
        return len(self.inputs) - 1

    def output(
        self,
        path: str,
        tensors: list[tuple[str, str, tuple[int, ...]]],
        steps: list[Step],
        *,
        header: bytes = b"HEAD",
        gap: bytes = b"",
        crc: bool = False,
    ) -> None:
        """Add a file: a header, then each tensor after `gap`; with `crc`, each one's crc32 before it and at the end."""
        pieces = [Piece(0, header)]
        position = len(header)
        offsets: list[int] = []
        checksums = []
        made = []
        for number, (name, dtype, shape) in enumerate(tensors):
            pieces.append(Piece(position, gap))
            position += len(gap)
            before = position
            position += 4 * crc
            size = int(np.prod(shape, dtype=object)) * BY_NAME[dtype].bits // 8
            offsets.append(position)
            made.append(Output(name, dtype, shape, position))
            position += size
            if crc:
                checksums.append((before, offsets[-1], size, number))
        layout_checksums = tuple(
            Checksum(start, size, (before, position + 4 * number)) for before, start, size, number in checksums
        )
        end = position + 4 * len(checksums)
        layout = FileLayout(end, tuple(pieces), tuple(offsets), layout_checksums)
        self.outputs.append(OutputFile(path, "raw", tuple(made), layout, tuple(steps)))

    def plan(self) -> Plan:
        return Plan(
            str(self.root),
            "by/hand",
            "d" * 64,
            "right",
            tuple(self.files),
            tuple(self.inputs),
            tuple(self.outputs),
            tuple(self.verifications),
            tuple(self.texts),
            tuple(self.companions),
        )


def whole(tensor: int, shape: tuple[int, ...]) -> Region:
    """All of a row-major tensor."""
    return Region(tensor, 0, row_major(shape))


def rename(source: int, target: int, shape: tuple[int, ...]) -> Copy:
    return Copy(shape, whole(source, shape), whole(target, shape))


def read_tensor(plan: Plan, target: Path, file: int, tensor: int) -> np.ndarray:
    """Read an output tensor back."""
    output = plan.outputs[file]
    made = output.tensors[tensor]
    dtype = array_dtype(made.dtype)
    count = int(np.prod(made.shape, dtype=np.int64))
    data = (target / output.path).read_bytes()
    return np.frombuffer(data, dtype, count, made.offset).reshape(made.shape)


def catalog_of(plan: Plan, target: Path) -> Catalog:
    """The catalog of what a run wrote."""
    files, tensors = [], {}
    for number, output in enumerate(plan.outputs):
        status = (target / output.path).stat()
        files.append(SourceFile(output.path, status.st_size, status.st_mtime_ns, ""))
        for each in output.tensors:
            tensors[each.name] = TensorInfo(each.name, each.dtype, each.shape, number, each.offset)
    return Catalog(target, "raw", tuple(files), tensors)


def catalog_of_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> Catalog:
    """Arrays written to a file as they lie in memory, strides and all, and their catalog."""
    folder.mkdir(parents=True, exist_ok=True)
    data = bytearray()
    tensors = {}
    for name, array in arrays.items():
        held = array if array.base is None else array.base
        start = array.__array_interface__["data"][0] - held.__array_interface__["data"][0]
        strides = tuple(each // array.itemsize for each in array.strides)
        dense = strides == row_major(array.shape)
        offset = len(data) + start
        tensors[name] = TensorInfo(name, str(array.dtype), array.shape, 0, offset, None if dense else strides)
        data += held.tobytes(order="A")
    (folder / "arrays.bin").write_bytes(data)
    status = (folder / "arrays.bin").stat()
    return Catalog(folder, "raw", (SourceFile("arrays.bin", status.st_size, status.st_mtime_ns, ""),), tensors)


def seven_files(bench: Bench) -> Plan:
    """Seven files of different sizes from three sources, two tensors that must be equal, an index and a tokenizer."""
    indices = []
    for number in range(3):
        arrays = {f"s{number}.{k}": random_array((3000 + 700 * k, 4), "float32", 10 * number + k) for k in range(3)}
        indices += [
            (index, array.shape)
            for index, array in zip(bench.source(f"{number}.bin", arrays), arrays.values(), strict=True)
        ]
    for number in range(7):
        (first, shape), (second, other) = indices[number], indices[number + 2]
        names = [("a", "float32", shape), ("b", "float32", other)]
        bench.output(
            f"sub/out-{number}.bin", names, [rename(first, 0, shape), rename(second, 1, other)], crc=number == 3
        )
    same = np.arange(12, dtype=np.int32)
    for number in range(2):
        one, other = bench.source(f"tied-{number}.bin", {"x": same, "y": same})
        bench.verifications.append(Verify((12,), (whole(one, (12,)),), Operand(0), whole(other, (12,)), "x.tmap:1"))
    (bench.root / "tokenizer.json").write_bytes(b"{}")
    bench.companions.append(Companion("tokenizer.json", "tokenizer.json", 2))
    bench.texts.append(TextFile("index.json", b"index"))
    return bench.plan()


def digest(folder: Path) -> str:
    """One sha256 of all names and bytes."""
    known = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        known.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return known.hexdigest()
