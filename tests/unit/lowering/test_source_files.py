"""Which files of a directory are read: by pattern, by tag, by variant; and where a config is looked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tensormap
from tensormap.checkpoints import safetensors
from tensormap.checkpoints.catalog import OpenFile
from tensormap.diagnostics import CheckpointError

RANKS = """
mapping a <-> b
side a {
    files "rank{r}.safetensors" as r{r}.
}
r{r}.w [f e] <-> w [(r f) e]
"""

TAGGED = """
mapping a <-> b
side a {
    tag "latest" = "step0", "step{n}", "global_step{n:06}"
    files "*.safetensors"
}
w [e] <-> v [e]
"""

FORMS = """
mapping a <-> b
param form in one, several
side a {
    files "model.safetensors" when form == "one"
    files "part{k}.safetensors" as p{k}. when form == "several"
}
config {
    form = shape <-> _
}
w [(k e)] <-> v [(k e)] when form == "one"
p{k}.w [e] <-> v [(k e)] when form == "several"
"""


def _save(path: Path, **tensors: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.full((2, 3), value, np.float32) for name, value in tensors.items()}, path)


def _vector(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.full(6, value, np.float32)}, path)


def _refused(text: str, source: Path, to: str = "b") -> tuple[str, str]:
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(tensormap.loads(text), source, to=to)
    (finding,) = caught.value.diagnostics
    return finding.slug, finding.message


def test_ranks_are_put_together_in_order_of_their_numbers(tmp_path: Path) -> None:
    for rank in range(11):
        _save(tmp_path / "a" / f"rank{rank}.safetensors", w=rank)
    tensormap.apply(tensormap.loads(RANKS), tmp_path / "a", tmp_path / "b", to="b")
    w = load_file(tmp_path / "b" / "model.safetensors")["w"]
    assert w[:, 0].tolist() == [rank for rank in range(11) for _ in range(2)]
    tensormap.apply(tensormap.loads(RANKS), tmp_path / "b", tmp_path / "back", to="a", set={"r": 11})
    assert sorted(path.name for path in (tmp_path / "back").glob("*.safetensors")) == sorted(
        f"rank{rank}.safetensors" for rank in range(11)
    )
    assert load_file(tmp_path / "back" / "rank10.safetensors")["w"].tolist() == [[10] * 3] * 2


def test_a_file_is_opened_once_for_both_sides_and_anew_for_another_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    whole = safetensors.open_file

    def counted(path: Path, relative: str) -> OpenFile:
        opened.append(relative)
        return whole(path, relative)

    monkeypatch.setattr(safetensors, "open_file", counted)
    for rank in range(3):
        _save(tmp_path / "a" / f"rank{rank}.safetensors", w=rank)
    names = [f"rank{rank}.safetensors" for rank in range(3)]
    mapping = tensormap.loads(RANKS)
    assert tensormap.plan(mapping, tmp_path / "a").steps.side == "b"  # found by looking at the files as either side
    assert sorted(opened) == names
    save_file({"w": np.zeros((2, 5), np.float32)}, tmp_path / "a" / "rank2.safetensors")
    with pytest.raises(CheckpointError):
        tensormap.plan(mapping, tmp_path / "a")
    assert sorted(opened) == sorted(names * 2)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """Hidden ones, ones in directories that no pattern goes into, and ones whose names only begin like the pattern."""
    _save(tmp_path / "a" / "rank0.safetensors", w=7)
    for name in (".rank1.safetensors", "sub/rank1.safetensors", "rank1.safetensors.old", "rankx.safetensors"):
        _save(tmp_path / "a" / name, w=9)
    tensormap.apply(tensormap.loads(RANKS), tmp_path / "a", tmp_path / "b", to="b")
    assert load_file(tmp_path / "b" / "model.safetensors")["w"].tolist() == [[7] * 3] * 2


def test_a_pattern_goes_into_directories(tmp_path: Path) -> None:
    text = RANKS.replace("rank{r}.", "{r}/rank{r}.")
    for rank in range(2):
        _save(tmp_path / "a" / f"{rank}" / f"rank{rank}.safetensors", w=rank)
    _save(tmp_path / "a" / "0" / "rank1.safetensors", w=9)  # one variable has one value
    tensormap.apply(tensormap.loads(text), tmp_path / "a", tmp_path / "b", to="b")
    assert load_file(tmp_path / "b" / "model.safetensors")["w"][:, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("tag", "folder"),
    [("step", "step"), ("12", "12"), ("12", "step12"), ("12", "global_step000012"), (" 12\n", "step12")],
)
def test_a_tag_names_the_directory(tag: str, folder: str, tmp_path: Path) -> None:
    _vector(tmp_path / "a" / folder / "model.safetensors", 5)
    _vector(tmp_path / "a" / "other" / "model.safetensors", 6)
    (tmp_path / "a" / "latest").write_text(tag)
    tensormap.apply(tensormap.loads(TAGGED), tmp_path / "a", tmp_path / "b", to="b")
    assert load_file(tmp_path / "b" / "model.safetensors")["v"].tolist() == [5] * 6


@pytest.mark.parametrize("tag", ["", " \n", ".", "..", "x/y", "x\\y"])
def test_a_tag_that_names_no_directory_beside_it(tag: str, tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "x" / "y" / "model.safetensors")
    (tmp_path / "a" / "latest").write_text(tag)
    slug, message = _refused(TAGGED, tmp_path / "a")
    assert slug == "bad-tag"
    assert message.endswith(f"should hold the name of a directory beside it, and holds `{tag.strip()}`")


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [("12", "`12` or `step12` or `global_step000012`"), ("x12", "`x12`"), ("1" * 20, f"`{'1' * 20}`")],
)
def test_a_tag_whose_directory_is_not_there(tag: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "latest").write_text(tag)
    slug, message = _refused(TAGGED, tmp_path / "a")
    assert slug == "missing-file"
    assert message.endswith(f"holds `{tag}`, and there is no directory {wanted}")


def test_without_its_tag_a_directory_is_read_itself(tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "model.safetensors", 5)
    tensormap.apply(tensormap.loads(TAGGED), tmp_path / "a", tmp_path / "b", to="b")
    assert load_file(tmp_path / "b" / "model.safetensors")["v"].tolist() == [5] * 6


def test_the_files_say_which_form_it_is(tmp_path: Path) -> None:
    _vector(tmp_path / "one" / "model.safetensors", 5)
    tensormap.apply(tensormap.loads(FORMS), tmp_path / "one", tmp_path / "b1", to="b", set={"k": 2})
    assert load_file(tmp_path / "b1" / "model.safetensors")["v"].tolist() == [5] * 6
    for k in range(2):
        _vector(tmp_path / "several" / f"part{k}.safetensors", k)
    tensormap.apply(tensormap.loads(FORMS), tmp_path / "several", tmp_path / "b2", to="b")
    assert load_file(tmp_path / "b2" / "model.safetensors")["v"].tolist() == [0] * 6 + [1] * 6


@pytest.mark.parametrize(("shape", "count"), [("one", 6), ("several", 12)])
def test_where_there_are_files_of_two_forms_the_config_says_which(shape: str, count: int, tmp_path: Path) -> None:
    for name in ("model", "part0", "part1"):
        _vector(tmp_path / "a" / f"{name}.safetensors")
    (tmp_path / "a" / "config.json").write_text(json.dumps({"shape": shape}))
    tensormap.apply(tensormap.loads(FORMS), tmp_path / "a", tmp_path / "b", to="b", set={"k": 2})
    assert len(load_file(tmp_path / "b" / "model.safetensors")["v"]) == count


def test_where_nothing_says_which_form_it_is_one_is_asked(tmp_path: Path) -> None:
    for name in ("model", "part0"):
        _vector(tmp_path / "a" / f"{name}.safetensors")
    slug, message = _refused(FORMS, tmp_path / "a")
    assert slug == "choice-needed"
    assert message.endswith("holds files of several forms; set form")


def test_no_files_of_any_form(tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "other.safetensors")
    with pytest.raises(CheckpointError) as caught:
        tensormap.plan(tensormap.loads(FORMS), tmp_path / "a", to="b")
    (finding,) = caught.value.diagnostics
    assert finding.slug == "no-files"
    assert finding.message.endswith("holds no files of side `a`")
    assert finding.notes == ("looked for `model.safetensors`, `part*.safetensors`",)


def test_files_under_a_condition_on_a_number_may_be_away(tmp_path: Path) -> None:
    text = """
