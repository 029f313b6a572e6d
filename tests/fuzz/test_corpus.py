"""What fuzzing found worth keeping goes through its target again: no error but ours, and soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
SECONDS = 15  # for one input, on a machine that others use as well; alone it is less than 5


def inputs(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


@pytest.mark.parametrize("name", TARGETS)
def test_it_holds(name: str) -> None:
    assert len(inputs(name)) >= 10
    for path in inputs(name):
        began = time.process_time()
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            error.add_note(f"the input is {path.name}")
            raise
        assert time.process_time() - began < SECONDS, path.name


def test_the_corpus_is_small_and_has_a_target_for_all_that_is_in_it() -> None:
    assert sorted(each.name for each in CORPUS.iterdir()) == sorted(TARGETS)
    assert sum(each.stat().st_size for each in CORPUS.rglob("*")) < 1 << 20


def test_a_target_fails_where_a_reader_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.targets.open_checkpoint", lambda path: {}[path])
    with pytest.raises(KeyError):
        TARGETS["safetensors"](b"x")
