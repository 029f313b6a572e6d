"""A run divided into parts, which may run on several machines: what they share in the staging directory beside the target.

Besides what any run has there (`staging`), it holds `plan.json`, for whoever finishes the run; for each part K a journal,
`parts/K.journal`, and a lock, `parts/K.lock`; and `work`, where parts make their files (`bay`).

Locks keep two processes from doing the same work, where the file system has locks across machines. Nothing depends on them to be
right: the directory appears whole under its name, a journal has one writer, and a file goes to its place when it is whole.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import BusyError, Diagnostic, MappingError
from tensormap.lowering import plan_json
from tensormap.lowering.plan import Plan
from tensormap.lowering.split import parts
from tensormap.runtime import journal
from tensormap.runtime.journal import MOST_PARTS, Identity, Journal, Record
from tensormap.runtime.lock import Lock
from tensormap.runtime.staging import Staging, sync_directory
from tensormap.runtime.writing import write_file


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of `count`, counted from 1."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MOST_PARTS:
            message = f"there is no part {self.number} of {self.count}: parts are counted from 1"
            raise MappingError(Diagnostic("bad-part", message))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """What its files are called by."""
        return f"part-{self.number}-of-{self.count}"


def join(staging: Staging, lock: Lock, plan: Plan, count: int, *, overwrite: bool) -> Record:
    """Make the staging directory of a divided run, or join the one that another part made, and return its journal.

    The target's lock is held, and shared. BusyError: another run waits, or one of other parts or of another plan.
    """
    staging.refuse_links()
    identity = journal.identify(plan, exact=True)
    record = journal.read(staging.root / journal.NAME)
    if record is None or record.published is not None:
        if os.path.lexists(staging.root):  # what a run left that was killed as it began or ended
            with lock.alone():
                record = staging.recover()
        if record is None:
            _begin(staging, plan, identity, count, overwrite=overwrite)
            record = journal.read(staging.root / journal.NAME)
    if record is None:
        raise FileExistsError(errno.EEXIST, "not a staging directory of tensormap", str(staging.root))
    if not record.parts:
        staging.refuse_leftover(record)
    refuse_others(staging, identity, record, count)
    return record


def refuse_others(staging: Staging, identity: Identity, record: Record, count: int) -> None:
    """Raise a BusyError where the parts that wait beside a target are of another plan, or of another number."""
    differences = identity.differences(record.identity)
    if count != record.parts:
        differences.append(f"there were {record.parts} parts, and are {count}")
    if differences:
        message = f"the parts of {shown(staging.target)} are not of this work"
        help_ = "`tensormap finalize --discard` removes them"
        raise BusyError(Diagnostic("resume-mismatch", message, notes=tuple(differences), help=(help_,)))


def _begin(staging: Staging, plan: Plan, identity: Identity, count: int, *, overwrite: bool) -> None:
    """Make the staging directory, all of it at once, unless another part does so first."""
    made = staging.make()
    try:
        single = bool(plan.outputs) and plan.outputs[0].path == ""
        for name in ("work", "parts") if single else ("work", "parts", "content"):
            (made / name).mkdir()
        for each in plan.outputs if not single else ():  # all of them, so that to finish a file is one rename
            (made / "content" / each.path).parent.mkdir(parents=True, exist_ok=True)
        write_file(made / "plan.json", plan_json.dump(replace(plan, root=os.path.abspath(plan.root))).encode())
        Journal(made / journal.NAME).start(identity, overwrite=overwrite, parts=count)
        for folder, _, _ in os.walk(made):
            sync_directory(Path(folder))
        try:
            os.rename(made, staging.root)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            sync_directory(staging.target.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def kept_plan(staging: Staging) -> Plan:
    """Return the plan that the parts work on. CheckpointError where somebody has changed it."""
    return plan_json.load((staging.root / "plan.json").read_bytes().decode("utf-8", "replace"))


class Log:
    """What one part has done: its journal, written by the process that holds the part's lock."""

    def __init__(self, staging: Staging, part: Part) -> None:
        self._part = part
        self._path = staging.root / "parts" / f"{part.number}.journal"
        self.journal = Journal(self._path)

    def lock(self, staging: Staging) -> Lock:
        """Return the part's lock."""
        return Lock(self._path.with_suffix(".lock"), staging.target, what=f"part {self._part} of ")

    def begin(self, staging: Staging) -> Record | None:
        """Read again what is done, now that nobody else does this part; a journal that a crash cut off is mended."""
        journal.mend(self._path)
        return journal.read(staging.root / journal.NAME)

    def verified(self) -> None:
        """Note that the part's comparisons found the sources equal."""
        self.journal.verified(self._part.number)

    def forget(self) -> None:
        """Let nothing count that the part has done: its sources are not what they were."""
        self._path.unlink(missing_ok=True)


def unfinished(staging: Staging, plan: Plan, record: Record) -> tuple[int, ...]:
    """Return the numbers of the parts that are not complete: each of a part's files has to be there as it was noted."""
    missing = []
    for number, job in enumerate(parts(plan, record.parts), 1):
        whole = all(
            path in record.done and staging.is_whole(path, record.done[path])
            for path in (plan.outputs[k].path for k in job.files)
        )
        if not whole or (job.checks and number not in record.verified):
            missing.append(number)
    return tuple(missing)