mapping a <-> b
param n = 1
side a {
    files "model.safetensors"
    files "more.safetensors" as m. when n > 1
}
w [e] <-> v [e]
m.w [e] <-> u [e] optional
"""
    _vector(tmp_path / "a" / "model.safetensors", 5)
    plan = tensormap.plan(tensormap.loads(text), tmp_path / "a", to="b")
    assert [each.name for each in plan.outputs[0].tensors] == ["v"]
    _vector(tmp_path / "a" / "more.safetensors", 6)
    plan = tensormap.plan(tensormap.loads(text), tmp_path / "a", to="b", set={"n": 2})
    assert [each.name for each in plan.outputs[0].tensors] == ["v", "u"]


def test_all_files_of_a_form_are_there_or_it_is_not_that_form(tmp_path: Path) -> None:
    text = FORMS.replace(
        'when form == "several"\n}', 'when form == "several"\n    files "ends.safetensors" when form == "several"\n}', 1
    )
    _vector(tmp_path / "a" / "part0.safetensors")
    assert _refused(text, tmp_path / "a")[0] == "no-files"
    save_file({"p1.w": np.full(6, 1, np.float32)}, tmp_path / "a" / "ends.safetensors")
    plan = tensormap.plan(tensormap.loads(text), tmp_path / "a", to="b")
    assert [each.shape for each in plan.outputs[0].tensors] == [(12,)]


def test_a_name_that_two_files_give(tmp_path: Path) -> None:
    text = 'mapping a <-> b\nside a {\n    files "*.safetensors"\n}\nw [e] <-> v [e]\n'
    _vector(tmp_path / "a" / "x.safetensors")
    _vector(tmp_path / "a" / "y.safetensors")
    assert _refused(text, tmp_path / "a") == ("duplicate-tensor", "`w` is in two files, or twice in `y.safetensors`")


def test_names_that_are_one_with_dots(tmp_path: Path) -> None:
    text = 'mapping a <-> b\nside a {\n    path "/"\n}\nx.w [e] <-> v [e]\n'
    (tmp_path / "a").mkdir()
    save_file({"x/w": np.zeros(2), "x.w": np.zeros(2)}, tmp_path / "a" / "model.safetensors")
    slug, message = _refused(text, tmp_path / "a")
    assert slug == "duplicate-tensor"
    assert message.endswith("are one name once `/` is read as a dot")


WITH_CONFIG = """
mapping a <-> b
side a {
    config "*.json"
    files "*.safetensors"
}
config {
    g = groups <-> groups
}
w [(g e)] <-> v [g e]
"""


@pytest.mark.parametrize("place", ["a/run.json", "a/configs/run.json", "run.json", "configs/run.json"])
def test_where_a_config_is_looked_for(place: str, tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "model.safetensors")
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"groups": 2}')
    plan = tensormap.plan(tensormap.loads(WITH_CONFIG), tmp_path / "a", to="b")
    assert [each.shape for each in plan.outputs[0].tensors] == [(2, 3)]


def test_the_nearest_config_counts(tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "model.safetensors")
    (tmp_path / "a" / "run.json").write_text('{"groups": 3}')
    (tmp_path / "run.json").write_text('{"groups": 2}')
    plan = tensormap.plan(tensormap.loads(WITH_CONFIG), tmp_path / "a", to="b")
    assert [each.shape for each in plan.outputs[0].tensors] == [(3, 2)]


def test_a_config_whose_name_is_fixed_is_not_looked_for_further_out(tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "model.safetensors")
    (tmp_path / "run.json").write_text('{"groups": 2}')
    text = WITH_CONFIG.replace("*.json", "run.json")
    assert _refused(text, tmp_path / "a")[0] == "underdetermined"


def test_configs_are_put_together(tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "model.safetensors")
    (tmp_path / "a" / "1.json").write_text('{"groups": 3}')
    (tmp_path / "a" / "2.json").write_text('{"more": 3}')
    plan = tensormap.plan(tensormap.loads(WITH_CONFIG), tmp_path / "a", to="b")
    assert [each.shape for each in plan.outputs[0].tensors] == [(3, 2)]


def test_a_link_to_a_config_may_not_lead_out_of_the_directory(tmp_path: Path) -> None:
    _vector(tmp_path / "a" / "model.safetensors")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.json").write_text('{"groups": 2}')
    (tmp_path / "a" / "run.json").symlink_to(tmp_path / "elsewhere" / "secret.json")
    with pytest.raises(CheckpointError):
        tensormap.plan(tensormap.loads(WITH_CONFIG), tmp_path / "a", to="b")


TIED = """
mapping a <-> b
config {
    untied = untie <-> _
    tied = tie <-> _
}
w [e] <-> w = v? [e]
"""


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ["w"]),
        ({"untie": True}, ["v", "w"]),
        ({"untie": False}, ["w"]),
        ({"tie": True}, ["w"]),
        ({"tie": False}, ["v", "w"]),
        ({"untie": False, "tie": False}, ["w"]),
    ],
)
def test_a_tied_name_is_written_where_the_config_says_so(
    config: dict[str, bool], names: list[str], tmp_path: Path
) -> None:
    _vector(tmp_path / "a" / "model.safetensors")
    (tmp_path / "a" / "config.json").write_text(json.dumps(config))
    plan = tensormap.plan(tensormap.loads(TIED), tmp_path / "a", to="b")
    assert sorted(each.name for each in plan.outputs[0].tensors) == names
