"""Mutants of a mapping file: the same text with one small mistake, as a person makes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tensormap.diagnostics import Source, Span
from tensormap.language import syntax
from tensormap.language.parser import parse

KINDS = {
    "axes": "two axes side by side change places, in a layout or a product: transposes, permutations, majors and minors",
    "axis": "one axis is written for another of its rule",
    "roles": "two axes of a product change their roles in a whole rule: heads for groups",
    "names": "two names change places: gate for up, keys for values, one rule's tensor for the next one's",
    "order": "two parts of a concatenation, or two terms, change places",
    "drop": "a part, a term or a whole rule is left out",
    "number": "a number is one more: indices, offsets, sizes, constants",
    "range": "an index counts one more",
    "replicas": "copies are merged in another way",
    "condition": "a condition holds where it did not",
    "config": "a line of the config is left out, or says another value",
    "arithmetic": "another operator",
    "dtype": "another dtype",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit of one file: the text from `start` to `end` becomes `new`."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    old: str
    new: str
    before: str = ""  # the text in front, to the beginning of the line

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind} at {self.start}: `{_short(self.old)}` -> `{_short(self.new)}`"

    def text(self, of: str) -> str:
        """Return the file's text with the mistake in it."""
        return of[: self.start] + self.new + of[self.end :]


def mutants(source: Source) -> tuple[Mutant, ...]:
    """List the mutants of a file, in the order of its text; each text once."""
    found: dict[str, Mutant] = {}
    for kind, span, new in _edits(parse(source)):
        old = source.text[span.start : span.end]
        line = source.text.count("\n", 0, span.start) + 1
        before = source.text[source.text.rfind("\n", 0, span.start) + 1 : span.start]
        made = Mutant(source.name, line, kind, span.start, span.end, old, new, before)
        text = made.text(source.text)
        if text != source.text:
            found.setdefault(text, made)
    return tuple(sorted(found.values(), key=lambda each: (each.start, each.end, each.kind, each.new)))


Edit = tuple[str, Span, str]


def _edits(tree: syntax.File) -> Iterator[Edit]:
    for statement in tree.statements:
        yield from _statement(statement)
    yield from _neighbours(tree.statements)


def _statement(node: syntax.Statement) -> Iterator[Edit]:
    match node:
        case syntax.Rule():
            yield from _rule(node)
        case syntax.Scope(clauses, statements, otherwise):
            for clause in clauses:
                yield from _clause(clause)
            for statement in statements:
                yield from _statement(statement)
            yield from _neighbours(statements)
            if otherwise is not None:
                yield from _statement(otherwise)
        case syntax.Config(lines):
            for line in lines:
                yield from _config(line)
        case syntax.Index(bound=bound, values=values):
            if bound is not None:
                yield "range", bound.span, f"{_text(bound.span)} + 1"
            if len(values) > 1:
                yield "range", node.span, _text(node.span).removesuffix(f", {values[-1]}")
        case syntax.Let() | syntax.Require() | syntax.Param() | syntax.Use():
            yield from _numbers("number", node)


def _rule(node: syntax.Rule) -> Iterator[Edit]:
    yield "drop", node.span, ""
    for terms in (node.left, node.right):
        for one, other in pairwise(terms):
            yield "order", Span(one.span.source, one.span.start, other.span.end), _swapped(one.span, other.span)
            yield from _names_swapped(one, other)
        if len(terms) > 1:
            yield "drop", Span(terms[0].span.source, terms[0].span.start, terms[1].span.start), ""
            for one, other in pairwise(terms):
                yield "drop", Span(one.span.source, one.span.end, other.span.end), ""
    axes = [each for each in walk((node.left, node.right)) if isinstance(each, syntax.Axis)]
    for term in (*node.left, *node.right):
        yield from _term(term, axes)
    for one, other in _side_by_side(node):
        swapped = {one: other, other: one}
        yield "roles", node.span, _with(node.span, [(each.span, swapped.get(each.name, each.name)) for each in axes])
    for clause in node.clauses:
        yield from _clause(clause)


