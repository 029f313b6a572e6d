"""Random boxes, dtypes, tiles and workers give the bytes that numpy gives."""

from __future__ import annotations

import tempfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensormap.lowering.plan import Copy, Region
from tensormap.runtime import execute, kernels, paint, tiling, windows, writing
from tensormap.runtime.boxes import row_major
from tensormap.runtime.iterate import iter_tensors
from tensormap.runtime.verify import compare
from tests.unit.runtime.plans import Bench, array_dtype, catalog_of, random_array, read_tensor

SAME = ["uint8", "bool", "bfloat16", "float32", "int64", "complex128", "float8_e4m3fn"]


@pytest.fixture(autouse=True)
def _small_thresholds(monkeypatch):
    """Make every kernel's case reachable with tensors of a few hundred bytes."""
    monkeypatch.setattr(kernels, "DIRECT", 24)
    for module in (paint, tiling, windows):
        monkeypatch.setattr(module, "GAP", 8)
    monkeypatch.setattr(kernels, "BLOCK", (3, 2))
    monkeypatch.setattr(tiling, "LONG", 48)
    monkeypatch.setattr(tiling, "SHORT", 8)
    monkeypatch.setattr(tiling, "CALL", 32)


@st.composite
def mosaics(draw):
    """A target of some axes, one of them cut into parts; each part a permuted, padded or repeated source."""
    rank = draw(st.integers(1, 4))
    shape = [draw(st.integers(1, 7)) for _ in range(rank)]
    axis = draw(st.integers(0, rank - 1))
    widths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    shape[axis] = sum(widths)
    parts = []
    for width in widths:
        order = draw(st.permutations(range(rank)))
        margins = [draw(st.integers(0, 2)) for _ in range(rank)]
        repeated = draw(st.sampled_from([None, None, *range(rank)]))
        dtype = draw(st.sampled_from(["same", "same", "float32", "float64", "bfloat16"]))
        parts.append((width, order, margins, repeated, dtype))
    turns = len(set(widths)) == 1 and draw(st.booleans())
    return tuple(shape), axis, parts, turns


def build(bench: Bench, number: int, dtype: str, drawn) -> tuple[tuple[int, ...], list[Copy], np.ndarray]:
    shape, axis, parts, turns = drawn
    expected = np.zeros(shape, array_dtype(dtype))
    steps = []
    begin = 0
    for position, (width, order, margins, repeated, source_dtype) in enumerate(parts):
        part_shape = [*shape[:axis], width, *shape[axis + 1 :]]
        stored_shape = tuple(
            (1 if order[k] == repeated else part_shape[order[k]]) + margins[k] for k in range(len(shape))
        )
        castable = dtype in ("float32", "bfloat16")
        used = dtype if source_dtype == "same" or not castable else source_dtype
        array = random_array(stored_shape, used, seed=number * 10 + position)
        (index,) = bench.source(f"{number}.{position}.bin", {f"s{number}.{position}": array})
        strides = row_major(stored_shape)
        offset = sum(margin * stride for margin, stride in zip(margins, strides, strict=True))
        by_axis = [0] * len(shape)
        for k, target_axis in enumerate(order):
            by_axis[target_axis] = 0 if target_axis == repeated else strides[k]
        view = array[tuple(slice(margin, None) for margin in margins)]
        view = np.transpose(view, np.argsort(order))
        view = np.broadcast_to(view, part_shape)
        taken = slice(position, None, len(parts)) if turns else slice(begin, begin + width)
        where = (*(slice(None),) * axis, taken)
        with np.errstate(all="ignore"):
            if used == "float64" and dtype == "bfloat16":
                view = view.astype(np.float32)  # float32 values, so that one rounding is two
                array[...] = array.astype(np.float32)
                (bench.root / f"{number}.{position}.bin").write_bytes(b"\xee" * 3 + array.tobytes() + b"\xdd")
                status = (bench.root / f"{number}.{position}.bin").stat()
                old = bench.files[-1]
                bench.files[-1] = type(old)(old.path, old.size, status.st_mtime_ns, old.header)
            if used == dtype:
                raw = f"V{expected.dtype.itemsize}"
                expected.view(raw)[where] = np.ascontiguousarray(view).view(raw)
            else:
                expected[where] = view.astype(expected.dtype)
        strides = list(row_major(shape))
        offset_in_target = (position if turns else begin) * strides[axis]
        if turns:
            strides[axis] *= len(parts)
        target = Region(number, offset_in_target, tuple(strides))
        steps.append(Copy(tuple(part_shape), Region(index, offset, tuple(by_axis)), target))
        begin += width
    return shape, steps, expected


@pytest.fixture
def writes(monkeypatch):
    """Every range of bytes that is written, by file."""
    seen: dict[str, list[tuple[int, int]]] = {}
    original = writing.Writing.write

    def write(self, offset, data):
        seen.setdefault(str(self.path), []).append((offset, offset + len(data)))
        original(self, offset, data)

    monkeypatch.setattr(writing.Writing, "write", write)
    return seen


def overlaps(ranges):
    ordered = sorted(ranges)
    return [(left, right) for left, right in pairwise(ordered) if left[1] > right[0]]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(SAME), mosaics()), min_size=1, max_size=4),
    st.sampled_from([None, 1, 2, 16, 100, 4096]),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_random_boxes(writes, tensors, tile, workers, gap, random):
    writes.clear()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        made, steps, expected = [], [], []
        for number, (dtype, drawn) in enumerate(tensors):
            shape, some, values = build(bench, number, dtype, drawn)
            made.append((f"t{number}", dtype, shape))
            steps += some
            expected.append(values)
        random.shuffle(steps)
        bench.output("out.bin", made, steps, gap=b"." * 5 * gap, crc=gap)
        plan = bench.plan()
        target = Path(folder, "target")
        execute.run(plan, target, tile=tile, workers=workers)
        for number, values in enumerate(expected):
            assert read_tensor(plan, target, 0, number).tobytes() == values.tobytes()
        data = (target / "out.bin").read_bytes()
        assert data[:4] == b"HEAD"
        for checksum in plan.outputs[0].layout.checksums:
            crc = zlib.crc32(data[checksum.start : checksum.start + checksum.size]).to_bytes(4, "little")
            assert all(data[into : into + 4] == crc for into in checksum.into)
        assert [each.tobytes() for _, each in iter_tensors(plan)] == [each.tobytes() for each in expected]
        assert compare(plan, catalog_of(plan, target)) == ()
        if gap:
            assert data.count(b".....") >= len(expected)
        elif tensors:
            assert [overlaps(ranges) for ranges in writes.values()] == [[]]
        assert sorted(Path(folder).iterdir()) == [bench.root, target]
