"""Run a plan on files: stage, verify, write tile by tile, make durable, publish.

The target is whole or as it was. Memory does not depend on the size of a tensor: each worker holds a few tiles (`kernels.Limits`).
The bytes written do not depend on the number of workers nor on the size of tiles.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import BusyError, CheckpointError, Diagnostic, MappingError
from tensormap.lowering.plan import Plan
from tensormap.runtime import journal
from tensormap.runtime.checking import check, check_companions
from tensormap.runtime.lock import Lock
from tensormap.runtime.progress import Callback
from tensormap.runtime.sources import Sources
from tensormap.runtime.staging import Staging
from tensormap.runtime.sums import SUMS, write_sums
from tensormap.runtime.verifying import verify
from tensormap.runtime.worker import Terms, Work, counted, hire
from tensormap.runtime.writing import copy_file, write_file
from tensormap.runtime.yard import Yard

MEMORY = 64 << 20
MOST_WORKERS = 256
_MOST_WORKERS = 8  # by default: more wait for the interpreter's lock, and tiles become small


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. `resumed` files were finished by an interrupted run before; bytes count what this run moved. Of what it
    wrote, `bytes_shared` are blocks of the source that the target shares.

    Of a divided run, `part` is what was done of it, as (number, count), and `waiting` the parts that are not complete.
    """

    target: Path
    files: tuple[str, ...]
    resumed: tuple[str, ...]
    bytes_read: int
    bytes_written: int
    verified: int
    seconds: float
    notes: tuple[str, ...]
    part: tuple[int, int] | None = None
    waiting: tuple[int, ...] = ()
    bytes_shared: int = 0


def run(  # noqa: PLR0913 - what a user may ask for
    plan: Plan,
    target: Path | str,
    *,
    workers: int | None = None,
    memory: int = MEMORY,
    tile: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    discard: bool = False,
    checksum: bool = False,
    trust_crc: bool = False,
    sync: bool = True,
    executor: Executor | None = None,
    progress: Callback | None = None,
) -> Report:
    """Write what `plan` says to the directory `target`, which appears when it is complete, and return what was done.

    `workers` threads (as many as CPUs, 2 to 8) share `memory` bytes for tiles; `tile` bounds a tile's bytes instead.
    `overwrite` replaces a target that is not empty, and the leftover of an interrupted run; `resume` continues that run, with
    its leave to overwrite; `discard` only removes what it left. `checksum` adds a file for `sha256sum -c`; `trust_crc` does not
    check the records of zips that are read. Without `sync` the target is published before it is on the disk: the
    system writes it when it likes, and if the power fails meanwhile the target may lack data.
    With an `executor` the work is done by it, in jobs of an output file each; then `workers`, 1 without it, and `memory` are each
    job's. The executor's workers need not be threads nor on this machine, but have to see source and target under the same paths.
    A plan with one output file whose path is empty, and nothing else, makes `target` a file.

    MappingError: the target exists; CheckpointError: the sources are not those that were planned with, are damaged, or do not
    hold what a verify step asks; BusyError: another run is on, or an interrupted one waits; OSError: the disk, with the
    file's name; among them ChildProcessError: the executor lost a job for good, and `resume` goes on.
    """
    started = time.monotonic()
    place = Path(os.path.realpath(target))
    check(plan, place)
    sources = Sources((plan.root, plan.sources))
    count = threads(workers if executor is None or workers is not None else 1)
    terms = Terms(count, memory, tile, checksum, trust_crc, sync)
    staging = Staging(place, sync=sync)
    with staging.parents(), Lock(staging.lock, place) as staging.held:
        record = staging.recover()
        if record is not None and not resume:
            if record.is_worth_keeping and not (discard or overwrite):
                staging.refuse_leftover(record)
            record = None
        allowed = overwrite or (record is not None and record.overwrite)
        staging.check_target(overwrite=allowed)
        sources.check()
        check_companions(plan)
        single = bool(plan.outputs) and plan.outputs[0].path == ""
        identity = journal.identify(plan, exact=record is not None and bool(record.identity.exact))
        try:
            staging.begin(identity, record, overwrite=allowed, folder=not single)
            staging.check_space(needed(plan, staging.finished))
            if executor is None:
                work = _do(plan, staging, sources, terms, progress)
            else:
                from tensormap.runtime.delegate import delegate

                work = delegate(plan, staging, executor, terms, progress)
            written = work.bytes_written + finish(plan, staging, sources, terms.workers, checksum=checksum)
        except (CheckpointError, MappingError):
            with suppress(OSError, BusyError):
                staging.remove()  # nothing to resume: the input is at fault
            raise
        except BaseException:
            staging.give_up()
            raise
        notes = (
            *plan.notes,
            *(("there was nothing to resume",) if resume and record is None else ()),
            *removed(staging),
        )
        return Report(
            Path(target),
            paths(plan, checksum=checksum),
            tuple(each.path for each in plan.outputs if each.path in staging.finished),
            work.bytes_read,
            written,
            work.verified,
            time.monotonic() - started,
            notes,
            bytes_shared=work.bytes_shared,
        )


