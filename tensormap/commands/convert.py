"""`plan`, `apply` and `verify`: from one layout to the other."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensormap import shown
from tensormap.commands import differences, options, outcome, terminal
from tensormap.commands.progress import bar

if TYPE_CHECKING:
    from tensormap.api import Plan
    from tensormap.runtime.execute import Report

LONGEST_PLAN = 512 << 20  # bytes of a saved plan


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan depends on, as the command line gives it."""

    to: str | None
    settings: dict[str, str]
    configs: tuple[Path, ...]
    dtype: str | None
    max_shard_size: str
    like: Path | None
    trust: str | None
    align: bool

    def plan(self, mapping: str, source: Path) -> Plan:
        """Plan a conversion; the plan's root is absolute, so that it can be applied from anywhere."""
        from tensormap import api

        made = api.plan(
            mapping,
            source,
            self.to,
            self.settings,
            self.max_shard_size,
            self.dtype,
            config=self.configs or None,
            like=self.like,
            trust=self.trust,
            align=self.align,
        )
        return replace(made, steps=replace(made.steps, root=os.path.abspath(made.steps.root)))


def wanted_of(given: dict[str, Any]) -> Wanted:
    """Take the planning options out of a command's, and run the files that register functions."""
    options.run_externs(given.pop("externs"))
    return Wanted(**{name: given.pop(name) for name in options.PLANNED})


@click.command(cls=outcome.Command)
@click.argument("mapping")
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@options.planning
@options.extern_option
@click.option("--save", metavar="FILE", type=click.Path(path_type=Path), help="Keep the plan, for `apply --plan FILE`.")
@click.option("--json", "as_json", is_flag=True, help="Print for a program to read: what is shown, as data.")
@click.option("--full", is_flag=True, help="Print the whole plan as JSON, as `--save` keeps it, for `apply --plan -`.")
def plan(mapping: str, source: Path, *, save: Path | None, as_json: bool, full: bool, **given: Any) -> None:
    """Show what `apply` would do, reading headers and configs only.

    MAPPING is the name of a bundled mapping (see `list`) or a file; SRC a checkpoint: a directory or a file.
    """
    made = wanted_of(given).plan(mapping, source)
    if save is not None:
        _refuse_source(save, made)
        _write(save, made.to_json())
    if full:
        terminal.out(made.to_json())
        return
    if as_json:
        from tensormap.lowering import plan_listing

        terminal.out(plan_listing.dump(made.steps))
        return
    terminal.out(str(made))
    if save is not None:
        terminal.err(f"saved; `tensormap apply --plan {save} DST` runs it")


def plan_option(says: str) -> options.Decorator:
    """Return the option that names a saved plan."""
    return click.option(
        "--plan",
        "plan_file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        help=says,
    )


@click.command(cls=outcome.Command, short_help="Convert a checkpoint.")
@click.argument("places", metavar="[MAPPING SRC] DST", nargs=-1)
@options.planning
@options.extern_option
@plan_option("Run a saved plan, which knows its mapping and source; `-` reads stdin.")
@click.option(
    "--part",
    metavar="K/N",
    callback=options.part,
    help="Make part K of N only. Parts may run anywhere and at once; `finalize` ends the run.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, if there is one.")
