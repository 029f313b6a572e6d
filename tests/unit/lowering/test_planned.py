"""What a plan follows from: names, shapes, config and settings, each alone and against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.diagnostics import TensormapError

Shapes = dict[str, tuple[int, ...]]


def _source(folder: Path, tensors: Shapes, config: dict[str, Any] | None) -> Path:
    folder.mkdir()
    save_file({name: np.zeros(shape, np.float32) for name, shape in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def _planned(plan: tensormap.Plan) -> Shapes:
    return {each.name: each.shape for file in plan.outputs for each in file.tensors}


HEADS = "config {\n    h = heads <-> heads\n    k = keys <-> keys\n}\n"
CONDITIONS = HEADS + "x [e] <-> y [e] when h > 2\nz [e] <-> t [e] when k > 2\n"
FORMS = 'param form in old, new\nconfig {\n    form = shape <-> shape\n}\nx [e f] <-> y [e f] when form == "old"\n'
FORMS += 'x [e f] <-> y [f e] when form == "new"\n'
LAYERS = "index i < n\nx.{i + 2}.w [e] <-> y.{i} [e]\n"
MEETING = "x [e] <-> a.1 [e]\nindex i < n\ny.{i} [e] <-> a.{i} [e]\n"
BESIDE = "x [e] <-> x [e]\n"
JOINED = BESIDE + "optional {\n    p [a], q [b] <-> z [(a + b)]\n}\n"

PLANNED: dict[str, tuple[str, Shapes, dict[str, Any] | None, str | None, dict[str, Any], Shapes]] = {
    "a condition on the config holds": (CONDITIONS, {"x": (3,)}, {"heads": 3, "keys": 2}, "right", {}, {"y": (3,)}),
    "both hold": (
        CONDITIONS,
        {"x": (3,), "z": (3,)},
        {"heads": 3, "keys": 4},
        "right",
        {},
        {"y": (3,), "t": (3,)},
    ),
    "what is set outweighs nothing": (CONDITIONS, {"x": (3,)}, None, "right", {"h": 3, "k": 2}, {"y": (3,)}),
    "a variant that the config names": (FORMS, {"x": (2, 3)}, {"shape": "new"}, "right", {}, {"y": (3, 2)}),
    "another variant that the config names": (FORMS, {"x": (2, 3)}, {"shape": "old"}, "right", {}, {"y": (2, 3)}),
    "a variant that is set outweighs the config": (
        FORMS,
        {"x": (2, 3)},
        {"shape": "new"},
        "right",
        {"form": "old"},
        {"y": (2, 3)},
    ),
    "a range begins at an offset": (
        LAYERS,
        {"x.2.w": (4,), "x.3.w": (4,), "x.4.w": (4,)},
        None,
        "right",
        {},
        {"y.0": (4,), "y.1": (4,), "y.2": (4,)},
    ),
    "and on the way back": (LAYERS, {"y.0": (4,), "y.1": (4,)}, None, "left", {}, {"x.2.w": (4,), "x.3.w": (4,)}),
    "what is optional may be away": (JOINED, {"x": (3,)}, None, "right", {}, {"x": (3,)}),
    "what is optional may be there": (
        JOINED,
        {"x": (3,), "p": (2,), "q": (5,)},
        None,
        "right",
        {},
        {"x": (3,), "z": (7,)},
    ),
    "a default": ("param r = 2\nx [(r e)] <-> y [r e]\n", {"x": (6,)}, None, "right", {}, {"y": (2, 3)}),
    "a default gives way to a setting": (
        "param r = 2\nx [(r e)] <-> y [r e]\n",
        {"x": (6,)},
        None,
        "right",
        {"r": 3},
        {"y": (3, 2)},
    ),
    "a default gives way to the shapes": (
        "param r = 2\nx [(r e)] <-> y [r e]\n",
        {"y": (3, 2)},
        None,
        "left",
        {},
        {"x": (6,)},
    ),
    "the side whose names fit better": (
        "x [e] <-> x [e]\ny [e] <-> z [e]\nv [e] <-> v [e]\n",
        {"x": (2,), "z": (2,), "v": (2,)},
        None,
        None,
        {},
        {"x": (2,), "y": (2,), "v": (2,)},
    ),
    "names on either side of a number": (
        MEETING,
        {"x": (3,), "y.0": (3,)},
        None,
        "right",
        {},
        {"a.1": (3,), "a.0": (3,)},
    ),
    "an axis may be empty": ("x [(a + b)] <-> y [a], z [b]\n", {"y": (0,), "z": (2,)}, None, "left", {}, {"x": (2,)}),
    "a size from the config, where names would do too": (
        "config {\n    n = layers <-> layers\n}\n" + LAYERS,
        {"x.2.w": (4,), "x.3.w": (4,)},
        {"layers": 2},
        "right",
        {},
        {"y.0": (4,), "y.1": (4,)},
    ),
    "a condition on the position": (
        "index i < n\nx.{i} [e] <-> y.{i} [e] when i < n - 1\nx.{i} [e] <-> z.{i} [e] when i == n - 1\n",
        {"x.0": (4,), "x.1": (4,), "x.2": (4,)},
        None,
        "right",
        {"n": 3},
        {"y.0": (4,), "y.1": (4,), "z.2": (4,)},
    ),
}


@pytest.mark.parametrize("case", PLANNED)
def test_planned(case: str, tmp_path: Path) -> None:
    text, tensors, config, to, settings, expected = PLANNED[case]
    source = _source(tmp_path / "source", tensors, config)
    assert _planned(tensormap.plan(tensormap.loads(text), source, to=to, set=settings)) == expected


UNSAID = "nothing says what `h`, `k` are, and conditions depend on them"

REFUSED: dict[str, tuple[str, Shapes, dict[str, Any] | None, str | None, dict[str, Any], list[tuple[str, str]]]] = {
    "one config is missing, not two values": (
        CONDITIONS,
        {"x": (3,)},
        None,
        "right",
        {},
        [("unknown-value", UNSAID)],
    ),
    "one value is missing": (
        CONDITIONS,
        {"x": (3,)},
        None,
        "right",
        {"k": 1},
        [("unknown-value", "nothing says what `h` is, and a condition depends on it")],
    ),
    "a config that says neither": (
        CONDITIONS,
        {"x": (3,)},
        {"other": 1},
        "right",
        {},
        [("unknown-value", UNSAID)],
    ),
    "a param without a value": (
        'param k "how many there are"\nx [e] <-> y [e] when k > 2\n',
        {"x": (3,)},
        None,
        "right",
        {},
        [("choice-needed", "`k` must be chosen: how many there are")],
    ),
    "a variant that is none, in the config": (
        FORMS,
        {"x": (2, 3)},
        {"shape": "odd"},
        "right",
        {},
        [("unknown-variant", "config.json says `odd`, and `form` has no such variant")],
    ),
    "a variant that is none, set": (
        FORMS,
        {"x": (2, 3)},
        None,
        "right",
        {"form": "ne"},
        [("unknown-variant", "`form` has no variant `ne`")],
    ),
    "two values of a word": (
        "config {\n    k = one <-> one\n    k = two <-> two\n}\nx [e] <-> y [e]\n",
        {"x": (3,)},
        {"one": "u", "two": "v"},
        "right",
        {},
        [("contradiction", "`k` has two values: u and v")],
    ),
    "a size that is none, set": (
        LAYERS,
        {"x.2.w": (4,)},
        None,
        "right",
        {"n": 0},
        [("bad-setting", "`n` is a size: a whole number of at least 1, not `0`")],
    ),
    "a size below zero, set": (
        LAYERS,
        {"x.2.w": (4,)},
        None,
        "right",
        {"e": -1},
        [("bad-setting", "`e` is a size: a whole number of at least 0, not `-1`")],
    ),
    "a truth value for a size": (
        LAYERS,
        {"x.2.w": (4,)},
        None,
        "right",
        {"e": True},
        [("bad-setting", "`e` is a size: a whole number of at least 0, not `true`")],
    ),
    "a name that is none, set": (
        LAYERS,
        {"x.2.w": (4,)},
        None,
        "right",
        {"m": 1},
        [("unknown-setting", "the mapping has no param or dimension `m`")],
    ),
    "a gap in a range": (
        LAYERS,
        {"x.2.w": (4,), "x.4.w": (4,)},
        None,
        "right",
        {},
        [("missing-tensor", "the source lacks `x.3.w`")],
    ),
    "names before a range": (
        LAYERS,
        {"x.1.w": (4,), "x.2.w": (4,)},
        None,
        "right",
        {},
        [("unclaimed-tensor", "no rule reads `x.1.w`")],
    ),
    "more names than are set": (
        LAYERS,
        {"x.2.w": (4,), "x.3.w": (4,), "x.4.w": (4,)},
        None,
        "right",
        {"n": 1},
        [("unclaimed-tensor", "no rule reads `x.3.w` and 1 more: they are behind the last position of `i`")],
    ),
    "fewer names than are set": (
        LAYERS,
        {"x.2.w": (4,)},
        None,
        "right",
        {"n": 4},
        [("missing-tensor", "the source lacks `x.3.w` and 2 more that this rule reads")],
    ),
    "two rules read a name": (
        MEETING,
        {"a.0": (3,), "a.1": (3,)},
        None,
        "left",
        {"n": 2},
        [("claimed-twice", "two rules read `a.1`")],
    ),
    "half of what is optional": (
        JOINED,
        {"x": (3,), "p": (2,)},
        None,
        "right",
        {"b": 5},
        [("missing-tensor", "the source lacks `q`")],
    ),
    "no name of either side": (
        "x [e] <-> y [e]\n",
        {"w": (3,)},
        None,
        None,
        {},
        [("wrong-model", "no tensor of the source is known to `<text>`, neither as left nor as right")],
    ),
    "a requirement": (
        "let w = h * d\nrequire w == e\nx [h d e] <-> y [e d h]\n",
        {"x": (2, 3, 5)},
        None,
        "right",
        {},
        [("requirement", "`w == e` does not hold")],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    text, tensors, config, to, settings, expected = REFUSED[case]
    source = _source(tmp_path / "source", tensors, config)
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(tensormap.loads(text), source, to=to, set=settings)
    assert [(each.slug, each.message) for each in caught.value.diagnostics] == expected


def test_two_rules_that_write_a_name(tmp_path: Path) -> None:
    source = _source(tmp_path / "source", {"x": (3,), "y.0": (3,), "y.1": (3,)}, None)
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(tensormap.loads(MEETING), source, to="right")
    (finding,) = caught.value.diagnostics  # what the second one reads is read by a rule even so
    assert (finding.slug, finding.message) == ("written-twice", "two rules write `a.1`")


def test_a_rule_that_finds_nothing_to_read_writes_no_name_twice(tmp_path: Path) -> None:
    text = MEETING.replace("y.{i} [e] <-> a.{i} [e]", "y.{i} [e] <-> a.{i} [e] optional")
    source = _source(tmp_path / "source", {"x": (3,), "y.0": (3,), "y.2": (3,)}, None)
    plan = tensormap.plan(tensormap.loads(text), source, to="right")
    assert _planned(plan) == {"a.0": (3,), "a.1": (3,), "a.2": (3,)}


def test_a_requirement_shows_what_its_names_are_made_of(tmp_path: Path) -> None:
    text, tensors, *_ = REFUSED["a requirement"]
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(tensormap.loads(text), _source(tmp_path / "source", tensors, None), to="right")
    assert caught.value.diagnostics[0].notes == ("with w = 6, h = 2, d = 3, e = 5",)


def test_a_requirement_under_a_condition_that_does_not_hold(tmp_path: Path) -> None:
    text = "x [h d] <-> y [d h]\nwhen h > 2 {\n    require d == 3\n}\n"
    source = _source(tmp_path / "source", {"x": (2, 4)}, None)
    assert _planned(tensormap.plan(tensormap.loads(text), source, to="right")) == {"y": (4, 2)}
    other = _source(tmp_path / "other", {"x": (3, 4)}, None)
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(tensormap.loads(text), other, to="right")
    assert [each.slug for each in caught.value.diagnostics] == ["requirement"]


def test_what_was_inferred_is_noted(tmp_path: Path) -> None:
    text = 'param form in old, new\nparam r = 2\nx [(r e)] <-> y [r e] when form == "old"\n'
    text += 'z [(r e)] <-> y [r e] when form == "new"\n'
    source = _source(tmp_path / "source", {"z": (6,)}, None)
    plan = tensormap.plan(tensormap.loads(text), source, to="right")
    assert _planned(plan) == {"y": (2, 3)}
    assert [note for note in plan.steps.notes if "=" in note] == ["form = new, as the names say", "r = 2, the default"]


def test_a_setting_that_the_shapes_contradict_is_shown(tmp_path: Path) -> None:
    source = _source(tmp_path / "source", {"x": (3,)}, None)
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(tensormap.loads("x [e] <-> y [e]"), source, to="right", set={"e": 4})
    (finding,) = caught.value.diagnostics
    assert finding.slug == "contradiction"
    assert finding.notes == ("`e` is set to 4",)
    assert [label.text for label in finding.labels] == ["x is [3]"]
