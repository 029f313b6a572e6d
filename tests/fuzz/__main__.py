"""Fuzz one target: `python -m tests.fuzz TARGET [options of libFuzzer] [folders]`. Atheris has to be installed for it.

What it finds is written to the working directory, and is to be kept in `corpus/TARGET` with the repair. What the run came to is
added to `RECORD.md`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime

from tests.fuzz.record import RECORD, append, outcome, row


def main() -> int:
    """Fuzz in a process of its own, pass on what it says, and record it."""
    _, name, *options = sys.argv
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.engine", name, "-print_final_stats=1", *options]
    said: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            sys.stderr.write(line)
    run = outcome("".join(said))
    if run is not None:
        date = datetime.now(UTC).strftime("%Y-%m-%d")
        append(RECORD, row(date, _commit(), name, time.monotonic() - began, run))
    return process.returncode


def _commit() -> str:
    """Return the commit that is fuzzed; with a `+` where the package is not as it was committed."""
    head = _git("rev-parse", "--short=8", "HEAD")
    return head + "+" * bool(_git("status", "--porcelain", "--", "tensormap")) if head else "?"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=False, capture_output=True, text=True).stdout.strip()


sys.exit(main())
