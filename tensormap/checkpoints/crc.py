"""The crc32 of zip records. Where ISA-L is installed it is its own, which is 30 times faster than zlib (2.6 GB/s measured)."""

from __future__ import annotations

from collections.abc import Callable

combine: Callable[[int, int, int], int] | None
"""The crc32 of two stretches side by side from those of each, and the bytes of the second; None without ISA-L."""

try:
    from isal.isal_zlib import crc32
    from isal.isal_zlib import crc32_combine as combine
except ImportError:  # no wheel for this machine
    from zlib import crc32

    combine = None

__all__ = ["combine", "crc32"]
