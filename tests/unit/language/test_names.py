"""Names: skeletons and shapes, formatting, and what a `*` stands for."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensormap.language.names import (
    NumberHole,
    Template,
    WordHole,
    apart,
    formatter,
    glob,
    hole_value,
    shapes,
    skeleton,
    skeletons,
)
from tensormap.language.polynomial import Polynomial

ONE = Polynomial.number(1)
N = Polynomial.dimension("n")
KNOWN = {"n": 5, "m": 3}
FIRST, THEN = (NumberHole(Polynomial.number(0), ((index, ONE),)) for index in "ij")
WORD = WordHole("s", ("a", "b"))


def _value(size: Polynomial) -> int:
    return size.evaluate(KNOWN)


def _ragged(index: str, inner: Polynomial, position: int) -> int:
    assert index == "p"
    return sum((4, 2, 3)[:position]) * inner.evaluate({"l[p]": 1, **KNOWN})


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_a_star_is_any_text(pattern: str, name: str) -> None:
    assert glob(pattern, name) == fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a.*", "a.", True),
        ("a.*", "a", False),
        ("*", "", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*", "abc", True),
        ("*b*b", "ab", False),
        ("a", "b", False),
        ("a", "a", True),
        ("a*b*c", "a-c-b", False),
    ],
)
def test_glob(pattern: str, name: str, fits: bool) -> None:  # noqa: FBT001
    assert glob(pattern, name) is fits


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.0.b.12", ("a.#.b.#", (0, 12))),
        ("weight", ("weight", ())),
        ("12", ("#", (12,))),
        ("a007", ("a#", (7,))),
        ("a" + "9" * 18, ("a#", (10**18 - 1,))),
        ("a" + "9" * 19, ("a#", (-1,))),
        ("a.#.b", ("a.#0.b", ())),
        ("#1#", ("#0##0", (1,))),
        ("a\nb.1", ("a\nb.#", (1,))),
        ("", ("", ())),
    ],
)
def test_skeleton(name: str, expected: tuple[str, tuple[int, ...]]) -> None:
    assert skeleton(name) == expected
    assert skeletons([name, "w.3", name]) == [expected[0], "w.#", expected[0]]
    assert skeletons([name]) == [expected[0]]


def test_no_two_names_of_one_skeleton_have_different_counts_of_numbers() -> None:
    names = ["".join(parts) for parts in product("#0a", repeat=4)]
    counts: dict[str, int] = {}
    for name in names:
        text, found = skeleton(name)
        assert counts.setdefault(text, len(found)) == len(found)
    assert skeletons(names) == [skeleton(name)[0] for name in names]
    assert skeletons([]) == []


def test_shapes_choose_words() -> None:
    hole = NumberHole(ONE, (("i", ONE),))
    template = Template(("l2.", hole, ".", WordHole("s", ("weight", "b1")), ".", WordHole("s", ("weight", "b1"))))
    one, other = shapes(template)
    assert (one.text, one.words, one.slots) == ("l#.#.weight.weight", (("s", 0),), (2, hole))
    assert (other.text, other.words, other.slots) == ("l#.#.b#.b#", (("s", 1),), (2, hole, 1, 1))
    assert template.indices == ("i", "s")
    assert str(template) == "l2.{i + 1}.{s}.{s}"


@pytest.mark.parametrize(
    ("template", "positions", "name"),
    [
        (Template(("100%.", NumberHole(ONE, (("i", ONE),)))), {"i": 3}, "100%.4"),
        (Template((NumberHole(ONE, (("i", N),), width=4), ".w")), {"i": 3}, "0016.w"),
        (Template((NumberHole(N, ()), ".w")), {}, "5.w"),
        (Template((NumberHole(N, (), width=3),)), {}, "005"),
        (Template((NumberHole(Polynomial.number(0), (("i", N), ("j", ONE))),)), {"i": 2, "j": 4}, "14"),
        (Template((NumberHole(Polynomial.number(0), (("p", ONE), ("l", ONE)), ("p",)),)), {"p": 2, "l": 1}, "7"),
        (
            Template((WordHole("s", ("a", "b")), NumberHole(ONE, (("i", N), ("j", ONE))))),
            {"s": 1, "i": 1, "j": 2},
            "b8",
        ),
        (Template(("x", FIRST, ".", THEN, WORD)), {"s": 1, "i": 1, "j": 2}, "x1.2b"),
        (Template(("x", FIRST, ".", THEN, WORD, "%s", FIRST)), {"s": 1, "i": 1, "j": 2}, "x1.2b%s1"),
    ],
)
def test_formatting(template: Template, positions: dict[str, int], name: str) -> None:
    sizes = {"i": 4, "j": 5, "p": 3, "l": 2, "s": 2}
    assert formatter(template, sizes, _value, _ragged)(positions) == name


def test_what_is_written_is_read_back() -> None:
    hole = NumberHole(Polynomial.number(2), (("i", Polynomial.number(3)), ("j", ONE)))
    write = formatter(Template(("a.", hole)), {"i": 4, "j": 3}, _value, _ragged)
    for i in range(4):
        for j in range(3):
            name = write({"i": i, "j": j})
            assert re.fullmatch(r"a\.([0-9]+)", name)
            assert skeleton(name)[1] == (hole_value(hole, {"i": i, "j": j}, _value, _ragged),) == (2 + 3 * i + j,)


@pytest.mark.parametrize(
    ("template", "virtual", "text"),
    [
        (Template(("$embed",)), True, "$embed"),
        (Template(()), False, ""),
        (Template((WordHole("s", ("a",)), "$x")), False, "{s}$x"),
        (Template((NumberHole(Polynomial.number(0), (("i", N),), width=2),)), False, "{(n)*i:02}"),
        (Template((NumberHole(Polynomial.number(0), ()),)), False, "{0}"),
    ],
)
def test_templates(template: Template, virtual: bool, text: str) -> None:  # noqa: FBT001
    assert template.virtual is virtual
    assert str(template) == text


def _every(offset: Polynomial | int, **strides: Polynomial | int) -> NumberHole:
    def size(value: Polynomial | int) -> Polynomial:
        return Polynomial.number(value) if isinstance(value, int) else value

    return NumberHole(size(offset), tuple((name, size(stride)) for name, stride in strides.items()))


N = Polynomial.dimension("n")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (_every(0, i=2), _every(1, j=2), True),
        (_every(0, i=2), _every(4, j=2), False),
        (_every(0, i=2), _every(1, j=3), False),
        (_every(0, i=4), _every(2, j=6), False),
        (_every(0, i=4), _every(3, j=6), True),
        (_every(0, i=6, j=4), 3, True),
        (_every(0, i=2), 8, False),
        (3, 4, True),
        (3, 3, False),
        (_every(N), 3, False),
        (_every(N + Polynomial.number(1)), _every(N), True),
        (_every(N * Polynomial.number(2), i=2), 3, True),
        (_every(N, i=2), 3, False),
        (_every(0, i=N * Polynomial.number(2)), 3, True),
        (_every(0, i=N), 3, False),
    ],
)
def test_numbers_that_division_keeps_apart(one: int | NumberHole, other: int | NumberHole, expected: bool) -> None:  # noqa: FBT001
    assert apart(one, other) is expected
    assert apart(other, one) is expected


DIGITS = st.text("0123456789", min_size=1, max_size=2)
PADDED = st.builds(
    lambda offset, step, index, width: NumberHole(
        Polynomial.number(offset), ((index, Polynomial.number(step)),), (), width
    ),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from("ij"),
    st.integers(2, 4),
)


@given(st.lists(st.one_of(DIGITS, PADDED, st.sampled_from([".", "w#", "_"])), min_size=1, max_size=5))
def test_digits_and_padded_holes_side_by_side_are_one_number(parts):
    template = Template(tuple(parts))
    write = formatter(template, {"i": 4, "j": 3}, _value, _ragged)
    (shape,) = shapes(template)
    for i, j in product(range(4), range(3)):
        places = {"i": i, "j": j}
        text, found = skeleton(write(places))
        assert text == shape.text
        assert found == tuple(
            slot if isinstance(slot, int) else hole_value(slot, places, _value, _ragged) for slot in shape.slots
        )


def test_a_hole_of_no_certain_width_beside_digits_is_in_no_name():
    (shape,) = shapes(Template(("w", "1", FIRST)))
    assert shape.text == "w##"