def removed(staging: Staging) -> tuple[str, ...]:
    """Remove what is staged; the target is in its place, so that a failure is worth a note and no more."""
    try:
        staging.remove()
    except BusyError:  # another run has come since, and what is there is that one's
        return ()
    except OSError as error:
        return (f"{shown(staging.root)} could not be removed, and is not needed: {error.strerror}",)
    return ()


def _do(plan: Plan, staging: Staging, sources: Sources, terms: Terms, progress: Callback | None) -> Work:
    """Compare what has to be equal, and write the files, with threads of this process."""
    limits = terms.limits
    with hire(sources, limits, terms.workers, trust_crc=terms.trust_crc) as staff:
        verified = verify(plan, staff, progress)
        yard = Yard(plan, staging, limits, checksum=terms.checksum, sync=terms.sync)
        yard.write(staff, progress)
        return counted(staff, verified, yard.bytes_written)


def threads(workers: int | None) -> int:
    """Return how many threads to work with: as many as were asked for, or as CPUs. MappingError for a number without sense."""
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise MappingError(Diagnostic("bad-workers", f"{workers} workers: between 1 and {MOST_WORKERS} make sense"))
    return workers if workers is not None else min(_MOST_WORKERS, max(2, len(os.sched_getaffinity(0))))


def finish(plan: Plan, staging: Staging, sources: Sources, workers: int, *, checksum: bool) -> int:
    """Write what is no tensor, after the tensors, and publish. Return how many bytes that were."""
    written = _write_small(plan, staging)
    if checksum:
        write_sums(plan, staging, workers)
    sources.check_unchanged()
    staging.publish()
    return written


def paths(plan: Plan, *, checksum: bool) -> tuple[str, ...]:
    """Return the names of all files of the target."""
    names = (
        [each.path for each in plan.outputs]
        + [each.path for each in plan.companions]
        + [each.path for each in plan.texts]
    )
    return (*names, SUMS) if checksum else tuple(names)


def _write_small(plan: Plan, staging: Staging) -> int:
    """Write what is no tensor, after the tensors: companions, then texts, the index and the config among them."""
    total = 0
    for companion in plan.companions:
        source = Path(plan.root, companion.source)
        copied = copy_file(source, staging.path(companion.path), sync=staging.lasting)
        if copied != companion.size:
            message = f"{shown(source)} was changed while it was copied: {companion.size} bytes became {copied}"
            raise CheckpointError(Diagnostic("source-changed", message, notes=("nothing was published",)))
        total += copied
    for text in plan.texts:
        write_file(staging.path(text.path), text.data, sync=staging.lasting)
        total += len(text.data)
    return total


def needed(plan: Plan, finished: dict[str, list[int]]) -> int:
    """Return how many bytes are still to be written, each file in whole blocks."""
    sizes = [each.layout.size for each in plan.outputs if each.path not in finished]
    sizes += [each.size for each in plan.companions] + [len(each.data) for each in plan.texts]
    return sum(-(-size // 4096) * 4096 for size in sizes)
