"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from tensormap.diagnostics import Diagnostic, MappingError

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def _settings(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read `NAME=VALUE` texts."""
    found: dict[str, str] = {}
    for each in values:
        name, equals, value = each.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"`{each}` is not `NAME=VALUE`", ctx, param)
        if found.setdefault(name, value.strip()) != value.strip():
            raise click.BadParameter(f"`{name}` is set to two values", ctx, param)
    return found


def part(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read `K/N`."""
    if value is None:
        return None
    number, slash, count = value.partition("/")
    if not slash or not (number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
        raise click.BadParameter(f"`{value}` is not `K/N`, as in `3/16`", ctx, param)
    return int(number), int(count)


json_option = click.option("--json", "as_json", is_flag=True, help="Print for a program to read.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")

extern_option = click.option(
    "--extern",
    "externs",
    metavar="FILE.py",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run this Python file first, which registers functions that the mapping calls. Repeat for more.",
)

_PLANNING: tuple[Decorator, ...] = (
    click.option("--to", metavar="SIDE", help="The side to write; found from the source where only one fits."),
    click.option(
        "--set",
        "settings",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_settings,
        help="Give a param or a dimension. Repeat for more.",
    ),
    click.option(
        "--config",
        "configs",
        metavar="FILE",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Take the source's config from here. Repeat for several YAML files.",
    ),
    click.option(
        "--dtype", metavar="DTYPE", help="Write floating-point tensors as this: bfloat16, float16, float32, ..."
    ),
    click.option(
        "--max-shard-size", metavar="SIZE", default="5GB", show_default=True, help="Bytes to a file, at most."
    ),
    click.option(
        "--like",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="Compare names, shapes and dtypes of the target with this checkpoint's.",
    ),
    click.option(
        "--trust", type=click.Choice(["shapes"]), help="Let observed shapes overrule a config that disagrees."
    ),
    click.option(
        "--align",
        is_flag=True,
        help="Pad safetensors headers, so that XFS and btrfs can share more blocks with the source.",
    ),
)

_RUNNING: tuple[Decorator, ...] = (
    click.option(
        "--workers", metavar="N", type=click.IntRange(1), help="Threads; as many as CPUs, but 2 to 8, without it."
    ),
    click.option("--memory", metavar="SIZE", default="64MB", show_default=True, help="Bytes for tiles in flight."),
)


def planning(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that a plan depends on."""
    for option in reversed(_PLANNING):
        command = option(command)
    return command


def running(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of what reads tensors."""
    for option in reversed(_RUNNING):
        command = option(command)
    return command


def run_externs(paths: Sequence[Path]) -> None:
    """Run files that register functions: `tensormap.externs.register("name", function)`. MappingError where one fails."""
    for path in paths:
        import runpy
        import traceback

        try:
            runpy.run_path(str(path))
        except Exception as error:
            frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
            where = f"{path}:{frames[-1].lineno}" if frames else str(path)
            notes = (f"at {where}",)
            message = f"`{path}` fails: {type(error).__name__}: {error}"
            raise MappingError(Diagnostic("extern-failed", message, notes=notes)) from error


def planning_given(ctx: click.Context) -> list[str]:
    """Return the options that a plan depends on and that were given, as they are written."""
    given = []
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name or "")
        if param.name in PLANNED and source is click.core.ParameterSource.COMMANDLINE:
            given.append(param.opts[0])
    return given


PLANNED = ("to", "settings", "configs", "dtype", "max_shard_size", "like", "trust", "align")
