"""Text to tree: what is read, where it stands, and what never gets past."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tensormap.diagnostics import MappingError, Source, Span
from tensormap.language import parser
from tensormap.language import syntax as s
from tensormap.language.parser import parse, parse_expression, parse_template
from tensormap.language.printer import print_file
from tensormap.render import render, render_json

HERE = Path(__file__).parent
EXAMPLES = sorted((HERE / "examples").glob("*.tmap"))
NOWHERE = Span(Source("", ""), 0, 0)


def read(text):
    return parse(Source("m.tmap", text))


def only(text):
    (statement,) = read(text).statements
    return statement


def findings(text):
    with pytest.raises(MappingError) as caught:
        read(text)
    return caught.value.diagnostics


def slugs(text):
    return [each.slug for each in findings(text)]


def name(text):
    return s.Name(text, NOWHERE)


def integer(value):
    return s.Integer(value, NOWHERE)


def template(*parts, quoted=False):
    return s.Template(parts, quoted, NOWHERE)


def hole(expression, width=0):
    return s.Hole(name(expression) if isinstance(expression, str) else expression, width, NOWHERE)


def axis(text, **more):
    return s.Axis(text, span=NOWHERE, **more)


def tensor(text, *axes, **more):
    layout = s.Layout(axes, NOWHERE) if axes else None
    parts = text if isinstance(text, s.Template) else template(text)
    return s.Tensor(parts, layout=layout, span=NOWHERE, **more)


def term(value, tag=None):
    return s.Term(value, tag, NOWHERE)


def binary(left, operator, right):
    return s.Binary(operator, left, right, NOWHERE)


# --- rules


def test_a_rule_has_terms_an_arrow_and_clauses():
    rule = only("a.w [e f] <-> b [e], c [f]   when x replicated r, q by mean optional\n")
    assert rule == s.Rule(
        (term(tensor("a.w", axis("e"), axis("f"))),),
        "<->",
        (term(tensor("b", axis("e"))), term(tensor("c", axis("f")))),
        (
            s.When(name("x"), NOWHERE),
            s.Replicated(("r", "q"), "mean", NOWHERE),
            s.Optional1(NOWHERE),
        ),
        NOWHERE,
    )


def test_axes_hold_tags_groups_literals_primes_and_sizes():
    layout = only("w [q:(a 2 + s:b'') v[r] o/128 ...] -> _\n").left[0].value.layout
    first = s.Product((axis("a"), s.Literal1(2, None, NOWHERE)), NOWHERE)
    second = s.Product((axis("b''", tag="s"),), NOWHERE)
    assert layout.axes == (
        s.Group((first, second), "q", NOWHERE),
        axis("v", of="r"),
        axis("o", per=128),
        s.Ellipsis1(NOWHERE),
    )


def test_an_empty_layout_is_not_a_layout_left_out():
    rule = only("a [] <-> b\n")
    assert rule.left[0].value.layout == s.Layout((), NOWHERE)
    assert rule.right[0].value.layout is None


def test_terms_hold_tags_aliases_dtypes_constants_and_arithmetic():
    rule = only('q: a = b? = "c-d" [e] as float32 * 2, -exp(w [n]), 0 [pad e], -1e9 <-> _ [pad e] + 1\n')
    aliases = (
        s.Alias(template("b"), maybe=True, span=NOWHERE),
        s.Alias(template("c-d", quoted=True), maybe=False, span=NOWHERE),
    )
    tied = tensor("a", axis("e"), aliases=aliases, dtype="float32")
    padding = s.Layout((axis("pad"), axis("e")), NOWHERE)
    assert rule.left == (
        term(s.Arithmetic("*", tied, s.Constant("2", None, NOWHERE), NOWHERE), "q"),
        term(s.Negative(s.Apply("exp", (tensor("w", axis("n")),), NOWHERE), NOWHERE)),
        term(s.Constant("0", padding, NOWHERE)),
        term(s.Negative(s.Constant("1e9", None, NOWHERE), NOWHERE)),
    )
    blank = tensor("_", axis("pad"), axis("e"))
    assert rule.right == (term(s.Arithmetic("+", blank, s.Constant("1", None, NOWHERE), NOWHERE)),)


def test_products_bind_before_sums_and_from_the_left():
    value = only("a - b - c * d <-> (a - b) * -c\n")
    assert print_file(s.File((value,), span=NOWHERE)) == "a - b - c * d <-> (a - b) * -c\n"
    outer = value.left[0].value
    assert (outer.operator, outer.left.operator, outer.right.operator) == ("-", "-", "*")


@pytest.mark.parametrize("text", ["_ <- y\n", "x -> _\n", '"*._extra_state" -> _\n', "x<->y\n", "x <->\n  y\n"])
def test_a_rule_may_have_one_side(text):
    assert isinstance(only(text), s.Rule)


def test_an_arrow_or_a_comma_at_the_start_continues_the_line_before():
    text = "a\n  # why\n\n  <-> b # first\n\n    , c\nd <-> e\n"
    assert [len(each.right) for each in read(text).statements] == [2, 1]


def test_a_text_may_end_without_a_newline_and_have_windows_lines():
    assert read("a <-> b\r\n# c\r\nd <-> e") == read("a <-> b\nd <-> e\n")


# --- names


def test_names_hold_holes_with_sums_widths_and_numbered_pairs():
    first = only("a.{i + 2}.{n:02}.{(p l)}.{stages[p] * 2}.w' <-> $b.{0}\n")
    pair = s.Numbered((name("p"), name("l")), NOWHERE)
    scaled = binary(s.Item(name("stages"), name("p"), NOWHERE), "*", integer(2))
    parts = (
        "a.",
        hole(binary(name("i"), "+", integer(2))),
        ".",
        hole("n", 2),
        ".",
        hole(pair),
        ".",
        hole(scaled),
        ".w'",
    )
    assert first.left[0].value.template == template(*parts)
    assert first.right[0].value.template == template("$b.", hole(integer(0)))


def test_quoted_names_are_templates_too_and_a_star_is_text():
    rule = only('"*.{i}-x#y" -> _\n')
    assert rule.left[0].value.template == template("*.", hole("i"), "-x#y", quoted=True)


def test_padded_holes_may_touch():
    assert only("a{i:02}{j:03}1{k:04} <-> b\n").left[0].value.template.parts[-1] == hole("k", 4)


def test_a_name_is_read_by_itself():
    assert parse_template("h.{i}.w") == template("h.", hole("i"), ".w")
    assert parse_template("a-b.{i}") == template("a-b.", hole("i"), quoted=True)
    assert parse_template("f(x") == template("f(x", quoted=True)
    assert parse_template("") == template(quoted=True)
    for wrong in ("a{", "{i}{j}", 'a"', "a\n", "{}", "{i +}", "\x00"):
        with pytest.raises(MappingError):
            parse_template(wrong)


# --- declarations


def test_sides_list_files_configs_separators_and_tags():
    side = only(
        "side neox {\n"
        '    files "layer_{n:02}.pt" at module.states under "module." as {n}.'
        " with step = 3, rng.kind = none when tp == 1\n"
        '    config "*.yml" at args\n'
        '    path "/"\n'
        '    tag "latest" = "global_step0", "iter_{n:07}"\n'
        '    config "*.pt" at args as namespace\n'
        "}\n"
    )
    assert side == s.Side(
        "neox",
        (
            s.Files(
                template("layer_", hole("n", 2), ".pt", quoted=True),
                template("module.states"),
                template("module.", quoted=True),
                template(hole("n"), "."),
                (s.Entry("step", integer(3), NOWHERE), s.Entry("rng.kind", name("none"), NOWHERE)),
                binary(name("tp"), "==", integer(1)),
                NOWHERE,
            ),
            s.ConfigFile("*.yml", "args", NOWHERE),
            s.Separator("/", NOWHERE),
            s.Tag("latest", "global_step0", NOWHERE, patterns=(template("iter_", hole("n", 7), quoted=True),)),
            s.ConfigFile("*.pt", "args", NOWHERE, kind="namespace"),
        ),
        span=NOWHERE,
    )


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("mapping a <-> b", s.Header("a", "b", NOWHERE)),
        ("param tp", s.Param("tp", span=NOWHERE)),
        ('param tp = 1 "ranks"', s.Param("tp", (), s.Integer(1, NOWHERE), "ranks", NOWHERE)),
        ('param v in "1", old = "1"', s.Param("v", ("1", "old"), s.String("1", NOWHERE), None, NOWHERE)),
        ("index r < tp", s.Index("r", s.Name("tp", NOWHERE), (), NOWHERE)),
        ("index x in a, b.c", s.Index("x", None, ("a", "b.c"), NOWHERE)),
        ("let e = 2", s.Let("e", s.Integer(2, NOWHERE), NOWHERE)),
        ('require a "why"', s.Require(s.Name("a", NOWHERE), "why", NOWHERE)),
        ('use "x.tmap"', s.Use("x.tmap", (), NOWHERE)),
        (
            'use "x" with left = "a.{i}.", e = hidden',
            s.Use(
                "x",
                (
                    s.Binding("left", s.String("a.{i}.", NOWHERE), NOWHERE),
                    s.Binding("e", s.Name("hidden", NOWHERE), NOWHERE),
                ),
                NOWHERE,
            ),
        ),
        (
            "extern f([a], []) -> [b]",
            s.Extern(
                "f",
                (s.Layout((s.Axis("a", span=NOWHERE),), NOWHERE), s.Layout((), NOWHERE)),
                "->",
                (s.Layout((s.Axis("b", span=NOWHERE),), NOWHERE),),
                NOWHERE,
            ),
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_declarations(text, tree):
    assert only(text) == tree


def test_a_size_may_depend_on_another_index():
    assert only("index x < counts[p]\n").bound == s.Item(name("counts"), name("p"), NOWHERE)


def test_config_lines_have_any_arrow_and_maybe_a_value():
    config = only("config {\n  e = dim <-> hidden\n\n  eps -> _  # c\n  _ <- x ?? 1e-05\n}\n")
    arrows = [(each.value, each.arrow) for each in config.lines]
    assert arrows == [(name("e"), "<->"), (None, "->"), (None, "<-")]
    assert config.lines[2].right == binary(name("x"), "??", s.Number("1e-05", NOWHERE))


def test_a_config_line_may_stand_for_the_rest():
    (line,) = only("config {\n  ... <-> ...\n}\n").lines
    assert line == s.ConfigLine(None, name(s.REST), "<->", name(s.REST), NOWHERE)


def test_scopes_nest_and_chain_with_else():
    scope = only("block a.{i}. <-> b. when x {\n} else when y {\n c <-> d\n} else {\n when z { e <-> f }\n}\n")
    assert [type(each) for each in scope.clauses] == [s.Block, s.When]
    assert scope.otherwise.clauses == (s.When(name("y"), NOWHERE),)
    last = scope.otherwise.otherwise
    assert last.clauses == ()
    assert last.otherwise is None
    assert last.statements[0].statements[0] == only("e <-> f\n")


# --- expressions


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("a or b and not c == d", "(a or (b and (not (c == d))))"),
        ("a ?? b + c * d ** -e", "(a ?? (b + (c * (d ** (-e)))))"),
        ("-a ** 2", "(-(a ** 2))"),
        ("a - b - c", "((a - b) - c)"),
        ("a ** b ** c", "(a ** (b ** c))"),
        ("a ?? b == c % d // e", "((a ?? b) == ((c % d) // e))"),
        ("a not in [1]", "(not (a in [1]))"),
        ("f(a, b)[0]", "f(a, b)[0]"),
        ("not not a", "(not (not a))"),
        ("- -a", "(-(-a))"),
        ("a < -b", "(a < (-b))"),
    ],
)
def test_precedence(text, grouped):
    def show(each):
        match each:
            case s.Binary(operator, left, right):
                return f"({show(left)} {operator} {show(right)})"
            case s.Unary(operator, operand):
                return f"({operator}{' ' if operator == 'not' else ''}{show(operand)})"
            case s.Call(function, arguments):
                return f"{function}({', '.join(map(show, arguments))})"
            case s.Item(base, key):
                return f"{show(base)}[{show(key)}]"
            case s.List(items):
                return f"[{', '.join(map(show, items))}]"
            case s.Integer(value):
                return str(value)
        return each.text

    assert show(parse_expression(text)) == grouped


def test_words_of_statements_are_names_inside_expressions():
    assert parse_expression("index + when") == binary(name("index"), "+", name("when"))
    assert only("a <-> index, block\n").right == (term(tensor("index")), term(tensor("block")))


@pytest.mark.parametrize(
    "text", ["", "a b", "1 +", "(a", "a)", "a == b == c", "{i}", "$a", "a'", "1e999", "2x", "é", "#", "f(1,)"]
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(MappingError):
        parse_expression(text)


# --- places


def test_every_node_knows_its_place():
    text = "# c\nblock a.{i + 1}. <-> b. {\n    q: w = v? [x (y + 2)] * 3 <-> f(u), 0   when t == 1 # d\n}\n"
    source = Source("m.tmap", text)
    scope = parse(source).statements[0]

    def at(node):
        assert node.span.source is source
        return text[node.span.start : node.span.end]

    block = scope.clauses[0]
    rule = scope.statements[0]
    times = rule.left[0].value
    assert at(scope) == text[4:-1]
    assert at(block) == "block a.{i + 1}. <-> b."
    assert at(block.left) == "a.{i + 1}."
    assert at(block.left.parts[1]) == "{i + 1}"
    assert at(block.left.parts[1].expression) == "i + 1"
    assert at(block.left.parts[1].expression.right) == "1"
    assert at(rule) == "q: w = v? [x (y + 2)] * 3 <-> f(u), 0   when t == 1"
    assert at(rule.left[0]) == "q: w = v? [x (y + 2)] * 3"
    assert at(times.left) == "w = v? [x (y + 2)]"
    assert at(times.left.aliases[0]) == "= v?"
    assert at(times.left.layout.axes[1]) == "(y + 2)"
    assert at(times.left.layout.axes[1].summands[1]) == "2"
    assert at(rule.right[0].value) == "f(u)"
    assert at(rule.clauses[0]) == "when t == 1"
    assert at(rule.clauses[0].condition) == "t == 1"


def test_places_inside_quoted_names_count_the_quote():
    text = '"a-{i}.{(j k)}" -> _\n'
    parts = only(text).left[0].value.template.parts
    assert [text[each.span.start : each.span.end] for each in parts if isinstance(each, s.Hole)] == ["{i}", "{(j k)}"]
    assert [each.expression.span.start for each in parts if isinstance(each, s.Hole)] == [4, 8]


# --- comments


def test_comments_and_blank_lines_belong_to_statements():
    file = read("\n#!a\n\n\n# b\nx <-> y  # c\n\nindex i < n # d\n#e\n\n")
    first, second = file.statements
    assert first.trivia == s.Trivia(("!a", None, " b"), " c")
    assert second.trivia == s.Trivia((None,), " d")
    assert file.closing == s.Trivia(("e",), None)


def test_a_comment_inside_a_rule_moves_before_it():
    text = "# a\nx # b\n  # c\n  <-> y # d\n    , z # e\n"
    assert only(text).trivia == s.Trivia((" a", " b", " c", " d"), " e")


def test_comments_in_bodies_stay_there():
    scope = only("optional { # a\n\n    x <-> y # b\n\n    # c\n} # d\n")
    assert scope.trivia == s.Trivia((), " d")
    assert scope.statements[0].trivia == s.Trivia((" a", None), " b")
    assert scope.closing == s.Trivia((None, " c"))


def test_what_looks_like_a_comment_in_a_string_is_none():
    rule = only('"a#b" <-> "c # d"\n')
    assert rule.trivia == s.Trivia()


# --- the grammar


def test_the_grammar_has_no_conflicts():
    pytest.importorskip("interegular", reason="Lark's strict mode needs it to compare terminals")
    from lark import Lark

    grammar = Path(parser.__file__).with_name("grammar.lark").read_text("utf-8")
    Lark(grammar, parser="lalr", lexer="contextual", strict=True, start=list(parser.PARTS))


def test_importing_the_parser_is_light():
    code = "import sys; import tensormap.language.parser; print(sorted({'lark', 'numpy', 'torch'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_read_and_print(path):
    tree = parse(Source(path.name, path.read_text("utf-8")))
    text = print_file(tree)
    again = parse(Source(path.name, text))
    assert again == tree
    assert print_file(again) == text
    assert text.count("#") == path.read_text("utf-8").count("#")


def test_the_corpus_of_equations_reads():
    cases = json.loads((HERE.parents[1] / "corpus" / "equations.json").read_text("utf-8"))
    for case in cases:
        tree = read(case["equation"])
        assert read(print_file(tree)) == tree


# --- limits


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("\ufeffa <-> b", "bad-character"),
        ("a\x00 <-> b", "bad-character"),
        ("a <-> b\rc <-> d", "bad-character"),
        ("# \u202e\n", "bad-character"),
        ('"\u2066" <-> b', "bad-character"),
        ("# \x1b[31m\n", "bad-character"),
        ("a\ud800 <-> b", "bad-character"),
        ("a\u200b <-> b", "bad-character"),
        ("a\xa0<-> b", "bad-character"),
        ("#" * (1 << 20) + "#", "too-long"),
        ("a" * 5000 + " <-> b", "too-long"),
        ("a{" + "i+" * 200 + "i} <-> b", "too-long"),
        ("w [" + "(" * 64 + "a" + ")" * 64 + "] <-> b", "too-deep"),
        ('"{' + "(" * 65 + "i" + ")" * 65 + '}" <-> b', "too-deep"),
        ("optional {\n" * 65 + "}\n" * 65, "too-deep"),
        ("let x = " + "a + " * 300 + "a", "too-deep"),
        ("let x = " + "-" * 300 + "a", "too-deep"),
        ("let x = " + "not " * 300 + "a", "too-deep"),
        ("let x = " + "2 ** " * 300 + "a", "too-deep"),
        ("let x = a" + "[1]" * 300, "too-deep"),
        ("a" + " + b" * 300 + " <-> c", "too-deep"),
        ("when x {\n}" + " else when x {\n}" * 300, "too-deep"),
        ("let x = 9223372036854775808", "integer-too-large"),
        ("let x = " + "9" * 10_000, "integer-too-large"),
        ("w [9223372036854775808] <-> b", "integer-too-large"),
        ("w [a/9223372036854775808] <-> b", "integer-too-large"),
        ("9223372036854775808 [a] <-> b", "integer-too-large"),
        ("w.{i + 9223372036854775808} <-> b", "integer-too-large"),
        ("let x = 1e401", "syntax"),
        ("let x = 1e-999999999", "syntax"),
        ("a.{i:00} <-> b", "syntax"),
        ("a.{i:021} <-> b", "syntax"),
        ("a.{i:0" + "0" * 500 + "1} <-> b", "too-long"),
        ("a.{} <-> b", "syntax"),
        ('"a.{i" <-> b', "unclosed"),
        ('"a.}" <-> b', "unclosed"),
        ("a.{i}{j} <-> b", "adjacent-holes"),
        ("a.{i:02}{j} <-> b", "adjacent-holes"),
        ("a1{i} <-> b", "adjacent-holes"),
        ('"{i}1" <-> b', "adjacent-holes"),
        ("a.{i # c} <-> b", "unclosed"),
        ('"a.{i # c}" <-> b', "syntax"),
    ],
    ids=lambda each: each[:24].encode("unicode_escape").decode() if isinstance(each, str) else None,
)
def test_what_is_too_much_or_unreadable_is_refused(text, slug):
    assert slugs(text)[0] == slug


@pytest.mark.parametrize(
    "text",
    [
        "w [" + "(" * 63 + "a" + ")" * 63 + "] <-> b",
        "let x = " + "(" * 64 + "a" + ")" * 64,
        "let x = " + "f(" * 64 + "a" + ")" * 64,
        "optional {\n" * 64 + "}\n" * 64,
        "let x = " + "a + " * 150 + "a",
        "w [(" + "1 + " * 1000 + "1)] <-> b",
        "let x = 9223372036854775807",
        "a.{i + 9223372036854775807:020} <-> b",
        "\n" * 10_000,
        "a\n" + "# c\n" * 10_000 + "<-> b",
    ],
    ids=lambda each: each[:24].encode("unicode_escape").decode(),
)
def test_what_is_just_not_too_much_is_read_printed_and_compared(text):
    tree = read(text)
    again = read(print_file(tree))
    assert again == tree
    assert hash(again) == hash(tree)
    assert repr(again) == repr(tree)


@pytest.mark.parametrize(
    "text",
    ["a" + "\n#" * 50_000 + "\nb", "a" + " " * 50_000 + "b", *(each * 50_000 for each in ("{", '"{', "a{", ",", "'"))],
    ids=lambda each: each[:4].encode("unicode_escape").decode(),
)
def test_no_text_of_its_length_takes_long(text):
    start = time.process_time()
    assert slugs(text)
    assert time.process_time() - start < 5


# --- anything at all

PIECES = [
    *"(){}[]<>-+*/=:,.?!\"#'\n\t _$~%&|;@^`\\0129a\u00e9\u201c\x00\r\ufeff",
    *["<->", "->", "<-", "??", "when ", "block ", "else ", "optional ", "replicated ", "index ", "let ", "in ", "not "],
    *[
        "{i}",
        "[(a + b)]",
        "...",
        "1e5",
        "9" * 30,
        "as ",
        "config {",
        "side x {",
        "files ",
        "\n\n",
        "# c\n",
        "=>",
        "==",
        "}\n",
    ],
]
WORD_OF_THE_GRAMMAR = re.compile(r"\b(?:_NL|_COMMA|[A-Z]{3,}|__\w+)\b")


def mutants(count, seed):
    """Take a few statements of the examples and change some characters."""
    chance = random.Random(seed)
    texts = [path.read_text("utf-8") for path in EXAMPLES]
    spans = [(text, each.span) for text in texts for each in read(text).statements]
    for _ in range(count):
        text = "".join(text[at.start : at.end] + "\n" for text, at in chance.sample(spans, chance.randint(1, 2)))
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(text) + 1)
            end = start + chance.choice([0, 0, 1, 1, 2, 5, 20])
            kind = chance.random()
            new = chance.choice(PIECES) if kind < 0.6 else "" if kind < 0.8 else text[end : end + 20][::-1]
            text = text[:start] + new + text[end:]
        yield text


def test_whatever_the_text_it_is_read_or_refused_in_words():
    read_count = 0
    for text in mutants(2000, seed=20240917):
        try:
            tree = read(text)
        except MappingError as error:
            for each in error.diagnostics:
                shown = render(each, width=60)
                assert render_json(each)["labels"]
                assert all(0 <= label.span.start <= label.span.end <= len(text) for label in each.labels)
                said = "\n".join((each.message, *each.notes, *each.help, *(label.text for label in each.labels)))
                found = set(WORD_OF_THE_GRAMMAR.findall(re.sub(r"`[^`\n]*`|U\+[0-9A-F]+", "", said)))
                assert found <= {"NUL", "UTF"}, shown
        else:
            read_count += 1
            printed = print_file(tree)
            assert read(printed) == tree
            assert print_file(read(printed)) == printed
    assert 100 < read_count < 1900


def test_the_tables_that_come_along_are_those_of_the_grammar() -> None:
    """`PYTHONHASHSEED=0 python -m tensormap.language.parser` writes them anew."""
    kept = json.loads(parser.TABLES.read_text("utf-8"))
    assert kept["made from"] == json.loads(parser.tables())["made from"]
