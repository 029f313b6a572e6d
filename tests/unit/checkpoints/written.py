"""Files from layouts, as the runtime will write them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from tensormap.checkpoints.catalog import FileLayout


def write(path: Path, layout: FileLayout, data: Sequence[bytes]) -> Path:
    """Write a layout's pieces, the tensors' bytes, and the checksums that depend on them."""
    content = bytearray(layout.size)
    filled = 0
    for piece in layout.pieces:
        content[piece.offset : piece.offset + len(piece.data)] = piece.data
        filled += len(piece.data)
    for offset, each in zip(layout.offsets, data, strict=True):
        content[offset : offset + len(each)] = each
        filled += len(each)
    assert filled == layout.size == len(content), "pieces and tensors do not fill the file"
    for each in layout.checksums:
        crc = zlib.crc32(content[each.start : each.start + each.size]).to_bytes(4, "little")
        for offset in each.into:
            content[offset : offset + 4] = crc
    path.write_bytes(content)
    return path
