"""How much a mapping may unfold to: a few lines can stand for more blocks, names and sizes than a machine holds.

The resolver takes from one room whatever it unfolds, before it does. The largest mapping of the library needs a hundredth of it.
"""

from __future__ import annotations

from tensormap.diagnostics import Diagnostic, Label, MappingError, Span

MOST = 200_000
"""Pieces in all: an axis in a block, a part of a name, a term of a size, a condition of a rule."""
MAX_FACTORS = 64
"""Axes of a tensor, and factors of one product."""
MAX_LETS = 64
"""Lets that are defined through one another."""


class Room:
    """What is left for one mapping and all that it includes."""

    def __init__(self, most: int = MOST) -> None:
        self._left = most

    def take(self, pieces: int, span: Span) -> None:
        """Use up room; `MappingError` where there is not enough of it."""
        self._left -= pieces
        if self._left < 0:
            message = "with this, the mapping stands for more than it may: blocks, names and sizes beyond reason"
            raise MappingError(Diagnostic("too-large", message, (Label(span),)))
