"""What a mapping as a whole has to be."""

from __future__ import annotations

import pytest

import tensormap


@pytest.mark.parametrize("text", ["", "# words only\n", "config {\n    e = a <-> b\n}\n"])
def test_a_mapping_without_rules_is_a_finding_and_no_error(text: str) -> None:
    findings = tensormap.loads(text).check()
    assert [each.slug for each in findings.warnings] == ["no-rules"]
    assert not findings.errors


def test_a_requirement_under_a_condition_may_refuse_all() -> None:
    text = 'when f > 2 {\n    require 1 == 2 "no more than two"\n}\nw [f e] <-> v [e f]\n'
    assert not tensormap.loads(text).check().errors


def test_the_size_of_an_index_has_a_value() -> None:
    text = "index x < n\nconfig {\n    n = experts <-> experts\n}\nw.{x} [e] <-> v [x e]\n"
    assert not tensormap.loads(text).check().errors


@pytest.mark.parametrize("condition", ['o == "odl"', '"odl" != o', 'not (o in ["new", "odl"])', 'n > 2 and o == "odl"'])
def test_a_variant_that_there_is_not_is_never_equal(condition: str) -> None:
    text = f"param o in old, new = old\nw [n] <-> v [n] when {condition}\n"
    with pytest.raises(tensormap.MappingError) as caught:
        tensormap.loads(text)
    found = caught.value.diagnostics
    assert [each.slug for each in found] == ["unknown-variant"]
    assert found[0].message == "`o` has no variant `odl`, so the two are never equal"


def test_variants_that_there_are_are_compared() -> None:
    text = 'param o in old, new = old\nw [n] <-> v [n] when o in ["old", "new"]\nx <-> y when o == "new"\n'
    assert not tensormap.loads(text).check().errors


def test_the_position_of_an_enumerated_index_is_no_word() -> None:
    text = 'index s in weight, bias\nw.{s} [n] <-> v.{s} [n] when s == "bias"\n'
    with pytest.raises(tensormap.MappingError) as caught:
        tensormap.loads(text)
    found = caught.value.diagnostics
    assert [each.slug for each in found] == ["index-as-value"]
    assert found[0].help == ("write `s == 1`",)
