"""Runs the mutants: `python -m tests.laws.mutants [family ...]` judges every mutant of these mappings, or of all; prints a table,
and lists those that nobody notices.

`--sample N` takes N of them by chance, the same for the same seed; `--keep FILE` keeps the verdicts, one JSON line each;
`--page` makes `docs/mutation.md` of kept verdicts. A file of `common/` is judged with every mapping that includes it, until one
notices.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tensormap import library
from tensormap.diagnostics import Source
from tests.laws.cases import cases
from tests.laws.judge import ROOT, Verdict, files_of, judge
from tests.laws.mutate import Mutant, mutants

AT_ONCE = 60
"""Mutants of a task: a worker says what it found after so many."""

ENOUGH = 6
"""With how many of the mappings that include a file a mutant is judged."""

Judged = tuple[str, Mutant, Verdict]


@dataclass(frozen=True, slots=True)
class Task:
    """Mutants of one file, and the mappings to judge them with."""

    file: str
    users: tuple[str, ...]
    mutants: tuple[Mutant, ...]


def tasks(families: Sequence[str] = (), sample: int = 0, seed: int = 0) -> list[Task]:
    """List what is to be judged: all mutants, or a sample of so many."""
    users: dict[str, list[str]] = {}
    for name in library.bundled():
        if name in cases():
            for file in files_of(name):
                users.setdefault(file, []).append(name)
    wanted = {file: held for file, held in users.items() if not families or file.startswith(tuple(families))}
    found = {file: mutants(Source(file, (ROOT / file).read_text("utf-8"))) for file in wanted}
    if sample:
        every = [each for file in sorted(found) for each in found[file]]
        chosen = set(random.Random(seed).sample(every, min(sample, len(every))))
        found = {file: tuple(each for each in held if each in chosen) for file, held in found.items()}
    return [
        Task(file, tuple(wanted[file]), held[start : start + AT_ONCE])
        for file, held in sorted(found.items())
        for start in range(0, len(held), AT_ONCE)
    ]


def judged(task: Task) -> list[Judged]:
    """Judge the mutants of a task: with one mapping after the other, until one notices."""
    left = list(task.mutants)
    found: dict[Mutant, Judged] = {}
    for name in task.users[:ENOUGH]:
        for mutant in left:
            verdict = judge(name, mutant)
            held = found.get(mutant)
            if held is None or verdict.noticed or held[2].by == "unreached" or verdict.by == "nobody":
                found[mutant] = (name, mutant, verdict)
        left = [each for each in left if not found[each][2].noticed]
        if not left:
            break
    return [found[each] for each in task.mutants]


def run(todo: Iterable[Task], workers: int) -> Iterator[Judged]:
    """Judge all tasks, file by file."""
    if workers < 2:
        for task in todo:
            yield from judged(task)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for found in pool.imap_unordered(judged, todo):
            yield from found


def main() -> None:
    """Read the command line, judge, and say what was found."""
    parser = argparse.ArgumentParser(description="judge mutants of the mappings")
    parser.add_argument("families", nargs="*")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    todo = tasks(chosen.families, chosen.sample, chosen.seed)
    table: dict[str, dict[str, int]] = {}
    survivors: list[Judged] = []
    for name, mutant, verdict in run(todo, chosen.workers):
        row = table.setdefault(mutant.file, {})
        row[verdict.by] = row.get(verdict.by, 0) + 1
        if verdict.by in ("nobody", "unreached"):
            survivors.append((name, mutant, verdict))
        if chosen.keep:
            with chosen.keep.open("a") as file:
                file.write(json.dumps({"mapping": name, "mutant": asdict(mutant), "verdict": asdict(verdict)}) + "\n")
    for file, row in sorted(table.items()):
        print(f"{file:40} {sum(row.values()):5}  " + ", ".join(f"{count} {by}" for by, count in sorted(row.items())))
    for _, mutant, verdict in survivors:
        print(f"{verdict.by}: {mutant}")


if __name__ == "__main__":
    main()
