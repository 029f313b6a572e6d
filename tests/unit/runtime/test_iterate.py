from __future__ import annotations

import os

import numpy as np
import pytest

from tensormap.diagnostics import CheckpointError
from tensormap.lowering.plan import Copy, Operand, Region, Verify
from tensormap.runtime.iterate import iter_tensors
from tests.unit.runtime.plans import Bench, random_array, rename, whole


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_names_values_and_dtypes_come_in_file_order(bench):
    a, b = bench.source("a.bin", {"a": random_array((2, 3), "bfloat16", 1), "b": np.arange(4)})
    transposed = Copy((3, 2), Region(a, 0, (1, 3)), whole(1, (3, 2)))
    bench.output("x", [("b2", "int64", (4,)), ("a2", "bfloat16", (3, 2))], [transposed, rename(b, 0, (4,))])
    bench.output(
        "y", [("scalar", "int64", ()), ("empty", "float32", (0, 2))], [Copy((), Region(b, 2, ()), Region(0, 0, ()))]
    )
    tensors = list(iter_tensors(bench.plan()))
    assert [name for name, _ in tensors] == ["b2", "a2", "scalar", "empty"]
    values = dict(tensors)
    assert values["b2"].tolist() == [0, 1, 2, 3]
    assert values["a2"].tobytes() == bench.arrays[0].T.tobytes()
    assert str(values["a2"].dtype) == "bfloat16"
    assert values["scalar"].shape == ()
    assert values["scalar"] == 2
    assert values["empty"].shape == (0, 2)


def test_tensors_are_the_callers_own(bench):
    (a,) = bench.source("a.bin", {"a": np.arange(4)})
    bench.output("x", [("a", "int64", (4,)), ("b", "int64", (4,))], [rename(a, 0, (4,)), rename(a, 1, (4,))])
    (_, first), (_, second) = list(iter_tensors(bench.plan()))
    first[:] = 0
    assert second.tolist() == [0, 1, 2, 3]
    assert second.flags.writeable


def test_verify_steps_come_before_the_first_tensor(bench):
    a, b = bench.source("a.bin", {"a": np.zeros(2), "b": np.ones(2)})
    bench.verifications.append(Verify((2,), (whole(a, (2,)),), Operand(0), whole(b, (2,)), "x.tmap:1"))
    bench.output("x", [("a", "float64", (2,))], [rename(a, 0, (2,))])
    with pytest.raises(CheckpointError) as caught:
        next(iter_tensors(bench.plan()))
    assert caught.value.diagnostics[0].slug == "not-equal"


def test_closing_early_closes_the_files(bench):
    (a,) = bench.source("a.bin", {"a": np.zeros(2)})
    bench.output("x", [("a", "float64", (2,)), ("b", "float64", (2,))], [rename(a, 0, (2,)), rename(a, 1, (2,))])
    before = len(os.listdir("/proc/self/fd"))
    tensors = iter_tensors(bench.plan())
    next(tensors)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    tensors.close()
    assert len(os.listdir("/proc/self/fd")) == before
