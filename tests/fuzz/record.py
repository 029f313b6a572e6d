"""What a run of the fuzzer came to, as a row of `RECORD.md`. Knows libFuzzer's words, and runs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RECORD = Path(__file__).with_name("RECORD.md")
HEAD = """# Runs of the fuzzer

Each row was added by `python -m tests.fuzz` itself at the end of a run. A run stops at the first input that breaks a rule: an error
that is none of ours, five seconds of a processor, or 2 GB. `inputs` are those that were kept because they reach code that no other
reaches, in the working corpus of the run; what is worth keeping for good is in `corpus/`. `points` are edges of the code that were
reached.

| date (UTC) | commit | target | seconds | runs | points | inputs | result |
|---|---|---|---|---|---|---|---|
"""
_RUNS = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)
_STATE = re.compile(r"^#\d+\s.*\bcov: (\d+).*\bcorp: (\d+)/", re.MULTILINE)
_FOUND = re.compile(r"Test unit written to (.+)")
_DONE = re.compile(r"^Done \d+ runs in \d+ second", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """The numbers of one run; `found` are names of inputs that broke a rule."""

    runs: int
    points: int
    inputs: int
    found: tuple[str, ...]
    ended: bool

    @property
    def result(self) -> str:
        """Say it in words: what was found, that nothing was, or that the run broke off and so says nothing."""
        if self.found:
            return "found " + ", ".join(f"`{each}`" for each in self.found)
        return "nothing found" if self.ended else "broke off"


def outcome(said: str) -> Outcome | None:
    """Read what libFuzzer said; None where it ran nothing, as with `-help=1`."""
    runs, states = _RUNS.findall(said), _STATE.findall(said)
    found = tuple(Path(each.strip()).name for each in _FOUND.findall(said))
    if not runs and not found:
        return None
    points, inputs = states[-1] if states else (0, 0)
    return Outcome(int(runs[-1]) if runs else 0, int(points), int(inputs), found, _DONE.search(said) is not None)


def row(date: str, commit: str, target: str, seconds: float, run: Outcome) -> str:
    """Return the row of the table."""
    cells = (date, commit, target, f"{seconds:.0f}", f"{run.runs:,}", f"{run.points:,}", f"{run.inputs:,}", run.result)
    return "| " + " | ".join(cells) + " |\n"


def append(path: Path, line: str) -> None:
    """Add a row to the record, which is begun where there is none."""
    with path.open("a", encoding="utf-8") as file:
        if not file.tell():
            file.write(HEAD)
        file.write(line)
