"""Measure the engine beside `cp -r` and the naive script: `python -m benchmarks [--size 0.9] [--jobs rename,fuse] [--naive]`.

Writes below `--folder`, or a temporary directory; everything is removed at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

JOBS = ("rename", "fuse", "interleave", "transpose", "to-bfloat16", "to-float32", "to-float16", "tiny")


def main() -> None:
    """Make a checkpoint for each dtype that is wanted, run the jobs, print a table for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", type=float, default=0.9, help="GB of the source checkpoint")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--naive", action="store_true", help="run the naive script as well")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        made: dict[str, Path] = {}
        for job in arguments.jobs.split(","):
            kind = {"to-bfloat16": "float32", "tiny": "tiny"}.get(job, "bfloat16")
            source = made.get(kind) or _make(Path(folder), kind, int(arguments.size * 1e9))
            made[kind] = source
            target = Path(folder, "target")
            commands = {
                "cp": ["cp", "-r", str(source), str(target)],
                "cp and sync": ["sh", "-c", 'cp -r "$0" "$1" && sync -d "$1"/*', str(source), str(target)],
                "engine": [sys.executable, "-m", "benchmarks.engine", job, str(source), str(target)],
            }
            if arguments.naive:
                commands["naive"] = [sys.executable, "-m", "benchmarks.naive", job, str(source), str(target)]
            print(f"\n{job}")
            print(measure.table(measure.rounds(commands, target, arguments.rounds), "cp"), flush=True)


def _make(folder: Path, kind: str, size: int) -> Path:
    """Make a checkpoint in a process of its own: what this one holds would count as the commands' memory."""
    path = folder / kind
    call = "tiny(Path(sys.argv[1]), 200_000)" if kind == "tiny" else f"llama(Path(sys.argv[1]), {size}, {kind!r})"
    script = f"import sys; from pathlib import Path; from benchmarks.checkpoint import *; {call}"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    return path


if __name__ == "__main__":
    main()