def _side_by_side(node: syntax.Rule) -> Iterator[tuple[str, str]]:
    """Yield the names of axes that stand side by side in some product, each pair once."""
    found: dict[frozenset[str], tuple[str, str]] = {}
    for each in walk((node.left, node.right)):
        if isinstance(each, syntax.Product):
            for one, other in pairwise(each.axes):
                if isinstance(one, syntax.Axis) and isinstance(other, syntax.Axis) and one.name != other.name:
                    found.setdefault(frozenset((one.name, other.name)), (one.name, other.name))
    yield from found.values()


def _with(span: Span, edits: Sequence[tuple[Span, str]]) -> str:
    """Return a text with other names in these places; what is more than a name there is left as it is."""
    text, at = "", span.start
    for place, name in sorted(edits, key=lambda each: each[0].start):
        plain = _text(place).replace("'", "").isidentifier()
        text += span.source.text[at : place.start] + (name if plain else _text(place))
        at = place.end
    return text + span.source.text[at : span.end]


def _term(term: syntax.Term, axes: Sequence[syntax.Axis]) -> Iterator[Edit]:
    for node in walk(term.value):
        match node:
            case syntax.Layout() | syntax.Product() | syntax.Group() | syntax.Literal1() | syntax.Axis():
                yield from _layout(node, axes)
            case syntax.Hole(expression):
                yield from _hole(expression)
            case syntax.Tensor():
                yield from _tensor(node)
            case syntax.Constant() | syntax.Arithmetic() | syntax.Apply() | syntax.Negative():
                yield from _value(node)


def _layout(node: Any, axes: Sequence[syntax.Axis]) -> Iterator[Edit]:
    match node:
        case syntax.Layout(items) | syntax.Product(items):
            for one, other in pairwise(items):
                yield "axes", _both(one, other), _swapped(one.span, other.span)
        case syntax.Group(summands) if len(summands) > 1:
            for one, other in pairwise(summands):
                yield "order", _both(one, other), _swapped(one.span, other.span)
                yield "drop", Span(one.span.source, one.span.end, other.span.end), ""
            yield "drop", Span(summands[0].span.source, summands[0].span.start, summands[1].span.start), ""
        case syntax.Literal1(value):
            yield "number", node.span, _text(node.span).replace(str(value), str(value + 1))
        case syntax.Axis(per=per) if per is not None:
            yield "number", node.span, _text(node.span).replace(str(per), str(per + 1))
        case syntax.Axis(name=name, of=None, tag=None):
            others = dict.fromkeys(each.name for each in axes if each.name != name and each.of is None)
            if others:
                yield "axis", node.span, min(others, key=lambda each: _distance(node, each, axes))


def _hole(expression: syntax.Expression) -> Iterator[Edit]:
    yield "number", expression.span, f"{_text(expression.span)} + 1"
    yield from _numbers("number", expression)
    for each in walk(expression):
        if isinstance(each, syntax.Numbered):
            for one, other in pairwise(each.parts):
                yield "axes", _both(one, other), _swapped(one.span, other.span)


def _tensor(node: syntax.Tensor) -> Iterator[Edit]:
    if node.dtype is not None:
        other = "float16" if node.dtype != "float16" else "float32"
        yield "dtype", node.span, _text(node.span).replace(f"as {node.dtype}", f"as {other}")
        yield "dtype", node.span, _text(node.span).replace(f" as {node.dtype}", "")
    for alias in node.aliases:
        text = _text(alias.span)
        yield "names", alias.span, text.removesuffix("?") if alias.maybe else f"{text}?"


def _value(node: syntax.Value) -> Iterator[Edit]:
    match node:
        case syntax.Constant(text):
            yield "number", Span(node.span.source, node.span.start, node.span.start + len(text)), f"{text}1"
        case syntax.Arithmetic(operator, left, right):
            span = Span(left.span.source, left.span.end, right.span.start)
            other = {"+": "-", "-": "+", "*": "/", "/": "*"}[operator]
            yield "arithmetic", span, _text(span).replace(operator, other, 1)
        case syntax.Apply(function) if function in ("exp", "log"):
            span = Span(node.span.source, node.span.start, node.span.start + len(function))
            yield "arithmetic", span, {"exp": "log", "log": "exp"}[function]
        case syntax.Negative(operand):
            yield "arithmetic", node.span, _text(operand.span)


