"""`check`, `fmt`, `list` and `explain`: what needs no checkpoint."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensormap import shown
from tensormap.commands import options, outcome, terminal
from tensormap.diagnostics import Diagnostic, MappingError, Source

if TYPE_CHECKING:
    from tensormap.language.checks import Findings
    from tensormap.language.losses import Loss
    from tensormap.language.mapping import Mapping

_HEADER = re.compile(r"^mapping\s+(\S+)\s*<->\s*(\S+)", re.MULTILINE)


# --- check


@click.command(cls=outcome.Command, short_help="Check mappings, without a checkpoint.")
@click.argument("mappings", metavar="MAPPING...", nargs=-1, required=True)
@options.json_option
@click.pass_context
def check(ctx: click.Context, mappings: tuple[str, ...], *, as_json: bool) -> None:
    """Check mappings without a checkpoint: what is proved, what is left to be checked, what each direction loses.

    MAPPING is the name of a bundled mapping (see `list`), a file, or `-` for stdin. Exits with 1 where something is wrong.
    """
    from tensormap import library

    sources = [
        ("<stdin>", library.read_from(sys.stdin.buffer, "<stdin>")) if each == "-" else library.find(each)
        for each in mappings
    ]
    results = []
    code = 0
    for number, (name, source) in enumerate(sources):
        mapping, findings, wrong = _checked(name, source)
        code = code or (outcome.FOUND if wrong else 0)
        if as_json:
            results.append(_check_data(name, mapping, findings, wrong))
            continue
        terminal.show(wrong)
        if mapping is not None and findings is not None and not findings.errors:
            for line in _check_lines(mapping, findings):
                terminal.out(line)
        terminal.out(f"{name}: {shown.counted(len(wrong), 'finding') if wrong else 'ok'}")
        if number + 1 < len(sources):
            terminal.out("")
    if as_json:
        terminal.out_json(results)
    ctx.exit(code)


def _checked(name: str, source: Source) -> tuple[Mapping | None, Findings | None, list[Diagnostic]]:
    from tensormap import library
    from tensormap.language import checks
    from tensormap.language.resolve import resolve

    try:
        mapping = resolve(source, library.include, name)
        findings = checks.check(mapping)
    except MappingError as error:
        return None, None, list(error.diagnostics)
    return mapping, findings, [*findings.errors, *findings.warnings]


def _check_lines(mapping: Mapping, findings: Findings) -> Iterator[str]:
    yield from _list("proved for every size that meets the `require`s:", findings.proved)
    yield from _list("left to be checked for these sizes:", findings.left)
    left, right = (side.name for side in mapping.sides)
    for start, end in ((left, right), (right, left)):
        losses = findings.losses[end]
        if losses:
            yield from _list(f"{start} -> {end} loses:", [f"{_loss(each)}  ({_where(each)})" for each in losses])
        else:
            yield f"{start} -> {end}: lossless"


def _loss(loss: Loss) -> str:
    return f"{loss.kind}: {shown.plain(loss.text)}"


def _where(loss: Loss) -> str:
    source = loss.span.source
    return f"{source.name}:{source.text.count(chr(10), 0, loss.span.start) + 1}"


def _list(title: str, items: Iterable[str]) -> Iterator[str]:
    yield title
    nothing = True
    for each in items:
        nothing = False
        yield f"  {each}"
    if nothing:
        yield "  nothing"


def _check_data(
    name: str, mapping: Mapping | None, findings: Findings | None, wrong: list[Diagnostic]
) -> dict[str, Any]:
    data: dict[str, Any] = {"mapping": name, "diagnostics": terminal.as_json(wrong)}
    if mapping is not None and findings is not None:
        data["sides"] = [side.name for side in mapping.sides]
        data["proved"] = list(findings.proved)
        data["left"] = list(findings.left)
        data["losses"] = {
            side: [{"kind": each.kind, "text": each.text, "rule": _where(each)} for each in losses]
            for side, losses in findings.losses.items()
        }
    return data


# --- fmt


@click.command(cls=outcome.Command, short_help="Format mapping files.")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option("--check", "only", is_flag=True, help="Write nothing; exit with 1 where a file is not formatted.")
@click.pass_context
def fmt(ctx: click.Context, paths: tuple[str, ...], *, only: bool) -> None:
    """Format mapping files in place; `-` reads stdin and writes stdout."""
    from tensormap import library
    from tensormap.commands.files import replace_file
    from tensormap.language.parser import parse
    from tensormap.language.printer import print_file

    found: list[Diagnostic] = []
    different = False
    for path in paths:
        try:
            source = library.read_from(sys.stdin.buffer, "<stdin>") if path == "-" else library.read(Path(path))
            text = print_file(parse(source))
        except MappingError as error:
            found += error.diagnostics
            continue
        changed = text != source.text
        different = different or changed
        if path == "-" and not only:
            terminal.out_text(text)
        elif changed and only:
            terminal.out(f"{source.name} is not formatted")
        elif changed:
            replace_file(Path(path), text.encode())
            terminal.err(f"formatted {path}")
    if found:
        raise MappingError(found)
    ctx.exit(outcome.FOUND if only and different else 0)


# --- list


@click.command("list", cls=outcome.Command, short_help="List the mappings that come with tensormap.")
@options.json_option
def list_(*, as_json: bool) -> None:
    """List the mappings that come with tensormap: names, sides, and what they are for."""
    from tensormap import library

    rows = []
    for name, path in library.bundled().items():
        text = path.read_text("utf-8")
        header = _HEADER.search(text)
        left, right = header.groups() if header else ("left", "right")
        first = text.partition("\n")[0]
        rows.append((name, left, right, first.lstrip("# ").strip() if first.startswith("#") else ""))
    if as_json:
        terminal.out_json([{"name": name, "sides": [left, right], "about": about} for name, left, right, about in rows])
        return
    for line in terminal.table([(name, f"{left} <-> {right}", about) for name, left, right, about in rows]):
        terminal.out(line)


# --- explain


@click.command(cls=outcome.Command)
@click.argument("slug", required=False)
@options.json_option
def explain(slug: str | None, *, as_json: bool) -> None:
    """Say what a finding means, and what to do about it. Without SLUG, list all of them.

    The slug of a finding stands in brackets: `error[claimed-twice]`.
    """
    known = explanations()
    if slug is None:
        if as_json:
            terminal.out_json(known)
        else:
            for each in known:
                terminal.out(each)
        return
    if slug not in known:
        from tensormap.suggest import did_you_mean

        hint = did_you_mean(slug, known)
        message = f"no finding is called `{slug}`"
        raise click.UsageError(f"{message}; did you mean `{hint}`?" if hint else message)
    if as_json:
        terminal.out_json({slug: known[slug]})
    else:
        terminal.out(known[slug])


def explanations() -> dict[str, str]:
    """Return the explanations by slug, in the order of the alphabet."""
    text = (files("tensormap") / "explanations.md").read_text("utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    found = {}
    for each in sections:
        slug, _, rest = each.partition("\n")
        found[slug.strip().strip("`")] = rest.strip()
    return dict(sorted(found.items()))
