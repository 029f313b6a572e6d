"""Tree to canonical text: `parse(print_file(tree)) == tree`, and printing what was printed changes nothing.

Comments stay, and single blank lines. Arrows of neighbouring rules and config lines stand under one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tensormap.language import syntax
from tensormap.language.phrases import print_expression, print_layout, print_template, print_term
from tensormap.language.syntax import Clause, ConfigLine, Expression, Rule, SideLine, Statement, Trivia

__all__ = ["print_expression", "print_file", "print_layout", "print_rule", "print_template", "print_term"]

LINE = 120
"""A rule that is longer stands on several lines."""

ALIGNED = 60
"""A left side that is longer is not aligned with its neighbours."""

_INDENT = "    "
_BARE = re.compile(r"\$?[A-Za-z_][A-Za-z0-9_.~]*'*\Z")


def print_file(file: syntax.File) -> str:
    """Return the text of a file, with a newline at its end unless it is empty."""
    lines = [*_statements(file.statements, ""), *_comments(file.closing, "")]
    return "".join(f"{line}\n" for line in lines)


def print_rule(rule: Rule) -> str:
    """Return a rule on one line, without its comments."""
    row = _rule_row(rule)
    return f"{row.left} {row.rest}"


# --- lines


@dataclass(frozen=True, slots=True)
class _Row:
    """A line in two columns; `head` is the part of the left column before its `=`, and that sign."""

    left: str
    rest: str
    head: str = ""


def _comments(trivia: Trivia, indent: str) -> Iterator[str]:
    """Print what stands before a statement."""
    for each in trivia.before:
        yield "" if each is None else indent + _comment(each)


def _comment(text: str) -> str:
    return ("#" if not text or text[0] in " #!" else "# ") + text


def _with_comment(line: str, trivia: Trivia) -> str:
    return line if trivia.after is None else f"{line}  {_comment(trivia.after)}"


def _statements(statements: Sequence[Statement], indent: str) -> Iterator[str]:
    for (single, _), run in groupby(_numbered(statements, indent), key=lambda each: each[0]):
        if single:
            yield from _aligned([statement for _, statement in run if isinstance(statement, Rule)], indent)
        else:
            for _, statement in run:
                yield from _comments(statement.trivia, indent)
                *lines, last = _statement(statement, indent)
                yield from lines
                yield _with_comment(last, statement.trivia)


def _numbered(statements: Sequence[Statement], indent: str) -> Iterator[tuple[tuple[bool, int], Statement]]:
    """Number the runs of rules that are aligned: a blank line, a comment and anything longer than a line end one."""
    run = 0
    for each in statements:
        single = isinstance(each, Rule) and len(indent + print_rule(each)) <= LINE
        run += each.trivia.before != () or not single
        yield (single, run), each


def _aligned(rules: Sequence[Rule], indent: str) -> Iterator[str]:
    """Print rules of one line each, their arrows under one another."""
    yield from _comments(rules[0].trivia, indent)
    for line, rule in zip(_align([_rule_row(each) for each in rules], indent), rules, strict=True):
        yield _with_comment(indent + line, rule.trivia)


def _align(rows: Sequence[_Row], indent: str) -> Iterator[str]:
    """Pad the left columns to one width, but for those that are long or would make the line so."""
    width = max((len(each.left) for each in rows if len(each.left) <= ALIGNED), default=0)
    for row in rows:
        fits = len(row.left) <= ALIGNED and len(indent) + width + 1 + len(row.rest) <= LINE
        yield f"{row.left:<{width if fits else 0}} {row.rest}"


# --- statements


def _statement(statement: Statement, indent: str) -> Iterator[str]:
    """Print the lines of a statement without what stands before it and at its end."""
    match statement:
        case Rule():
            yield from _long_rule(statement, indent)
        case syntax.Scope():
            yield from _scope(statement, indent, indent)
        case syntax.Side(name=name, lines=lines, closing=closing):
            yield f"{indent}side {name} {{"
            yield from _side_lines(lines, indent + _INDENT)
            yield from _comments(closing, indent + _INDENT)
            yield indent + "}"
        case syntax.Config(lines=lines, closing=closing):
            yield f"{indent}config {{"
            yield from _config_lines(lines, indent + _INDENT)
            yield from _comments(closing, indent + _INDENT)
            yield indent + "}"
        case _:
            yield indent + _declaration(statement)


def _declaration(
    statement: syntax.Header | syntax.Param | syntax.Index | syntax.Let | syntax.Require | syntax.Use | syntax.Extern,
) -> str:
    """Print a statement that always stands on one line."""
    match statement:
        case syntax.Header(left=left, right=right):
            return f"mapping {left} <-> {right}"
        case syntax.Param(name=name, variants=variants, default=default, text=text):
            values = f" in {', '.join(map(_bare, variants))}" if variants else ""
            return f"param {name}{values}{_value(' = ', default)}{_text(text)}"
        case syntax.Index(name=name, bound=bound, values=chosen):
            return (
                f"index {name}{_value(' < ', bound)}" if bound else f"index {name} in {', '.join(map(_bare, chosen))}"
            )
        case syntax.Let(name=name, value=value):
            return f"let {name} = {print_expression(value)}"
        case syntax.Require(condition=condition, text=text):
            return f"require {print_expression(condition)}{_text(text)}"
        case syntax.Use(path=path, bindings=bindings):
            listed = ", ".join(f"{each.name} = {print_expression(each.value)}" for each in bindings)
            return f'use "{path}"' + (f" with {listed}" if listed else "")
        case syntax.Extern(name=name, inputs=inputs, arrow=arrow, outputs=outputs):
            taken, given = (", ".join(map(print_layout, each)) for each in (inputs, outputs))
            return f"extern {name}({taken}) {arrow} {given}"


def _value(before: str, value: Expression | None) -> str:
    return "" if value is None else before + print_expression(value)


def _text(text: str | None) -> str:
    return "" if text is None else f' "{text}"'


def _bare(text: str) -> str:
    """Print a word, in quotes if it needs them."""
    return text if _BARE.match(text) else f'"{text}"'


def _long_rule(rule: Rule, indent: str) -> Iterator[str]:
    """Break a rule before its arrow and before each comma on its right; on its left only if it is too long."""
    left = [print_term(each) for each in rule.left]
    joined = indent + ", ".join(left)
    if len(joined) <= LINE:
        yield joined
    else:
        yield indent + left[0]
        yield from (f"{indent}  , {each}" for each in left[1:])
    first, *more = (print_term(each) for each in rule.right)
    lines = [f"{indent}{_INDENT}{rule.arrow} {first}"]
    joined = ", ".join((lines[0], *more))
    clauses = _clauses(rule.clauses, "   ")
    if len(joined + clauses) <= LINE:
        yield joined + clauses
        return
    lines += [f"{indent}{_INDENT}{',':>{len(rule.arrow)}} {each}" for each in more]
    yield from lines[:-1]
    yield lines[-1] + clauses


def _rule_row(rule: Rule) -> _Row:
    left, right = (", ".join(map(print_term, each)) for each in (rule.left, rule.right))
    return _Row(left, f"{rule.arrow} {right}{_clauses(rule.clauses, '   ')}")


def _clauses(clauses: Sequence[Clause], before: str) -> str:
    return before + " ".join(map(_clause, clauses)) if clauses else ""


def _clause(clause: Clause) -> str:
    match clause:
        case syntax.Block(left=left, arrow=arrow, right=right):
            return f"block {print_template(left)} {arrow} {print_template(right)}"
        case syntax.When(condition=condition):
            return f"when {print_expression(condition)}"
        case syntax.Replicated(names=names, how=how):
            return f"replicated {', '.join(names)}" + (f" by {how}" if how else "")
        case syntax.Optional1():
            return "optional"


def _scope(scope: syntax.Scope, indent: str, before: str) -> Iterator[str]:
    """Print a scope; `before` is what stands on its first line already."""
    while True:
        head = _clauses(scope.clauses, "")
        yield f"{before}{head} {{" if head else f"{before.rstrip()} {{"
        yield from _statements(scope.statements, indent + _INDENT)
        yield from _comments(scope.closing, indent + _INDENT)
        if scope.otherwise is None:
            break
        scope, before = scope.otherwise, indent + "} else "
    yield indent + "}"


# --- lines of sides and configs


def _side_lines(lines: Sequence[SideLine], indent: str) -> Iterator[str]:
    words = [_side_line(each) for each in lines]
    width = max((len(keyword) for keyword, _ in words), default=0)
    for line, (keyword, rest) in zip(lines, words, strict=True):
        yield from _comments(line.trivia, indent)
        yield _with_comment(f"{indent}{keyword:<{width}} {rest}", line.trivia)


def _side_line(line: SideLine) -> tuple[str, str]:
    """Return a line's keyword and what follows."""
    match line:
        case syntax.Files(pattern=pattern, at=at, under=under, prefix=prefix, entries=entries, condition=condition):
            named = (("at", at), ("under", under), ("as", prefix))
            text = print_template(pattern) + "".join(f" {word} {print_template(each)}" for word, each in named if each)
            if entries:
                text += " with " + ", ".join(f"{_bare(each.key)} = {print_expression(each.value)}" for each in entries)
            return "files", text + _value(" when ", condition)
        case syntax.ConfigFile(pattern=name, at=inside, kind=kind):
            form = "" if kind == "dict" else f" as {kind}"
            return "config", f'"{name}"' + (f" at {_bare(inside)}{form}" if inside is not None else "")
        case syntax.Separator(text=separator):
            return "path", f'"{separator}"'
        case syntax.Tag(file=file, directory=directory, patterns=patterns):
            return "tag", ", ".join((f'"{file}" = "{directory}"', *map(print_template, patterns)))


def _config_lines(lines: Sequence[ConfigLine], indent: str) -> Iterator[str]:
    """Print config lines; a blank line and a comment end a run of aligned ones."""
    runs: list[list[ConfigLine]] = []
    for each in lines:
        if each.trivia.before or not runs:
            runs.append([])
        runs[-1].append(each)
    for run in runs:
        yield from _comments(run[0].trivia, indent)
        heads = [_value("", each.value) for each in run]
        width = max((len(each) for each in heads if len(each) <= ALIGNED), default=0)
        blank = " " * (width + 3 if any(heads) else 0)
        rows = []
        for head, line in zip(heads, run, strict=True):
            left = f"{head:<{width}} = " if head else blank
            rows.append(_Row(left + print_expression(line.left), f"{line.arrow} {print_expression(line.right)}"))
        for text, line in zip(_align(rows, indent), run, strict=True):
            yield _with_comment(indent + text, line.trivia)
