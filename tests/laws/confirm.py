"""Asks the peers: does a parity test really fail on a mutant whose conversion differs?

`python -m tests.laws.confirm VERDICTS --count N`, with the peers, takes N mutants by chance of those that `mutants --keep`
wrote down, from as many mappings as there are. With each mistake in its mapping it runs the parity tests of the case that noticed,
then all of the family, until one fails; without the mistake that one has to pass.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tensormap import library
from tensormap.diagnostics import Source
from tests.laws.legs import loaded
from tests.laws.mutate import Mutant

FAMILIES = {"meta": "meta or fixtures", "deepseek_v3": "deepseek_v3 or fp8"}
"""What else is run for a family: the tests whose names hold this; its own name where nothing is said."""


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Give everybody who loads the mutant's file the text with the mistake."""

    def changed(source: Source) -> Source:
        return replace(source, text=mutant.text(source.text)) if source.name == mutant.file else source

    find, include = library.find, library.include

    def found(name: Any) -> Any:
        title, source = find(name)
        return title, changed(source)

    with (
        patch.object(library, "find", found),
        patch.object(library, "include", lambda path, span: changed(include(path, span))),
    ):
        yield


class _First:
    """Notes the first test that fails."""

    def __init__(self) -> None:
        self.failed = ""
        self.passed = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid
        self.passed += report.passed and report.when == "call"


def confirmed(mapping: str, case: str, mutant: Mutant) -> tuple[str, int]:
    """Return the first test that fails on a mutant, empty if none does, and how many pass before."""
    first = _First()
    family = mapping.split("/", maxsplit=1)[0]
    wanted = [f"{case}]", f"test_configs and {mapping}", FAMILIES.get(family, family.replace("_", " and "))]
    for which in wanted:
        loaded.cache_clear()
        with planted(mutant), Path(os.devnull).open("w") as silence, redirect_stdout(silence):
            words = f'"{which}"' if which.endswith("]") else which
            names = ["tests/parity", "tests/acceptance"]
            pytest.main([*names, "-q", "-x", "-p", "no:cacheprovider", "-k", words.strip('"')], plugins=[first])
        if first.failed:
            break
    loaded.cache_clear()
    if first.failed:
        again = _First()
        with Path(os.devnull).open("w") as silence, redirect_stdout(silence):
            pytest.main([first.failed, "-q", "-p", "no:cacheprovider"], plugins=[again])
        if again.failed or not again.passed:
            return "", first.passed
    return first.failed, first.passed


def main() -> None:
    """Read the command line, take the sample, and print what was confirmed."""
    parser = argparse.ArgumentParser(description="run parity tests on mutants")
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    kept: dict[str, list[dict[str, Any]]] = {}
    for line in chosen.verdicts.read_text("utf-8").splitlines():
        each = json.loads(line)
        if each["verdict"]["by"] in ("tensors", "data", "config") and each["verdict"]["case"]:
            kept.setdefault(each["mapping"], []).append(each)
    chance = random.Random(chosen.seed)
    order = sorted(kept)
    chance.shuffle(order)
    seen = 0
    for number in range(chosen.count):
        members = kept[order[number % len(order)]]
        each = members.pop(chance.randrange(len(members)))
        mutant = Mutant(**each["mutant"])
        failed, passed = confirmed(each["mapping"], each["verdict"]["case"], mutant)
        seen += bool(failed)
        said = f"fails {failed}" if failed else f"NOT NOTICED by {passed} tests"
        print(f"{each['mapping']} | {mutant} | {each['verdict']['by']} | {said}", flush=True)
    print(f"{seen} of {chosen.count}")


if __name__ == "__main__":
    main()
