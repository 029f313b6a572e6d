"""Conversions beside `cp -r` of their source, and beside the script that everybody writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.jobs import Job, Sources

COLUMNS = ("job", "command", "median s", "best s", "x cp, paired", "best/best", "CPU s", "peak MB")


def speed(
    jobs: Sequence[Job], sources: Sources, target: Path, count: int, *, naive: bool
) -> Iterator[tuple[Job, dict[str, measure.Timing]]]:
    """Yield each job with its timings: `cp`, `cp` that waits for the disk as tensormap does, ours with and without, the script."""
    for job in jobs:
        source = sources.get(job.source)
        ours = job.command(source, target)
        commands = {
            "cp": ["cp", "-r", str(source), str(target)],
            "cp, synced": [
                "sh",
                "-c",
                'cp -r "$0" "$1" && find "$1" -type f -exec sync -d {} +',
                str(source),
                str(target),
            ],
            "tensormap": ours,
            "tensormap --no-sync": [*ours, "--no-sync"],
        }
        if job.grows:
            commands["cp of the result"] = ["cp", "-r", str(_result(ours, target)), str(target)]
        if naive:
            commands["naive script"] = job.naive(source, target)
        yield job, measure.rounds(commands, target, count)


def _result(command: Sequence[str], target: Path) -> Path:
    """Return what a command writes, kept beside its target."""
    measure.run(command)
    return target.rename(target.with_name("result"))


def rows(job: Job, timings: dict[str, measure.Timing]) -> list[list[object]]:
    """Return a job's lines of the table."""
    found: list[list[object]] = []
    for name, timing in timings.items():
        paired, best = timing.ratios(timings["cp"])
        label = job.name if not found else ""
        found.append([label, name, timing.median, timing.best, paired, best, timing.busy, round(timing.peak)])
    return found


def verdict(job: Job, timings: dict[str, measure.Timing]) -> str:
    """Say how a job stands against its target, and against the script."""
    said = []
    cp = timings["cp"].median
    script = timings.get("naive script")
    for name in ("tensormap", "tensormap --no-sync"):
        if job.limit is not None:
            seconds, times = job.limit
            allowed = seconds + times * cp
            met = "met" if timings[name].median <= allowed else "missed"
            said.append(f"`{name}` {timings[name].median:.2f} s of {seconds} + {times} x cp = {allowed:.2f} s: {met}")
        if script is not None:
            said.append(f"{script.median / timings[name].median:.1f} times as fast as the script")
    return f"* {job.name} ({job.note}): {'; '.join(said)}."
