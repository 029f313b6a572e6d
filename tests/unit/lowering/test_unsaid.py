"""What nothing says: one finding of each kind, what would settle it, and where it can be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import tensormap
from tensormap.diagnostics import Diagnostic, TensormapError

HEADS = """config {
    n  = heads <-> heads
    kv = kv_heads ?? heads <-> kv_heads
    d  = head_size <-> head_size
}
q [(n d) e] <-> wq [(n d) e]
k [(kv d) e] <-> wk [d kv e]
"""
SHAPES = {"q": (12, 5), "k": (6, 5)}


def _source(folder: Path, shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def _found(mapping: tensormap.Mapping, source: Path, **settings: Any) -> tuple[Diagnostic, ...]:
    with pytest.raises(TensormapError) as caught:
        tensormap.plan(mapping, source, to="right", set=settings)
    return caught.value.diagnostics


def test_sizes_of_several_rules_are_one_finding(tmp_path: Path) -> None:
    (found,) = _found(tensormap.loads(HEADS), _source(tmp_path / "in", SHAPES))
    assert (found.slug, found.message) == ("underdetermined", "nothing determines `d`, `n`, `kv`")
    assert [each.text for each in found.labels] == ["needs `d`, `n`", "needs `kv`"]
    assert found.notes == ("known: d*kv = 6", "known: d*n = 12")
    where = "`heads` says `n`, `kv_heads` says `kv`, `head_size` says `d`"
    first = f"no config was found beside the source; `--config FILE` names one, where {where}"
    assert found.help == (first, "set one, and the others follow: `--set d=...` or `--set n=...` or `--set kv=...`")


@pytest.mark.parametrize("setting", [{"n": 4}, {"d": 3}, {"kv": 2}])
def test_one_of_them_is_enough(setting: dict[str, int], tmp_path: Path) -> None:
    plan = tensormap.plan(tensormap.loads(HEADS), _source(tmp_path / "in", SHAPES), to="right", set=setting)
    written = {each.name: each.shape for file in plan.outputs for each in file.tensors}
    assert written == {"wq": (12, 5), "wk": (3, 2, 5)}


def test_a_config_without_the_keys(tmp_path: Path) -> None:
    (found,) = _found(tensormap.loads(HEADS), _source(tmp_path / "in", SHAPES, {"width": 5}))
    assert found.help[0] == "the config has no such key: `heads` says `n`, `kv_heads` says `kv`, `head_size` says `d`"


def test_what_no_config_could_say(tmp_path: Path) -> None:
    text = "a [(x y)] <-> b [y x]\nc [(u v)] <-> d [v u]\n"
    (found,) = _found(tensormap.loads(text), _source(tmp_path / "in", {"a": (12,), "c": (10,)}))
    how = "set each that does not follow from others: `--set x=... --set y=... --set u=... --set v=...`"
    assert found.help == (how,)
    assert found.notes == ("known: u*v = 10", "known: x*y = 12")


def test_a_product_with_zero_settles_nothing(tmp_path: Path) -> None:
    (found,) = _found(tensormap.loads("a [(x y)] <-> b [y x]\n"), _source(tmp_path / "in", {"a": (0,)}))
    assert found.help == ("set each that does not follow from others: `--set x=... --set y=...`",)


def test_a_choice_that_another_waits_for(tmp_path: Path) -> None:
    text = 'param model in old, new "the model"\nparam deep = select(model == "old", 2, 3)\n'
    text += "w [e] <-> v [e] when deep == 2\nw [e] <-> u [e] when deep == 3\n"
    (found,) = _found(tensormap.loads(text), _source(tmp_path / "in", {"w": (3,)}))
    assert (found.slug, found.message) == ("choice-needed", "`model` must be chosen: the model")
    assert found.help == ("say `--set model=old` or `--set model=new`",)


def test_a_number_that_has_to_be_set(tmp_path: Path) -> None:
    text = "param deep\nconfig {\n    deep = depth <-> depth\n}\nw [e] <-> v [e] when deep == 2\n"
    (found,) = _found(tensormap.loads(text), _source(tmp_path / "in", {"w": (3,)}))
    assert [each.text for each in found.labels] == ["nothing says how much it is"]
    first = "no config was found beside the source; `--config FILE` names one, where `depth` says `deep`"
    assert found.help == (first, "say `--set deep=...`")


# --- names of included files --------------------------------------------------------------------------------------------------

PART = "w [(h d) e] <-> v [d h e]\nx [h] <-> y [h] when deep\nconfig {\n    deep = depth <-> depth\n}\n"


def _including(folder: Path, using: str) -> tensormap.Mapping:
    (folder / "part.tmap").write_text(PART)
    (folder / "other.tmap").write_text(PART)
    (folder / "mapping.tmap").write_text(using)
    return tensormap.load(folder / "mapping.tmap")


def test_a_name_of_an_included_file_is_shown_with_the_file(tmp_path: Path) -> None:
    mapping = _including(tmp_path, 'use "part.tmap" with left = "a.", right = "b."\n')
    source = _source(tmp_path / "in", {"a.w": (6, 5)})
    (found,) = _found(mapping, source)
    assert found.message == "nothing says what `deep` of `part.tmap` is, and a condition depends on it"
    assert found.help[-1] == "set it: `--set deep=...`"
    (found,) = _found(mapping, source, deep=False)
    assert found.message == "nothing determines `d`, `h` of `part.tmap`"
    assert found.help[-1] == "set one, and the others follow: `--set d=...` or `--set h=...`"
    plan = tensormap.plan(mapping, source, to="right", set={"deep": False, "d": 3})
    assert [each.shape for file in plan.outputs for each in file.tensors] == [(3, 2, 5)]


def test_a_name_that_several_files_have_is_set_in_all_or_in_one(tmp_path: Path) -> None:
    using = 'use "part.tmap" with left = "a.", right = "b."\nuse "other.tmap" with left = "c.", right = "d."\n'
    mapping = _including(tmp_path, using)
    source = _source(tmp_path / "in", {"a.w": (6, 5), "c.w": (12, 5)})

    def shapes(**settings: Any) -> dict[str, tuple[int, ...]]:
        plan = tensormap.plan(mapping, source, to="right", set=settings)
        return {each.name: each.shape for file in plan.outputs for each in file.tensors}

    assert shapes(deep=False, d=3) == {"b.v": (3, 2, 5), "d.v": (3, 4, 5)}
    assert shapes(deep=False, **{"part.tmap:d": 3, "other.tmap:h": 2}) == {"b.v": (3, 2, 5), "d.v": (6, 2, 5)}


def test_a_name_that_the_mapping_has_as_well_is_set_with_the_file(tmp_path: Path) -> None:
    mapping = _including(tmp_path, 'use "part.tmap" with left = "a.", right = "b."\nz [d] <-> z [d]\n')
    source = _source(tmp_path / "in", {"a.w": (6, 5), "z": (7,)})
    (found,) = _found(mapping, source, deep=False)
    assert found.help[-1] == "set one, and the others follow: `--set part.tmap:d=...` or `--set h=...`"
    plan = tensormap.plan(mapping, source, to="right", set={"deep": False, "part.tmap:d": 2})
    assert {each.name: each.shape for file in plan.outputs for each in file.tensors}["b.v"] == (2, 3, 5)


def test_names_are_listed_as_they_are_written(tmp_path: Path) -> None:
    mapping = _including(tmp_path, 'use "part.tmap" with left = "a.", right = "b."\nz [d] <-> z [d]\n')
    (found,) = _found(mapping, _source(tmp_path / "in", {"a.w": (6, 5), "z": (7,)}), dep=3)
    assert (found.slug, found.notes, found.help) == (
        "unknown-setting",
        ("it has d, deep, e, h",),
        ("did you mean `deep`?",),
    )
    (found,) = _found(mapping, tmp_path / "in", **{"other.tmap:d": 3})
    assert found.slug == "unknown-setting"


# --- names that are not there -------------------------------------------------------------------------------------------------

LAYERS = "block layers.{i}. <-> l.{i}. {\n    q [(n d) e] <-> wq [n d e]\n    k [e e'] <-> wk [e' e]\n}\n"


def test_a_source_of_the_other_side(tmp_path: Path) -> None:
    (found,) = _found(tensormap.loads(LAYERS), _source(tmp_path / "in", {"l.0.wq": (2, 3, 5), "l.0.wk": (5, 5)}))
    assert (found.slug, found.message) == (
        "wrong-model",
        "no tensor of the source has a name that `<text>` knows as left",
    )
    assert found.notes == ("the first of them is `l.0.wk`",)
    assert found.help == ("there are names of right: convert it with `--to left`",)


def test_a_source_whose_names_are_a_dot_away(tmp_path: Path) -> None:
    text = LAYERS.replace("layers.{i}.", "layers.{i}")
    (found,) = _found(tensormap.loads(text), _source(tmp_path / "in", {"layers.0.q": (6, 5), "layers.0.k": (5, 5)}))
    assert found.slug == "wrong-model"
    assert [each.text for each in found.labels] == ["the nearest rule"]
    assert not found.help


def test_a_size_that_only_missing_tensors_have(tmp_path: Path) -> None:
    (found,) = _found(tensormap.loads(LAYERS), _source(tmp_path / "in", {"layers.0.wq": (6, 5), "layers.0.k": (5, 5)}))
    assert found.slug == "missing-tensor"
    assert found.message == "the source has no tensor that is called like `layers.{i}.q`"
    assert found.help == ("there is `layers.0.wq`",)


def test_a_size_of_a_rule_that_holds_nowhere_is_not_looked_for_in_names(tmp_path: Path) -> None:
    text = "index i < deep\n" + LAYERS + "layers.{i}.extra [x] <-> l.{i}.extra [x] when i > 5\n"
    (found,) = _found(
        tensormap.loads(text), _source(tmp_path / "in", {"layers.0.q": (6, 5), "layers.0.k": (5, 5)}), n=2
    )
    assert (found.slug, found.message) == ("underdetermined", "nothing determines `x`")


def test_a_config_that_no_line_reads(tmp_path: Path) -> None:
    source = _source(tmp_path / "in", {"layers.0.q": (6, 5), "layers.0.k": (5, 5)}, {"heads": 2})
    (found,) = _found(tensormap.loads(LAYERS), source)
    assert found.help[0] == "the config can say it where a line of the mapping reads it: `d = KEY <-> KEY`"


def test_a_key_with_something_senseless_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """The line that reads it may not hold at all: nothing is said of it before that is known."""
    text = "param deep\nwhen deep > 1 {\n    config {\n        d = size + 1 <-> size\n    }\n}\n"
    text += "z [e] <-> z [e] when d > 2 and deep > 2\n"
    source = _source(tmp_path / "in", {"z": (6,)}, {"size": "large"})
    found = _found(tensormap.loads(text), source)
    assert [each.slug for each in found] == ["unknown-value", "choice-needed"]
    assert found[0].help[-1] == "set it: `--set d=...`"
