"""Tensors stored in packed blocks, read as if their file held the elements that the blocks decode to.

A read of any bytes of the decoded tensor reads the blocks that they lie in and decodes those, at most `CHUNK` elements at a time:
what is held does not depend on the tensor. Runs that are wanted together are decoded together, and those of one block only once
if they touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensormap.checkpoints.gguf_blocks import decode
from tensormap.checkpoints.gguf_types import ENCODINGS
from tensormap.runtime.parts import Encoded
from tensormap.runtime.sources import Handles

CHUNK = 1 << 15  # elements: decoding needs some five times their bytes
WIDTH = 4  # bytes of a decoded element


@dataclass(frozen=True, slots=True)
class _Span:
    """Blocks `first` to `last`, for `size` bytes of the decoded tensor from byte `begin` on, and where in a buffer those go."""

    first: int
    last: int
    begin: int
    into: int
    size: int


class Decoder:
    """Reads one encoded tensor for one thread; `read` and `scatter` are as those of `Handles`, in bytes of the decoded tensor."""

    def __init__(self, handles: Handles, encoded: Encoded) -> None:
        self._handles = handles
        self._encoded = encoded
        self._stored = ENCODINGS[encoded.encoding]
        self._block = self._stored.block * WIDTH

    def read(self, file: int, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of the decoded tensor on."""
        self.scatter(file, [(offset, 0, len(buffer))], buffer, 0)

    def scatter(self, file: int, pieces: list[tuple[int, int, int]], target: memoryview, gap: int) -> None:
        """Read pieces, each (byte of the decoded tensor, byte in `target`, size)."""
        pieces.sort()
        group: list[_Span] = []
        count = 0
        for span in self._spans(pieces):
            if group and (count + span.last - span.first) * self._stored.block > CHUNK:
                self._decode(file, group, target, gap)
                group, count = [], 0
            group.append(span)
            count += span.last - span.first
        if group:
            self._decode(file, group, target, gap)

    def _spans(self, pieces: list[tuple[int, int, int]]) -> Iterator[_Span]:
        """Yield pieces, long ones cut, with the blocks that each lies in."""
        most = max(1, CHUNK // self._stored.block)
        for begin, into, size in pieces:
            end = begin + size
            while begin < end:
                first = begin // self._block
                stop = min(end, (first + most) * self._block)
                yield _Span(first, -(-stop // self._block), begin, into, stop - begin)
                into += stop - begin
                begin = stop

    def _decode(self, file: int, group: list[_Span], target: memoryview, gap: int) -> None:
        places: list[int] = []  # of each span's first block, among those that are read
        reads: list[list[int]] = []
        count = 0
        for span in group:
            if reads and reads[-1][0] <= span.first <= reads[-1][1]:  # it begins where the one before ends, or in it
                places.append(count - (reads[-1][1] - span.first))
                count += max(0, span.last - reads[-1][1])
                reads[-1][1] = max(reads[-1][1], span.last)
            else:
                places.append(count)
                reads.append([span.first, span.last])
                count += span.last - span.first
        size = self._stored.size
        raw: NDArray[np.uint8] = np.empty(count * size, np.uint8)
        filled = 0
        wanted: list[tuple[int, int, int]] = []
        for first, last in reads:
            wanted.append((self._encoded.start + first * size, filled, (last - first) * size))
            filled += (last - first) * size
        self._handles.scatter(file, wanted, raw.data, gap)
        values: NDArray[Any] = decode(self._encoded.encoding, raw).view(np.uint8)
        for span, place in zip(group, places, strict=True):
            low = place * self._block + span.begin - span.first * self._block
            target[span.into : span.into + span.size] = values[low : low + span.size].data
