"""Text to tree: the only module that knows Lark.

Builds Lark's tables at the first parse, so importing is cheap. Whatever the input, raises only `MappingError`: nesting is
bounded, the parser and the builder keep their own stacks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tensormap.diagnostics import Diagnostic, Label, MappingError, Source, Span
from tensormap.language import syntax
from tensormap.language.build import Builder
from tensormap.language.explain import explain
from tensormap.language.scan import MAX_DEPTH, scan, scan_characters
from tensormap.language.stop import LINE_END, TEXT_END, Stop, Word, unknown, without_statement
from tensormap.language.templates import Templates
from tensormap.language.trivia import Comments

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

Part: TypeAlias = Literal["start", "hole", "expression"]

PARTS: tuple[Part, ...] = ("start", "hole", "expression")
GRAMMAR = Path(__file__).with_name("grammar.lark")
TABLES = Path(__file__).with_name("grammar.json")
"""Lark's tables for the grammar; `python -m tensormap.language.parser` writes them anew."""
MAX_TREE_DEPTH = 192
"""Nodes inside one another: what `MAX_DEPTH` brackets can make, and room for long sums."""

_MAX_FINDINGS = 10
_MAX_RESUMED = 1 << 16  # reading resumes by reading again, which a long text does not deserve
_COMMENT = re.compile(r"#[^\n]*")
_NAME = re.compile(r"\$?([A-Za-z_]|\{[^{}\n]*\})([A-Za-z0-9_.~]|\{[^{}\n]*\})*'*\Z")


def parse(source: Source) -> syntax.File:
    """Read a mapping file; raise `MappingError` with every syntax error that can be told apart."""
    scan(source)
    outcome = _read(source, 0, source.text + "\n", "start")
    found: list[Diagnostic] = []
    while isinstance(outcome, Stop):
        found.append(explain(outcome))
        rest = without_statement(outcome) if len(outcome.text) <= _MAX_RESUMED and len(found) < _MAX_FINDINGS else None
        if rest is None or rest == outcome.text:
            raise MappingError(found)
        outcome = _read(source, 0, rest, "start")
    comments = Comments(source.text, _comments(source.text, outcome.tokens))
    file, more = _build(outcome, comments)
    if found := [*found, *more]:
        raise MappingError(sorted(found, key=_place))
    assert isinstance(file, syntax.File)
    return file


def parse_expression(text: str, name: str = "expression") -> syntax.Expression:
    """Read one expression, such as the value of a setting; `name` is what messages call the text.

    >>> parse_expression("2 * layers")
    Binary(operator='*', left=Integer(value=2), right=Name(text='layers'))
    """
    source = Source(name, text)
    scan(source)
    outcome = _read(source, 0, text, "expression")
    if isinstance(outcome, Stop):
        raise MappingError(explain(outcome))
    value, found = _build(outcome, Comments("", ()))
    if found:
        raise MappingError(found)
    expression: syntax.Expression = value
    return expression


def parse_template(text: str, name: str = "name") -> syntax.Template:
    """Read a tensor's name with holes; `quoted` is set where a mapping file would need quotes.

    >>> parse_template("h.{i}.weight").parts
    ('h.', Hole(expression=Name(text='i'), width=0), '.weight')
    """
    source = Source(name, text)
    scan_characters(source)
    if unwritable := re.search(r'["\n]', text):
        label = Label(Span(source, unwritable.start(), unwritable.end()))
        raise MappingError(Diagnostic("bad-character", "a name cannot hold a quote or the end of a line", (label,)))
    templates = _templates(source)
    template = templates.read(text, Span(source, 0, len(text)), 0, quoted=_NAME.match(text) is None)
    if templates.found:
        raise MappingError(templates.found)
    return template


@cache
def _lark() -> Lark:
    """Return the parser: from the tables that come with the package where they fit this grammar and this Lark, else made anew."""
    import lark

    kept = json.loads(TABLES.read_text("utf-8"), object_hook=_numbered) if TABLES.exists() else {}
    if kept.get("made from") == _made_from(lark.__version__):
        made: Lark = lark.Lark._load_from_dict(kept["data"], kept["memo"])  # type: ignore[no-untyped-call]  # noqa: SLF001 - no public name
        return made
    return _made()


def _made() -> Lark:
    from lark import Lark

    return Lark(
        GRAMMAR.read_text("utf-8"),
        parser="lalr",
        lexer="contextual",
        start=list(PARTS),
        propagate_positions=True,
        maybe_placeholders=True,
    )


def _made_from(version: str) -> str:
    return f"lark {version}, grammar {hashlib.sha256(GRAMMAR.read_bytes()).hexdigest()}"


def _numbered(table: dict[str, Any]) -> dict[Any, Any]:
    """Undo what JSON does to the keys of a table: where they are states, they are numbers."""
    return {int(key): value for key, value in table.items()} if next(iter(table), "").isdigit() else table


def tables() -> str:
    """Return the text of the tables file: building them takes longer than reading any mapping."""
    import lark
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    data, memo = _made().memo_serialize([TerminalDef, Rule])
    kept = {"made from": _made_from(lark.__version__), "data": data, "memo": memo}
    return json.dumps(kept, separators=(",", ":"), sort_keys=True) + "\n"


def _place(found: Diagnostic) -> int:
    return found.labels[0].span.start if found.labels else 0


# --- text to Lark's tree


@dataclass(frozen=True, slots=True)
class _Reading:
    """A text that fits the grammar."""

    source: Source
    offset: int
    tree: Tree[Token]
    tokens: list[Token]


def _read(source: Source, offset: int, text: str, part: Part) -> _Reading | Stop:
    """Read `text`, which stands `offset` characters into `source`."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    parser = _lark().parse_interactive(text, part)
    tokens: list[Token] = []
    try:
        tokens.extend(parser.iter_parse())  # grows as it goes, so it holds what came before an error
        tree = parser.feed_eof()  # type: ignore[no-untyped-call]
    except UnexpectedToken as error:
        if tokens and tokens[-1] is error.token:
            tokens.pop()
        at_end = error.token.type == TEXT_END
        found = Word(TEXT_END, "", len(text), len(text)) if at_end else _word(error.token)
    except UnexpectedCharacters as error:
        found = unknown(text, error.pos_in_stream)  # type: ignore[arg-type]  # declared None in a base class
    else:
        return _Reading(source, offset, tree, tokens)
    return Stop(source, offset, text, part, tuple(map(_word, tokens)), found, _expected(part, tokens))


def _expected(part: Part, tokens: Sequence[Token]) -> frozenset[str]:
    """Return what may follow `tokens`: asked of a fresh parser, as one that has stopped has already drawn conclusions."""
    parser = _lark().parse_interactive("", part)
    for token in tokens:
        parser.feed_token(token)
    return frozenset(parser.accepts())  # type: ignore[no-untyped-call]


def _word(token: Token) -> Word:
    start, end = _bounds(token)
    return Word(token.type, str(token), start, end)


def _bounds(token: Token) -> tuple[int, int]:
    """Return where a token starts, without the space and comments before an arrow or a comma, and where it ends."""
    assert token.start_pos is not None
    assert token.end_pos is not None
    if token.type == "ARROW":
        return token.end_pos - (3 if token.endswith("<->") else 2), token.end_pos
    if token.type == "_COMMA":
        return token.end_pos - 1, token.end_pos
    return token.start_pos, token.end_pos


def _comments(text: str, tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """Find the comments: what begins with `#` between the words."""
    if "#" not in text:
        return []
    places = []
    place = 0
    for token in tokens:
        if token.type != LINE_END:
            start, end = _bounds(token)
            places += [found.span() for found in _COMMENT.finditer(text, place, start)]
            place = end
    places += [found.span() for found in _COMMENT.finditer(text, place)]
    return places


# --- Lark's tree to syntax


def _build(reading: _Reading, comments: Comments) -> tuple[Any, list[Diagnostic]]:
    """Build the syntax of a reading, from the leaves up and with a stack of our own; return it and what is wrong with it."""
    source = reading.source
    templates = _templates(source)
    builder = Builder(source, reading.offset, comments, templates)
    pending: list[Any] = [reading.tree]
    order: list[Any] = []
    while pending:
        node = pending.pop()
        order.append(node)
        pending += getattr(node, "children", ())
    values: list[Any] = []
    depths: list[int] = []
    for node in reversed(order):
        if not hasattr(node, "children"):
            values.append(node)
            depths.append(0)
            continue
        first = len(values) - len(node.children)
        children, depth = values[first:], 1 + max(depths[first:], default=0)
        del values[first:], depths[first:]
        span = builder.span(0, 0) if node.meta.empty else builder.span(node.meta.start_pos, node.meta.end_pos)
        if depth > MAX_TREE_DEPTH:
            raise MappingError(
                Diagnostic("too-deep", "this nests too deeply, or is too long a sum or chain", (Label(span),))
            )
        values.append(getattr(builder, node.data)(span, children))
        depths.append(depth)
    return values[0], [*_glued(reading), *builder.found, *builder.doubtful, *templates.found]


def _glued(reading: _Reading) -> list[Diagnostic]:
    """Find words that the grammar splits and a reader would not: `2x` and `<--`."""
    found = []
    for first, second in pairwise(reading.tokens):
        if first.end_pos != second.start_pos or first.type not in ("INT", "NUMBER", "ARROW"):
            continue
        text = first.strip() + second
        if first.type == "ARROW" and second.type == "MINUS":
            message, help = f"`{text[-3:]}` is not an arrow", "write a space between an arrow and a minus"
        elif first.type != "ARROW" and (second[0].isalnum() or second[0] in "_{"):
            message = f"`{text}` is neither a number nor a name"
            help = (
                f"a product is `{first} * {second}`, in a layout `({first} {second})`; a name that begins so has quotes"
            )
        else:
            continue
        span = Span(reading.source, reading.offset + _bounds(first)[0], reading.offset + _bounds(second)[1])
        found.append(Diagnostic("syntax", message, (Label(span),), help=(help,)))
    return found


def _templates(source: Source) -> Templates:
    """Return a reader of names whose holes are parsed by the grammar's rule for them."""

    def read_hole(text: str, offset: int) -> tuple[syntax.Hole | None, list[Diagnostic]]:
        if text.count("(") + text.count("[") > MAX_DEPTH:
            span = Span(source, offset, offset + len(text))
            return None, [Diagnostic("too-deep", "this hole nests too deeply", (Label(span),))]
        if "#" in text:
            span = Span(source, offset + text.index("#"), offset + len(text))
            return None, [Diagnostic("syntax", "a comment cannot stand in a hole", (Label(span),))]
        outcome = _read(source, offset, text, "hole")
        if isinstance(outcome, Stop):
            return None, [explain(outcome)]
        hole, found = _build(outcome, Comments("", ()))
        return hole, found

    return Templates(source, read_hole)


if __name__ == "__main__":
    TABLES.write_text(tables(), "utf-8")
