"""One job of the engine, as a whole process: `python -m benchmarks.engine JOB SOURCE TARGET [--workers N] [--tile BYTES]`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from benchmarks.engine_plans import JOBS
from tensormap.runtime import execute


def main() -> None:
    """Run the job and say how long its parts took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=[*JOBS])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--tile", type=int)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.target, ignore_errors=True)
    plan = JOBS[arguments.job](arguments.source)
    execute.run(plan, arguments.target, workers=arguments.workers, tile=arguments.tile)


if __name__ == "__main__":
    main()
