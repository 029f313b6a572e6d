"""Open files by their numbers, as the operating system has them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def close(descriptor: int) -> None:
    """Close a file that was only read, or made durable before: what `close` may still report says nothing about its bytes."""
    with suppress(OSError):
        os.close(descriptor)


def named(error: OSError, path: Path | str) -> OSError:
    """Return the error with the file's name, where it has none."""
    if error.filename is None:
        error.filename = str(path)
    return error
