"""Checkpoints that the real programs wrote: tensor by tensor what the real programs read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

import tensormap
from tensormap.diagnostics import CheckpointError, MappingError
from tests.acceptance.conversions import ALL, FIXTURES, TO_HF, TO_NEOX, Conversion, each, meaning, read
from tests.stored import Stored, assert_same, read_safetensors, read_torch


def test_every_fixture_is_used() -> None:
    listed = [record["case"] for record in json.loads((FIXTURES / "manifest.json").read_text())]
    assert sorted(listed) == sorted(one.case for one in ALL)


@each(ALL)
def test_tensors(conversion: Conversion, tmp_path: Path) -> None:
    out = conversion.run(tmp_path / "out")
    assert_same(read(conversion, out), read(conversion, conversion.target))


@each(TO_HF)
def test_config(conversion: Conversion, tmp_path: Path) -> None:
    out = conversion.run(tmp_path / "out")
    assert meaning(out) == meaning(conversion.target)


@each(TO_NEOX)
def test_folder(conversion: Conversion, tmp_path: Path) -> None:
    """The trainer finds the folder it resumes from by `latest`."""
    out = conversion.run(tmp_path / "out")
    folder = out / (out / "latest").read_text().strip()
    wanted = conversion.target / (conversion.target / "latest").read_text().strip()
    assert {path.name for path in wanted.iterdir()} <= {path.name for path in folder.iterdir()}


@each(TO_HF)
def test_streamed(conversion: Conversion) -> None:
    """A plan yields the tensors that it would write."""
    mapping = tensormap.load(conversion.mapping)
    plan = tensormap.plan(mapping, conversion.source, to="hf", set=dict(conversion.set), **conversion.configs)
    expected = read(conversion, conversion.target)
    streamed = {name: _stored(tensor) for name, tensor in plan.iter_tensors()}
    assert_same(streamed, expected)


def _stored(tensor: object) -> Stored:
    import numpy as np
    import torch

    if isinstance(tensor, torch.Tensor):
        return Stored.of(tensor)
    array = np.ascontiguousarray(tensor)
    return Stored(array.dtype.name, array.shape, array.tobytes())


@each(TO_HF)
def test_back_to_the_source(conversion: Conversion, tmp_path: Path) -> None:
    """HF -> the training layout gives what the trainer itself had saved, but for what the case names as lost."""
    side = conversion.mapping.partition("/")[0]
    mapping = tensormap.load(conversion.mapping)
    tensormap.apply(mapping, conversion.target, tmp_path / "back", to=side, set=dict(conversion.back))
    written, original = read_torch(tmp_path / "back"), read_torch(conversion.source)
    kept = {name: tensor for name, tensor in original.items() if not name.endswith(conversion.lost or ("\0",))}
    assert kept, "nothing is compared"
    names = [name for name in written if not name.endswith(conversion.lost or ("\0",))]
    assert_same({name: written[name] for name in names}, kept)


@each(TO_HF)
def test_there_and_back(conversion: Conversion, tmp_path: Path) -> None:
    """HF -> the training layout -> HF is the identity on bytes. The written config is all that the way back has."""
    side = conversion.mapping.partition("/")[0]
    mapping = tensormap.load(conversion.mapping)
    tensormap.apply(mapping, conversion.target, tmp_path / "there", to=side, set=dict(conversion.back))
    tensormap.apply(mapping, tmp_path / "there", tmp_path / "back", to="hf", set=dict(conversion.set))
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(conversion.target))
    assert meaning(tmp_path / "back") == meaning(conversion.target)


@each(TO_NEOX)
def test_neox_and_back(conversion: Conversion, tmp_path: Path) -> None:
    out = conversion.run(tmp_path / "there")
    said = {key: value for key, value in conversion.set.items() if key == "gqa"}
    tensormap.apply(tensormap.load(conversion.mapping), out, tmp_path / "back", to="hf", set=said)
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(conversion.source))
    assert meaning(tmp_path / "back") == meaning(conversion.source)


WRONG = tuple(one for one in TO_HF if (one.folder / "expected_converter_HEAD_diff").is_dir())


@each(WRONG)
def test_where_the_converter_is_wrong(conversion: Conversion, tmp_path: Path) -> None:
    """GPT-NeoX's own converter scrambles or drops these tensors without a word; the forward pass says which is right."""
    wrong = conversion.folder / "expected_converter_HEAD_diff"
    scrambled = read_safetensors(wrong) if list(wrong.glob("*.safetensors")) else {}
    dropped_file = wrong / "silently_dropped.json"
    dropped = json.loads(dropped_file.read_text()) if dropped_file.exists() else []
    assert scrambled or dropped

    written = read_safetensors(conversion.run(tmp_path / "out"))
    expected = read_safetensors(conversion.target)
    for name, bad in scrambled.items():
        assert written[name] != bad, name
        assert written[name] == expected[name], name
    for name in dropped:
        assert written[name] == expected[name], name


def test_the_wrong_cases_are_there() -> None:
    assert len(WRONG) == 3


@each(tuple(one for one in TO_HF if one.case == "neox_llama_gqa_tp2_pp"))
def test_a_loader_that_checks_the_format_accepts_it(conversion: Conversion, tmp_path: Path) -> None:
    """Loaders look for `format: pt` in the metadata of a safetensors file."""
    out = conversion.run(tmp_path / "out")
    for path in out.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["format"] == "pt"


@each(tuple(one for one in TO_HF if one.set.get("gqa")))
def test_the_gqa_order_has_to_be_said(conversion: Conversion) -> None:
    """Names and shapes are the same for both orders: guessing would scramble the model in silence."""
    with pytest.raises((MappingError, CheckpointError)) as caught:
        tensormap.plan(tensormap.load(conversion.mapping), conversion.source, to="hf", **conversion.configs)
    message = str(caught.value)
    assert "gqa" in message
    assert "flat" in message
    assert "fake_head" in message
