"""How a plan is split into jobs: everything once, balanced, the same everywhere."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensormap.lowering import plan_json
from tensormap.lowering.plan import Call, Copy, Input, Operand, Plan, Region, Verify
from tensormap.lowering.split import _WORTH, Job, _cut, jobs, narrow, parts
from tests.unit.runtime.plans import Bench, rename, whole

sizes_and_count = st.tuples(st.lists(st.integers(0, 50), max_size=9), st.integers(1, 11))


@given(sizes_and_count)
def test_every_item_is_in_one_stretch_and_in_order(given):
    sizes, count = given
    cut = _cut(sizes, count)
    assert len(cut) == count
    assert list(itertools.chain(*cut)) == list(range(len(sizes)))


@given(sizes_and_count)
def test_the_largest_stretch_is_as_small_as_it_can_be(given):
    """Compared with every way to cut."""
    sizes, count = given

    def largest(edges):
        return max((sum(sizes[low:high]) for low, high in itertools.pairwise((0, *edges, len(sizes)))), default=0)

    ways = itertools.combinations_with_replacement(range(len(sizes) + 1), count - 1)
    best = min(map(largest, itertools.islice(ways, 20_000)), default=0)
    assert max((sum(sizes[k] for k in one) for one in _cut(sizes, count)), default=0) <= best


@given(sizes_and_count)
def test_no_part_is_empty_where_there_are_files_enough(given):
    sizes, count = given
    assert sum(bool(one) for one in _cut(sizes, count)) == min(count, len(sizes))


def three_files(bench: Bench) -> Plan:
    indices = [bench.source(f"{k}.bin", {f"s{k}": np.full(4 + k, k, np.uint8)})[0] for k in range(3)]
    for k, index in enumerate(reversed(indices)):
        bench.output(f"out-{k}.bin", [("t", "uint8", (6 - k,))], [rename(index, 0, (6 - k,))])
    verify = Verify((4,), (Region(2, 0, (1,)),), Operand(0), Region(0, 0, (1,)), "x.tmap:1")
    bench.verifications.append(verify)
    return bench.plan()


def test_parts_have_files_and_comparisons(tmp_path):
    plan = three_files(Bench(tmp_path))
    assert parts(plan, 1) == (Job((0, 1, 2), (0,)),)
    assert parts(plan, 2) == (Job((0,), (0,)), Job((1, 2)))
    assert parts(plan, 4) == (Job((0,), (0,)), Job((1,)), Job((2,)), Job(()))


def test_a_narrow_plan_names_only_what_it_reads(tmp_path):
    plan = three_files(Bench(tmp_path))
    made = narrow(plan, Job((1,)))
    assert [each.path for each in made.outputs] == ["out-1.bin"]
    assert [each.path for each in made.sources] == ["1.bin"]
    assert [each.name for each in made.inputs] == ["s1"]
    assert made.inputs[0].file == 0
    assert made.outputs[0].steps == (rename(0, 0, (5,)),)
    assert made.verifications == ()
    assert plan_json.load(plan_json.dump(made)) == made


def test_a_narrow_plan_keeps_what_is_compared(tmp_path):
    made = narrow(three_files(Bench(tmp_path)), Job((), (0,)))
    assert made.outputs == ()
    assert [each.path for each in made.sources] == ["0.bin", "2.bin"]
    (check,) = made.verifications
    assert (check.sources[0].tensor, check.expected.tensor) == (1, 0)
    assert plan_json.load(plan_json.dump(made)) == made


def test_what_is_computed_brings_its_arguments(tmp_path):
    bench = Bench(tmp_path)
    three_files(bench)
    bench.inputs.append(Input("made", "uint8", (4,), -1, 0, call=Call("f", ((1, (5,)),))))
    bench.output("called.bin", [("t", "uint8", (4,))], [Copy((4,), whole(3, (4,)), whole(0, (4,)))])
    made = narrow(bench.plan(), Job((3,)))
    assert [each.name for each in made.inputs] == ["s1", "made"]
    assert made.inputs[1].call == Call("f", ((0, (5,)),))
    assert [each.path for each in made.sources] == ["1.bin"]
    assert plan_json.load(plan_json.dump(made)) == made


@pytest.mark.parametrize(
    ("sizes", "files"),
    [
        ((1, 1, 1), [(0, 1, 2)]),
        ((_WORTH, 1, 1), [(0,), (1, 2)]),
        ((1, _WORTH, 1), [(0,), (1,), (2,)]),
        ((_WORTH - 1, 1, 1), [(0, 1), (2,)]),
        ((_WORTH, _WORTH - 1, 1), [(0,), (1, 2)]),
        ((3 * _WORTH, 2 * _WORTH, 0), [(0,), (1,), (2,)]),
    ],
)
def test_tiny_files_share_a_job(tmp_path, sizes, files):
    plan = three_files(Bench(tmp_path))
    outputs = tuple(
        replace(each, layout=replace(each.layout, size=size)) for each, size in zip(plan.outputs, sizes, strict=True)
    )
    first, *others = jobs(replace(plan, outputs=outputs))
    assert first == Job((), (0,))
    assert [each.files for each in others] == files
