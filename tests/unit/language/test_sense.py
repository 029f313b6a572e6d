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
