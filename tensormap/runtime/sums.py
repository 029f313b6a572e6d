"""The file for `sha256sum -c`."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tensormap.lowering.plan import Plan
from tensormap.runtime.staging import Staging
from tensormap.runtime.writing import write_file

SUMS = "SHA256SUMS"


def write_sums(plan: Plan, staging: Staging, workers: int) -> None:
    """Write `SHA256SUMS` beside the staged files. What is known of them is not computed again: most were hashed when they were
    written, texts are here; companions, and files of a run that was to write no sums, are read.
    """
    sums = {each.path: hashlib.sha256(each.data).hexdigest() for each in plan.texts} | staging.sums
    names = [each.path for each in plan.outputs] + [each.path for each in plan.texts]
    names += [each.path for each in plan.companions]
    unknown = [name for name in names if name not in sums]
    with ThreadPoolExecutor(workers) as pool:
        sums |= zip(unknown, pool.map(lambda name: _sha256(staging.content / name), unknown), strict=True)
    lines = "".join(_line(sums[name], name) for name in sorted(names))
    write_file(staging.path(SUMS), lines.encode(), sync=staging.lasting)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(digest: str, name: str) -> str:
    """Return a line as `sha256sum` writes it: names with line ends or backslashes are escaped, and the line says so."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"
