"""What CI holds to on a machine that others use too: memory, CPU time, imports, and wall time with much room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure, scale, speed, start
from benchmarks.jobs import JOBS, TINY, Sources

SIZE = 400_000_000
GATED = {"fuse": 80, "neox": 80, "experts": 80, "transpose": 120, "to-float16": 80}
"""The peak in MB that each job may have."""
WALL = 2.5
START = 1.5
"""Wall seconds: these, and so many times what `cp` takes that waits for the disk."""
PLANNED = "50k"
PLANNING = 4e-5
"""CPU seconds for each tensor that is planned, twice what is aimed at; start-up is among them."""
RUNNING = 4e-5
"""CPU seconds for each of many tiny tensors that are converted."""
MANY = 500
"""The peak in MB where there are many tensors."""
STARTING = 0.6
"""CPU seconds of commands that read no tensors, twice what is aimed at."""


def gate(folder: Path) -> int:
    """Run small jobs and print what is wrong; return 1 where something is."""
    sources = Sources(folder, SIZE)
    wrong = [*_conversions(sources, folder / "target"), *_many(sources, folder), *_commands(sources)]
    print("\n".join(wrong) or f"gate: {len(GATED)} conversions, many tensors, and commands are within their limits")
    return int(bool(wrong))


def _conversions(sources: Sources, target: Path) -> Iterator[str]:
    """Run conversions beside `cp` and the script, and yield what is wrong."""
    for job, timings in speed.speed([JOBS[name] for name in GATED], sources, target, 3, naive=True):
        print(measure.table(speed.COLUMNS, speed.rows(job, timings)) + "\n", flush=True)
        ours, cp, script = timings["tensormap"], timings["cp, synced"], timings["naive script"]
        if ours.peak > GATED[job.name]:
            yield f"{job.name}: {ours.peak:.0f} MB, and {GATED[job.name]} are allowed"
        if ours.busy > script.busy:
            yield f"{job.name}: {ours.busy:.2f} s of CPU, more than the script's {script.busy:.2f}"
        if ours.best > START + WALL * cp.median:
            yield f"{job.name}: {ours.best:.2f} s, more than {START} + {WALL} times the {cp.median:.2f} of cp"


def _many(sources: Sources, folder: Path) -> Iterator[str]:
    """Plan many tensors and convert many tiny ones, and yield what is wrong."""
    rows = list(scale.mixtures(folder / "scale", [PLANNED], 1))
    print(measure.table(scale.COLUMNS, rows) + "\n", flush=True)
    for row in rows:
        said = dict(zip(scale.COLUMNS, row, strict=True))
        count = max(int(str(said["tensors"])), int(str(said["written"])))
        what = f"{said['checkpoint']}, {said['mapping']}"
        yield from _beyond(what, float(str(said["CPU s"])), PLANNING * count, float(str(said["peak MB"])))
    tiny = JOBS["tiny"]
    _, cpu, peak = measure.run(tiny.command(sources.get(tiny.source), folder / "tiny-target"))
    print(f"{TINY:,} tiny tensors: {cpu:.2f} s of CPU, {peak:.0f} MB\n", flush=True)
    yield from _beyond("tiny tensors", cpu, RUNNING * TINY, peak)


def _beyond(what: str, cpu: float, most: float, peak: float) -> Iterator[str]:
    if cpu > most:
        yield f"{what}: {cpu:.2f} s of CPU, and {most:.2f} are allowed"
    if peak > MANY:
        yield f"{what}: {peak:.0f} MB, and {MANY} are allowed"


def _commands(sources: Sources) -> Iterator[str]:
    """Run commands that read no tensors, and yield what is wrong."""
    rows = list(start.start(sources, 3))
    print(measure.table(start.COLUMNS, rows) + "\n", flush=True)
    for row in rows:
        said = dict(zip(start.COLUMNS, row, strict=True))
        if float(str(said["CPU s"])) > STARTING:
            yield f"{said['command']}: {said['CPU s']:.2f} s of CPU, and {STARTING} are allowed"
        for name in ("torch", "numpy"):
            if said[f"imports {name}"] != "no":
                yield f"{said['command']}: imports {name}"
