"""Thousands of mapping files by chance, from a fixed seed: a finding with its place, or success; soon, and in little memory."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.diagnostics import CheckpointError, MappingError
from tests.hostile.mappings import Generator, mutated, texts

SECONDS = 5  # of CPU time, for one text
Draw = Callable[[random.Random], str]

REST = '\n"*" -> _\n_ <- "*"\n'  # so that a text that fits a part of the checkpoint plans
CATALOG = {
    "a": (4, 6),
    "b": (6, 4),
    "w": (8, 6),
    "x": (3,),
    **{f"a.{k}": (4,) for k in range(3)},
    **{f"{k}.a": (4, 2) for k in range(2)},
    **{f"layer.{k}.w": (8, 6) for k in range(3)},
    "qkv": (24, 6),
    "model.embed_tokens.weight": (10, 6),
    **{f"model.layers.{k}.input_layernorm.weight": (6,) for k in range(2)},
    **{f"model.layers.{k}.self_attn.{n}_proj.weight": (6, 6) for k in range(2) for n in "qkvo"},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    save_file({name: np.zeros(shape, np.float32) for name, shape in CATALOG.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        '{"hidden_size": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "layers": 3}'
    )
    return folder


def drawn(draw: Draw, seed: int, count: int) -> Iterator[tuple[int, str]]:
    for k in range(count):
        yield k, draw(random.Random(f"{seed}/{k}"))


def outcome(text: str, checkpoint: Path) -> str:
    """Load, check and plan both ways; return how far it came."""
    try:
        mapping = tensormap.loads(text)
    except MappingError as error:
        assert error.diagnostics  # noqa: PT017
        for each in error.diagnostics:
            assert each.labels, each
            for label in each.labels:
                assert 0 <= label.span.start <= label.span.end <= len(label.span.source.text)
        assert str(error)  # noqa: PT017
        return "refused"
    assert isinstance(mapping.check().lossless, tuple)
    reached = "loaded"
    with suppress(MappingError):
        mapping = tensormap.loads(text + REST)
    for side in mapping.sides:
        try:
            tensormap.plan(mapping, checkpoint, to=side)
        except (MappingError, CheckpointError) as error:
            assert str(error)  # noqa: PT017
        else:
            reached = "planned"
    return reached


def tried(draw: Draw, seed: int, count: int, checkpoint: Path) -> dict[str, int]:
    """Count the outcomes of so many texts; each is bounded in time, and all together in memory."""
    counts = {"refused": 0, "loaded": 0, "planned": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k, text in drawn(draw, seed, count):
        began = time.process_time()
        try:
            counts[outcome(text, checkpoint)] += 1
        except BaseException as error:
            error.add_note(f"text {k} of seed {seed}:\n{text}")
            raise
        assert time.process_time() - began < SECONDS, f"text {k} of seed {seed}:\n{text}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # a gigabyte, in kilobytes
    return counts


def changed(dice: random.Random) -> str:
    text = dice.choice(texts())
    while (found := mutated(text, dice)) == text:  # one change may undo another, and is not counted
        pass
    return found


@pytest.mark.parametrize(("seed", "count"), [(1, 1000), pytest.param(2, 10_000, marks=pytest.mark.torture)])
def test_changed_mappings(seed: int, count: int, checkpoint: Path) -> None:
    counts = tried(changed, seed, count, checkpoint)
    assert counts["refused"] > count / 4
    assert counts["loaded"] > count / 50


@pytest.mark.parametrize(("seed", "count"), [(1, 1000), pytest.param(2, 2000, marks=pytest.mark.torture)])
def test_mappings_that_the_grammar_makes(seed: int, count: int, checkpoint: Path) -> None:
    counts = tried(Generator().text, seed, count, checkpoint)
    assert counts["refused"] > count / 4
    assert counts["loaded"] + counts["planned"] > count / 100


def test_what_the_grammar_makes_is_read(checkpoint: Path) -> None:
    read = 0
    for _, text in drawn(Generator().text, 3, 200):
        try:
            tensormap.loads(text)
            read += 1
        except MappingError as error:
            read += all(each.slug != "syntax" for each in error.diagnostics)
    assert read > 100


def test_a_chosen_text_plans(checkpoint: Path) -> None:
    assert outcome('a [x y] <-> q [y x]\n"*" -> _\n', checkpoint) == "planned"


@pytest.mark.parametrize("line", ["_ <-> key", "_ -> key", "key <-> _", "key <- _"])
def test_a_config_line_that_writes_nothing_is_refused(line: str) -> None:
    with pytest.raises(MappingError, match="nothing says what `key` is written with"):
        tensormap.loads(f"config {{\n{line}\n}}\n")


@pytest.mark.parametrize("line", ["_ <- key", "key -> _", "1 = key <- _"])
def test_a_config_line_that_drops_a_key_or_has_a_value_is_not(line: str, checkpoint: Path) -> None:
    assert outcome(f'config {{\n{line}\n}}\n"*" -> _\n_ <- "*"\n', checkpoint) == "planned"


def test_a_number_in_a_name_that_nothing_gives_is_reported(checkpoint: Path) -> None:
    mapping = tensormap.loads('index j < 2\n"x.{n + j}" -> _\n"*" -> _\n')
    with pytest.raises(CheckpointError, match=r"underdetermined.*`n`"):
        tensormap.plan(mapping, checkpoint, to="right")


@pytest.mark.parametrize("names", [("x.0.w", "x.#.w"), ("x.#.w",), ("x.0.w", "x.#0.w"), ("x.0.w", "x.0.w\n")])
def test_a_name_with_a_sign_that_stands_for_numbers_is_a_name_like_any_other(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    save_file({name: np.zeros(2, np.float32) for name in names}, tmp_path / "model.safetensors")
    mapping = tensormap.loads("index i < 1\nx.{i}.w [2] <-> y.{i}.w [2]\n")
    with pytest.raises(
        CheckpointError,
        match=f"(?s)(unclaimed-tensor|wrong-model).*{names[-1]!r}".replace("'", "").replace("\\n", ".*"),
    ):
        tensormap.plan(mapping, tmp_path, to="right")


@pytest.mark.parametrize("count", ["1.0e300", "1000000000000"])
def test_a_requirement_at_more_positions_than_there_are_numbers_ends(checkpoint: Path, count: str) -> None:
    """No list of them is made."""
    with pytest.raises((CheckpointError, MappingError)):
        tensormap.plan(
            tensormap.loads(f'index i < {count}\nrequire i < 2 "at most two"\nw.{{i}} [e] <-> v.{{i}} [e]\n'),
            checkpoint,
            to="right",
        )
