"""The jobs of a run, done by a `concurrent.futures.Executor`: by threads, processes, or machines that share the file system.

What is sent is plain data: the job's piece of the plan, as JSON, and where to write. A job can be done twice, or by two at once
(`bay`): an executor may do so when a worker dies, or seems to.
"""

from __future__ import annotations

import errno
import os
import pickle
import traceback
import uuid
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from tensormap import externs
from tensormap.diagnostics import TensormapError
from tensormap.lowering import plan_json
from tensormap.lowering.plan import Plan
from tensormap.lowering.split import Job, jobs, narrow
from tensormap.runtime import journal
from tensormap.runtime.bay import Bay
from tensormap.runtime.progress import Callback, Progress
from tensormap.runtime.sources import Sources
from tensormap.runtime.staging import Staging
from tensormap.runtime.verifying import verify
from tensormap.runtime.worker import Terms, Work, counted, hire
from tensormap.runtime.yard import Yard

_TRIES = 3
_PATIENCE = 60.0  # seconds for jobs that are running to see that they are not wanted any more


@dataclass(frozen=True, slots=True)
class Order:
    """A job as it is sent. `run` and `attempt` tell it from all others: some executors give the result of an equal one again."""

    document: str
    target: str
    number: int
    terms: Terms
    functions: tuple[tuple[str, externs.Registered], ...]
    run: str
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a job: how each file was left, as the journal knows it, and its digest. With an `error`, nothing counts."""

    work: Work = field(default_factory=Work)
    files: dict[str, os.stat_result] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None


def fulfil(order: Order) -> Done:
    """Do a job, wherever this is called. Its own errors are returned: what is raised is the executor's."""
    try:
        return _do(order)
    except Exception as error:  # noqa: BLE001 - raised again where the job came from
        return Done(error=_portable(error))


def _do(order: Order) -> Done:
    for name, function in order.functions:
        externs.register(name, function.given, function.dtype)
    plan = plan_json.load(order.document)
    terms = order.terms
    sources = Sources((plan.root, plan.sources))
    sources.check()
    staging = Staging(Path(order.target))
    if not staging.work.is_dir():
        message = (
            "a worker does not see the target's directory: it has to share the file system, or the run was given up"
        )
        raise FileNotFoundError(errno.ENOENT, message, str(staging.work))
    files: dict[str, os.stat_result] = {}

    def note(path: str, status: os.stat_result, _: str | None) -> None:
        files[path] = status

    limits = terms.limits
    with (
        Bay(staging, f"job-{order.number}", {}, note) as bay,
        hire(sources, limits, terms.workers, trust_crc=terms.trust_crc) as staff,
    ):
        verified = verify(plan, staff, bay.watch(None))
        yard = Yard(plan, bay, limits, checksum=terms.checksum, sync=terms.sync)
        yard.write(staff, bay.watch(None))
        sources.check_unchanged()
        return Done(counted(staff, verified, yard.bytes_written), files, bay.sums)


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent, with where it came from, unless it says that itself."""
    trace = "".join(traceback.format_exception(error))
    if not isinstance(error, (TensormapError, OSError)):
        error.add_note(f"in a worker of the executor:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what was just made
    except Exception:  # noqa: BLE001 - whatever an error of others does when it is pickled
        return RuntimeError(trace)
    return error


def delegate(plan: Plan, staging: Staging, executor: Executor, terms: Terms, progress: Callback | None) -> Work:
    """Have all jobs of a plan done, but for files that are finished, and note in the journal what is.

    Raises what a job raised. ChildProcessError: the executor lost a job for good.
    """
    crew = _Crew(plan, staging, executor, terms)
    try:
        return crew.work(progress)
    finally:
        crew.end()


class _Crew:
    def __init__(self, plan: Plan, staging: Staging, executor: Executor, terms: Terms) -> None:
        self._plan = replace(plan, root=os.path.abspath(plan.root))
        self._staging = staging
        self._executor = executor
        self._terms = terms
        self._pending: dict[Future[Done], Order] = {}
        self._files = [each for each in plan.outputs if each.path not in staging.finished]

    def work(self, progress: Callback | None) -> Work:
        """Send all jobs, and take what comes back."""
        self._staging.work.mkdir(exist_ok=True)
        for each in self._files:
            self._staging.path(each.path)
        run = uuid.uuid4().hex
        for number, job in enumerate(jobs(self._plan)):
            files = tuple(k for k in job.files if self._plan.outputs[k].path not in self._staging.finished)
            if files or job.checks:
                self._send(self._order(number, Job(files, job.checks), run))
        total = sum(each.layout.size for each in self._files)
        verified = read = written = shared = finished = 0
        while self._pending:
            done, _ = wait(self._pending, 0.1, FIRST_COMPLETED)
            for future in [each for each in self._pending if each in done]:
                made = self._take(future)
                verified += made.work.verified
                read += made.work.bytes_read
                written += made.work.bytes_written
                shared += made.work.bytes_shared
                finished += len(made.files)
            if progress is not None:
                progress(Progress("write", written, total, finished, len(self._files)))
        return Work(verified, read, written, shared)

    def end(self) -> None:
        """Stop what still runs, after an error: nobody wants it any more."""
        for future in self._pending:
            future.cancel()
        if self._pending:
            self._staging.clear_work()  # which those that run will see
            wait(self._pending, _PATIENCE)

    def _order(self, number: int, job: Job, run: str) -> Order:
        piece = narrow(self._plan, job)
        names = dict.fromkeys(each.call.name for each in piece.inputs if each.call is not None)
        functions = tuple((name, externs.registered(name)) for name in names)
        return Order(plan_json.dump(piece), str(self._staging.target), number, self._terms, functions, run)

    def _send(self, order: Order) -> None:
        try:
            future = self._executor.submit(fulfil, order)
        except RuntimeError as error:  # it was shut down, or is broken
            raise self._lost(error) from error
        self._pending[future] = order

    def _take(self, future: Future[Done]) -> Done:
        """Note what a job has done; send it once more where it was lost."""
        order = self._pending.pop(future)
        try:
            made = future.result()
        except (BrokenExecutor, CancelledError) as error:
            raise self._lost(error) from error
        except Exception as error:
            if order.attempt >= _TRIES:
                raise self._lost(error) from error
            self._send(replace(order, attempt=order.attempt + 1))
            return Done()
        if made.error is not None:
            raise made.error
        for path, status in made.files.items():
            if not self._staging.is_whole(path, journal.known(status)):
                message = "a worker wrote this file, and it is not here: workers have to share the file system"
                raise OSError(errno.EIO, message, str(self._staging.content / path))
            self._staging.done(path, status, made.sums.get(path))
            if path in made.sums:
                self._staging.sums[path] = made.sums[path]
        return made

    def _lost(self, error: BaseException) -> ChildProcessError:
        said = str(error) or type(error).__name__
        return ChildProcessError(errno.ECHILD, f"the executor lost a job: {said}", str(self._staging.target))
