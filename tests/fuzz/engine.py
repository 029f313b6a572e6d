"""The process that fuzzes: `python -m tests.fuzz.engine TARGET [options of libFuzzer] [folders]`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import atheris

with atheris.instrument_imports(include=["tensormap"]):
    from tests.fuzz.targets import TARGETS


SECONDS = 5
"""Of the processor, for one input. libFuzzer itself measures by the clock, which goes on while others have the machine."""


def timed(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return a target that fails where it takes too long."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("it takes too long")

    signal.signal(signal.SIGPROF, late)

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            target(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    return run


def main() -> None:
    """Run until libFuzzer is told to stop."""
    _, name, *options = sys.argv
    words = Path(__file__).with_name(f"{name}.dict")
    dictionary = [f"-dict={words}"] if words.exists() else []
    again = f"{sys.executable} -m tests.fuzz.engine {name}"  # what libFuzzer starts for `-merge=1`
    atheris.Setup([again, "-rss_limit_mb=2048", "-timeout=1200", *dictionary, *options], timed(TARGETS[name]))
    atheris.Fuzz()


main()
