from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from tensormap.diagnostics import CheckpointError
from tensormap.lowering.plan import Copy, Region
from tensormap.runtime import equality
from tensormap.runtime.diff import TensorDifference, diff
from tensormap.runtime.execute import run
from tensormap.runtime.verify import compare
from tests.unit.runtime.plans import Bench, catalog_of, catalog_of_arrays, random_array, rename


@pytest.fixture
def two(tmp_path):
    def make(left, right):
        return catalog_of_arrays(tmp_path / "l", left), catalog_of_arrays(tmp_path / "r", right)

    return make


def test_equal_checkpoints(two):
    arrays = {"a": random_array((3, 4), "float32", 1), "b": np.zeros((0, 3)), "c": np.array(1.5)}
    assert diff(*two(arrays, arrays)) == ()


def test_headers_first(two):
    left = {"a": np.zeros(2), "b": np.zeros(3), "c": np.zeros(4, np.float32)}
    right = {"d": np.zeros(1), "b": np.zeros((3, 1)), "c": np.zeros(4, np.int32)}
    found = diff(*two(left, right))
    assert [(each.name, each.reason, each.left, each.right) for each in found] == [
        ("a", "missing", "", ""),
        ("b", "shape", "[3]", "[3, 1]"),
        ("c", "dtype", "float32", "int32"),
        ("d", "added", "", ""),
    ]
    assert str(found[1]) == "`b` has shape [3] on the left and [3, 1] on the right"


@pytest.mark.parametrize("tile", [1, 5, 1 << 17])
def test_values_are_counted_and_the_first_is_shown(two, tile, monkeypatch):
    monkeypatch.setattr(equality, "_TILE", tile)
    left = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    right = left.copy()
    right[0, 2, 1] = 10
    right[1, 0, 0] = -1
    (found,) = diff(*two({"w": left}, {"w": right}))
    assert found == TensorDifference("w", "values", "9.0", "10.0", (0, 2, 1), 2, 24, 13.0)
    assert str(found) == "`w` differs in 2 of 24 elements, by at most 13, first at [0, 2, 1], 9.0 and 10.0"


def test_bits_count_not_values(two):
    left = np.array([0.0, np.nan, 1.0], np.float32)
    right = np.array([-0.0, np.nan, 1.0], np.float32)
    right[1:2].view(np.uint32)[:] += 1
    (found,) = diff(*two({"w": left}, {"w": right}))
    assert (found.count, found.left, found.right, found.largest) == (2, "0.0", "-0.0", 0.0)


def test_equal_looking_values_show_their_bits(two):
    left = np.array([0x7FC0], np.uint16).view(ml_dtypes.bfloat16)
    right = np.array([0x7FC1], np.uint16).view(ml_dtypes.bfloat16)
    (found,) = diff(*two({"w": left}, {"w": right}))
    assert (found.left, found.right) == ("nan (0x7fc0)", "nan (0x7fc1)")


@pytest.mark.parametrize("tile", [1, 7, 1 << 17])
def test_strides_are_followed(two, tile, monkeypatch):
    monkeypatch.setattr(equality, "_TILE", tile)
    straight = np.arange(30, dtype=np.int64).reshape(5, 6)
    turned = np.ascontiguousarray(straight.T)
    assert diff(*two({"w": straight}, {"w": turned.T})) == ()
    turned[4, 3] = 7
    (found,) = diff(*two({"w": straight}, {"w": turned.T}))
    assert (found.coordinates, found.left, found.right) == ((3, 4), "22", "7")


def test_packed_elements_are_compared_as_bytes(two):
    left, right = two({"w": np.arange(8, dtype=np.uint8)}, {"w": np.arange(8, dtype=np.uint8)[::-1].copy()})
    for each in (left, right):
        each.tensors["w"] = each.tensors["w"]._replace(dtype="float4_e2m1fn_x2", shape=(4, 4))
    (found,) = diff(left, right)
    assert (found.count, found.elements, found.largest) == (8, 8, None)


def test_a_changed_file_is_said(two):
    left, right = two({"w": np.zeros(3)}, {"w": np.zeros(3)})
    (left.root / "arrays.bin").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        diff(left, right)
    assert caught.value.diagnostics[0].slug == "stale-plan"


# --- a plan against what is there -------------------------------------------------------------------------------------


@pytest.fixture
def done(tmp_path):
    bench = Bench(tmp_path)
    indices = bench.source("a.bin", {f"a{k}": random_array((40, 50), "bfloat16", k) for k in range(3)})
    bench.output(
        "out.bin",
        [(f"t{k}", "bfloat16", (40, 50)) for k in range(3)],
        [rename(index, k, (40, 50)) for k, index in enumerate(indices)],
    )
    plan = bench.plan()
    run(plan, tmp_path / "target")
    return plan, tmp_path / "target"


def test_what_was_written_is_what_would_be(done):
    plan, target = done
    assert compare(plan, catalog_of(plan, target)) == ()


@pytest.mark.parametrize("seed", range(20))
def test_every_flipped_bit_is_found(done, seed):
    plan, target = done
    random = np.random.default_rng(seed)
    data = bytearray((target / "out.bin").read_bytes())
    where = int(random.integers(4, len(data)))
    data[where] ^= 1 << int(random.integers(8))
    (target / "out.bin").write_bytes(data)
    (found,) = compare(plan, catalog_of(plan, target))
    flat = (where - 4) // 2
    assert found.name == f"t{flat // 2000}"
    assert found.coordinates == (flat % 2000 // 50, flat % 50)
    assert found.count == 1


def test_other_names_shapes_and_layouts_are_seen(done):
    plan, target = done
    catalog = catalog_of(plan, target)
    tensors = dict(catalog.tensors)
    tensors["t0"] = tensors["t0"]._replace(shape=(50, 40))
    tensors["mine"] = tensors.pop("t1")
    turned = np.ascontiguousarray(random_array((40, 50), "bfloat16", 2).T).tobytes()
    path = target / "turned.bin"
    path.write_bytes(turned)
    status = path.stat()
    tensors["t2"] = tensors["t2"]._replace(file=1, offset=0, strides=(1, 40))
    extra = replace(catalog.files[0], path="turned.bin", size=status.st_size, mtime_ns=status.st_mtime_ns)
    found = compare(plan, replace(catalog, tensors=tensors, files=(*catalog.files, extra)))
    assert [(each.name, each.reason) for each in found] == [("t0", "shape"), ("t1", "missing"), ("mine", "added")]


def test_the_first_difference_is_the_first_in_the_tensor(tmp_path):
    """Work is done in the order of the source, where the halves lie the other way round."""
    bench = Bench(tmp_path)
    (index,) = bench.source("a.bin", {"a": random_array((2, 1 << 19), "uint8", 1)})
    half = 1 << 19
    steps = [Copy((half,), Region(index, half * (1 - k), (1,)), Region(0, half * k, (1,))) for k in range(2)]
    bench.output("out.bin", [("t", "uint8", (2, half))], steps)
    plan = bench.plan()
    run(plan, tmp_path / "target")
    data = bytearray((tmp_path / "target" / "out.bin").read_bytes())
    for position in (5, half + 7):
        data[4 + position] ^= 1
    (tmp_path / "target" / "out.bin").write_bytes(data)
    (found,) = compare(plan, catalog_of(plan, tmp_path / "target"))
    assert (found.count, found.coordinates) == (2, (0, 5))