@click.option("--discard", is_flag=True, help="Remove what an interrupted run left, and start anew.")
@click.option("--overwrite", is_flag=True, help="Replace a target that exists, once the new one is complete.")
@click.option("--checksum", is_flag=True, help="Write SHA256SUMS, for `sha256sum -c`.")
@click.option("--trust-crc", is_flag=True, help="Do not check the checksums that torch files carry.")
@click.option("--no-sync", is_flag=True, help="Publish before the data are on the disk, as cp does.")
@options.running
@options.json_option
@options.quiet_option
@click.pass_context
def apply(
    ctx: click.Context,
    /,
    places: tuple[str, ...],
    *,
    plan_file: Path | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Convert the checkpoint SRC, and write the result to the directory DST.

    MAPPING is the name of a bundled mapping (see `list`) or a file. DST appears when it is complete; a run that is stopped
    leaves it as it was.

    \b
      tensormap apply neox/llama checkpoints/run hf --to hf
      tensormap apply --plan plan.json hf
      tensormap apply --plan plan.json hf --part 3/16
    """  # noqa: D301 - click's mark for lines that stay as they are
    wanted = wanted_of(given)
    made, target = planned(ctx, places, plan_file, wanted)
    part = given["part"]
    ctx.meta["tensormap.stands"] = lambda: _stands(target) if part is None else "part"
    if given["resume"] and given["discard"]:
        raise click.UsageError("--resume goes on with what --discard removes: give one of them", ctx)
    given["sync"] = not given.pop("no_sync")
    if part is not None and not given["sync"]:
        raise click.UsageError("a part is noted as made when it is on the disk: --no-sync goes with a whole run", ctx)
    if part is not None and given["discard"]:
        raise click.UsageError(
            "other parts may be at work: `tensormap finalize --discard` removes what they all left", ctx
        )
    from tensormap import api

    with bar(quiet=quiet) as progress:
        report = api.apply(made, target, progress=progress, **given)
        if part is None:
            outcome.done(ctx)
    if as_json:
        terminal.out_json(as_data(report))
    elif not quiet:
        terminal.out(as_text(report))


def planned(ctx: click.Context, places: tuple[str, ...], plan_file: Path | None, wanted: Wanted) -> tuple[Plan, Path]:
    """Return the plan to run and where its result goes."""
    if plan_file is None:
        if len(places) != 3:
            raise click.UsageError("give MAPPING, SRC and DST; or --plan FILE and DST", ctx)
        mapping, source, target = places
        named(ctx, target)
        return wanted.plan(mapping, Path(source)), Path(target)
    if len(places) != 1:
        raise click.UsageError("a plan knows its mapping and source: give --plan FILE and DST", ctx)
    named(ctx, places[0])
    decided = options.planning_given(ctx)
    if decided:
        raise click.UsageError(f"{decided[0]} was decided when the plan was made", ctx)
    from tensormap.api import Plan
    from tensormap.diagnostics import CheckpointError, Diagnostic

    if str(plan_file) == "-":
        data = sys.stdin.buffer.read(LONGEST_PLAN + 1)
    else:
        with plan_file.open("rb") as file:
            data = file.read(LONGEST_PLAN + 1)
    if len(data) > LONGEST_PLAN:
        message = f"`{plan_file}` is longer than {LONGEST_PLAN >> 20} MiB, which no plan is"
        raise CheckpointError(Diagnostic("bad-plan", message))
    text = data.decode("utf-8", "replace")
    del data  # it may be large
    return Plan.from_json(text), Path(places[0])


def named(ctx: click.Context, target: str) -> None:
    """Refuse an empty DST, as an unset variable of a shell gives: it would be the current directory."""
    if not target:
        raise click.UsageError("DST is empty; write `.` for the current directory", ctx)


def _stands(target: Path) -> str:
    from tensormap.runtime.staging import Staging

    return Staging(Path(os.path.realpath(target))).stands()


def as_text(report: Report) -> str:
    speed = report.bytes_written / report.seconds if report.seconds > 0 else 0
    what = f"wrote {report.target}"
    if report.part is not None:
        what = f"part {report.part[0]}/{report.part[1]} of {report.target}"
    head = (
        f"{what}: {shown.counted(len(report.files), 'file')}, {shown.size(report.bytes_written)}"
        f" in {report.seconds:.1f} s ({shown.size(int(speed))}/s)"
    )
    lines = [head]
    if report.resumed:
        lines.append(f"{shown.counted(len(report.resumed), 'file')} had been written before")
    if report.bytes_shared:
        lines.append(f"{shown.size(report.bytes_shared)} are shared with the source: this file system has reflinks")
    if report.verified:
        lines.append(f"{shown.counted(report.verified, 'comparison')} of source tensors found them equal")
    if report.waiting:
        lines.append(
            f"still to be made: {shown.counted(len(report.waiting), 'part')} of {report.part and report.part[1]}"
        )
    elif report.part is not None:
        lines.append(f"all parts are there: `tensormap finalize {shlex.quote(str(report.target))}` ends the run")
    return "\n".join([*lines, *(f"note: {shown.plain(each)}" for each in report.notes)])


def as_data(report: Report) -> dict[str, Any]:
    return {
        "target": str(report.target),
        "files": list(report.files),
        "resumed": list(report.resumed),
        "bytes_read": report.bytes_read,
        "bytes_written": report.bytes_written,
        "bytes_shared": report.bytes_shared,
        "verified": report.verified,
        "seconds": round(report.seconds, 3),
        "notes": list(report.notes),
    } | ({} if report.part is None else {"part": list(report.part), "waiting": list(report.waiting)})


@click.command(cls=outcome.Command, short_help="Compute a conversion again, and compare.")
@click.argument("mapping")
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@options.planning
@options.extern_option
@click.option(
    "--tensors", is_flag=True, help="Compare tensors only: DST was written by another program, or as other files."
)
@options.running
@options.json_option
@options.quiet_option
@click.pass_context
def verify(  # noqa: PLR0913 - what a user may ask for
    ctx: click.Context,
    /,
    mapping: str,
    source: Path,
    target: Path,
    *,
    workers: int | None,
    memory: str,
    tensors: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Compute the conversion of SRC again and compare it with DST: every element, then all other bytes of the files.

    Give the options that `apply` was given. Nothing is written. Exits with 1 where something differs.
    """
    from tensormap import api
    from tensormap.lowering import direction
    from tensormap.lowering.sources import open_side
    from tensormap.runtime.execute import threads
    from tensormap.runtime.verify import compare
    from tensormap.runtime.verify_files import compare_files, file_count

    wanted = wanted_of(given)
    made = wanted.plan(mapping, source).steps
    turned = direction.towards(api.load(mapping).resolved, made.side)
    opened = open_side(turned, turned.sides[1], target, api.settings_of(wanted.settings), ())
    with bar(quiet=quiet) as progress:
        count = threads(workers)
        found = compare(made, opened.catalog, workers=count, memory=api.parse_size(memory), progress=progress)
    tensors = (
        tensors or not target.is_dir()
    )  # one file of a checkpoint, or its index: what lies beside it was not asked for
    files = None if tensors else (compare_files(made, target, workers=count), file_count(made))
    names = {each.name for output in made.outputs for each in output.tensors} | opened.catalog.tensors.keys()
    places = ("what would be written", str(target))
    ctx.exit(differences.show(found, len(names), places, files=files, as_json=as_json, quiet=quiet))


def _refuse_source(path: Path, made: Plan) -> None:
    """Refuse a path that is one of the files that a plan reads. MappingError."""
    from tensormap.checkpoints.refusal import shown as quoted
    from tensormap.diagnostics import Diagnostic, MappingError

    sources = [each.path for each in made.steps.sources] + [each.source for each in made.steps.companions]
    if path.exists() and any(os.path.samefile(path, Path(made.steps.root, each)) for each in sources):
        message = f"{quoted(path)} is a file that the plan reads"
        raise MappingError(Diagnostic("target-is-source", message, help=("save the plan beside the source",)))


def _write(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    from tensormap.commands.files import replace_file

    replace_file(path, text.encode())
