"""What one worker holds while it runs: how much of it, and the bytes themselves."""

from __future__ import annotations

from dataclasses import dataclass

TILE = 512 << 10  # bytes of a target that are rendered and written at once: they stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes that one worker may hold: `tile` of a target written in order, `block` of one written in runs, `window` of sources
    (as much again while it computes).
    """

    tile: int
    block: int
    window: int

    @staticmethod
    def of(memory: int, workers: int, tile: int | None) -> Limits:
        """Share `memory` bytes among `workers`."""
        share = max(1 << 18, memory // max(1, workers))
        block, window = min(24 << 20, share // 4 * 3), min(2 << 20, share // 16)
        if tile is not None:
            return Limits(max(1, tile), max(1, min(tile, block)), max(1 << 12, min(window, 16 * tile)))
        return Limits(min(TILE, share // 4), block, window)


class Buffer:
    """Bytes that are used again and again."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray())

    def reserve(self, size: int) -> Buffer:
        """Make room for `size` bytes; what was in it is lost."""
        if len(self.view) < size:
            self.view = memoryview(bytearray(size))
        return self
