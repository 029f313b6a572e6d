"""Attacks on configs, in YAML and in JSON: a finding that names the file, soon, and no code runs; and scalars that are traps."""

from __future__ import annotations

import itertools
import json
import shutil
import time
import tracemalloc
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.checkpoints.json_config import read_json
from tensormap.checkpoints.yaml_config import read_yaml
from tensormap.diagnostics import CheckpointError, TensormapError
from tests.torture import workloads

SECONDS = 15  # on a machine that others use as well; alone it is less than 5
LETTERS = "abcdefghi"


def doubled(width: int) -> str:
    """Return lists of aliases of lists of aliases."""
    first = f"a: &a [{', '.join('x' * width)}]\n"
    return first + "".join(
        f"{then}: &{then} [{', '.join([f'*{before}'] * width)}]\n" for before, then in itertools.pairwise(LETTERS)
    )


YAML: dict[str, str] = {
    "aliases of aliases": doubled(10),
    "merges of merges": "m0: &m0 {k: 1}\n"
    + "".join(f"m{k + 1}: &m{k + 1}\n  <<: [{', '.join([f'*m{k}'] * 50)}]\n  k{k}: 1\n" for k in range(8)),
    "an alias of itself": "a: &a [*a]\n",
    "a merge of itself": "a: &a\n  <<: *a\n",
    "an alias as a key": "a: &a b\n*a : 1\n",
    "a list as a key": "? [a, b]\n: 1\n",
    "lists in lists": "a: " + "[" * 100_000,
    "tables in tables": "a: " + "{a: " * 100_000,
    "steps": "\n".join(" " * k + "a:" for k in range(3000)),
    "dashes": "- " * 100_000,
    "a key twice": "a: 1\na: 2\n",
    "a key twice, quoted": "a: 1\n'a': 2\n",
    "a call": "a: !!python/object/apply:os.system [true]\n",
    "a new object": "a: !!python/object/new:os.system [true]\n",
    "a name": "a: !!python/name:os.system\n",
    "a module": "a: !!python/module:antigravity\n",
    "a tag of its own": "a: !run x\n",
    "a tag with another meaning": "%TAG !! tag:example.org,2000:\n---\na: !!int 1\n",
    "bytes": "a: !!binary aGk=\n",
    "a set": "a: !!set {x}\n",
    "pairs": "a: !!omap [x: 1]\n",
    "5000 digits": f"a: {'9' * 5000}\n",
    "5000 hexadecimal digits": f"a: 0x{'f' * 5000}\n",
    "5000 binary digits": f"a: 0b{'1' * 5000}\n",
    "a version that nobody knows": "%YAML 9.9\n---\na: 1\n",
    "two documents": "a: 1\n---\nb: 1\n",
    "nothing": "",
    "a number": "1\n",
    "a NUL": "a: \0\n",
    "a bell": "a: \x07\n",
    "tabs": "a:\n\tb: 1\n",
    "half a surrogate pair": 'a: "\\ud800"\n',
    "a key of two megabytes": "a" * 2_000_000 + ": 1\n",
    "stars": "a: " + "*" * 100_000,
    "a string that never ends": "a: '" + "''" * 500_000,
    "17 megabytes": "#" * (17 << 20),
}

JSON: dict[str, str] = {
    "lists in lists": '{"a":' + "[" * 100_000,
    "tables in tables": '{"a":' * 100_000,
    "65 lists": '{"a":' + "[" * 65 + "]" * 65 + "}",
    "a key twice": '{"a": 1, "a": 2}',
    "a key twice, spelled otherwise": '{"a": 1, "\\u0061": 2}',
    "5000 digits": f'{{"a": {"9" * 5000}}}',
    "a number beyond all": '{"a": 1e999}',
    "half a surrogate pair": '{"a": "\\ud800"}',
    "half a surrogate pair in a key": '{"\\udfff": 1}',
    "a list": "[1]",
    "a bell": '{"a": "\x07"}',
    "a byte order mark": "\ufeff{}",
    "a comment": '{"a": 1} // b',
    "two values": "{}{}",
    "half a text": '{"a": ',
    "nothing": "",
    "17 megabytes": " " * (17 << 20),
}


def test_there_are_enough_attacks() -> None:
    assert len(YAML) >= 35
    assert len(JSON) >= 15


