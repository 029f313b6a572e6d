"""What a name says about positions: read off numbers, as far as sizes are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.language.names import NumberHole, Shape
from tensormap.language.polynomial import Polynomial
from tensormap.lowering.matching import Names, fits, positions

number = Polynomial.number
ONE = number(1)
N = Polynomial.dimension("n")


def _size(known: dict[str, int]) -> Callable[[Polynomial], int | None]:
    return lambda size: size.evaluate(known) if set(size.dimensions) <= set(known) else None


def _count(counts: dict[str, int]) -> Callable[[str], int | None]:
    return counts.get


def _shape(*slots: int | NumberHole, words: tuple[tuple[str, int], ...] = ()) -> Shape:
    return Shape("", words, slots)


SINGLE = NumberHole(number(2), (("i", number(3)),))


@pytest.mark.parametrize(
    ("value", "place"),
    [(2, {"i": 0}), (5, {"i": 1}), (8, {"i": 2}), (11, None), (3, None), (4, None), (1, None), (0, None)],
)
def test_one_index(value: int, place: dict[str, int] | None) -> None:
    assert positions(_shape(SINGLE), (value,), _size({}), _count({"i": 3})) == place


def test_an_index_of_unknown_range_may_be_anything() -> None:
    assert positions(_shape(SINGLE), (302,), _size({}), _count({})) == {"i": 100}
    assert positions(_shape(SINGLE), (-1,), _size({}), _count({})) is None


@pytest.mark.parametrize("strides", [(6, 2, 1), (1, 2, 6)])
def test_several_indices(strides: tuple[int, int, int]) -> None:
    counts = {6: 2, 2: 3, 1: 2}
    parts = tuple((f"i{stride}", number(stride)) for stride in strides)
    hole = NumberHole(number(5), parts)
    size, count = _size({}), _count({f"i{stride}": counts[stride] for stride in strides})
    seen = set()
    for place in product(*(range(counts[stride]) for stride in strides)):
        value = 5 + sum(stride * at for stride, at in zip(strides, place, strict=True))
        named = {f"i{stride}": at for stride, at in zip(strides, place, strict=True)}
        assert positions(_shape(hole), (value,), size, count) == named
        seen.add(value)
    assert seen == set(range(5, 17))
    for value in (4, 17, 35):
        assert positions(_shape(hole), (value,), size, count) is None


def test_numbers_between_are_none() -> None:
    hole = NumberHole(number(0), (("i", number(10)), ("j", number(2))))
    counts = _count({"i": 3, "j": 2})
    assert positions(_shape(hole), (12,), _size({}), counts) == {"i": 1, "j": 1}
    assert positions(_shape(hole), (13,), _size({}), counts) is None
    assert positions(_shape(hole), (14,), _size({}), counts) is None


def test_what_is_not_known_yet_says_nothing() -> None:
    hole = NumberHole(N, (("i", ONE),))
    assert positions(_shape(hole), (7,), _size({}), _count({})) is None
    assert positions(_shape(hole), (7,), _size({"n": 4}), _count({})) == {"i": 3}
    strided = NumberHole(number(0), (("i", N),))
    assert positions(_shape(strided), (8,), _size({}), _count({})) is None
    assert positions(_shape(strided), (8,), _size({"n": 0}), _count({})) is None
    assert positions(_shape(strided), (8,), _size({"n": 4}), _count({})) == {"i": 2}
    mixed = NumberHole(number(0), (("i", N), ("j", ONE)))
    assert positions(_shape(mixed), (8,), _size({}), _count({"j": 4})) is None
    assert positions(_shape(mixed), (8,), _size({"n": 0}), _count({"j": 4})) is None
    ragged = NumberHole(number(0), (("p", ONE),), ("p",))
    assert positions(_shape(ragged), (1,), _size({}), _count({})) is None


def test_all_slots_have_to_agree() -> None:
    hole = NumberHole(number(0), (("i", ONE),))
    shape = _shape(3, hole, hole, words=(("s", 1),))
    assert positions(shape, (3, 2, 2), _size({}), _count({})) == {"s": 1, "i": 2}
    assert positions(shape, (3, 2, 1), _size({}), _count({})) is None
    assert positions(shape, (4, 2, 2), _size({}), _count({})) is None
    fixed = _shape(NumberHole(N, ()))
    assert positions(fixed, (4,), _size({"n": 4}), _count({})) == {}
    assert positions(fixed, (5,), _size({"n": 4}), _count({})) is None


def test_fits() -> None:
    shape = _shape(3, NumberHole(N, ()), SINGLE)
    assert fits(shape, (3, 9, 9), _size({}))
    assert fits(shape, (3, 4, 9), _size({"n": 4}))
    assert not fits(shape, (3, 9, 9), _size({"n": 4}))
    assert not fits(shape, (2, 4, 9), _size({"n": 4}))


def _info(name: str, *shape: int) -> TensorInfo:
    return TensorInfo(name, "float32", shape, 0, 0)


def test_names_by_skeleton() -> None:
    names = Names.of([_info("a.0", 2), _info("a.1", 2), _info("b.1.1", 3), _info("a.2", 4)])
    assert {text: [entry.numbers for entry in names.entries(text)] for text in names.groups} == {
        "a.#": [(0,), (1,), (2,)],
        "b.#.#": [(1, 1)],
    }
    assert [entry.info.name for entry in names.forms("a.#", (None,))] == ["a.0", "a.2"]
    assert [entry.info.name for entry in names.forms("a.#", (1,))] == ["a.1"]
    assert [entry.info.name for entry in names.forms("a.#", (2,))] == ["a.2"]
    assert names.forms("a.#", (3,)) == ()
    assert names.forms("c.#", (None,)) == ()
    assert [entry.info.name for entry in names.forms("b.#.#", (1, None))] == ["b.1.1"]
    assert names.forms("b.#.#", (None, 2)) == ()


def test_the_last_name_is_the_first_with_the_largest_number() -> None:
    long = "9" * 19
    names = Names.of([_info(f"a.{one}.{other}", 2) for one, other in ((0, 3), (10, 0), (9, "03"), ("010", long))])
    assert [entry.info.name for entry in names.lasts("a.#.#")] == ["a.10.0", "a.0.3"]
    assert [entry.numbers for entry in names.lasts("a.#.#")] == [(10, 0), (0, 3)]
    assert Names.of([_info("w", 2)]).lasts("w") == ()


def test_whether_there_can_be_a_name() -> None:
    names = Names.of([_info("a.0", 2), _info("a.7", 2), _info("w", 2)])
    hole = NumberHole(number(0), (("i", ONE),))
    assert names.has(Shape("w", (), ()), _size({}))
    assert not names.has(Shape("v", (), ()), _size({}))
    assert names.has(Shape("a.#", (), (hole,)), _size({}))
    assert names.has(Shape("a.#", (), (7,)), _size({}))
    assert not names.has(Shape("a.#", (), (6,)), _size({}))
    assert names.has(Shape("a.#", (), (NumberHole(N, ()),)), _size({}))
    assert not names.has(Shape("a.#", (), (NumberHole(N, ()),)), _size({"n": 6}))
