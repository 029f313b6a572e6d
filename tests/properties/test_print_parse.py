"""Printing a tree and reading it gives the tree; comments and blank lines change nothing and are not lost."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensormap.diagnostics import Source, Span
from tensormap.language import syntax as s
from tensormap.language.parser import parse, parse_expression, parse_template
from tensormap.language.printer import print_expression, print_file, print_template

NOWHERE = Span(Source("generated", ""), 0, 0)
WORDS = st.from_regex(r"[a-hA-H_][a-h0-9_]{0,4}", fullmatch=True)
DOTTED = st.lists(WORDS, min_size=1, max_size=3).map(".".join)
AXES = st.builds(str.__add__, WORDS, st.sampled_from(["", "'", "''"]))
INTEGERS = st.one_of(st.integers(0, 300), st.just(2**63 - 1))
NUMBERS = st.sampled_from(["0.5", "1e-05", "1.0e-5", "10000.0", "1e9", "2.50"])
STRINGS = st.text(st.characters(codec="utf-8", exclude_characters='"', exclude_categories=["C", "Z"]), max_size=6)
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_characters='"{}', exclude_categories=["C", "Z", "N"]), min_size=1, max_size=6
)
ARROWS = st.sampled_from(["<->", "->", "<-"])


def maybe(strategy):
    return st.none() | strategy


def tuples(strategy, least=0, most=3):
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


def node(_kind, *arguments, **fields):
    return st.builds(_kind, *arguments, **fields, span=st.just(NOWHERE))


def _expressions(inner):
    operators = st.sampled_from(
        ["+", "-", "*", "/", "//", "%", "**", "??", "and", "or", "in", "==", "!=", "<", "<=", ">", ">="]
    )
    return st.one_of(
        node(s.Unary, st.sampled_from(["-", "not"]), inner),
        node(s.Binary, operators, inner, inner),
        node(s.Call, WORDS, tuples(inner)),
        node(s.Item, inner, inner),
        node(s.List, tuples(inner)),
    )


def _hole_expressions(inner):
    return st.one_of(
        node(s.Binary, st.sampled_from(["+", "-", "*"]), inner, inner),
        node(s.Item, node(s.Name, DOTTED), inner),
        node(s.Numbered, tuples(inner, 2)),
    )


LEAVES = node(s.Name, DOTTED) | node(s.Integer, INTEGERS)
EXPRESSIONS = st.recursive(LEAVES | node(s.Number, NUMBERS) | node(s.String, STRINGS), _expressions, max_leaves=6)
HOLES = node(s.Hole, st.recursive(LEAVES, _hole_expressions, max_leaves=4), st.integers(0, 20))


@st.composite
def templates(draw, quoted=None):
    """A name: text and holes in turn, and no digit beside a hole."""
    written = draw(st.booleans()) if quoted is None else quoted
    text = PLAIN if written else st.from_regex(r"[a-h_.~]([a-h0-9_.~]*[a-h_.~])?", fullmatch=True)
    first = PLAIN if written else st.from_regex(r"\$?[a-h_]([a-h0-9_.~]*[a-h_.~])?", fullmatch=True)
    parts = [draw(HOLES | first)]
    for _ in range(draw(st.integers(0, 3))):
        parts.append(draw(text if isinstance(parts[-1], s.Hole) else HOLES))
    if not written and draw(st.booleans()):
        prime = draw(st.sampled_from(["'", "''"]))
        parts[-1:] = [parts[-1] + prime] if isinstance(parts[-1], str) else [parts[-1], prime]
    if written and draw(st.integers(0, 9)) == 0:
        parts = []
    return s.Template(tuple(parts), written, NOWHERE)


def _axes(inner):
    product = node(s.Product, tuples(inner, 1))
    return node(s.Group, tuples(product, 1), tag=maybe(WORDS))


AXIS = st.recursive(
    node(s.Axis, AXES, maybe(WORDS), maybe(INTEGERS), maybe(WORDS))
    | node(s.Literal1, INTEGERS, maybe(WORDS))
    | node(s.Ellipsis1),
    _axes,
    max_leaves=5,
)
LAYOUTS = node(s.Layout, tuples(AXIS, 0, 4))
ALIASES = node(s.Alias, templates(), st.booleans())


def _values(inner):
    return st.one_of(
        node(s.Apply, WORDS, tuples(inner)),
        node(s.Negative, inner),
        node(s.Arithmetic, st.sampled_from(["+", "-", "*", "/"]), inner, inner),
    )


VALUES = st.recursive(
    node(s.Tensor, templates(), tuples(ALIASES, 0, 2), maybe(LAYOUTS), maybe(WORDS))
    | node(s.Constant, NUMBERS | INTEGERS.map(str), maybe(LAYOUTS)),
    _values,
    max_leaves=4,
)
TERMS = tuples(node(s.Term, VALUES, maybe(WORDS)), 1)
CLAUSES = st.one_of(
    node(s.Block, templates(), ARROWS, templates()),
    node(s.When, EXPRESSIONS),
    node(s.Replicated, tuples(WORDS, 1), maybe(WORDS)),
    node(s.Optional1),
)
RULES = node(s.Rule, TERMS, ARROWS, TERMS, tuples(CLAUSES, 0, 2))

WORDS_AND_STRINGS = DOTTED | STRINGS
SIDE_LINES = st.one_of(
    node(
        s.Files,
        templates(quoted=True),
        *[maybe(templates())] * 3,
        tuples(node(s.Entry, WORDS_AND_STRINGS, EXPRESSIONS)),
        maybe(EXPRESSIONS),
    ),
    node(s.ConfigFile, STRINGS, maybe(WORDS_AND_STRINGS)),
    node(s.ConfigFile, STRINGS, WORDS_AND_STRINGS, kind=st.just("namespace")),
    node(s.Separator, STRINGS),
    node(s.Tag, STRINGS, STRINGS, patterns=tuples(templates(quoted=True), 0, 2)),
)
REST = node(s.Name, st.just(s.REST))
CONFIG_LINES = node(s.ConfigLine, maybe(EXPRESSIONS), EXPRESSIONS, ARROWS, EXPRESSIONS) | node(
    s.ConfigLine, st.none(), REST, ARROWS, REST
)
SIMPLE = st.one_of(
    node(s.Header, WORDS, WORDS),
    node(s.Side, WORDS, tuples(SIDE_LINES)),
    node(s.Param, WORDS, tuples(WORDS_AND_STRINGS), maybe(EXPRESSIONS), maybe(STRINGS)),
    node(s.Index, WORDS, EXPRESSIONS),
    node(s.Index, WORDS, st.none(), tuples(WORDS_AND_STRINGS, 1)),
    node(s.Let, WORDS, EXPRESSIONS),
    node(s.Require, EXPRESSIONS, maybe(STRINGS)),
    node(s.Config, tuples(CONFIG_LINES)),
    node(s.Use, STRINGS, tuples(node(s.Binding, WORDS, EXPRESSIONS))),
    node(s.Extern, WORDS, tuples(LAYOUTS), ARROWS, tuples(LAYOUTS, 1)),
    RULES,
)


def _scopes(inner):
    body = tuples(inner | RULES)
    last = node(s.Scope, st.just(()), body)
    middle = node(s.Scope, tuples(CLAUSES, 1, 2), body, maybe(last))
    return node(s.Scope, tuples(CLAUSES, 1, 2), body, st.one_of(st.none(), last, middle))


FILES = node(s.File, tuples(st.recursive(SIMPLE, _scopes, max_leaves=4), 0, 4))
THOROUGH = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def read(text):
    return parse(Source("printed.tmap", text))


@THOROUGH
@given(FILES)
def test_a_printed_file_reads_as_the_tree_it_was(file):
    text = print_file(file)
    again = read(text)
    assert again == file
    assert print_file(again) == text


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS)
def test_a_printed_expression_reads_as_the_tree_it_was(expression):
    assert parse_expression(print_expression(expression)) == expression


@settings(max_examples=100, deadline=None)
@given(templates(quoted=False))
def test_a_printed_name_reads_as_the_tree_it_was(template):
    assert parse_template(print_template(template)) == template


@THOROUGH
@given(FILES, st.data())
def test_comments_and_blank_lines_are_kept_and_change_nothing(file, data):
    lines = print_file(file).splitlines()
    kinds = st.sampled_from(["", "", "", "before", "behind", "both", "blank", "blanks"])
    noisy = []
    for number, line in enumerate(lines):
        kind = data.draw(kinds)
        noisy += ["", "  "] if kind == "blanks" else [""] if kind == "blank" else []
        noisy += [f"   # before {number}"] if kind in ("before", "both") else []
        noisy.append(f"{line} # behind {number}" if kind in ("behind", "both") else line)
    noisy += data.draw(st.sampled_from([[], ["# last"], ["", "# last", ""]]))
    again = read(data.draw(st.sampled_from(["\n", "\r\n"])).join(noisy))
    assert again == file
    text = print_file(again)
    comments = re.compile(r"# (?:before \d+|behind \d+|last)")
    assert sorted(comments.findall(text)) == sorted(comments.findall("\n".join(noisy)))
    assert "\n\n\n" not in text
    assert read(text) == file
    assert print_file(read(text)) == text
