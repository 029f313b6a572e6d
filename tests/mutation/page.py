"""Writes the section on code of `docs/mutation.md`: `python -m tests.mutation.page VERDICTS --count N --seed S`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.__main__ import read
from tests.mutation.equivalent import equivalents
from tests.mutation.judge import Verdict
from tests.mutation.points import KINDS, ROOT, files, points, shown

PAGE = ROOT / "docs" / "mutation.md"
TITLE = "## Mistakes in the code\n"

HEAD = """
The modules of `tensormap/language` and `tensormap/lowering` are changed too, at one point at a time, and the tests run that reach
the point: `make mutate`, or `python -m tests.mutation --count N --seed S`. Each change is judged in a process of its own, until
one test fails. Which tests, and for how long, says `tests/mutation/trace.py` and `judge.py`; what is left alone, `points.py`: texts
and messages, annotations and decorators, patterns of `match`, assertions, and what is kept only to be faster. A change that makes
a test take four times the CPU time counts as noticed. What means the same was read one by one: `tests/mutation/equivalent.txt`.
What the samples of earlier seeds left was looked at, and tests were written for it; the sample of this page was drawn afterwards.
"""


def section(verdicts: Sequence[Verdict], count: int, seed: int) -> str:
    """Return the section: how many were noticed, by kind and by module, and those that no test noticed."""
    same = equivalents()
    held = [each for each in verdicts if each.mutant.key not in same or each.outcome != "survived"]
    every = sum(len(points(file)) for file in files())
    noticed = sum(each.outcome in ("killed", "time") for each in held)
    judged = sum(each.outcome in ("killed", "time", "survived") for each in held)
    timed = sum(each.outcome == "time" for each in held)
    asked = f"`--count {count} --seed {seed}`"
    if len(verdicts) < count:
        asked += ", the first of these, and of changes of functions only"
    parts = [
        TITLE,
        HEAD,
        f"\nOf {every} changes, {len(verdicts)} were judged for this page, by chance ({asked});\n",
        f"{len(verdicts) - len(held)} of them mean the same. **{noticed} of {judged}** were noticed,\n",
        f"{100 * noticed / max(judged, 1):.1f} %; {timed} of them by the time they take.\n",
        "\n| kind | judged | noticed |\n|---|---|---|\n",
        *_rows(held, [(each, f"`{each}`: {said}") for each, said in KINDS.items()], lambda each: each.mutant.kind),
        "\n| module | judged | noticed |\n|---|---|---|\n",
        *_rows(
            held, [(each, f"`{each.removeprefix('tensormap/')}`") for each in files()], lambda each: each.mutant.file
        ),
        "\nThose that no test noticed:\n\n",
        *(
            f"{shown(each.mutant)}\n"
            for each in sorted(held, key=lambda one: one.mutant.key)
            if each.outcome == "survived"
        ),
    ]
    return "".join(parts)


def _rows(held, names, key):
    judged, noticed = Counter(), Counter()
    for each in held:
        judged[key(each)] += 1
        noticed[key(each)] += each.outcome in ("killed", "time")
    return [f"| {title} | {judged[name]} | {noticed[name]} |\n" for name, title in names if judged[name]]


def main() -> None:
    """Read the command line, and put the section behind what else the page says."""
    parser = argparse.ArgumentParser(description="write the section on code of docs/mutation.md")
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    before = text.partition(TITLE)[0].rstrip("\n")
    found = section(list(read(asked.verdicts).values()), asked.count, asked.seed)
    PAGE.write_text((before + "\n\n" if before else "") + found, "utf-8")


if __name__ == "__main__":
    main()
