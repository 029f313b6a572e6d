"""How far a run is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes written of those to write, and files finished of those to finish. `stage` is "verify", "write" or "finish"."""

    stage: str
    done: int
    total: int
    files_done: int
    files: int


Callback: TypeAlias = Callable[[Progress], None]
