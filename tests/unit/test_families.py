"""Names collapse exactly: a pattern stands for the names that were given, and for no other."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensormap.families import collapse, pattern

CASES = {
    "a run": (["a.0.w", "a.1.w", "a.2.w"], "a.{0..2}.w"),
    "one": (["a.7.w"], "a.7.w"),
    "a gap": (["a.0.w", "a.1.w", "a.3.w"], "a.{0..1,3}.w"),
    "two apart": (["a.0.w", "a.2.w"], "a.{0,2}.w"),
    "more digits": (["a.9.w", "a.10.w", "a.11.w"], "a.{9..11}.w"),
    "leading zeros stay": (["l_08", "l_09", "l_10"], "l_{08..10}"),
    "zeros and none are not neighbours": (["l_08", "l_9", "l_10"], "l_{9,08,10}"),
    "a product": (["0.1", "0.2", "1.1", "1.2"], "{0..1}.{1..2}"),
    "no product": (["0.0", "0.1", "1.0"], "0.{0..1}, 1.0"),
    "uneven stages": (["0.0.w", "0.1.w", "1.2.w"], "0.{0..1}.w, 1.2.w"),
    "words with numbers": (["w1.weight", "w3.weight"], "w1.weight, w3.weight"),
    "many numbers behind a letter": ([f"h{i}.attn" for i in range(12)], "h{0..11}.attn"),
    "a number inside of a word": ([f"dense_{i}h_x" for i in range(5)], ", ".join(f"dense_{i}h_x" for i in range(5))),
    "no number": (["b", "a"], "b, a"),
    "the order of the first": (["b.0", "a", "b.1"], "b.{0..1}, a"),
    "endless digits": ([f"a.{'9' * 5000}", f"a.{'9' * 4999}8"], f"a.{{{'9' * 4999}8,{'9' * 5000}}}"),
    "endless numbers": ([".1" * 5000, ".1" * 4999 + ".2"], f"{'.1' * 5000}, {'.1' * 4999}.2"),
}


@pytest.mark.parametrize(("names", "expected"), CASES.values(), ids=list(CASES))
def test_pattern(names: list[str], expected: str) -> None:
    assert pattern(names) == expected


def test_keys_keep_names_apart() -> None:
    found = collapse([("a.0", "x"), ("a.1", "y"), ("a.2", "x")])
    assert [(each.pattern, each.key, each.members) for each in found] == [("a.{0,2}", "x", (0, 2)), ("a.1", "y", (1,))]


def test_a_name_twice_is_two_members() -> None:
    assert [each.members for each in collapse([("a.0", 1), ("a.0", 1), ("a.1", 1)])] == [(0, 1, 2)]


def expand(text: str) -> set[str]:
    """Write out what a pattern stands for: the definition, independently of how it is made."""
    parts = re.split(r"(\{[^}]*\})", text)
    choices = []
    for part in parts:
        if not part.startswith("{"):
            choices.append([part])
            continue
        numbers: list[str] = []
        for run in part[1:-1].split(","):
            first, _, last = run.partition("..")
            width = len(first) if first.startswith("0") else 1
            numbers += [f"{k:0{width}}" for k in range(int(first), int(last or first) + 1)]
        choices.append(numbers)
    return {"".join(each) for each in itertools.product(*choices)}


NUMBER = st.one_of(st.integers(0, 12).map(str), st.integers(0, 12).map("{:02}".format))
NAME = st.builds(lambda a, b, word: f"{word}.{a}.x_{b}", NUMBER, NUMBER, st.sampled_from(["p", "q1", "r"]))


@given(st.lists(NAME, max_size=30))
def test_patterns_stand_for_the_names(names: list[str]) -> None:
    found = collapse((name, None) for name in names)
    for family in found:
        assert expand(family.pattern) == {names[k] for k in family.members}
    assert sorted(k for family in found for k in family.members) == list(range(len(names)))


def test_many_names_of_one_kind_are_three_families() -> None:
    names = [(f"layers.{i}.experts.{j}.{w}", None) for i in range(80) for j in range(64) for w in "abc"]
    assert [family.pattern for family in collapse(names)] == [f"layers.{{0..79}}.experts.{{0..63}}.{w}" for w in "abc"]
