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
    """Hash every staged file and write `SHA256SUMS` beside them; beside the target, as `NAME.sha256`, where that is one file."""
    names = [each.path for each in plan.outputs] + [each.path for each in plan.texts]
    names = sorted(names + [each.path for each in plan.companions])
    with ThreadPoolExecutor(workers) as pool:
        sums = list(pool.map(lambda name: _sha256(staging.content / name), names))
    lines = "".join(_line(digest, name) for digest, name in zip(sums, names, strict=True))
    write_file(staging.path(SUMS), lines.encode())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(digest: str, name: str) -> str:
    """Return a line as `sha256sum` writes it: names with line ends or backslashes are escaped, and the line says so."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"
