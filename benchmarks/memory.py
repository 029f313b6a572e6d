"""Peak resident memory of the whole process against the size of the checkpoint, and of a single tensor."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.jobs import JOBS, MAPPINGS, Job, Sources

COLUMNS = ("job", "source GB", "peak MB", "limit MB")
WHOLE = Job("one tensor", "single", str(MAPPINGS / "single.tmap"), limit=None)
LIMITS = {"transpose": 120, "one tensor": 80}
JOBS_OF_SIZE = ("rename", "fuse", "transpose", "to-float16", "neox")


def memory(folder: Path, sizes: Sequence[float]) -> Iterator[tuple[str, list[tuple[float, float]], int]]:
    """Yield (job, (GB, MB) for each size, the limit in MB); sources are made and removed size by size."""
    found: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        sources = Sources(folder / "memory", int(size * 1e9))
        for job in (*(JOBS[name] for name in JOBS_OF_SIZE), WHOLE):
            target = folder / "target"
            source = sources.get(job.source)
            _, _, peak = measure.run(job.command(source, target))
            shutil.rmtree(target)
            found.setdefault(job.name, []).append((size, peak))
        shutil.rmtree(folder / "memory")
    for name, points in found.items():
        yield name, points, LIMITS.get(name, 80)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the MB that a GB more costs."""
    return statistics.linear_regression([size for size, _ in points], [peak for _, peak in points]).slope
