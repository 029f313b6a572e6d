"""A run that waits until it is told to begin, so that a tracer can be attached first: PLAN TARGET OVERWRITE."""

from __future__ import annotations

import pickle
import sys

from tensormap.runtime import buffers, execute
from tests.torture.workloads import TILE


def main() -> None:
    path, target, overwrite = sys.argv[1:]
    buffers.TILE = TILE
    with open(path, "rb") as file:
        plan = pickle.load(file)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    execute.run(plan, target, overwrite=overwrite == "yes", workers=1)


if __name__ == "__main__":
    main()
