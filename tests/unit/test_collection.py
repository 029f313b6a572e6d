"""While a plan is made Python does not look for garbage; afterwards it does as it did before."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.collection import uncollected


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Leave the collector as it was found."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_file({f"a.{k}": np.zeros(1, np.float32) for k in range(2000)}, tmp_path / "model.safetensors")
    return tmp_path


def planned(checkpoint: Path) -> tensormap.Plan:
    return tensormap.plan(tensormap.loads("index i < n\na.{i} [1] <-> b.{i} [1]\n"), checkpoint, to="right")


def test_it_goes_on_and_does_not_look_through_what_was_made(checkpoint: Path) -> None:
    seen: list[int] = []

    def note(phase: str, about: dict[str, int]) -> None:
        seen.append(about["generation"])

    mapping = tensormap.loads("index i < n\na.{i} [1] <-> b.{i} [1]\n")
    gc.callbacks.append(note)
    try:
        plan = tensormap.plan(mapping, checkpoint, to="right")
        waiting = gc.get_count()[0]
    finally:
        gc.callbacks.remove(note)
    assert len(plan.outputs[0].tensors) == 2000
    assert not seen
    assert waiting < gc.get_threshold()[0]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_it_stays_off_where_it_was_off(checkpoint: Path) -> None:
    gc.disable()
    planned(checkpoint)
    assert not gc.isenabled()


def test_what_was_frozen_stays_so(checkpoint: Path) -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    planned(checkpoint)
    assert frozen
    assert gc.isenabled()
    assert abs(gc.get_freeze_count() - frozen) < frozen / 10  # some of it is given back


@pytest.mark.parametrize("was_on", [True, False])
@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_it_goes_on_when_the_last_has_ended_whatever_the_order(order: tuple[int, ...], *, was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    stacks = [ExitStack() for _ in order]
    for each in stacks:
        each.enter_context(uncollected())
    for number in order:
        assert not gc.isenabled()
        stacks[number].close()
    assert gc.isenabled() == was_on


def test_an_error_ends_it() -> None:
    with pytest.raises(KeyError), uncollected():
        raise KeyError
    assert gc.isenabled()
