"""Commands measured side by side, in turns, so that a busy machine is busy for all of them."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

METER = Path(__file__).with_name("meter.py")


@dataclass(slots=True)
class Timing:
    """The runs of one command: wall seconds, CPU seconds, and the largest resident set of all, in MB."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: float = 0.0

    @property
    def median(self) -> float:
        """The median of the wall seconds."""
        return statistics.median(self.wall)

    @property
    def best(self) -> float:
        """The least of the wall seconds."""
        return min(self.wall)

    @property
    def busy(self) -> float:
        """The median of the CPU seconds."""
        return statistics.median(self.cpu)

    def ratios(self, other: Timing) -> tuple[float, float]:
        """Return the median of the ratios of runs that were neighbours, and best against best."""
        paired = [mine / its for mine, its in zip(self.wall, other.wall, strict=False)]
        return statistics.median(paired), self.best / other.best


def rounds(commands: Mapping[str, Sequence[str]], target: Path, count: int) -> dict[str, Timing]:
    """Run every command `count` times in turns, each on a `target` that does not exist; the first, unmeasured turn warms up.

    Each turn begins with another command, so that none always comes after one that leaves the disk at work.
    """
    timings = {name: Timing() for name in commands}
    for number in range(count + 1):
        first = number % len(commands)
        for name in (*list(commands)[first:], *list(commands)[:first]):
            command = commands[name]
            shutil.rmtree(target, ignore_errors=True)
            wall, cpu, peak = run(command)
            if number:
                timings[name].wall.append(wall)
                timings[name].cpu.append(cpu)
                timings[name].peak = max(timings[name].peak, peak)
    shutil.rmtree(target, ignore_errors=True)
    return timings


def run(command: Sequence[str]) -> tuple[float, float, float]:
    """Return a command's wall seconds, CPU seconds and peak resident MB, its children's with them."""
    meter = [sys.executable, "-I", "-S", str(METER), *command]
    said = subprocess.run(meter, check=True, stdout=subprocess.PIPE).stdout
    wall, cpu, peak = json.loads(said)
    return wall, cpu, peak


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as Markdown, numbers to the right."""
    texts = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(column), *(len(row[k]) for row in texts)) for k, column in enumerate(columns)]
    right = [all(isinstance(row[k], int | float) or row[k] == "-" for row in rows) for k in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}:" if number else "-" * width for width, number in zip(widths, right, strict=True)]
    return "\n".join([line(columns), line(rule), *map(line, texts)])
