"""How a checkpoint is refused: one finding that names the file, with names from outside made safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tensormap.diagnostics import CheckpointError, Diagnostic


def refusal(slug: str, message: str, *, notes: Iterable[str] = (), help: Iterable[str] = ()) -> CheckpointError:
    """Return the error for one finding about a file."""
    return CheckpointError(Diagnostic(slug, message, notes=tuple(notes), help=tuple(help)))


def shown(text: object, limit: int = 200) -> str:
    """Return a name from a file as it may be printed: control characters escaped, long ones cut, in backticks."""
    full = str(text)
    cut = full if len(full) <= limit else f"{full[: limit // 2]}...{full[-limit // 2 :]}"
    if cut.isprintable() and "`" not in cut:
        return f"`{cut}`"
    safe = "".join(c if c.isprintable() and c != "`" else c.encode("unicode_escape").decode("ascii") for c in cut)
    return f"`{safe.replace('`', chr(92) + 'x60')}`"


def listed(names: Sequence[object], limit: int = 20) -> str:
    """Return the first `limit` names in backticks, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(each) for each in names[:limit]) + more
