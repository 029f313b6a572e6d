"""The report of a run: printed as it grows, and kept as Markdown."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

MARK = "<!-- measured: everything below is written by `python -m benchmarks --write` -->"


class Report:
    """A report that is printed, and where there is a `path` also written behind its mark, heading by heading."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._add(f"## {text}")

    def text(self, text: str) -> None:
        """Add a paragraph or a table."""
        self._add(text)

    def progress(self, text: str) -> None:
        """Only print."""
        print(f"{text}\n", flush=True)

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self.progress(text)
        if self._path is not None:
            head = self._path.read_text("utf-8").partition(MARK)[0] if self._path.exists() else ""  # as it is now
            self._path.write_text(f"{head}{MARK}\n\n" + "\n\n".join(self._parts) + "\n", "utf-8")


def machine(folder: Path) -> str:
    """Describe the machine: processor, cores, memory, the file system that is written to, and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(folder).free / 1e9
    return (
        f"Measured on {os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB of memory, {_file_system(folder)} with"
        f" {free:.0f} GB free, the source in the page cache; Linux {platform.release()}, Python {platform.python_version()}."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds a folder: the longest mount point that it lies under."""
    place = os.path.realpath(folder)
    best, kind = "", "an unknown file system"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, name, *_ = line.split()
        if (place == point or place.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, name
    return kind
