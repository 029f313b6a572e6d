"""The sides of a mapping: its header, and where each side's files and config lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tensormap.diagnostics import Label
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.scope import Scope
from tensormap.suggest import did_you_mean

_MOST_OPEN_ENDS = 3  # of a name of files: all ways to match it are tried


def sides(statements: Sequence[syntax.Statement], scope: Scope) -> tuple[m.Side, m.Side]:
    """Return both sides, by the names that the header gives them; without one they are `left` and `right`."""
    left, right = _header(statements, scope)
    found: dict[str, m.Side] = {}
    for each in statements:
        if isinstance(each, syntax.Side):
            if each.name not in (left, right):
                hint = did_you_mean(each.name, (left, right))
                scope.fail(
                    "unknown-side",
                    f"this mapping has no side `{each.name}`",
                    each.span,
                    f"its sides are `{left}` and `{right}`",
                    help=f"did you mean `{hint}`?" if hint else None,
                )
                continue
            if each.name in found:
                scope.fail("duplicate-declaration", f"side `{each.name}` is declared twice", each.span)
            found[each.name] = _side(each, scope)
    return found.get(left, m.Side(left)), found.get(right, m.Side(right))


def _header(statements: Iterable[syntax.Statement], scope: Scope) -> tuple[str, str]:
    first: syntax.Header | None = None
    for each in statements:
        if isinstance(each, syntax.Header):
            if first is not None:
                scope.fail(
                    "duplicate-declaration",
                    "a mapping has one header",
                    each.span,
                    "the second",
                    Label(first.span, "the first", False),
                )
            elif each.left == each.right:
                scope.fail("duplicate-declaration", "the two sides need different names", each.span)
            else:
                first = each
    return (first.left, first.right) if first is not None else ("left", "right")


def _side(side: syntax.Side, scope: Scope) -> m.Side:
    files = tuple(each for each in side.lines if isinstance(each, syntax.Files))
    configs = tuple(each for each in side.lines if isinstance(each, syntax.ConfigFile))
    tags = [each for each in side.lines if isinstance(each, syntax.Tag)]
    separators = [each.text for each in side.lines if isinstance(each, syntax.Separator)]
    named: list[syntax.Files | syntax.ConfigFile | syntax.Tag] = [*files, *configs, *tags]
    for line in named:
        _stays_inside(line, scope)
    return m.Side(side.name, files, configs, tags[0] if tags else None, separators[0] if separators else ".")


def _stays_inside(line: syntax.Files | syntax.ConfigFile | syntax.Tag, scope: Scope) -> None:
    """Refuse names of files that lead out of a checkpoint, or through all that is below it."""
    match line:
        case syntax.Tag(file=file, directory=directory, patterns=patterns):
            names = [file, directory, *map(_plain, patterns)]
        case syntax.Files(pattern=template):
            names = [_plain(template)]
        case syntax.ConfigFile(pattern=pattern):
            names = [pattern]
    for name in names:
        parts = name.split("/")
        if any(part in ("", ".", "..") or "**" in part or not part.isprintable() for part in parts):
            scope.fail("unsafe-path", f"`{name}` is not the name of a file inside of a checkpoint", line.span)
    match line:
        case syntax.ConfigFile(pattern=pattern):
            open_ends = pattern.count("*")
        case syntax.Files(pattern=template, under=under):
            open_ends = max(_open_ends(template), 0 if under is None else _open_ends(under) + 2)
        case _:
            open_ends = 0
    if open_ends > _MOST_OPEN_ENDS:
        scope.fail("too-large", "a name of files has too many parts that may end anywhere", line.span)


def _plain(template: syntax.Template) -> str:
    """Return a template's text, with a digit for each hole."""
    return "".join(part if isinstance(part, str) else "0" for part in template.parts)


def _open_ends(template: syntax.Template) -> int:
    """Count the parts of a name that may end anywhere. Numbers may not: something else stands between them."""
    return sum(part.count("*") for part in template.parts if isinstance(part, str))
