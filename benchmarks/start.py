"""How long commands take that read no tensors, and what they import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks import measure
from benchmarks.jobs import MAPPINGS, Sources

COLUMNS = ("command", "median s", "best s", "CPU s", "peak MB", "imports torch", "imports numpy")


def start(sources: Sources, count: int) -> Iterator[list[object]]:
    """Yield the lines of the table."""
    llama = str(sources.get("llama"))
    rename = str(MAPPINGS / "rename.tmap")
    commands: dict[str, list[str]] = {
        "--help": ["--help"],
        "check rename.tmap": ["check", rename],
        "check neox/llama": ["check", "neox/llama"],
        "plan rename.tmap": ["plan", rename, llama],
        "plan litgpt/llama": ["plan", "litgpt/llama", llama],
    }
    for label, arguments in commands.items():
        timing = measure.Timing()
        for _ in range(count):
            wall, cpu, peak = measure.run([sys.executable, "-m", "tensormap", *arguments])
            timing.wall.append(wall)
            timing.cpu.append(cpu)
            timing.peak = max(timing.peak, peak)
        imported = _imported(arguments)
        yield [
            label,
            timing.median,
            timing.best,
            timing.busy,
            round(timing.peak),
            *("yes" if name in imported else "no" for name in ("torch", "numpy")),
        ]


def _imported(arguments: list[str]) -> set[str]:
    command = [sys.executable, "-X", "importtime", "-m", "tensormap", *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines()}