@pytest.mark.parametrize(
    ("name", "text"),
    [*(("a.yml", each) for each in YAML.values()), *(("config.json", each) for each in JSON.values())],
    ids=[*(f"yaml: {each}" for each in YAML), *(f"json: {each}" for each in JSON)],
)
def test_it_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    began = time.process_time()
    with pytest.raises(CheckpointError) as error:
        read_yaml([path]) if name == "a.yml" else read_json(path)
    assert time.process_time() - began < SECONDS
    (found,) = error.value.diagnostics
    assert name in found.message
    assert len(found.message) < 1000
    assert found.message.isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", False), ("on", True), ("1e3", 1000.0), ("1e-05", 1e-5), ("010", "010"), ("1:30", "1:30"), ("0o17", 15), ("0x1f", 31),
        ("1_000", 1000), ("2001-01-01", "2001-01-01"), ("12e4567", "12e4567"), ("~", None), ("'no'", "no"), ("y", "y"), ("=", "="),
        ("!!str 1", "1"), ("!!int 1", 1), ("1.", 1.0), (".5", 0.5), ("08", "08"), ("+1", 1), ("-.inf", float("-inf")), ("0b11", 3),
    ],
)  # fmt: skip
def test_a_scalar_is_what_is_meant(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "a.yml"
    path.write_text(f"a: {text}\n")
    found = read_yaml([path])["a"]
    assert found == value
    assert type(found) is type(value)


# --- numbers that no checkpoint has


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "hf"
    workloads.llama(folder)
    return folder


HUGE = [10**5, 10**9, 10**12, 10**30, 1e12, 1e308]


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("key", ["num_hidden_layers", "vocab_size", "max_position_embeddings", "num_attention_heads"])
def test_a_number_that_is_far_too_large(llama: Path, tmp_path: Path, key: str, value: float) -> None:
    """It is refused by what it would mean, before that is written out."""
    shutil.copytree(llama, tmp_path / "hf")
    path = tmp_path / "hf" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    tracemalloc.start()
    began = time.process_time()
    try:
        with refusal_unless(key == "max_position_embeddings"):
            tensormap.plan("neox/llama", tmp_path / "hf", to="neox")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < SECONDS


def refusal_unless(fine: bool) -> AbstractContextManager[object]:  # noqa: FBT001
    return suppress(TensormapError) if fine else pytest.raises(TensormapError)


EXPERTS = """mapping split <-> whole
index i < layers
index e < experts
config {
    layers  = layers  <-> _
    experts = experts <-> _
}
"""


@pytest.mark.parametrize(
    ("rule", "layers", "experts"),
    [
        ("w.{i}.{e} [x] <-> w [i e x]", 10**6, 10**6),
        ("w.{i}.{e} [x] <-> w [i e x]", 3000, 3000),
        ("w [x] <-> w.{i}.{e} [x] replicated i, e", 3000, 3000),
        ("w [x] <-> w.{i}.{e} [x] replicated i, e", 10**9, 10**9),
    ],
)
def test_two_numbers_whose_product_is_far_too_large(tmp_path: Path, rule: str, layers: int, experts: int) -> None:
    names = ["w.0.0", "w.0.1"] if "<-> w [" in rule else ["w"]
    save_file({name: np.zeros(4, np.float32) for name in names}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"layers": layers, "experts": experts}))
    mapping = tensormap.loads(EXPERTS + rule)
    began = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(mapping, tmp_path, to="whole")
    assert caught.value.diagnostics[0].slug == "too-many-positions"
    assert time.process_time() - began < SECONDS


def test_the_largest_that_is_not_too_large(tmp_path: Path) -> None:
    """A tensor in 20,000 pieces, of which some others say how many."""
    save_file({"w": np.zeros((100, 200, 1), np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    mapping = tensormap.loads("index i < l\nindex e < k\nw [i e x] <-> w.{i}.{e} [x]")
    assert sum(len(each.tensors) for each in tensormap.plan(mapping, tmp_path, to="right").steps.outputs) == 20_000


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("index i < l\na.{i} [x] <-> b.{i} [x]", ["a.0", "a.1000000000000"]),
        ("index i < l\na.{i} [x] <-> b [i x]", ["a.99999999"]),
        ("index i < l\nindex j < k\na.{i}.{j} [x] <-> b [i j x]", ["a.0.9000000", "a.9000000.0"]),
    ],
)
def test_numbers_in_names_that_are_far_too_large(rule: str, names: list[str]) -> None:
    """They say how many there are where nothing else does."""
    began = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        tensormap.loads(rule).convert({name: np.zeros(2, np.float32) for name in names}, "right")
    assert caught.value.diagnostics[0].slug == "too-many-positions"
    assert time.process_time() - began < SECONDS
