"""One tensor's values, read when they are wanted."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensormap.checkpoints.catalog import Catalog
from tensormap.checkpoints.gguf_blocks import decode
from tensormap.checkpoints.gguf_types import ENCODINGS
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.dtypes import BY_NAME


def load_tensor(catalog: Catalog, name: str) -> np.ndarray[Any, Any]:
    """Read a tensor into an array of its own. Elements smaller than a byte come as the bytes they are packed in.

    KeyError where the catalog has no such tensor; CheckpointError where its file has changed since the catalog was made.
    """
    info = catalog.tensors[name]
    known = catalog.files[info.file]
    dtype = BY_NAME[info.dtype]
    with Reader(catalog.root / known.path, known.path) as file:
        if (file.size, file.mtime_ns) != (known.size, known.mtime_ns):
            raise refusal("file-changed", f"{shown(known.path)} has changed since it was opened")
        bits = dtype.bits
        for size in info.shape:
            bits *= size
        if info.encoding is not None:
            stored = ENCODINGS[info.encoding]
            data = np.empty(bits // dtype.bits // stored.block * stored.size, np.uint8)
            file.fill(info.offset, data.data)
            return decode(info.encoding, data).reshape(info.shape)
        if info.strides is None or not bits:
            data = np.empty(bits // 8, np.uint8)
            file.fill(info.offset, data.data)
            return data.view(numpy_dtype(info.dtype)).reshape(info.shape) if dtype.size else data
        reach = 1 + sum((size - 1) * stride for size, stride in zip(info.shape, info.strides, strict=True))
        data = np.empty(reach * dtype.size, np.uint8)
        file.fill(info.offset, data.data)
    strides = [stride * dtype.size for stride in info.strides]
    view = np.lib.stride_tricks.as_strided(data.view(numpy_dtype(info.dtype)), info.shape, strides)
    return view.copy(order="C")


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return numpy's dtype of this name, from ml_dtypes where numpy has none."""
    if BY_NAME[name].numpy:
        return np.dtype(name)
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype
