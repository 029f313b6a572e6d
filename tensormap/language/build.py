"""What the grammar's rules mean as syntax: one method a rule, called from the leaves up.

Refuses what a context-free grammar cannot: numbers too large, words that are not names in their place. Findings are collected,
not raised, and a stand-in is put where something cannot be built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol, TypeAlias

from tensormap.diagnostics import Diagnostic, Label, Source, Span
from tensormap.language import syntax
from tensormap.language.syntax import Clause, ConfigLine, Expression, SideLine, Statement, Template, Trivia, Value
from tensormap.language.templates import Templates
from tensormap.language.trivia import Comments

MAX_INTEGER = (1 << 63) - 1
MAX_WIDTH = 20

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*\Z")
_AXIS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*'*\Z")
_MAX_EXPONENT = 400


class Token(Protocol):
    """A word of the text; also its characters."""

    type: str
    start_pos: int | None
    end_pos: int | None

    def __str__(self) -> str: ...


Children: TypeAlias = list[Any]


@dataclass(frozen=True, slots=True)
class _Body:
    """What stands between braces."""

    lines: tuple[Any, ...]
    closing: Trivia
    span: Span


class Builder:
    """Builds the tree of one text, which begins `offset` characters into `source`."""

    def __init__(self, source: Source, offset: int, comments: Comments, templates: Templates) -> None:
        self.source = source
        self.offset = offset
        self.comments = comments
        self.templates = templates
        self.found: list[Diagnostic] = []
        self.doubtful: list[Diagnostic] = []  # about what would be right inside a function's arguments

    # --- places and words

    def span(self, start: int, end: int) -> Span:
        """Return the span of the text's characters `start` to `end`."""
        return Span(self.source, self.offset + start, self.offset + end)

    def _of(self, token: Token) -> Span:
        assert token.start_pos is not None
        assert token.end_pos is not None
        return self.span(token.start_pos, token.end_pos)

    def _refuse(self, slug: str, message: str, span: Span, seen: str = "", *help: str) -> None:
        self.found.append(Diagnostic(slug, message, (Label(span, seen),), help=help))

    def _word(self, token: Token, what: str) -> str:
        """Read a name without dots, holes and primes."""
        if not _WORD.match(str(token)):
            self._refuse("syntax", f"`{token}` cannot be {what}", self._of(token), "expected letters, digits and `_`")
        return str(token)

    def _integer(self, token: Token) -> int:
        digits = str(token).lstrip("0") or "0"
        if len(digits) > len(str(MAX_INTEGER)) or int(digits) > MAX_INTEGER:
            self._refuse("integer-too-large", "this integer does not fit in 63 bits", self._of(token))
            return 0
        return int(digits)

    def _number(self, token: Token) -> str:
        text = str(token)
        exponent = re.search(r"[eE]([-+]?)0*([0-9]*)\Z", text)
        if not isfinite(float(text)) or (exponent and (len(exponent[2]) > 3 or int(exponent[2] or 0) > _MAX_EXPONENT)):
            self._refuse("syntax", "this number is out of range", self._of(token))
            return "0.0"
        return text

    def _string(self, token: Token) -> str:
        return str(token)[1:-1]

    def _text(self, token: Token) -> str:
        """Read a name, or a string where a name could stand."""
        return self._string(token) if token.type == "STRING" else str(token)

    def _template(self, token: Token) -> Template:
        if token.type == "STRING":
            return self.templates.read(self._string(token), self._of(token), 1, quoted=True)
        return self.templates.read(str(token), self._of(token), 0, quoted=False)

    # --- expressions

    def variable(self, span: Span, children: Children) -> Expression:
        text = str(children[0])
        if not _DOTTED.match(text):
            label = "expected letters, digits, `_` and dots between them; a text stands in quotes"
            self._refuse("syntax", f"`{text}` cannot be a name in an expression", span, label)
        return syntax.Name(text, span)

    def integer(self, span: Span, children: Children) -> Expression:
        return syntax.Integer(self._integer(children[0]), span)

    def number(self, span: Span, children: Children) -> Expression:
        return syntax.Number(self._number(children[0]), span)

    def string(self, span: Span, children: Children) -> Expression:
        return syntax.String(self._string(children[0]), span)

    def unary(self, span: Span, children: Children) -> Expression:
        operator, operand = children
        return syntax.Unary("not" if operator == "not" else "-", operand, span)

    def binary(self, span: Span, children: Children) -> Expression:
        left, operator, right = children
        return syntax.Binary(str(operator), left, right, span)

    def not_in(self, span: Span, children: Children) -> Expression:
        left, _, operator, right = children
        return syntax.Unary("not", syntax.Binary(str(operator), left, right, span), span)

    def call(self, span: Span, children: Children) -> Expression:
        function, *arguments = children
        name = self._word(function, "a function's name")
        return syntax.Call(name, tuple(each for each in arguments if each is not None), span)

    def item(self, span: Span, children: Children) -> Expression:
        return syntax.Item(children[0], children[1], span)

    def list(self, span: Span, children: Children) -> Expression:
        return syntax.List(tuple(each for each in children if each is not None), span)

    def numbered(self, span: Span, children: Children) -> Expression:
        return syntax.Numbered(tuple(children), span)

    def expression(self, _: Span, children: Children) -> Expression:
        value: Expression = children[0]
        return value

    def hole(self, span: Span, children: Children) -> syntax.Hole:
        value, width = children
        return syntax.Hole(value, 0 if width is None else self._width(width), span)

    def _width(self, token: Token) -> int:
        digits = str(token)
        width = int(digits[-4:])
        if digits[0] != "0" or not 1 <= width <= MAX_WIDTH or len(digits) > 4:
            help = f"write `:02` for two digits; `:0{MAX_WIDTH}` is the widest"
            self._refuse("syntax", f"`:{digits[:8]}` is not a width", self._of(token), "", help)
            return 0
        return width

    # --- layouts

    def layout(self, span: Span, children: Children) -> syntax.Layout:
        return syntax.Layout(tuple(children), span)

    def summand(self, span: Span, children: Children) -> syntax.Product:
        return syntax.Product(tuple(children), span)

    def ellipsis(self, span: Span, _: Children) -> syntax.AxisLike:
        return syntax.Ellipsis1(span)

    def named_axis(self, span: Span, children: Children) -> syntax.AxisLike:
        tag, name, of, per = children
        if not _AXIS.match(str(name)):
            self._refuse(
                "syntax", f"`{name}` cannot be an axis", self._of(name), "expected letters, digits and `_`, then primes"
            )
        chosen = None if of is None else self._word(of, "an index")
        return syntax.Axis(str(name), chosen, None if per is None else self._integer(per), self._tag(tag), span)

    def literal_axis(self, span: Span, children: Children) -> syntax.AxisLike:
        tag, value = children
        return syntax.Literal1(self._integer(value), self._tag(tag), span)

    def group(self, span: Span, children: Children) -> syntax.AxisLike:
        tag, *summands = children
        return syntax.Group(tuple(each for each in summands if isinstance(each, syntax.Product)), self._tag(tag), span)

    def _tag(self, token: Token | None) -> str | None:
        return None if token is None else self._word(token, "a tag")

    # --- terms

    def alias(self, span: Span, children: Children) -> syntax.Alias:
        return syntax.Alias(self._template(children[0]), len(children) > 1, span)

    def tensor(self, span: Span, children: Children) -> Value:
        name, *aliases, layout, dtype = children
        return syntax.Tensor(self._template(name), tuple(aliases), layout, dtype, span)

    def dtype(self, _: Span, children: Children) -> str:
        return self._word(children[0], "a dtype")

    def constant(self, span: Span, children: Children) -> Value:
        token, layout = children
        if token.type == "INT":
            self._integer(token)
            return syntax.Constant(str(token), layout, span)
        return syntax.Constant(self._number(token), layout, span)

    def apply(self, span: Span, children: Children) -> Value:
        function, *arguments = children
        name = self._word(function, "a function's name")
        self._forget_doubtful(span)
        return syntax.Apply(name, tuple(each for each in arguments if each is not None), span)

    def negative(self, span: Span, children: Children) -> Value:
        return syntax.Negative(children[1], span)

    def arithmetic(self, span: Span, children: Children) -> Value:
        left, operator, right = children
        if operator in ("-", "/") and self._of(operator) == Span(self.source, left.span.end, right.span.start):
            self._check_name(left, right, str(operator), span)
        return syntax.Arithmetic(str(operator), left, right, span)

    def _check_name(self, left: Value, right: Value, operator: str, span: Span) -> None:
        """Refuse `lm-head` and `encoder/layer` without spaces: names of other tools that would read as arithmetic."""
        named = isinstance(left, syntax.Arithmetic) or (isinstance(left, syntax.Tensor) and left.layout is None)
        if not named or not isinstance(right, syntax.Tensor):
            return
        place = Span(self.source, span.start, right.template.span.end)
        text = self.source.text[place.start : place.end]
        message = f"`{text}` reads as {'a difference' if operator == '-' else 'a quotient'}"
        help = f'put a name in quotes, `"{text}"`, or write spaces around `{operator}`'
        self._forget_doubtful(span)
        if '"' not in text:
            self.doubtful.append(Diagnostic("syntax", message, (Label(place),), help=(help,)))

    def _forget_doubtful(self, span: Span) -> None:
        self.doubtful = [each for each in self.doubtful if each.labels[0].span.start < span.start]

    def term(self, span: Span, children: Children) -> syntax.Term:
        tag, value = children
        return syntax.Term(value, self._tag(tag), span)

    def terms(self, _: Span, children: Children) -> tuple[syntax.Term, ...]:
        return tuple(children)

    # --- clauses, scopes and rules

    def _arrow(self, token: Token) -> str:
        text = str(token)
        return "<->" if text.endswith("<->") else text[-2:]

    def block(self, span: Span, children: Children) -> Clause:
        left, arrow, right = children
        return syntax.Block(self._template(left), self._arrow(arrow), self._template(right), span)

    def when(self, span: Span, children: Children) -> Clause:
        return syntax.When(children[0], span)

    def replicated(self, span: Span, children: Children) -> Clause:
        *names, how = children
        return syntax.Replicated(tuple(self._word(each, "an index") for each in names), how, span)

    def how(self, _: Span, children: Children) -> str:
        return self._word(children[0], "a way to replicate")

    def optional(self, span: Span, _: Children) -> Clause:
        return syntax.Optional1(span)

    def _body(self, span: Span, children: Children) -> _Body:
        lines, closing = self.comments.settle(children, span.start + 1, span.end - 1)
        return _Body(lines, closing, span)

    body = side_body = config_body = _body

    def scope(self, span: Span, children: Children) -> Statement:
        *clauses, body, otherwise = children
        if isinstance(otherwise, _Body):
            otherwise = syntax.Scope((), otherwise.lines, None, otherwise.closing, otherwise.span)
        return syntax.Scope(tuple(clauses), body.lines, otherwise, body.closing, span)

    def rule(self, span: Span, children: Children) -> Statement:
        left, arrow, right, *clauses = children
        return syntax.Rule(left, self._arrow(arrow), right, tuple(clauses), span)

    # --- declarations

    def mapping(self, span: Span, children: Children) -> Statement:
        left, arrow, right = children
        if self._arrow(arrow) != "<->":
            self._refuse("syntax", "a mapping is read both ways", span, "", "write `<->` between its sides")
        return syntax.Header(self._word(left, "a side"), self._word(right, "a side"), span)

    def side(self, span: Span, children: Children) -> Statement:
        name, body = children
        return syntax.Side(self._word(name, "a side"), body.lines, body.closing, span)

    def files(self, span: Span, children: Children) -> SideLine:
        pattern, at, under, prefix, entries, condition = children
        at, under, prefix = (None if each is None else self._template(each) for each in (at, under, prefix))
        return syntax.Files(self._template(pattern), at, under, prefix, entries or (), condition, span)

    def entries(self, _: Span, children: Children) -> tuple[syntax.Entry, ...]:
        return tuple(children)

    def entry(self, span: Span, children: Children) -> syntax.Entry:
        return syntax.Entry(self._text(children[0]), children[1], span)

    def config_file(self, span: Span, children: Children) -> SideLine:
        pattern, at, kind = children
        place = None if at is None else self._text(at)
        if kind is None:
            return syntax.ConfigFile(self._string(pattern), place, span)
        if str(kind) not in syntax.CONFIG_KINDS or place is None:
            help = "write `config PATTERN at PATH as namespace`"
            self._refuse("syntax", f"a config is no `{kind}`", span, "", help)
        return syntax.ConfigFile(self._string(pattern), place, span, kind=str(kind))

    def separator(self, span: Span, children: Children) -> SideLine:
        return syntax.Separator(self._string(children[0]), span)

    def tag(self, span: Span, children: Children) -> SideLine:
        file, directory, *patterns = children
        templates = tuple(self._template(each) for each in patterns)
        return syntax.Tag(self._string(file), self._string(directory), span, patterns=templates)

    def param(self, span: Span, children: Children) -> Statement:
        name, values, default, text = children
        described = None if text is None else self._string(text)
        return syntax.Param(self._word(name, "a param"), values or (), default, described, span)

    def values(self, _: Span, children: Children) -> tuple[str, ...]:
        return tuple(self._text(each) for each in children)

    def index(self, span: Span, children: Children) -> Statement:
        name, bound = children
        word = self._word(name, "an index")
        return (
            syntax.Index(word, None, bound, span) if isinstance(bound, tuple) else syntax.Index(word, bound, (), span)
        )

    def let(self, span: Span, children: Children) -> Statement:
        return syntax.Let(self._word(children[0], "a let"), children[1], span)

    def require(self, span: Span, children: Children) -> Statement:
        condition, text = children
        return syntax.Require(condition, None if text is None else self._string(text), span)

    def config(self, span: Span, children: Children) -> Statement:
        return syntax.Config(children[0].lines, children[0].closing, span)

    def config_line(self, span: Span, children: Children) -> ConfigLine:
        value, left, arrow, right = children
        return syntax.ConfigLine(value, left, self._arrow(arrow), right, span)

    def config_rest(self, span: Span, children: Children) -> ConfigLine:
        left, arrow, right = children
        here, there = syntax.Name(syntax.REST, self._of(left)), syntax.Name(syntax.REST, self._of(right))
        return syntax.ConfigLine(None, here, self._arrow(arrow), there, span)

    def use(self, span: Span, children: Children) -> Statement:
        path, *bindings = children
        return syntax.Use(self._string(path), tuple(each for each in bindings if each is not None), span)

    def binding(self, span: Span, children: Children) -> syntax.Binding:
        return syntax.Binding(self._word(children[0], "bound"), children[1], span)

    def extern(self, span: Span, children: Children) -> Statement:
        name, inputs, arrow, outputs = children
        word = self._word(name, "a function's name")
        return syntax.Extern(word, inputs, self._arrow(arrow), outputs, span)

    def layouts(self, _: Span, children: Children) -> tuple[syntax.Layout, ...]:
        return tuple(each for each in children if each is not None)

    def start(self, _: Span, children: Children) -> syntax.File:
        whole = len(self.source.text)
        statements, closing = self.comments.settle(children, 0, whole + 1)
        return syntax.File(statements, closing, Span(self.source, 0, whole))
