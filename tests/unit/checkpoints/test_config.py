"""Configs: what is read is what was meant, what is written reads the same, and nothing evil gets through."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tensormap.checkpoints.config import nested_set, read_json, read_yaml, write_json, write_yaml
from tensormap.diagnostics import CheckpointError, Diagnostic

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture
def file(tmp_path):
    def write(text: str | bytes, name: str = "config.yml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def finding(read, *arguments) -> Diagnostic:
    with pytest.raises(CheckpointError) as caught:
        read(*arguments)
    [diagnostic] = caught.value.diagnostics
    return diagnostic


def marked(diagnostic: Diagnostic) -> list[str]:
    return [label.span.source.text[label.span.start : label.span.end] for label in diagnostic.labels]


# --- json -------------------------------------------------------------------------------------------------------------


def test_json_is_read_plainly(file):
    path = file('{"a": 1e-05, "b": {"c": [1, null, true]}, "n": NaN, "i": -Infinity, "u": "\\u00e9"}')
    config = read_json(path)
    assert math.isnan(config.pop("n"))
    assert config == {"a": 1e-05, "b": {"c": [1, None, True]}, "i": -math.inf, "u": "é"}


def test_a_json_key_twice_is_named_with_its_lines(file):
    path = file('{\n "a": 1,\n "b": {},\n "a": 2}')
    diagnostic = finding(read_json, path)
    assert diagnostic.slug == "duplicate-key"
    assert diagnostic.message == f"{path}:4: the key `a` is there twice"
    assert marked(diagnostic) == ['"a"', '"a"']


def test_a_json_key_twice_deep_down(file):
    diagnostic = finding(read_json, file('{"a": {"k": 1}, "b": [{"k": 1, "k": 1}]}'))
    assert diagnostic.slug == "duplicate-key"
    assert "`k`" in diagnostic.message


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b"[1]", "does not hold an object"),
        (b"", ":1: expecting value"),
        (b'{\n"a": 1,\n}', ":3: expecting property name"),
        (b'{"a": 1} x', ":1: extra data"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "nested"),
        (b'{"a": ' + b"[" * 200_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
    ],
)
def test_what_json_is_refused(file, data, part):
    path = file(data)
    diagnostic = finding(read_json, path)
    assert diagnostic.slug == "bad-config"
    assert part in diagnostic.message
    assert str(path) in diagnostic.message


def test_a_config_has_a_largest_size(file):
    path = file(b'{"a": "' + b"x" * 2**24 + b'"}')
    assert "larger than 16 MiB" in finding(read_json, path).message
    assert "larger than 16 MiB" in finding(read_yaml, [path]).message


def test_a_file_that_is_not_there_is_the_disks_affair(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "config.json")


def test_json_is_written_as_transformers_writes_it():
    data = write_json({"b": 1e-05, "a": [1, {"d": None, "c": True}], "é": 1.0})
    assert data.decode() == (
        '{\n  "a": [\n    1,\n    {\n      "c": true,\n      "d": null\n    }\n  ],\n  "b": 1e-05,\n  "\\u00e9": 1.0\n}\n'
    )


def test_what_no_config_can_hold():
    assert finding(write_json, {"a": {"b": object()}}).slug == "bad-config"
    assert "under `b`" in finding(write_json, {"a": {"b": object()}}).message
    assert finding(write_json, {1: 2}).slug == "bad-config"
    assert finding(write_yaml, {"a": {1, 2}}).slug == "bad-config"
    loop: dict[str, object] = {}
    loop["a"] = loop
    assert "nested" in finding(write_json, loop).message
    assert "nested" in finding(write_yaml, loop).message


# --- yaml scalars -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-05", 1e-05),
        ("1.0e-05", 1e-05),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.5", -0.5),
        ("1_000.5", 1000.5),
        ("12", 12),
        ("-12", -12),
        ("0", 0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b11", 3),
        ("0o17", 15),
        ("010", "010"),
        ("08", "08"),
        ("-010", "-010"),
        ("1:30", "1:30"),
        ("1:30:00.5", "1:30:00.5"),
        ("2024-11-14", "2024-11-14"),
        ("12e4567", "12e4567"),
        ("1.0.0", "1.0.0"),
        ("e5", "e5"),
        (".", "."),
        ("_1", "_1"),
        ("=", "="),
        ("yes", True),
        ("No", False),
        ("ON", True),
        ("off", False),
        ("true", True),
        ("y", "y"),
        ("n", "n"),
        ("yEs", "yEs"),
        ("~", None),
        ("null", None),
        ("", None),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ('"1e3"', "1e3"),
        ("'no'", "no"),
        ("!!str 12", "12"),
        ("!!float 12", 12.0),
        ('!!int "12"', 12),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_what_a_scalar_stands_for(file, text, expected):
    found = read_yaml([file(f"key: {text}\n")])["key"]
    assert found == expected
    assert type(found) is type(expected)


def test_yaml_in_the_style_of_json(file):
    path = file(
        '# a comment\n{\n "pipe-parallel-size": 1, # another\n "fp16": {"enabled": true,},\n "lr": 1.0e-05,\n}\n'
    )
    assert read_yaml([path]) == {"pipe_parallel_size": 1, "fp16": {"enabled": True}, "lr": 1e-05}


def test_a_byte_order_mark_and_windows_lines_are_fine_in_yaml(file):
    assert read_yaml([file(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")]) == {"a": 1, "b": 2}


def test_keys_are_strings_whatever_they_look_like(file):
    assert read_yaml([file("{on: 1, 12: 2, ~: 3, a-b: {c-d: 4}}")]) == {"on": 1, "12": 2, "~": 3, "a_b": {"c-d": 4}}


def test_aliases_and_merges(file):
    text = "base: &base {x: 1, y: 2}\nlist: [*base, *base]\nmerged: {<<: *base, y: 3}\nboth:\n  <<: [{x: 7}, *base]\n"
    config = read_yaml([file(text)])
    assert config["list"] == [{"x": 1, "y": 2}] * 2
    assert config["merged"] == {"x": 1, "y": 3}
    assert config["both"] == {"x": 7, "y": 2}


# --- several files ----------------------------------------------------------------------------------------------------


def test_several_files_are_one_config(file):
    first, second = file("a: 1\nnum-layers: 2\n", "first.yml"), file("num_layers: 2.0\nb: {c: 1}\n", "second.yml")
    assert read_yaml([first, second]) == {"a": 1, "num_layers": 2, "b": {"c": 1}}


def test_files_that_disagree_are_both_named(file):
    first, second = file("hidden-size: 64\n", "first.yml"), file("# x\nhidden_size: 72\n", "second.yml")
    diagnostic = finding(read_yaml, [first, second])
    assert diagnostic.slug == "config-conflict"
    assert diagnostic.message == f"`hidden_size` is 64 in {first}:1 and 72 in {second}:2"
    assert [label.span.source.name for label in diagnostic.labels] == [str(second), str(first)]


@pytest.mark.parametrize(("one", "other"), [("true", "1"), ("'1'", "1"), ("[1]", "[1, 2]"), ("{a: 1}", "{a: true}")])
def test_what_disagrees(file, one, other):
    assert finding(read_yaml, [file(f"k: {one}", "1.yml"), file(f"k: {other}", "2.yml")]).slug == "config-conflict"


def test_two_spellings_of_a_key(file):
    assert read_yaml([file("a-b: 1\na_b: 1\n")]) == {"a_b": 1}
    diagnostic = finding(read_yaml, [file("a-b: 1\na_b: 2\n")])
    assert diagnostic.slug == "config-conflict"
    assert "`a_b` is 1 in" in diagnostic.message
    assert marked(diagnostic) == ["a_b", "a-b"]


def test_a_yaml_key_twice_is_named_with_its_lines(file):
    path = file("a: 1\nb:\n  c: 1\n  d: 2\n  c: 1\n")
    diagnostic = finding(read_yaml, [path])
    assert diagnostic.slug == "duplicate-key"
    assert diagnostic.message == f"{path}:5: the key `c` is there twice, first in line 3"
    assert marked(diagnostic) == ["c", "c"]
    assert finding(read_yaml, [file('{a: 1, "a": 2}')]).slug == "duplicate-key"


# --- evil yaml --------------------------------------------------------------------------------------------------------

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 13)
)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (BOMB, "more than 1000000 values"),
        (BOMB.replace("[", "{<<: [").replace("]", "]}").replace("x, ", "").replace("[x]", "[{x: 1}]"), "more than"),
        ("a: " + "[" * 65, "nested more than 64 deep"),
        ("a: " + "[" * 1_000_000, "nested more than 64 deep"),
        ("- " * 100_000, "nested more than 64 deep"),
        ("{a: " * 10_000, "nested more than 64 deep"),
        ("a: &a [*a]", ":1: the alias `a` stands for nothing"),
        ("a: *b", "the alias `b` stands for nothing"),
        ("x: &x 1\n*x : 2", ":2: a key has to be written out"),
        ("? [1]\n: 2", "a key has to be a word"),
        ("? {a: 1}\n: 2", "a key has to be a word"),
        ("a: !!python/object/apply:os.system [ls]", "the tag `tag:yaml.org,2002:python/object/apply:os.system`"),
        ("a: !!python/name:os.system", "is not allowed"),
        ("!!python/tuple [1]", "is not allowed"),
        ("!x a: 1", "is not allowed"),
        ("a: !!binary aGk=", "is not allowed"),
        ("a: !!int x", "is not allowed"),
        ("a: !!set {x}", "is not allowed"),
        ("a: {<<: 1}", "`<<` merges tables"),
        ("a: 1\n---\nb: 2\n", ":2: a second document"),
        ("", "does not hold a table"),
        ("# nothing\n", "does not hold a table"),
        ("- a\n", "does not hold a table"),
        ("just words", "does not hold a table"),
        ("a: [1,\nb: 2", ":2: "),
        ("\ta: 1", ":1: "),
        ("a: b: c", ":1: "),
        (b"a: \x00", "control characters"),
        (b"a: \xff", "not UTF-8"),
        ("a: " + "9" * 5000, "too many digits"),
    ],
)
def test_what_yaml_is_refused(file, data, part):
    path = file(data)
    start = time.perf_counter()
    diagnostic = finding(read_yaml, [path])
    assert time.perf_counter() - start < 5
    assert diagnostic.slug == "bad-config"
    assert part in diagnostic.message
    assert str(path) in diagnostic.message


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab01:-_,.{}[]&*!<>|?#'\"%@`~ \t\n\r\x00é=e", max_size=40))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_text(text, encoding="utf-8", newline="")
    for read, argument in ((read_json, path), (read_yaml, [path])):
        try:
            assert isinstance(read(argument), dict)
        except CheckpointError as error:
            assert error.diagnostics[0].slug in {"bad-config", "duplicate-key", "config-conflict"}  # noqa: PT017


# --- writing yaml -----------------------------------------------------------------------------------------------------


def test_pyyaml_reads_floats_as_floats():
    assert write_yaml({"eps": 1e-05, "big": 1e22, "one": 1.0}) == b"eps: 1.0e-05\nbig: 1.0e+22\none: 1.0\n"


def test_strings_that_look_like_something_else_are_quoted():
    words = [
        "1e-05",
        "1e3",
        "no",
        "010",
        "1:30",
        "null",
        "~",
        "",
        "0o17",
        "1_000",
        ".inf",
        "2024-11-14",
        "<<",
        "=",
        "y",
    ]
    data = write_yaml({"words": words})
    assert yaml.safe_load(data)["words"] == words
    assert b'"1e-05"' in data


def test_shared_values_are_written_out():
    shared = {"x": 1}
    assert b"&" not in write_yaml({"a": shared, "b": shared})


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(
        [
            "1e5",
            "0x1F",
            "010",
            "+1",
            "1_0",
            "-",
            "? a",
            "- b",
            "a: b",
            "a #b",
            "[",
            "'",
            '"',
            "\n",
            "a\n b\n",
            "\x85",
            "a\u2028 b",
        ]
    ),
)
CONFIGS = st.dictionaries(
    st.text("abcXYZ019._ é:#", max_size=6),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc01_:", max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(CONFIGS)
def test_what_is_written_reads_the_same(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("round") / "config"
    path.write_bytes(write_yaml(config))
    assert repr(read_yaml([path])) == repr(config)
    assert repr(yaml.safe_load(path.read_bytes())) == repr(config)
    path.write_bytes(write_json(config))
    assert read_json(path) == json.loads(path.read_bytes()) == config


# --- nested keys and fixtures -----------------------------------------------------------------------------------------


def test_nested_keys_are_set():
    config: dict[str, object] = {"qwen3next.block_count": 1, "rope_scaling": None, "flat": 3}
    nested_set(config, "a", 1)
    nested_set(config, "rope_parameters.rope_theta", 1.0)
    nested_set(config, "rope_parameters.rope_type", "default")
    nested_set(config, "qwen3next.block_count", 48)
    nested_set(config, "rope_scaling.factor", 8)
    assert config == {
        "qwen3next.block_count": 48,
        "rope_scaling": {"factor": 8},
        "flat": 3,
        "a": 1,
        "rope_parameters": {"rope_theta": 1.0, "rope_type": "default"},
    }
    assert finding(nested_set, config, "flat.x", 1).slug == "config-conflict"


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not here")
def test_the_configs_of_real_programs():
    ymls, jsons = sorted(FIXTURES.rglob("config.yml")), sorted(FIXTURES.rglob("*.json"))
    assert ymls
    for path in ymls:
        expected = {key.replace("-", "_"): value for key, value in yaml.safe_load(path.read_text()).items()}
        assert read_yaml([path]) == expected
    for path in jsons:
        if path.name in {"config.json", "params.json"}:
            assert read_json(path) == json.loads(path.read_text())
