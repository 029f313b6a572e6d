"""Runs the mutants: `python -m tests.laws.mutants [family ...]` judges every mutant of these mappings, or of all; prints a table,
and lists those that nobody notices.

`--sample N` takes N of them by chance, `--each N` N of every file, the same for the same seed. `--keep FILE` keeps the verdicts,
one JSON line each, as they come: what is kept there of mappings that are what they were is not judged again, so that a run that was
stopped goes on. With `--again` those that nobody noticed are, for there may be more cases now. A file of `common/` is judged with
some of the mappings that include it, until one notices.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
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


def tasks(families: Sequence[str] = (), sample: int = 0, seed: int = 0, each: int = 0) -> list[Task]:
    """List what is to be judged: all mutants, a sample of so many of all, or so many of each file."""
    users: dict[str, list[str]] = {}
    for name in library.bundled():
        if name in cases():
            for file in files_of(name):
                users.setdefault(file, []).append(name)
    wanted = {file: held for file, held in users.items() if not families or file.startswith(tuple(families))}
    found = {file: mutants(Source(file, (ROOT / file).read_text("utf-8"))) for file in wanted}
    if sample or each:
        chance = random.Random(seed)
        pools = [found[file] for file in sorted(found)]
        pools = pools if each else [tuple(mutant for pool in pools for mutant in pool)]
        chosen = {mutant for pool in pools for mutant in chance.sample(pool, min(each or sample, len(pool)))}
        found = {file: tuple(mutant for mutant in held if mutant in chosen) for file, held in found.items()}
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


@cache
def digest(name: str) -> str:
    """Return a digest of all text that a mapping is made of."""
    return hashlib.sha256("".join((ROOT / file).read_text("utf-8") for file in files_of(name)).encode()).hexdigest()[
        :12
    ]


def line(judgement: Judged) -> str:
    """Return what is kept of a judgement."""
    name, mutant, verdict = judgement
    return json.dumps({"mapping": name, "of": digest(name), "mutant": asdict(mutant), "verdict": asdict(verdict)})


def kept(path: Path) -> dict[Mutant, Judged]:
    """Return what is kept in a file of mutants whose mappings are still the same, the last word of each."""
    found: dict[Mutant, Judged] = {}
    for each in map(json.loads, path.read_text("utf-8").splitlines() if path.exists() else ()):
        mutant, name = Mutant(**each["mutant"]), each["mapping"]
        found.pop(mutant, None)
        if (ROOT / f"{name}.tmap").exists() and each["of"] == digest(name):
            found[mutant] = (name, mutant, Verdict(**each["verdict"]))
    return found


def without(todo: Iterable[Task], known: Container[Mutant]) -> list[Task]:
    """Leave out the mutants that are known."""
    left = (replace(task, mutants=tuple(each for each in task.mutants if each not in known)) for task in todo)
    return [task for task in left if task.mutants]


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
    parser.add_argument("--each", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--again", action="store_true")
    chosen = parser.parse_args()
    todo = tasks(chosen.families, chosen.sample, chosen.seed, chosen.each)
    if chosen.keep:
        held = kept(chosen.keep)
        todo = without(todo, {each for each in held if held[each][2].noticed or not chosen.again})
    table: dict[str, dict[str, int]] = {}
    survivors: list[Judged] = []
    for name, mutant, verdict in run(todo, chosen.workers):
        row = table.setdefault(mutant.file, {})
        row[verdict.by] = row.get(verdict.by, 0) + 1
        if verdict.by in ("nobody", "unreached"):
            survivors.append((name, mutant, verdict))
        if chosen.keep:
            with chosen.keep.open("a") as file:
                file.write(f"{line((name, mutant, verdict))}\n")
    for file, row in sorted(table.items()):
        print(f"{file:40} {sum(row.values()):5}  " + ", ".join(f"{count} {by}" for by, count in sorted(row.items())))
    for _, mutant, verdict in survivors:
        print(f"{verdict.by}: {mutant}")


if __name__ == "__main__":
    main()
