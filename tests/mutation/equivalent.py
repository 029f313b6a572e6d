"""Changes that change nothing: read one by one, and listed in `equivalent.txt` with the reason."""

from __future__ import annotations

from pathlib import Path

LIST = Path(__file__).with_name("equivalent.txt")


def equivalents() -> dict[str, str]:
    """Return the reason of each: a line with `= `, behind the line that names the mutant."""
    found: dict[str, str] = {}
    key = ""
    for line in LIST.read_text("utf-8").splitlines():
        if line.startswith("= "):
            found[key] = line.removeprefix("= ")
        elif line:
            key = line
    return found
