"""The end of a divided run: all parts are there, so what is no tensor is written, and the target gets its name."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import BusyError, CheckpointError, Diagnostic, MappingError
from tensormap.lowering.plan import Plan
from tensormap.runtime import divided, journal
from tensormap.runtime.checking import check_companions, check_places
from tensormap.runtime.execute import Report, finish, needed, paths, removed, threads
from tensormap.runtime.journal import Record
from tensormap.runtime.lock import Lock
from tensormap.runtime.sources import Sources
from tensormap.runtime.staging import Staging

_LISTED = 50


def finalize(
    target: Path | str,
    *,
    plan: Plan | None = None,
    overwrite: bool = False,
    checksum: bool = False,
    workers: int | None = None,
) -> Report:
    """Publish what the parts of a divided run wrote beside `target`, and return what was done.

    With `plan`, the parts have to be of this plan, and the source is looked for where it says. `overwrite`, which the first part
    may have been given as well, replaces a target that is not empty; `checksum` adds a file for `sha256sum -c`.

    BusyError: parts are running, or missing, or of another plan; MappingError: there are none, or the target exists;
    CheckpointError: the sources are not those that the parts read; OSError: the disk.
    """
    started = time.monotonic()
    place = Path(os.path.realpath(target))
    count = threads(workers)
    staging = Staging(place)
    if not os.path.lexists(staging.root):
        raise _nothing(staging)
    with Lock(staging.lock, place) as staging.held:
        if staging.stands() == "complete":  # an earlier one was killed after it had published
            return _published(staging, target, started)
        record = _recovered(staging)
        held = divided.kept_plan(staging)
        if plan is not None:
            divided.refuse_others(staging, journal.identify(plan, exact=True), record, record.parts)
            held = replace(held, root=plan.root)  # the first part may have seen the source under another path
        check_places(held, place)
        _refuse_missing(staging, held, record)
        allowed = overwrite or record.overwrite
        staging.check_target(overwrite=allowed)
        sources = Sources((held.root, held.sources))
        sources.check()
        check_companions(held)
        single = bool(held.outputs) and held.outputs[0].path == ""
        staging.begin(journal.identify(held, exact=True), record, overwrite=allowed, folder=not single)
        staging.check_space(needed(held, staging.finished))
        written = finish(held, staging, sources, count, checksum=checksum)
        return Report(
            Path(target),
            paths(held, checksum=checksum),
            tuple(each.path for each in held.outputs),
            0,
            written,
            0,
            time.monotonic() - started,
            (*held.notes, *removed(staging)),
        )


def discard(target: Path | str) -> int:
    """Remove what the parts of a divided run wrote beside `target`, and return how many files that were. MappingError: nothing."""
    place = Path(os.path.realpath(target))
    staging = Staging(place)
    if not os.path.lexists(staging.root):
        raise _nothing(staging)
    with Lock(staging.lock, place) as staging.held:
        record = _recovered(staging)
        staging.remove()
        return len(record.done)


def _recovered(staging: Staging) -> Record:
    record = staging.recover()
    if record is None:
        raise _nothing(staging)
    if not record.parts:
        staging.refuse_leftover(record)
    return record


def _published(staging: Staging, target: Path | str, started: float) -> Report:
    names: tuple[str, ...] = ()
    with suppress(OSError, CheckpointError):  # it may be half removed already
        names = paths(divided.kept_plan(staging), checksum=False)
    staging.recover()
    notes = ("it had been published before",)
    return Report(Path(target), names, names, 0, 0, 0, time.monotonic() - started, notes)


def _nothing(staging: Staging) -> MappingError:
    message = f"no part of a run to {shown(staging.target)} was begun"
    help_ = "`tensormap apply ... --part 1/N` does the first of N"
    if os.path.lexists(staging.target):
        help_ = f"{shown(staging.target)} exists: the run may be finished already"
    return MappingError(Diagnostic("no-parts", message, help=(help_,)))


def _refuse_missing(staging: Staging, plan: Plan, record: Record) -> None:
    """Raise a BusyError that lists the parts that are not complete."""
    missing = divided.unfinished(staging, plan, record)
    if not missing:
        return
    listed = ", ".join(map(str, missing[:_LISTED]))
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    message = f"{shown(staging.target)} lacks {len(missing)} of its {record.parts} parts: {listed}{more}"
    help_ = f"run them: `tensormap apply ... --part {missing[0]}/{record.parts}`"
    raise BusyError(Diagnostic("parts-missing", message, help=(help_,)))
