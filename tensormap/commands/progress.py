"""The progress bar: bytes, bytes a second, time left. On a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensormap.commands import terminal

if TYPE_CHECKING:
    from tensormap.runtime.progress import Callback, Progress

_SAYS = {"verify": "comparing", "write": "writing", "finish": "finishing"}


@contextmanager
def bar(*, quiet: bool) -> Iterator[Callback | None]:
    """Give what a run calls to say how far it is; None where nothing is to be drawn."""
    if quiet or not terminal.is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    words, line, left = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    console = Console(file=sys.stderr, no_color=not terminal.has_color(sys.stderr))
    in_bytes = Bars(words, line, DownloadColumn(), TransferSpeedColumn(), left, console=console, transient=True)
    in_items = Bars(words, line, MofNCompleteColumn(), left, console=console, transient=True)
    shown: dict[str, tuple[Bars, TaskID]] = {}

    def draw(progress: Progress) -> None:
        stage = progress.stage
        if stage not in shown:
            for bars, _ in shown.values():
                bars.stop()
            bars = in_items if stage == "verify" else in_bytes
            bars.start()
            shown[stage] = (bars, bars.add_task(_SAYS.get(stage, stage), total=progress.total))
        bars, task = shown[stage]
        files = f", {progress.files_done} of {progress.files} files" if progress.files > 1 else ""
        bars.update(task, completed=progress.done, total=progress.total, description=_SAYS.get(stage, stage) + files)

    try:
        yield draw
    finally:
        for bars, _ in shown.values():
            bars.stop()
