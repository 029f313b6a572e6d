"""Judges mutants: each in a process of its own, by the tests that run its line, until one of them fails."""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests.mutation.live import Caches, Functions, Importer
from tests.mutation.points import Mutant, Point
from tests.mutation.trace import OPTIONS, Traced

PATIENCE = 4.0
"""How many times as long as without a change a test may take, in CPU time, and two seconds more."""

ENOUGH = 12.0
"""Seconds of tests, in CPU time, that a mutant has to survive."""

LONGEST = 240
"""Seconds of CPU time after which a mutant is given up, whatever it does; and of waiting without any."""

MEMORY = 3 << 30
"""Bytes that a mutant may ask for on top of what is there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a mutant ended: `killed` by a test, by `time`, or `survived` so many tests, if any run its line.

    `not there` is a change that cannot be made to a function that lives: it uses other variables of the function around.
    `error` is a process that ended before any test: the measure is broken. Neither counts.
    """

    mutant: Mutant
    outcome: str
    by: str
    tests: int
    seconds: float


def judges_of(point: Point, traced: Sequence[Traced]) -> list[Traced]:
    """Return the tests that run a line of the change, in the order in which they judge: in turn the one whose way through the
    function fewest others take, and a fast one of each file.
    """
    mine = [each for each in traced if point.function is None or _reaches(each, point)]
    files: dict[str, list[Traced]] = {}
    for each in sorted(mine, key=lambda one: one.seconds):
        files.setdefault(each.test.partition("::")[0], []).append(each)
    fast = sorted((rank, each.seconds, each.test) for held in files.values() for rank, each in enumerate(held))
    rare = sorted((rarity, each.seconds, each.test) for rarity, each in zip(_rarity(point, mine), mine, strict=True))
    by_name = {each.test: each for each in mine}
    names = dict.fromkeys(name for both in zip(rare, fast, strict=True) for _, _, name in both)
    return [by_name[name] for name in names]


def _reaches(each: Traced, point: Point) -> bool:
    return any(point.first <= line <= point.last for line in each.lines.get(point.mutant.file, ()))


def _rarity(point: Point, tests: Sequence[Traced]) -> list[int]:
    """Return, for each test, how many take the least taken line of the function that it takes."""
    if point.function is None:
        return [0] * len(tests)
    inside = range(point.function.lineno, (point.function.end_lineno or 0) + 1)
    taken = [[line for line in each.lines[point.mutant.file] if line in inside] for each in tests]
    counts = Counter(line for lines in taken for line in lines)
    return [min((counts[line] for line in lines), default=0) for lines in taken]


def by_import(chosen: Sequence[Point], traced: Sequence[Traced], jobs: int) -> Iterator[Verdict]:
    """Judge changes outside of functions: every process imports the package anew, with the change."""

    def begin(point: Point) -> Callable[[Path], Verdict]:
        tests = judges_of(point, [each for each in traced if point.mutant.file in each.lines])

        def judged(folder: Path) -> Verdict:
            sys.meta_path.insert(0, Importer(point))
            held = _Held(point, tests, folder)
            status = pytest.main(
                [*OPTIONS, *dict.fromkeys(each.test.partition("::")[0] for each in tests)], plugins=[held]
            )
            if held.verdict is None:
                return Verdict(point.mutant, "killed", f"import, pytest ends with {int(status)}", 0, 0.0)
            return held.verdict

        return judged

    yield from _in_processes(((point.mutant, begin(point)) for point in chosen), jobs)


@dataclass(slots=True)
class _Held:
    """A pytest plugin: judges the one change that this process was started with."""

    point: Point
    tests: Sequence[Traced]
    folder: Path
    verdict: Verdict | None = None

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.verdict = _run(self.point.mutant, self.tests, session, self.folder)
        return True


@dataclass(slots=True)
class InPlace:
    """A pytest plugin: judges changes of functions, each in a fork of this process that has all tests collected."""

    chosen: Sequence[Point]
    traced: Sequence[Traced]
    jobs: int
    heard: Callable[[Verdict], None]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for point in self.chosen:
            importlib.import_module(point.mutant.file.removesuffix(".py").replace("/", "."))
        functions, caches = Functions.found(), Caches.found()
        gc.collect()
        gc.freeze()

        def begin(point: Point) -> Callable[[Path], Verdict]:
            tests = judges_of(point, self.traced)

            def judged(folder: Path) -> Verdict:
                caches.clear()
                if not functions.change(point):
                    return Verdict(point.mutant, "not there", "", 0, 0.0)
                return _run(point.mutant, tests, session, folder)

            return judged

        for verdict in _in_processes(((point.mutant, begin(point)) for point in self.chosen), self.jobs):
            self.heard(verdict)
        return True


