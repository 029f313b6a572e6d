"""One part of a divided run: its files are made, put beside those of the other parts, and noted. Nothing is published."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tensormap.diagnostics import CheckpointError
from tensormap.lowering.plan import Plan
from tensormap.lowering.split import narrow, parts
from tensormap.runtime import divided, journal
from tensormap.runtime.bay import Bay
from tensormap.runtime.buffers import Limits
from tensormap.runtime.checking import check, check_companions
from tensormap.runtime.divided import Log, Part
from tensormap.runtime.execute import MEMORY, Report, needed, threads
from tensormap.runtime.lock import Lock
from tensormap.runtime.progress import Callback
from tensormap.runtime.sources import Sources
from tensormap.runtime.staging import Staging
from tensormap.runtime.verifying import verify
from tensormap.runtime.worker import counted, hire
from tensormap.runtime.yard import Yard


def run_part(  # noqa: PLR0913 - what a user may ask for
    plan: Plan,
    target: Path | str,
    part: Part,
    *,
    workers: int | None = None,
    memory: int = MEMORY,
    tile: int | None = None,
    overwrite: bool = False,
    checksum: bool = False,
    trust_crc: bool = False,
    progress: Callback | None = None,
) -> Report:
    """Do part `part` of what `plan` says, beside the target, for `finalize` to publish; return what was done.

    Parts may run in any order, at the same time and on different machines that share the file system. What the part finished
    before is not done again. Arguments are those of `execute.run`; so are the errors. BusyError: the same part is running
    elsewhere, or what waits beside the target is other work.
    """
    started = time.monotonic()
    place = Path(os.path.realpath(target))
    check(plan, place)
    count = threads(workers)
    limits = Limits.of(memory, count, tile)
    job = narrow(plan, parts(plan, part.count)[part.number - 1])
    sources = Sources((plan.root, job.sources))
    staging = Staging(place)
    staging.make_parents()
    with Lock(staging.lock, place, shared=True) as lock:
        staging.check_target(overwrite=overwrite or _may_overwrite(staging))
        Sources((plan.root, plan.sources)).check()
        check_companions(plan)
        record = divided.join(staging, lock, plan, part.count, overwrite=overwrite)
        log = Log(staging, part)
        with log.lock(staging):
            record = log.begin(staging) or record
            finished = {
                each.path: record.done[each.path]
                for each in job.outputs
                if each.path in record.done and staging.is_whole(each.path, record.done[each.path])
            }
            with (
                Bay(staging, part.name, finished, log.journal.done) as bay,
                hire(sources, limits, count, trust_crc=trust_crc) as staff,
            ):
                staging.check_space(needed(job, finished))
                try:
                    verified = 0
                    if job.verifications and part.number not in record.verified:
                        verified = verify(job, staff, bay.watch(progress))
                        staff[0].painter.handles.settle()
                        log.verified()
                    yard = Yard(job, bay, limits, checksum=checksum)
                    yard.write(staff, bay.watch(progress))
                    sources.check_unchanged()
                except CheckpointError:
                    log.forget()  # nothing to resume: the input is at fault
                    raise
            work = counted(staff, verified, yard.bytes_written)
            now = journal.read(staging.root / journal.NAME)
            return Report(
                Path(target),
                tuple(each.path for each in job.outputs),
                tuple(finished),
                work.bytes_read,
                work.bytes_written,
                work.verified,
                time.monotonic() - started,
                (),
                (part.number, part.count),
                divided.unfinished(staging, plan, now) if now is not None else (),
                work.bytes_shared,
            )


def _may_overwrite(staging: Staging) -> bool:
    record = journal.read(staging.root / journal.NAME)
    return record is not None and record.overwrite
