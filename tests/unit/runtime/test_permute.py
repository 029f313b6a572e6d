"""Transposed copies in memory: rows that are a power of two apart are spread, others are not, and the bytes are the same."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tensormap.runtime import kernels
from tensormap.runtime.casts import raw_dtype

SHAPES = [(300, 512), (256, 128), (700, 300), (5, 1024), (1024, 5), (1, 512), (3, 40, 128), (2, 3, 70, 64), (64, 1, 64)]


def numbered(shape: tuple[int, ...], item: int) -> np.ndarray:
    """Return elements of `item` bytes, hardly two alike."""
    count = int(np.prod(shape))
    data = np.random.default_rng(item).integers(0, 256, count * item, np.uint8)
    return data.view(raw_dtype(item)).reshape(shape)


@pytest.mark.parametrize("item", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_order_of_axes_is_copied(shape, item):
    source = numbered(shape, item)
    for order in permutations(range(len(shape))):
        turned = source.transpose(order)
        target = np.zeros(turned.shape, turned.dtype)
        kernels.permute(target, turned)
        assert target.tobytes() == turned.tobytes(), order


@pytest.mark.parametrize("limit", [0, 1 << 40])
def test_what_is_spread_changes_no_byte(monkeypatch, limit):
    monkeypatch.setattr(kernels, "SPREAD", limit)
    source = numbered((600, 1024), 2)[:, :900]
    target = np.zeros((900, 640), source.dtype)[:, 20:620]
    kernels.permute(target, source.T)
    assert target.tobytes() == source.T.tobytes()


def test_rows_that_crowd_the_cache_are_spread_and_others_are_not():
    crowded = np.zeros((512, 1024), np.uint16).T
    spread = kernels._spread_rows(crowded, 256, 200)
    assert spread is not None
    assert spread.shape == (256, 200)
    assert spread.strides[-1] // kernels.LINE % 2 == 1
    assert kernels._spread_rows(np.zeros((512, 1000), np.uint16).T, 256, 200) is None
