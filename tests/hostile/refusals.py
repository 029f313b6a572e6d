"""What must hold for every attack: our own error, soon, with the file named, nothing run, little memory."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from tensormap.checkpoints.open import open_file, verify_records
from tensormap.diagnostics import CheckpointError, Diagnostic

SECONDS = 15  # on a machine that others use as well


def refused(path: Path, name: str, *, traced: bool = False) -> Diagnostic:
    """Open a file and read its records, which must be refused; return the finding."""
    began = time.process_time()
    if traced:
        tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as error:
            _read(path, name)
    finally:
        peak = tracemalloc.get_traced_memory()[1] if traced else 0
        tracemalloc.stop()
    assert time.process_time() - began < SECONDS
    assert peak < 3 * path.stat().st_size + 256 * 2**20
    (found,) = error.value.diagnostics
    assert f"`{name}`" in found.message
    assert len(found.message) < 1000
    assert found.message.isprintable()
    assert all(note.isprintable() for note in found.notes)
    return found


def _read(path: Path, name: str) -> None:
    open_file(path, name)
    verify_records(path, name)
