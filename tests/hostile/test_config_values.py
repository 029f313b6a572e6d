"""Configs of published models with one value changed to another: a plan or a finding, soon, in a memory that is bounded."""

from __future__ import annotations

import os
import random
import resource
import shutil
import traceback
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tensormap.api  # before a fork
import tensormap.lowering.schedule
from tests.headers.header import Header
from tests.headers.table import ROWS, Row

VALUES: list[Any] = [*(10**12, 10**6, 2**63 - 1, 10**30, 1e308, 0, -1, 1.5), *("x", [], {}, True, None)]
SECONDS = 30
MEMORY = 3 << 30  # of addresses; a plan of these takes a tenth of it


@cache
def read(name: str) -> Header:
    return Header.read(name)


def choices(seed: int, count: int) -> list[tuple[Row, str, Any]]:
    """Choose mappings, keys of the config that goes with their model, and values, half of them a number that is far too large."""
    random_ = random.Random(seed)
    rows = [row for row in ROWS if not row.large]
    found: list[tuple[Row, str, Any]] = []
    while len(found) < count:
        row = random_.choice(rows)
        config = read(row.header).config
        keys = [key for key, value in config.items() if isinstance(value, int | float | list) and value is not True]
        if keys:
            value = 10**12 if random_.random() < 0.5 else random_.choice(VALUES)
            found.append((row, random_.choice(keys), value))
    return found


def planned(row: Row, source: Path) -> int:
    """Plan in a process of its own; return its exit code: 0 for a plan, 1 for a finding."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            try:
                tensormap.plan(tensormap.load(row.mapping), source, to=row.to, set=row.set, dtype=row.dtype)
                code = 0
            except tensormap.TensormapError:
                code = 1
        except BaseException:  # noqa: BLE001 - whatever it is, it is no finding
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def hunt(folder: Path, seed: int, count: int) -> list[int]:
    codes = []
    for row, key, value in choices(seed, count):
        header = read(row.header)
        header = header.first(2) if row.layers else header
        shutil.rmtree(folder, ignore_errors=True)
        replace(header, config={**header.config, key: value}).write(folder)
        codes.append(planned(row, folder))
        assert codes[-1] in (0, 1), f"exit {codes[-1]} of {row} with {key} = {value!r}"
    return codes


def test_changed_configs(tmp_path: Path) -> None:
    assert set(hunt(tmp_path / "here", 1, 16)) == {0, 1}


@pytest.mark.torture
def test_500_changed_configs(tmp_path: Path) -> None:
    assert set(hunt(tmp_path / "here", 2, 500)) == {0, 1}


def test_a_child_that_takes_too_much_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensormap, "plan", lambda *_, **__: bytearray(MEMORY))
    assert planned(ROWS[0], tmp_path) == 70
