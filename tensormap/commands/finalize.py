"""`finalize`: the end of a run in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tensormap import shown
from tensormap.commands import options, outcome, terminal
from tensormap.commands.convert import as_data, named, plan_option, planned, wanted_of


@click.command(cls=outcome.Command, short_help="End a run that was made in parts.")
@click.argument("places", metavar="[MAPPING SRC] DST", nargs=-1, required=True)
@options.planning
@options.extern_option
@plan_option("Publish only what parts of this plan wrote; `-` reads stdin.")
@click.option("--discard", is_flag=True, help="Remove what the parts left, and publish nothing.")
@click.option("--overwrite", is_flag=True, help="Replace a target that exists.")
@click.option("--checksum", is_flag=True, help="Write SHA256SUMS, for `sha256sum -c`.")
@options.json_option
@options.quiet_option
@click.pass_context
def finalize(
    ctx: click.Context,
    /,
    places: tuple[str, ...],
    *,
    plan_file: Path | None,
    discard: bool,
    overwrite: bool,
    checksum: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """End a run in parts: check that all are there, write what is no tensor, and let DST appear.

    The parts know their plan, so DST is enough. With MAPPING and SRC, or with --plan, they have to be of that plan. Exits with 5
    and lists the parts that are missing, if any are.

    \b
      tensormap apply neox/llama checkpoints/run hf --to hf --part 1/2
      tensormap apply neox/llama checkpoints/run hf --to hf --part 2/2
      tensormap finalize hf
    """  # noqa: D301 - click's mark for lines that stay as they are
    wanted = wanted_of(given)
    if len(places) == 1 and plan_file is None:
        decided = options.planning_given(ctx)
        if decided:
            raise click.UsageError(f"{decided[0]} says nothing without MAPPING and SRC", ctx)
        named(ctx, places[0])
        made, target = None, Path(places[0])
    else:
        made, target = planned(ctx, places, plan_file, wanted)
    if discard:
        from tensormap.runtime.finalize import discard as remove

        count = remove(target)
        if as_json:
            terminal.out_json({"target": str(target), "discarded": count})
        elif not quiet:
            terminal.out(f"removed {shown.counted(count, 'file')} that the parts of {target} had finished")
        return
    from tensormap import api

    report = api.finalize(target, plan=made, overwrite=overwrite, checksum=checksum)
    outcome.done(ctx)
    if as_json:
        terminal.out_json(as_data(report))
    elif not quiet:
        terminal.out(f"wrote {report.target}: {shown.counted(len(report.files), 'file')}")
        for note in report.notes:
            terminal.out(f"note: {shown.plain(note)}")
