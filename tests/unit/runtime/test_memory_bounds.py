"""Memory depends on the limits, not on tensors: whole processes on sparse files, their peak measured."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tensormap.checkpoints.catalog import SourceFile
from tensormap.lowering.plan import Compute, Copy, Function, Input, Operand, Region, Step
from tests.unit.runtime.plans import Bench

_RUN = """
import pickle, resource, sys
from concurrent.futures import ThreadPoolExecutor
from tensormap.runtime import delegate, divided, execute, part
plan = pickle.load(open(sys.argv[1], "rb"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def sparse(bench: Bench, shape: tuple[int, ...]) -> int:
    """A float32 tensor in a file that takes no room."""
    size = 4
    for each in shape:
        size *= each
    path = bench.root / f"{len(bench.files)}.bin"
    with path.open("wb") as file:
        file.truncate(size)
    status = path.stat()
    bench.files.append(SourceFile(path.name, status.st_size, status.st_mtime_ns, ""))
    bench.inputs.append(Input(path.stem, "float32", shape, len(bench.files) - 1, 0))
    return len(bench.inputs) - 1


def transpose(bench: Bench) -> tuple[str, tuple[int, ...], list[Step]]:
    index = sparse(bench, (4096, 8192))
    return "float32", (8192, 4096), [Copy((8192, 4096), Region(index, 0, (1, 8192)), Region(0, 0, (4096, 1)))]


def column(bench: Bench) -> tuple[str, tuple[int, ...], list[Step]]:
    """Two of 16384 columns, of a tensor of 8 GB."""
    index = sparse(bench, (131072, 16384))
    return "float32", (131072, 2), [Copy((131072, 2), Region(index, 5, (16384, 1)), Region(0, 0, (2, 1)))]


def near_column(bench: Bench) -> tuple[str, tuple[int, ...], list[Step]]:
    """Columns that are near enough to read over what lies between."""
    index = sparse(bench, (1 << 20, 128))
    return "float32", (1 << 20, 1), [Copy((1 << 20, 1), Region(index, 5, (128, 1)), Region(0, 0, (1, 1)))]


def interleaved(bench: Bench) -> tuple[str, tuple[int, ...], list[Step]]:
    steps: list[Step] = []
    for part in range(2):
        index = sparse(bench, (2048, 4096))
        steps.append(Copy((4096, 2048), Region(index, 0, (1, 4096)), Region(0, part, (4096, 2))))
    return "float32", (4096, 4096), steps


def cast(bench: Bench) -> tuple[str, tuple[int, ...], list[Step]]:
    index = sparse(bench, (1 << 25,))
    return "bfloat16", (1 << 25,), [Copy((1 << 25,), Region(index, 0, (1,)), Region(0, 0, (1,)))]


def mean(bench: Bench) -> tuple[str, tuple[int, ...], list[Step]]:
    regions = tuple(Region(sparse(bench, (1 << 22,)), 0, (1,)) for _ in range(16))
    formula = Function("mean", tuple(Operand(k) for k in range(16)))
    return "float32", (1 << 22,), [Compute((1 << 22,), regions, formula, Region(0, 0, (1,)))]


WHOLE = "execute.run(plan, sys.argv[2], workers=2)"
PART = "part.run_part(plan, sys.argv[2], divided.Part(1, 1), workers=2)"
JOB = "execute.run(plan, sys.argv[2], workers=2, executor=ThreadPoolExecutor(1))"


def peak(folder: Path, make, statement: str) -> int:
    """Return by how many KB a process grew that did this with a plan."""
    bench = Bench(folder)
    dtype, shape, steps = make(bench)
    bench.output("out.bin", [("t", dtype, shape)], steps)
    path = Path(folder, "plan.pickle")
    path.write_bytes(pickle.dumps(bench.plan()))
    command = [sys.executable, "-c", _RUN.format(statement), str(path), str(folder / "target")]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("make", [transpose, column, near_column, interleaved, cast, mean])
def test_peak_memory(tmp_path, make):
    assert peak(tmp_path, make, WHOLE) < 50_000  # KB above numpy and Python themselves, which take 35 MB


@pytest.mark.parametrize("statement", [PART, JOB], ids=["part", "job"])
def test_jobs_take_no_more(tmp_path, statement):
    assert peak(tmp_path, transpose, statement) < 50_000
