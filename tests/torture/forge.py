"""A process that forks runs to be killed: started once, so that a kill costs milliseconds.

Reads one JSON object a line: `plan` (a pickle), `target`, `overwrite`, and `kill`, the number of the call at which to die;
`after` lets that call happen first; `torn` writes half of what it was to write; `exchange` false is a file system that cannot
swap two names; `parts` divides the run; `checksum` writes sums. With `microseconds` the parent kills instead. Answers one line:
the exit status, and how many calls there were.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tensormap.lowering.plan import Plan
from tensormap.runtime import buffers, execute, finalize, part, staging
from tensormap.runtime.divided import Part
from tests.torture.shim import Call, hooked
from tests.torture.workloads import TILE


def divided_run(plan: Plan, target: str | Path, count: int, *, overwrite: bool) -> None:
    """Do all parts, one after the other, and finish."""
    for number in range(1, count + 1):
        part.run_part(plan, target, Part(number, count), overwrite=overwrite)
    finalize.finalize(target, overwrite=overwrite)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def _child(plan: Plan, order: dict[str, Any], answer: int) -> None:
    numbers = itertools.count()
    last = 0

    def hook(call: Call) -> Any:
        nonlocal last
        if call.name not in order["calls"] and not call.writes:
            return call.do()
        last = number = next(numbers)
        if number == order["kill"]:
            if order.get("torn") and call.name in ("write", "pwrite"):
                first, data, *rest = call.arguments
                call.original(first, data[: len(data) // 2], *rest)
            elif order.get("after"):
                call.do()
            _die()
        return call.do()

    if not order.get("exchange", True):
        staging._exchange = lambda left, right: False
    if "microseconds" in order:
        execute.run(plan, order["target"], overwrite=order["overwrite"])
        return
    with hooked(hook):
        if order.get("parts"):
            divided_run(plan, order["target"], order["parts"], overwrite=order["overwrite"])
        else:
            execute.run(plan, order["target"], overwrite=order["overwrite"], checksum=order.get("checksum", False))
    os.write(answer, str(last + 1).encode())


def _fork(plan: Plan, order: dict[str, Any]) -> dict[str, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _child(plan, order, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    if "microseconds" in order:
        time.sleep(order["microseconds"] / 1e6)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    count = os.read(reading, 32)
    os.close(reading)
    return {"status": os.waitstatus_to_exitcode(status), "count": int(count or -1)}


def main() -> None:
    buffers.TILE = TILE
    plans: dict[str, Plan] = {}
    for line in sys.stdin:
        order = json.loads(line)
        path = order["plan"]
        if path not in plans:
            with open(path, "rb") as file:
                plans[path] = pickle.load(file)
        sys.stdout.write(json.dumps(_fork(plans[path], order)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
