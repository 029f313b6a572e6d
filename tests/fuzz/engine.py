"""The process that fuzzes: `python -m tests.fuzz.engine TARGET [options of libFuzzer] [folders]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tensormap"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run until libFuzzer is told to stop."""
    _, name, *options = sys.argv
    words = Path(__file__).with_name(f"{name}.dict")
    dictionary = [f"-dict={words}"] if words.exists() else []
    again = f"{sys.executable} -m tests.fuzz.engine {name}"  # what libFuzzer starts for `-merge=1`
    atheris.Setup([again, "-rss_limit_mb=2048", "-timeout=5", *dictionary, *options], TARGETS[name])
    atheris.Fuzz()


main()
