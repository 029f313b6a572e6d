"""`python -m tests.mutation [--count N] [--seed S] [--jobs 2] [--module language/names]`: judge a sample of the changes.

`--only FILE` judges the changes that a file lists: the page that `tests.mutation.page` writes, or what a run said at its end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import lark  # noqa: F401  # what every process needs
import numpy as np  # noqa: F401
import pytest

from tests.mutation.equivalent import equivalents
from tests.mutation.judge import InPlace, Verdict, by_import
from tests.mutation.points import ROOT, Mutant, Point, files, points, shown
from tests.mutation.trace import OPTIONS, files_of_tests, trace

KEPT = ROOT / "build" / "mutation"


def sample(count: int, seed: int, module: str = "") -> list[Point]:
    """Take so many of all changes by chance, the same for the same code and seed; all of them for 0."""
    every = [each for file in files() if module in file for each in points(file)]
    return random.Random(seed).sample(every, min(count, len(every))) if count else every


def listed(text: str) -> list[Point]:
    """Return the changes that a text names, a line each: as the page does, or by their key.

    Changes that the page shows alike are all of them taken.
    """
    lines = set(text.splitlines())
    keys = {line[line.index("tensormap/", 1) :] for line in lines if ") tensormap/" in line} | lines
    every = [each for file in files() for each in points(file)]
    return [each for each in every if each.mutant.key in keys or shown(each.mutant) in lines]


def judged(chosen: Sequence[Point], jobs: int, into: Path) -> list[Verdict]:
    """Judge all; every verdict is appended to a file, so that a run that is stopped goes on."""
    done = read(into)
    left = [each for each in chosen if each.mutant.key not in done]
    traced = trace(KEPT / "traces", jobs)
    print(f"{len(traced)} tests, {sum(each.seconds for each in traced):.0f} s", flush=True)
    start = time.monotonic()

    def heard(verdict: Verdict) -> None:
        with into.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")
        if verdict.outcome != "killed":
            after = time.monotonic() - start
            print(f"{after:5.0f} s  {verdict.outcome}: line {verdict.mutant.line}, {verdict.mutant.key}", flush=True)

    inside = [each for each in left if each.function is not None]
    child = os.fork() if inside else 0  # so that this process imports nothing of the package
    if inside and not child:
        pytest.main([*OPTIONS, *files_of_tests()], plugins=[InPlace(inside, traced, jobs, heard)])
        os._exit(0)
    if inside:
        os.waitpid(child, 0)
    for verdict in by_import([each for each in left if each.function is None], traced, jobs):
        heard(verdict)
    done = read(into)
    return [done[each.mutant.key] for each in chosen if each.mutant.key in done]


def read(path: Path) -> dict[str, Verdict]:
    """Return the verdicts of a file, the last of each mutant."""
    if not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    held = [Verdict(**{**each, "mutant": Mutant(**each["mutant"])}) for each in found]
    return {each.mutant.key: each for each in held}


def main() -> None:
    """Read the command line, judge, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="judge changes of the code")
    parser.add_argument("--count", type=int, default=200, help="how many, by chance; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--module", default="", help="only of modules with this in their path")
    parser.add_argument("--only", type=Path, metavar="FILE", help="those that this file lists")
    parser.add_argument("--again", action="store_true", help="judge those anew that no test noticed in the last run")
    asked = parser.parse_args()
    os.environ |= {"HYPOTHESIS_PROFILE": "mutation", "OMP_NUM_THREADS": "1"}
    os.chdir(ROOT)
    name = asked.only.stem if asked.only else f"{asked.module.replace('/', '-')}-{asked.count}-{asked.seed}"
    into = KEPT / f"verdicts-{name}.jsonl"
    into.parent.mkdir(parents=True, exist_ok=True)
    if asked.again:
        kept = [json.dumps(asdict(each)) + "\n" for each in read(into).values() if each.outcome != "survived"]
        into.write_text("".join(kept), "utf-8")
    chosen = listed(asked.only.read_text("utf-8")) if asked.only else sample(asked.count, asked.seed, asked.module)
    verdicts = judged(chosen, asked.jobs, into)
    print(report(verdicts))
    if len(verdicts) < len(chosen):
        raise SystemExit(f"{len(chosen) - len(verdicts)} were not judged")


def report(verdicts: Sequence[Verdict]) -> str:
    """Say what was found, module by module, and list what no test noticed."""
    same = equivalents()
    rows: dict[str, Counter[str]] = {}
    for each in verdicts:
        outcome = "same meaning" if each.outcome == "survived" and each.mutant.key in same else each.outcome
        rows.setdefault(each.mutant.file, Counter())[outcome] += 1
    lines = [f"{file:45} {dict(row)}" for file, row in sorted(rows.items())]
    total = sum(rows.values(), Counter())
    killed = total["killed"] + total["time"]
    lines.append(
        f"{killed} of {killed + total['survived']} noticed, {total['time']} of them by time; "
        f"{total['same meaning']} mean the same, {total['not there']} could not be made, {total['error']} errors"
    )
    lines += [
        f"{each.mutant.file}:{each.mutant.line} ({each.tests} tests) {each.mutant.key}"
        for each in verdicts
        if each.outcome == "survived" and each.mutant.key not in same
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
