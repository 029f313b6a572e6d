"""Commands measured side by side, in turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Timing:
    """The runs of one command: wall seconds, CPU seconds, and the largest resident set of all, in MB."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: float = 0.0

    def ratios(self, other: Timing) -> tuple[float, float]:
        """Return the median of the ratios of runs that were neighbours, and best against best."""
        paired = [mine / its for mine, its in zip(self.wall, other.wall, strict=True)]
        return statistics.median(paired), min(self.wall) / min(other.wall)


def rounds(commands: dict[str, list[str]], target: Path, count: int) -> dict[str, Timing]:
    """Run every command `count` times in turns, each on a `target` that does not exist; the first, unmeasured turn warms up."""
    timings = {name: Timing() for name in commands}
    for number in range(count + 1):
        for name, command in commands.items():
            shutil.rmtree(target, ignore_errors=True)
            wall, cpu, peak = run(command)
            if number:
                timings[name].wall.append(wall)
                timings[name].cpu.append(cpu)
                timings[name].peak = max(timings[name].peak, peak)
    shutil.rmtree(target, ignore_errors=True)
    return timings


def run(command: list[str]) -> tuple[float, float, float]:
    """Return a command's wall seconds, CPU seconds and peak resident MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def table(timings: dict[str, Timing], base: str) -> str:
    """Return the timings as text, each against the command `base`."""
    lines = [f"{'':28} {'median s':>9} {'best s':>7} {'x ' + base:>9} {'best/best':>9} {'CPU s':>7} {'peak MB':>8}"]
    for name, timing in timings.items():
        paired, best = timing.ratios(timings[base])
        median, cpu = statistics.median(timing.wall), statistics.median(timing.cpu)
        lines.append(
            f"{name:28} {median:9.2f} {min(timing.wall):7.2f} {paired:9.2f} {best:9.2f} {cpu:7.2f} {timing.peak:8.0f}"
        )
    return "\n".join(lines)
