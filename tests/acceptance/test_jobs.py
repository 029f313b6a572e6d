"""One conversion, done in every way that there is: the same bytes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import distributed
import pytest

import tensormap
from tests.acceptance.made import llama_config, llama_shapes, write_hf


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> tensormap.Plan:
    """A LLaMA that becomes torch files of two ranks, a file for each layer and rank."""
    source = tmp_path_factory.mktemp("source") / "llama"
    config = llama_config(num_hidden_layers=6)
    write_hf(source, config, llama_shapes(config))
    return tensormap.plan("neox/llama", source, to="neox", set={"tp": 2, "gqa": "flat"})


def sha256(folder: Path) -> str:
    known = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        known.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return known.hexdigest()


@pytest.fixture(scope="module")
def serial(plan: tensormap.Plan, tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("serial") / "out"
    report = tensormap.apply(plan, target, workers=1)
    assert len(report.files) > 16
    return sha256(target)


def threads(count: int) -> Callable[[tensormap.Plan, Path], None]:
    def way(plan: tensormap.Plan, target: Path) -> None:
        tensormap.apply(plan, target, workers=count)

    return way


def parts(count: int) -> Callable[[tensormap.Plan, Path], None]:
    def way(plan: tensormap.Plan, target: Path) -> None:
        numbers = list(range(1, count + 1))
        random.Random(count).shuffle(numbers)
        for number in numbers:
            tensormap.apply(plan, target, part=(number, count))
        tensormap.finalize(target, plan=plan)

    return way


def parts_at_once(plan: tensormap.Plan, target: Path) -> None:
    with ThreadPoolExecutor(7) as pool:
        list(pool.map(lambda number: tensormap.apply(plan, target, part=(number, 7)), range(1, 8)))
    tensormap.finalize(target)


def pool_of_threads(plan: tensormap.Plan, target: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        tensormap.apply(plan, target, executor=pool)


def pool_of_processes(plan: tensormap.Plan, target: Path) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        tensormap.apply(plan, target, executor=pool)


def dask_whose_worker_is_killed(plan: tensormap.Plan, target: Path) -> None:
    """The middle of a job is `unit/runtime/test_jobs_executor.py`'s; here the worker dies at the start of all."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(**options, silence_logs="ERROR") as cluster,
        distributed.Client(cluster) as client,
    ):
        os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
        tensormap.apply(plan, target, executor=client.get_executor())


WAYS = {
    "1 thread": threads(1),
    "2 threads": threads(2),
    "4 threads": threads(4),
    "1 part": parts(1),
    "2 parts": parts(2),
    "3 parts": parts(3),
    "7 parts": parts(7),
    "7 parts at once": parts_at_once,
    "a pool of threads": pool_of_threads,
    "a pool of processes": pool_of_processes,
    "Dask": dask_whose_worker_is_killed,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_one_sha256(
    plan: tensormap.Plan, serial: str, tmp_path: Path, way: Callable[[tensormap.Plan, Path], None]
) -> None:
    way(plan, tmp_path / "out")
    assert sha256(tmp_path / "out") == serial
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