def _clause(clause: syntax.Clause) -> Iterator[Edit]:
    match clause:
        case syntax.When(condition):
            yield "condition", condition.span, f"not ({_text(condition.span)})"
            yield from _numbers("number", condition)
        case syntax.Replicated(names, how):
            text = _text(clause.span)
            for other in ("mean", "sum", "first"):
                if how != other:
                    yield "replicas", clause.span, text.removesuffix(f" by {how}") + f" by {other}"
            if how is not None:
                yield "replicas", clause.span, text.removesuffix(f" by {how}")
            yield "replicas", clause.span, ""
            if len(names) > 1:
                yield "replicas", clause.span, text.replace(f", {names[-1]}", "")
        case syntax.Optional1():
            yield "drop", clause.span, ""
        case syntax.Block(left, _, right):
            for template in (left, right):
                for node in walk(template):
                    if isinstance(node, syntax.Hole):
                        yield "number", node.expression.span, f"{_text(node.expression.span)} + 1"
                        yield from _numbers("number", node.expression)


def _config(line: syntax.ConfigLine) -> Iterator[Edit]:
    yield "config", line.span, ""
    for expression in (line.value, line.left, line.right):
        if expression is not None:
            yield from _numbers("config", expression)
            for node in walk(expression):
                match node:
                    case syntax.Binary(operator, left, right) if operator in ("+", "-", "*", "/", "//"):
                        span = Span(left.span.source, left.span.end, right.span.start)
                        other = {"+": "-", "-": "+", "*": "+", "/": "*", "//": "*"}[operator]
                        yield "config", span, _text(span).replace(operator, other, 1)
                    case syntax.Unary("not", operand):
                        yield "config", node.span, _text(operand.span)
                    case syntax.Name("true" | "false" as text):
                        yield "config", node.span, {"true": "false", "false": "true"}[text]
                    case syntax.String(value) if value:
                        yield "config", node.span, _text(node.span).replace(value, f"{value}x")


def _numbers(kind: str, expression: Any) -> Iterator[Edit]:
    for node in walk(expression):
        if isinstance(node, syntax.Integer):
            yield kind, node.span, str(node.value + 1)
        elif isinstance(node, syntax.Number):
            yield kind, node.span, repr(float(node.text) * 2 or 1.0)


def _neighbours(statements: Sequence[syntax.Statement]) -> Iterator[Edit]:
    """Swap the left names of rules that stand one behind the other."""
    rules = [each for each in statements if isinstance(each, syntax.Rule)]
    for one, other in pairwise(rules):
        if len(one.left) == len(other.left) == 1:
            yield from _names_swapped(one.left[0], other.left[0])


def _names_swapped(one: syntax.Term, other: syntax.Term) -> Iterator[Edit]:
    first, second = one.value, other.value
    if isinstance(first, syntax.Tensor) and isinstance(second, syntax.Tensor):
        a, b = first.template.span, second.template.span
        if _text(a) != _text(b) and "_" not in (_text(a), _text(b)):
            yield "names", Span(a.source, a.start, b.end), _swapped(a, b)


def _distance(axis: syntax.Axis, name: str, axes: Sequence[syntax.Axis]) -> int:
    return min(abs(each.span.start - axis.span.start) for each in axes if each.name == name)


def _both(one: Any, other: Any) -> Span:
    return Span(one.span.source, one.span.start, other.span.end)


def _swapped(one: Span, other: Span) -> str:
    text = one.source.text
    return f"{_text(other)}{text[one.end : other.start]}{_text(one)}"


def _text(span: Span) -> str:
    return span.source.text[span.start : span.end]


def _short(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= 60 else f"{shown[:40]} ... {shown[-15:]}"


def walk(node: Any) -> Iterator[Any]:
    """Yield a node and all below it, parents first."""
    if isinstance(node, tuple):
        for each in node:
            yield from walk(each)
    elif dataclasses.is_dataclass(node) and not isinstance(node, (Span, type)):
        yield node
        for each in dataclasses.fields(node):
            if each.name not in ("span", "trivia", "closing"):
                yield from walk(getattr(node, each.name))
