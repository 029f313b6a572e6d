"""Links inside of a checkpoint: one from elsewhere could point at anything, so they lead to its own files or are refused."""

from __future__ import annotations

import os
from pathlib import Path

from tensormap.checkpoints.refusal import refusal, shown


def stays(root: Path, name: str) -> None:
    """Refuse a file that lies outside of its directory, by a link or by its name. Where the Hugging Face cache keeps its files is
    no other place. CheckpointError.
    """
    real_root = Path(os.path.realpath(root))
    real = Path(os.path.realpath(root / name))
    if real.is_relative_to(real_root):
        return
    parts = real_root.parts
    for k in range(len(parts) - 1, 0, -1):
        if parts[k] == "snapshots" and real.parent == Path(*parts[:k], "blobs"):
            return
    raise refusal(
        "link-outside",
        f"{shown(name)} is a link to a file outside of its directory",
        help=["give the directory it leads to, or put a copy in its place"],
    )
