from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tensormap.runtime.boxes import canonical, clip, contiguous_run, is_contiguous, row_major, starts_of


def positions(sizes, strides, offset=0):
    return [
        offset + sum(i * stride for i, stride in zip(index, strides, strict=True))
        for index in product(*map(range, sizes))
    ]


@st.composite
def boxes(draw):
    """A part of a row-major tensor, as sizes, strides and offset."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    starts = [draw(st.integers(0, size - 1)) for size in shape]
    sizes = tuple(draw(st.integers(1, size - start)) for size, start in zip(shape, starts, strict=True))
    item = draw(st.sampled_from([1, 2, 8]))
    strides = row_major(shape, item)
    offset = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    return sizes, strides, item, offset


def test_row_major_strides():
    assert row_major((2, 3, 4)) == (12, 4, 1)
    assert row_major((2, 3), 8) == (24, 8)
    assert row_major(()) == ()


def test_contiguous_ignores_the_strides_of_axes_of_one():
    assert is_contiguous((2, 1, 3), (3, 99, 1), 1)
    assert not is_contiguous((2, 3), (4, 1), 1)


def test_canonical_merges_what_is_contiguous_in_every_region():
    assert canonical((2, 3, 4), ((12, 4, 1), (12, 4, 1))) == ((24,), ((1,), (1,)))
    assert canonical((2, 3, 4), ((12, 4, 1), (24, 4, 1))) == ((2, 12), ((12, 1), (24, 1)))


def test_canonical_orders_axes_by_the_first_region():
    assert canonical((3, 2), ((1, 3), (2, 1))) == ((2, 3), ((3, 1), (1, 2)))


def test_canonical_keeps_repeats():
    assert canonical((2, 3), ((3, 1), (0, 0))) == ((6,), ((1,), (0,)))


def test_canonical_of_one_element_has_an_axis():
    assert canonical((1, 1), ((5, 7), (1, 1))) == ((1,), ((1,), (1,)))
    assert canonical((), ((), ())) == ((1,), ((1,), (1,)))


@given(boxes(), st.randoms(use_true_random=False))
def test_canonical_keeps_the_pairs_of_positions(box, random):
    sizes, strides, *_ = box
    order = list(range(len(sizes)))
    random.shuffle(order)
    other = row_major([sizes[k] for k in order])
    second = [0] * len(sizes)
    for k, axis in enumerate(order):
        second[axis] = other[k]
    merged, (first_strides, second_strides) = canonical(sizes, (strides, second))
    before = sorted(zip(positions(sizes, strides), positions(sizes, second), strict=True))
    after = sorted(zip(positions(merged, first_strides), positions(merged, second_strides), strict=True))
    assert before == after


@given(boxes(), st.data())
def test_clip_gives_every_element_of_the_range_once_and_in_order(box, data):
    sizes, strides, item, offset = box
    every = positions(sizes, strides, offset)
    low = data.draw(st.integers(0, max(every) // item + 2)) * item
    high = data.draw(st.integers(low // item, max(every) // item + 2)) * item
    found = []
    for starts, counts in clip(sizes, strides, item, offset, low, high):
        begin = offset + sum(start * stride for start, stride in zip(starts, strides, strict=True))
        found += positions(counts, strides, begin)
    assert found == [each for each in every if low <= each < high]


def test_contiguous_run_stops_at_the_first_hole():
    assert contiguous_run((2, 3, 4), (24, 4, 1), 1) == 12
    assert contiguous_run((2, 3, 4), (48, 8, 2), 2) == 2 * 24 // 2


def test_starts_cover_the_box():
    assert list(starts_of((3, 4), (2, 4))) == [(0, 0), (2, 0)]
