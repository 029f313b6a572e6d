from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from tensormap import externs
from tensormap.diagnostics import MappingError
from tensormap.lowering.plan import Call, Copy, Input, Operand, Region, Verify
from tensormap.runtime.execute import run
from tensormap.runtime.iterate import iter_tensors
from tests.unit.runtime.plans import Bench, random_array, read_tensor, rename, whole


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(externs, "_registered", {})


def call(bench: Bench, function: str, arguments: list[int], dtype: str, shape: tuple[int, ...]) -> int:
    made = Call(function, tuple((index, bench.inputs[index].shape) for index in arguments))
    bench.inputs.append(Input(f"{function}()", dtype, shape, -1, 0, call=made))
    return len(bench.inputs) - 1


@pytest.mark.parametrize(("tile", "workers"), [(None, 2), (4, 1), (64, 3)])
def test_a_functions_tensor_is_written(bench, tmp_path, tile, workers):
    calls = []

    def outer(x, y):
        calls.append(x.shape)
        return np.outer(x, y)

    externs.register("outer", outer)
    x, y = bench.source("a.bin", {"x": np.arange(5, dtype=np.float32), "y": np.arange(7, dtype=np.float32)})
    made = call(bench, "outer", [x, y], "float32", (5, 7))
    transposed = Copy((7, 5), Region(made, 0, (1, 7)), whole(0, (7, 5)))
    bench.output(
        "o",
        [("t", "float32", (7, 5)), ("row", "float32", (7,))],
        [
            transposed,
            Copy((7,), Region(made, 14, (1,)), whole(1, (7,))),
        ],
    )
    plan = bench.plan()
    run(plan, tmp_path / "target", tile=tile, workers=workers)
    expected = np.outer(bench.arrays[0], bench.arrays[1])
    assert (read_tensor(plan, tmp_path / "target", 0, 0) == expected.T).all()
    assert (read_tensor(plan, tmp_path / "target", 0, 1) == expected[2]).all()
    assert calls == [(5,)]


def test_what_a_function_leaves_behind_does_not_pile_up(bench, tmp_path):
    class Scratch:
        def __init__(self, held):
            self.held = held
            self.itself = self

    left = []
    most = []

    def wasteful(x):
        most.append(sum(each() is not None for each in left))
        scratch = Scratch(x.copy())
        left.append(weakref.ref(scratch))
        return scratch.held + 1

    externs.register("wasteful", wasteful)
    sources = bench.source("a.bin", {str(k): np.full(9, k, np.int32) for k in range(6)})
    calls = [call(bench, "wasteful", [each], "int32", (9,)) for each in sources]
    for each in calls:
        bench.inputs[each] = bench.inputs[each]._replace(name=f"wasteful({each})")
    bench.output("o", [(str(k), "int32", (9,)) for k in range(6)], [rename(c, k, (9,)) for k, c in enumerate(calls)])
    collecting = gc.isenabled()
    gc.disable()
    try:
        run(bench.plan(), tmp_path / "target", workers=1)
    finally:
        if collecting:
            gc.enable()
    assert most == [0] * 6


def test_calls_of_calls_scalars_and_transposed_arguments(bench):
    externs.register("twice", lambda x: x * np.float32(2))
    externs.register("plus", lambda x, y: x + y)
    a, b = bench.source(
        "a.bin", {"a": random_array((3, 4), "int32", 1).astype(np.float32), "b": np.array(1, np.float32)}
    )
    twice = call(bench, "twice", [a], "float32", (3, 4))
    plus = call(bench, "plus", [twice, b], "float32", (3, 4))
    bench.output("o", [("t", "float32", (3, 4))], [rename(plus, 0, (3, 4))])
    ((_, values),) = iter_tensors(bench.plan())
    assert (values == bench.arrays[0] * 2 + 1).all()


def test_results_are_rounded_to_the_dtype_planned(bench):
    externs.register("third", lambda x: x / np.float64(3))
    (a,) = bench.source("a.bin", {"a": np.ones(3, np.float32)})
    made = call(bench, "third", [a], "bfloat16", (3,))
    bench.output("o", [("t", "bfloat16", (3,))], [rename(made, 0, (3,))])
    ((_, values),) = iter_tensors(bench.plan())
    assert values.view(np.uint16).tolist() == [0x3EAB] * 3


def test_another_shape_is_refused(bench, tmp_path):
    externs.register("wrong", lambda x: x[:2])
    (a,) = bench.source("a.bin", {"a": np.ones(3, np.float32)})
    made = call(bench, "wrong", [a], "float32", (3,))
    bench.output("o", [("t", "float32", (3,))], [rename(made, 0, (3,))])
    with pytest.raises(MappingError) as caught:
        run(bench.plan(), tmp_path / "target")
    (finding,) = caught.value.diagnostics
    assert finding.slug == "extern-result"
    assert finding.message == "`wrong` returned shape [2] for `wrong()`; its signature says [3]"
    assert not (tmp_path / "target").exists()


def test_unregistered_functions_are_refused_before_anything_is_made(bench, tmp_path):
    (a,) = bench.source("a.bin", {"a": np.ones(3, np.float32)})
    made = call(bench, "nobody", [a], "float32", (3,))
    bench.output("o", [("t", "float32", (3,))], [rename(made, 0, (3,))])
    with pytest.raises(MappingError) as caught:
        run(bench.plan(), tmp_path / "target")
    assert caught.value.diagnostics[0].slug == "unregistered-extern"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source"]


def test_an_error_in_a_function_is_the_users(bench, tmp_path):
    def fail(x):
        raise ZeroDivisionError("mine")

    externs.register("fail", fail)
    (a,) = bench.source("a.bin", {"a": np.ones(3, np.float32)})
    made = call(bench, "fail", [a], "float32", (3,))
    bench.output("o", [("t", "float32", (3,))], [rename(made, 0, (3,))])
    with pytest.raises(MappingError, match="`fail` raised ZeroDivisionError: mine"):
        run(bench.plan(), tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_functions_tensor_is_verified(bench, tmp_path):
    externs.register("same", lambda x: x)
    a, b = bench.source("a.bin", {"a": np.zeros((2, 3)), "b": np.eye(2, 3)})
    made = call(bench, "same", [a], "float64", (2, 3))
    bench.verifications.append(Verify((2, 3), (whole(b, (2, 3)),), Operand(0), whole(made, (2, 3)), "x.tmap:1"))
    with pytest.raises(Exception, match="not-equal") as caught:
        run(bench.plan(), tmp_path / "target")
    assert "differ at [0, 0]: 1.0 and 0.0" in str(caught.value)
