"""What CI holds to on a machine that others use too: memory, CPU time, and wall time with much room."""

from __future__ import annotations

from pathlib import Path

from benchmarks import measure, speed
from benchmarks.jobs import JOBS, Sources

SIZE = 400_000_000
GATED = {"fuse": 80, "neox": 80, "experts": 80, "transpose": 120, "to-float16": 80}
"""The peak in MB that each job may have."""
WALL = 2.5
START = 1.5
"""Wall seconds: these, and so many times what `cp` takes that waits for the disk."""


def gate(folder: Path) -> int:
    """Run small jobs beside `cp` and the script; print what is wrong, and return 1 where something is."""
    sources = Sources(folder, SIZE)
    wrong: list[str] = []
    for job, timings in speed.speed([JOBS[name] for name in GATED], sources, folder / "target", 3, naive=True):
        print(measure.table(speed.COLUMNS, speed.rows(job, timings)) + "\n", flush=True)
        ours, cp, script = timings["tensormap"], timings["cp, synced"], timings["naive script"]
        if ours.peak > GATED[job.name]:
            wrong.append(f"{job.name}: {ours.peak:.0f} MB, and {GATED[job.name]} are allowed")
        if ours.busy > script.busy:
            wrong.append(f"{job.name}: {ours.busy:.2f} s of CPU, more than the script's {script.busy:.2f}")
        if ours.best > START + WALL * cp.median:
            wrong.append(f"{job.name}: {ours.best:.2f} s, more than {START} + {WALL} times the {cp.median:.2f} of cp")
    print("\n".join(wrong) or f"gate: {len(GATED)} jobs are within their limits")
    return int(bool(wrong))
