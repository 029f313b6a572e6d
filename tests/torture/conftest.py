"""Workloads are made once: what they hold never changes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tensormap.runtime import buffers
from tests.torture import workloads
from tests.torture.workloads import Workload


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workload]:
    folder: Path = tmp_path_factory.mktemp("workloads")
    both = workloads.to_torch(folder / "t"), workloads.to_safetensors(folder / "s")
    return {each.name: each for each in both}


@pytest.fixture(scope="session")
def formats(made: dict[str, Workload], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workload]:
    """One of each format that is written."""
    return {**made, "gguf": workloads.to_gguf(tmp_path_factory.mktemp("gguf"))}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small tensors take all ways there are."""
    monkeypatch.setattr(buffers, "TILE", workloads.TILE)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory in memory, where there is one: these tests sync some ten thousand times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["torch", "safetensors"])
def work(request: pytest.FixtureRequest, made: dict[str, Workload]) -> Workload:
    return made[request.param]


@pytest.fixture(params=[False, True], ids=["fresh", "overwrite"])
def overwrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
