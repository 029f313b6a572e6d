"""What `use` binds, and how the names of an included file become its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensormap
from tensormap.diagnostics import MappingError


def _load(folder: Path, using: str, **files: str) -> Any:
    for name, text in files.items():
        (folder / f"{name}.tmap").write_text(text)
    (folder / "mapping.tmap").write_text(using)
    return tensormap.load(folder / "mapping.tmap")


def _findings(folder: Path, using: str, **files: str) -> list[tuple[str, str]]:
    with pytest.raises(MappingError) as caught:
        _load(folder, using, **files)
    return [(each.slug, each.message) for each in caught.value.diagnostics]


LAYER = "index i < n\nlet h = 2 * d\nw.{i} [h e] <-> v.{i} [e h]\n"


def test_prefixes_of_both_sides(tmp_path: Path) -> None:
    mapping = _load(tmp_path, 'use "layer.tmap" with left = "a.", right = "b."\n', layer=LAYER)
    tensors = {f"a.w.{k}": np.arange(8.0).reshape(4, 2) + k for k in range(2)}
    found = mapping.convert(tensors, "right")
    assert sorted(found) == ["b.v.0", "b.v.1"]
    np.testing.assert_array_equal(found["b.v.1"], tensors["a.w.1"].T)


def test_two_inclusions_do_not_share_their_names(tmp_path: Path) -> None:
    using = 'use "layer.tmap" with left = "a.", right = "b."\nuse "layer.tmap" with left = "c.", right = "d."\n'
    mapping = _load(tmp_path, using, layer=LAYER)
    tensors = {f"a.w.{k}": np.zeros((4, 2)) for k in range(2)} | {f"c.w.{k}": np.zeros((6, 5)) for k in range(3)}
    found = mapping.convert(tensors, "right")
    assert {name: each.shape for name, each in found.items()} == {
        **{f"b.v.{k}": (2, 4) for k in range(2)},
        **{f"d.v.{k}": (5, 6) for k in range(3)},
    }


def test_names_that_are_bound_are_shared(tmp_path: Path) -> None:
    using = 'use "layer.tmap" with left = "a.", right = "b.", n = 2\nuse "layer.tmap" with left = "c.", right = "d.", n = m\n'
    mapping = _load(tmp_path, using + "x.{k} [m] <-> y.{k} [m]\n", layer=LAYER)
    tensors = {f"a.w.{k}": np.zeros((4, 2)) for k in range(2)} | {f"c.w.{k}": np.zeros((6, 5)) for k in range(3)}
    assert "d.v.2" in mapping.convert(tensors | {"x.0": np.zeros(3)}, "right")
    with pytest.raises(tensormap.TensormapError):
        mapping.convert(tensors | {"x.0": np.zeros(4)}, "right")
    with pytest.raises(tensormap.TensormapError):
        mapping.convert(tensors | {"x.0": np.zeros(3), "a.w.2": np.zeros((4, 2))}, "right")


@pytest.mark.parametrize("name", ["left", "right"])
def test_a_prefix_is_a_text(name: str, tmp_path: Path) -> None:
    found = _findings(tmp_path, f'use "layer.tmap" with {name} = 3\n', layer=LAYER)
    assert found == [("bad-binding", f"`{name}` is a prefix in quotes")]


def test_a_name_that_is_bound_is_one_that_the_file_has(tmp_path: Path) -> None:
    found = _findings(tmp_path, 'use "layer.tmap" with m = 3, n = 2\n', layer=LAYER)
    assert found == [("bad-binding", "`layer.tmap` has no name `m`")]


def test_the_key_of_a_config_line_is_not_bound(tmp_path: Path) -> None:
    layer = "config {\n    e = m <-> width\n}\nw [e] <-> v [e]\n"
    found = _findings(tmp_path, 'use "layer.tmap" with m = 3\n', layer=layer)
    assert found == [("bad-binding", "`layer.tmap` has no name `m`")]


def test_a_file_may_compare_with_variants_that_its_includer_does_not_have(tmp_path: Path) -> None:
    using = 'param o in old, new = old\nuse "inner.tmap" with o = o\n'
    inner = 'w [e] <-> v [e] when o == "older"\nx [e] <-> y [e] when o == "new"\n'
    assert not _load(tmp_path, using, inner=inner).check().errors


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    found = _findings(tmp_path, 'use "one.tmap"\n', one='use "two.tmap"\n', two='x [e] <-> y [e]\nuse "one.tmap"\n')
    assert [slug for slug, _ in found] == ["include-cycle"]


def test_replicas_and_conditions_of_an_included_file(tmp_path: Path) -> None:
    inner = "param scale = 2\nindex r < n\nw.{r} [e] <-> v [e] replicated r when scale == 2\n"
    inner += "w.{r} [e] <-> u [e] replicated r when scale == 3\n"
    mapping = _load(tmp_path, 'use "inner.tmap" with n = 2\n', inner=inner)
    tensors = {f"w.{k}": np.arange(3.0) for k in range(2)}
    assert list(mapping.convert(tensors, "right")) == ["v"]
    assert list(mapping.convert(tensors, "right", set={"scale": 3})) == ["u"]
    assert sorted(mapping.convert({"v": np.arange(3.0)}, "left")) == ["w.0", "w.1"]


def test_no_message_shows_how_names_of_included_files_are_told_apart(tmp_path: Path) -> None:
    using = 'use "one.tmap" with left = "a."\nuse "two.tmap" with left = "c."\n'
    with pytest.raises(MappingError) as caught:
        _load(tmp_path, using, one="w.{i} [h e] <-> v [e h]\n", two="w [h h] <-> u [h k]\n")
    messages = [each.message for each in caught.value.diagnostics]
    assert messages[0] == "`i` stands on the left and not on the right"
    assert "`h` stands twice in one tensor" in messages
    assert "\ufdd0" not in str(caught.value)


def test_check_shows_names_as_they_are_written(tmp_path: Path) -> None:
    one = 'param old in yes, no = no\nindex i < n\nwhen old == "yes" {\n    w.{i} [h] <-> v.{i} [h]\n    '
    one += "q.{i} [h] -> _\n} else {\n    w.{i} [h] <-> u.{i} [h]\n}\n"
    findings = _load(tmp_path, 'use "one.tmap" with left = "a."\n', one=one).check()
    lost = [each.text for each in findings.losses["right"]]
    assert lost == ["`a.q.{i}` is dropped"]
    assert not [each for each in (*findings.left, *findings.proved) if "\ufdd0" in each]


@pytest.mark.parametrize("scale", ["4", "s", "2 * s"])
def test_a_name_of_a_formula_is_bound(scale: str, tmp_path: Path) -> None:
    using = f'param s = 4\nuse "one.tmap" with scale = {scale}\n'
    mapping = _load(tmp_path, using, one="index i < 2\nw.{i} * scale <-> v.{i}\n")
    found = mapping.convert({f"w.{k}": np.float32([1, 2]) for k in range(2)}, "right")
    times = 8 if scale == "2 * s" else 4
    assert [found[f"v.{k}"].tolist() for k in range(2)] == [[times, 2 * times]] * 2


def test_numbers_of_a_generator_are_bound(tmp_path: Path) -> None:
    inner = "param k = 1\nm [n n'] <- causal_mask(n)\np [q] <- arange(-(-n) + k)\nw [n] <-> v [n]\n"
    mapping = _load(tmp_path, 'use "one.tmap" with left = "a.", right = "b.", n = t\n', one=inner)
    found = mapping.convert({"b.v": np.float32([1, 2])}, "left")
    assert sorted(found) == ["a.m", "a.p", "a.w"]
    assert found["a.m"].tolist() == [[True, False], [True, True]]
    assert found["a.p"].tolist() == [0, 1, 2]


def test_included_files_share_a_param_that_is_the_same(tmp_path: Path) -> None:
    one = 'param f in old, new = new\nw [e] <-> v [e] when f == "old"\nw [e] <-> u [e] when f == "new"\n'
    two = 'param f in old, new = new\nx [d] <-> y [d] when f == "old"\nx [d] <-> z [d] when f == "new"\n'
    mapping = _load(tmp_path, 'use "one.tmap"\nuse "two.tmap"\n', one=one, two=two)
    tensors = {"w": np.zeros(2), "x": np.zeros(3)}
    assert sorted(mapping.convert(tensors, "right")) == ["u", "z"]
    assert sorted(mapping.convert(tensors, "right", set={"f": "old"})) == ["v", "y"]
    other = two.replace("old, new = new", "new, old = new")
    found = _findings(tmp_path, 'use "one.tmap"\nuse "two.tmap"\n', one=one, two=other)
    assert found == [("duplicate-declaration", "`f` is declared twice")]
    found = _findings(tmp_path, one + "param f in old, new = new\n")
    assert found == [("duplicate-declaration", "`f` is declared twice")]


def test_primes_and_dots_of_an_included_file(tmp_path: Path) -> None:
    inner = "config {\n    e = hidden.size <-> width\n}\nw [e e'] <-> v [e' e]\n"
    mapping = _load(tmp_path, 'mapping a <-> b\nuse "one.tmap" with e = d\nx [d] <-> y [d]\n', one=inner)
    found = mapping.convert({"w": np.float32([[1, 2], [3, 4]]), "x": np.zeros(2)}, "b")
    assert found["v"].tolist() == [[1, 3], [2, 4]]
    with pytest.raises(tensormap.TensormapError):
        mapping.convert({"w": np.zeros((2, 2)), "x": np.zeros(3)}, "b")
