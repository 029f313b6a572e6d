"""The command line. It and `commands` are all that prints or exits.

What a command needs is imported when it runs: `--help` loads click and nothing else.
"""

from __future__ import annotations

import gc
import os

import click

from tensormap.commands.checkpoints import diff, inspect
from tensormap.commands.convert import apply, plan, verify
from tensormap.commands.finalize import finalize
from tensormap.commands.mappings import check, explain, fmt, list_
from tensormap.commands.terminal import open_streams
from tensormap.version import VERSION

_CODES = """\b
Exit codes:
  0    done
  1    findings (check, diff, verify, fmt --check)
  2    the mapping or the command line is at fault
  3    the checkpoint is at fault, or does not fit the mapping
  4    the disk
  5    locked by another run, an interrupted one waits for --resume, or parts are missing
  70   a bug in tensormap
"""


class _InOrder(click.Group):
    """Lists commands as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(
    cls=_InOrder,
    epilog=_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, prog_name="tensormap")
def cli() -> None:
    """Convert model checkpoints between layouts with mapping files: tensor equations, read both ways.

    Results go to stdout, everything else to stderr.
    """


for _command in (apply, plan, verify, finalize, inspect, diff, list_, check, fmt, explain):
    cli.add_command(_command)


def main() -> None:
    """Run the command line, and exit."""
    open_streams()
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # numpy's would start, and spin, for products that are never asked for
    gc.disable()  # what a command makes lives until it ends: a seventh of the time of `plan` went into looking for garbage
    try:
        cli(prog_name="tensormap")
    finally:
        gc.freeze()  # nor is there any to look for on the way out
