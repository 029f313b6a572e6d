"""Which test runs which line: a run of the tests that are to notice mistakes, without any."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutation.live import Caches
from tests.mutation.points import ROOT, files

TESTS = (
    "tests/test_cases.py",
    "tests/test_corpus.py",
    "tests/unit/language",
    "tests/unit/lowering",
    "tests/unit/runtime/test_memory.py",
    "tests/acceptance/test_fixtures.py",
    "tests/acceptance/test_failure_1_swiglu_width.py",
    "tests/acceptance/test_failure_2_default_width.py",
    "tests/acceptance/test_failure_3_head_counts.py",
    "tests/acceptance/test_failure_4_llama_architecture.py",
    "tests/acceptance/test_failure_5_inv_freq.py",
    "tests/library",
    "tests/test_library.py",
    "tests/unit/test_cli.py",
    "tests/properties",
)
"""What judges a mutant. The rest of the tests would notice more, and takes longer."""

SLOW = 3.0
"""Seconds of a test that is left out."""


@dataclass(slots=True)
class Traced:
    """What one test does: how long it takes, and the lines of each module it runs."""

    test: str
    seconds: float
    lines: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Tracer:
    """A pytest plugin: runs every test once, and keeps what it ran."""

    into: Path
    failed: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        caches = Caches.found()
        measured = coverage.Coverage(
            data_file=None,
            config_file=False,
            include=[str(ROOT / folder / "*") for folder in ("tensormap/language", "tensormap/lowering")],
        )
        seconds: dict[str, float] = {}
        measured.start()
        for k, item in enumerate(session.items):
            caches.clear()
            measured.switch_context(item.nodeid)
            start = time.process_time()
            following = session.items[k + 1] if k + 1 < len(session.items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds[item.nodeid] = time.process_time() - start
        measured.stop()
        traced = {test: Traced(test, took) for test, took in seconds.items() if test not in self.failed}
        data = measured.get_data()
        for name in files():
            for line, tests in data.contexts_by_lineno(str(ROOT / name)).items():
                for test in tests:
                    if test in traced:
                        traced[test].lines.setdefault(name, []).append(line)
        kept = [{"test": each.test, "seconds": round(each.seconds, 4), "lines": each.lines} for each in traced.values()]
        self.into.write_text(json.dumps({"failed": self.failed, "traced": kept}), "utf-8")
        return True


def files_of_tests() -> list[str]:
    """List the files of tests."""
    found: list[str] = []
    for name in TESTS:
        path = ROOT / name
        each = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        found += [one.relative_to(ROOT).as_posix() for one in each]
    return found


def stamp_of(file: str) -> str:
    """Return what changes when a file of tests, the cases that it reads, or the code that is changed, does."""
    text = (ROOT / file).read_text("utf-8")
    cases = [
        each.relative_to(ROOT).as_posix() for each in sorted((ROOT / "tests/corpus").iterdir()) if "corpus" in text
    ]
    digest = hashlib.sha256()
    for name in (file, *cases, *files()):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def trace(folder: Path, jobs: int) -> list[Traced]:
    """Return what each test runs: from `folder`, or by running it."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: folder / f"{name.replace('/', '-')}.{stamp_of(name)[:16]}.json" for name in files_of_tests()}
    missing = [name for name, path in kept.items() if not path.exists()]
    running: set[int] = set()
    for name in missing:
        print(f"tracing {name}", flush=True)
        child = os.fork()
        if not child:
            _traced(name, kept[name])
        running.add(child)
        while len(running) >= jobs:
            running.discard(os.wait()[0])
    while running:
        running.discard(os.wait()[0])
    found: list[Traced] = []
    for name, path in kept.items():
        if not path.exists():
            raise SystemExit(f"{name} could not be traced")
        held: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for test in held["failed"]:
            print(f"fails without any change, and is left out: {test}")
        found += [Traced(**each) for each in held["traced"]]
    return [each for each in found if each.seconds <= SLOW]


def _traced(name: str, into: Path) -> None:
    """Trace one file of tests, in a process that ends with it."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    beside = into.with_suffix(".part")
    pytest.main([*OPTIONS, name], plugins=[Tracer(beside)])
    if beside.exists():
        beside.replace(into)
    os._exit(0)


OPTIONS = ["-s", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not torture", "--rootdir", str(ROOT)]