@dataclass(slots=True)
class _Failures:
    """A pytest plugin: hears of tests that fail."""

    failed: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def _run(mutant: Mutant, tests: Sequence[Traced], session: pytest.Session, folder: Path) -> Verdict:
    """Run tests in this process until one fails."""
    items = {item.nodeid: item for item in session.items}
    todo = [(items[each.test], each.seconds) for each in tests if each.test in items]
    failures = _Failures()
    session.config.pluginmanager.register(failures)
    factory = session.config._tmp_path_factory  # type: ignore[attr-defined]  # the folder of `tmp_path`
    factory._given_basetemp, factory._basetemp = folder / "tests", None
    start = time.process_time()
    for k, (item, seconds) in enumerate(todo):
        if time.process_time() - start > ENOUGH:
            return Verdict(mutant, "survived", "", k, time.process_time() - start)
        (folder / "test").write_text(item.nodeid, "utf-8")
        signal.setitimer(signal.ITIMER_PROF, PATIENCE * seconds + 2.0)  # its signal ends the process
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=todo[k + 1][0] if k + 1 < len(todo) else None)
        if failures.failed:
            return Verdict(mutant, "killed", failures.failed[0], k + 1, time.process_time() - start)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return Verdict(mutant, "survived", "", len(todo), time.process_time() - start)


@dataclass(slots=True)
class _Running:
    mutant: Mutant
    folder: Path
    start: float
    ticks: int = 0
    idle: float = 0.0
    seen: float = field(default_factory=time.monotonic)

    def waits(self, child: int) -> float:
        """Return for how long it was seen to use no CPU time: other work on the machine must not look like a mutant's. Who looks
        may have been stopped as well: a look stands for a second at most.
        """
        state, *rest = Path(f"/proc/{child}/stat").read_text("ascii").rpartition(") ")[2].split()
        ticks, now = sum(map(int, rest[10:14])), time.monotonic()
        self.idle = 0.0 if ticks != self.ticks or state == "T" else self.idle + min(now - self.seen, 1.0)
        self.ticks, self.seen = ticks, now
        return self.idle


def _in_processes(todo: Iterable[tuple[Mutant, Callable[[Path], Verdict]]], jobs: int) -> Iterator[Verdict]:
    """Run each in a fork of this process, some at a time."""
    running: dict[int, _Running] = {}
    left = iter(todo)
    more = True
    while more or running:
        while more and len(running) < jobs:
            following = next(left, None)
            if following is None:
                more = False
                break
            folder = Path(tempfile.mkdtemp(prefix="tensormap-mutant-"))
            child = os.fork()
            if not child:
                _child(folder, following[1])
            running[child] = _Running(following[0], folder, time.monotonic())
        if not running:
            break
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in running:
            held = running.pop(ended)
            yield _ended(held, status)
            shutil.rmtree(held.folder, ignore_errors=True)
        else:
            time.sleep(0.01)
            for child, each in running.items():
                if each.waits(child) > LONGEST:
                    os.kill(child, signal.SIGKILL)


def _child(folder: Path, judged: Callable[[Path], Verdict]) -> None:
    code = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + LONGEST, used + LONGEST + 10))
        verdict = judged(folder)
        (folder / "verdict").write_text(json.dumps(asdict(verdict)), "utf-8")
        code = 0
    finally:
        os._exit(code)


def _ended(held: _Running, status: int) -> Verdict:
    took = time.monotonic() - held.start
    kept = held.folder / "verdict"
    if kept.exists():
        found = json.loads(kept.read_text("utf-8"))
        return Verdict(held.mutant, found["outcome"], found["by"], found["tests"], found["seconds"])
    test = held.folder / "test"
    ended = os.waitstatus_to_exitcode(status)
    if not test.exists() and ended == -signal.SIGXCPU:
        return Verdict(held.mutant, "time", "import", 0, took)
    if not test.exists():
        return Verdict(held.mutant, "error", f"the process ended with {ended} before any test", 0, took)
    where = test.read_text("utf-8")
    if ended in (-signal.SIGPROF, -signal.SIGXCPU, -signal.SIGKILL):
        return Verdict(held.mutant, "time", where, 0, took)
    return Verdict(held.mutant, "killed", f"{where}: the process ended with {ended}", 0, took)
