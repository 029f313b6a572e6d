"""The process that fuzzes: `python -m tests.fuzz.engine TARGET [options of libFuzzer] [folders]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tensormap"]):
    from tests.fuzz.targets import TARGETS


SECONDS = 5
"""Of the processor, for one input. libFuzzer itself measures by the clock, which goes on while others have the machine."""


def timed(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return a target that fails where it takes too long."""

    def run(data: bytes) -> None:
        began = time.process_time()
        target(data)
        assert time.process_time() - began < SECONDS, "it takes too long"

    return run


def main() -> None:
    """Run until libFuzzer is told to stop."""
    _, name, *options = sys.argv
    words = Path(__file__).with_name(f"{name}.dict")
    dictionary = [f"-dict={words}"] if words.exists() else []
    again = f"{sys.executable} -m tests.fuzz.engine {name}"  # what libFuzzer starts for `-merge=1`
    atheris.Setup([again, "-rss_limit_mb=2048", "-timeout=120", *dictionary, *options], timed(TARGETS[name]))
    atheris.Fuzz()


main()
