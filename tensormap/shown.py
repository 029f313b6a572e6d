"""How sizes, counts and names from files are shown to people."""

from __future__ import annotations

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """Return a number of bytes as people write it, in powers of 1000.

    >>> size(0), size(999), size(13_476_831_232)
    ('0 bytes', '999 bytes', '13.5 GB')
    """
    if count < 1000:
        return counted(count, "byte")
    value = float(count)
    unit = 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.3g} {_UNITS[unit]}" if value < 999.5 else f"{value:,.0f} {_UNITS[unit]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun.

    >>> counted(1, "file"), counted(1200, "copy", "copies")
    ('1 file', '1,200 copies')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def plain(text: str) -> str:
    """Return a text without anything that a terminal could obey, on one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
