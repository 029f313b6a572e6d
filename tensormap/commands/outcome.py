"""How a command ends: its exit code, and what is said about it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from tensormap.commands import terminal
from tensormap.diagnostics import BusyError, CheckpointError, Diagnostic, TensormapError

FOUND = 1
MAPPING = 2
CHECKPOINT = 3
DISK = 4
BUSY = 5
BUG = 70
PIPE = 141
INTERRUPTED = 130
TERMINATED = 143

_MEMORY = Diagnostic("disk", "not enough memory", help=("`--memory` and `--workers` bound what a run takes for tiles",))

_NOT_WITH_RESUME = (
    "--resume",
    "--discard",
    "--overwrite",
)  # a resumed run has the leave to overwrite that it was given first


class Terminated(BaseException):
    """SIGTERM came."""


class Command(click.Command):
    """A command whose errors become exit codes. With `--json`, findings go to stdout as JSON."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["tensormap.args"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _termination(), _flushed():
                super().invoke(ctx)
        except TensormapError as error:
            ctx.exit(_report(ctx, error.diagnostics, _code(error)))
        except BrokenPipeError:
            ctx.exit(PIPE)
        except (OSError, MemoryError) as error:
            _report(ctx, [disk(error) if isinstance(error, OSError) else _MEMORY], DISK)
            _say_how_it_stands(ctx)
            ctx.exit(DISK)
        except KeyboardInterrupt:
            _interrupted(ctx, INTERRUPTED, "interrupted")
        except Terminated:
            _interrupted(ctx, TERMINATED, "terminated")
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:  # noqa: BLE001 - what is left is a bug
            traceback.print_exc()
            published = "the target is complete" if _is_done(ctx) else "nothing was published"
            terminal.err(
                f"\nthis is a bug in tensormap, and {published}: please report the lines above, with the command"
                " and the mapping, to the project's issue tracker"
            )
            ctx.exit(BUG)


def disk(error: OSError) -> Diagnostic:
    """Return what the operating system refused as a finding."""
    said = (error.strerror or str(error) or type(error).__name__).lower()
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return Diagnostic("disk", f"{' and '.join(f'`{name}`' for name in names)}: {said}" if names else said)


def _code(error: TensormapError) -> int:
    match error:
        case CheckpointError():
            return CHECKPOINT
        case BusyError():
            return BUSY
        case _:
            return MAPPING


def _report(ctx: click.Context, findings: tuple[Diagnostic, ...] | list[Diagnostic], code: int) -> int:
    if ctx.params.get("as_json"):
        try:
            terminal.out_json({"exit": code, "diagnostics": terminal.as_json(findings)})
            sys.stdout.flush()
        except OSError:  # that may be what is to be reported
            _silence()
        else:
            return code
    terminal.show(findings)
    return code


def done(ctx: click.Context) -> None:
    """Note that the target is in its place: whatever fails from here on, it is complete."""
    ctx.meta["tensormap.stands"] = lambda: "done"


def _is_done(ctx: click.Context) -> bool:
    stands = ctx.meta.get("tensormap.stands")
    try:
        return stands is not None and stands() in ("done", "complete")
    except OSError:
        return False


def _interrupted(ctx: click.Context, code: int, what: str) -> NoReturn:
    terminal.err(f"\n{what}")
    _say_how_it_stands(ctx)
    ctx.exit(code)


def _say_how_it_stands(ctx: click.Context) -> None:
    """Say how far a run came, and how it goes on where there is something to go on from."""
    stands = ctx.meta.get("tensormap.stands")
    try:
        how = stands and stands()
    except OSError:  # the disk that ended the run, perhaps
        return
    match how:
        case "resumable":
            arguments = [each for each in ctx.meta["tensormap.args"] if each not in _NOT_WITH_RESUME]
            terminal.err("the target is as it was; to go on from here:")
            terminal.err(f"  tensormap {ctx.info_name} {shlex.join([*arguments, '--resume'])}")
        case "part":
            terminal.err("the same command goes on from here")
        case "done":
            terminal.err("the target is complete")
        case "complete":
            terminal.err(
                "the target is complete; the next run to it removes the hidden directory that is left beside it"
            )
        case "nothing":
            terminal.err("the target is as it was, and no file was finished")
        case _:
            pass


@contextmanager
def _flushed() -> Iterator[None]:
    """Write out what was printed before the command ends, so that a failure to do so is one of the command."""
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            _silence()
            raise


@contextmanager
def _termination() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that what is open is closed."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _silence() -> None:
    """Let nothing more be written to where it cannot go."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
