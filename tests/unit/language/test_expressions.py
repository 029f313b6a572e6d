"""Expressions: values, what is missing, polynomials, and which config key a value is written to.

The trees are made from Python's own parser, with `??` spelled in place of `@`: so `??` binds tightly here and stands in brackets.
"""

from __future__ import annotations

import ast
import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tensormap.diagnostics import MappingError, Source, Span
from tensormap.language import syntax
from tensormap.language.expressions import Missing, evaluate, invert, keys, names, nested, polynomial

OPERATORS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.MatMult: "??",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.And: "and",
    ast.Or: "or",
}


def parse(text: str) -> syntax.Expression:
    return build(ast.parse(text.replace("??", "@ "), mode="eval").body, Source("test.tmap", text))


def build(node: ast.expr, source: Source) -> syntax.Expression:
    span = Span(source, node.col_offset, node.end_col_offset or 0)

    def all_of(*nodes: ast.expr) -> tuple[syntax.Expression, ...]:
        return tuple(build(each, source) for each in nodes)

    match node:
        case ast.Name() | ast.Attribute():
            return syntax.Name(ast.unparse(node), span)
        case ast.Constant():
            return literal(node.value, span)
        case ast.UnaryOp(op=op, operand=operand):
            return syntax.Unary("not" if isinstance(op, ast.Not) else "-", *all_of(operand), span)
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
            return syntax.Binary(OPERATORS[type(op)], *all_of(left, right), span)
        case ast.BoolOp(op=op, values=values):
            first, *rest = all_of(*values)
            for each in rest:
                first = syntax.Binary(OPERATORS[type(op)], first, each, span)
            return first
        case ast.Call(func=ast.Name(id=function), args=args):
            return syntax.Call(function, all_of(*args), span)
        case ast.Subscript(value=base, slice=key):
            return syntax.Item(*all_of(base, key), span)
        case ast.List(elts=items):
            return syntax.List(all_of(*items), span)
    raise AssertionError(ast.dump(node))


def literal(value: object, span: Span) -> syntax.Expression:
    if isinstance(value, str):
        return syntax.String(value, span)
    if isinstance(value, int):
        return syntax.Integer(value, span)
    return syntax.Number(span.source.text[span.start : span.end], span)


def value(text: str, **scope: object) -> object:
    return evaluate(parse(text), scope)


def slug(text: str, **scope: object) -> str:
    with pytest.raises(MappingError) as caught:
        evaluate(parse(text), scope)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.labels
    return diagnostic.slug


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("7 / 2", 3.5),
        ("8 / 2", 4),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("2 ** 10", 1024),
        ("4 ** -0.5", 0.5),
        ("2 ** -1", 0.5),
        ("0 ** 0", 1),
        ("(-1) ** 3", -1),
        ("1.0 == 1", True),
        ("true == 1", False),
        ("'3.1' == 3.1", False),
        ("[1, 2.0] == [1.0, 2]", True),
        ("none == none", True),
        ("'a' in ['a', 'b']", True),
        ("1 in [true]", False),
        ("not true", False),
        ("1 < 2 and 2.5 >= 2", True),
        ("'a' + 'b'", "ab"),
        ("[4] * 3", (4, 4, 4)),
        ("[1] + [2]", (1, 2)),
        ("[5, 6, 7][1]", 6),
        ("[5, 6, 7][-1]", 7),
        ("'abc'[1]", "b"),
        ("round_up(10922, 256)", 11008),
        ("round_up(0, 8)", 0),
        ("ceil_div(-7, 2)", -3),
        ("int(2.9)", 2),
        ("int(-2.9)", -2),
        ("int('12')", 12),
        ("int(true)", 1),
        ("float('1e-5')", 1e-5),
        ("str(12)", "12"),
        ("sqrt(16)", 4.0),
        ("isqrt(17)", 4),
        ("log(1)", 0.0),
        ("exp(0)", 1.0),
        ("min(3, 1, 2)", 1),
        ("max([3, 1, 2])", 3),
        ("abs(-3)", 3),
        ("len('abc')", 3),
        ("sum([1, 2, 3])", 6),
        ("index(['a', 'b'], 'b')", 1),
        ("count([1, 1.0, 2], 1)", 2),
        ("gcd(12, 18)", 6),
        ("starts_with('model.x', 'model.')", True),
        ("ends_with('model.x', 'y')", False),
        ("contains('abc', 'b')", True),
        ("contains([1, 2], 3)", False),
        ("range(3)", (0, 1, 2)),
        ("range(2, 4)", (2, 3)),
        ("select(1 < 2, 'yes', 1 / 0)", "yes"),
        ("int(8 * 4096 / 3)", 10922),
        ("9223372036854775807 - 1", 2**63 - 2),
    ],
)
def test_values(text, expected):
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'a' + 1", "type-mismatch"),
        ("1 + true", "type-mismatch"),
        ("none + 1", "type-mismatch"),
        ("[1] + 1", "type-mismatch"),
        ("'a' < 'b'", "type-mismatch"),
        ("'3' >= 3", "type-mismatch"),
        ("1 and true", "type-mismatch"),
        ("true and 1", "type-mismatch"),
        ("not 1", "type-mismatch"),
        ("-true", "type-mismatch"),
        ("'a' in 'abc'", "type-mismatch"),
        ("5[0]", "type-mismatch"),
        ("[5]['a']", "type-mismatch"),
        ("[5][true]", "type-mismatch"),
        ("select(1, 2, 3)", "type-mismatch"),
        ("sqrt('4')", "type-mismatch"),
        ("gcd(1.0, 2)", "type-mismatch"),
        ("1 / 0", "division-by-zero"),
        ("1 // 0", "division-by-zero"),
        ("1 % 0.0", "division-by-zero"),
        ("0 ** -1", "division-by-zero"),
        ("9223372036854775807 + 1", "overflow"),
        ("9223372036854775808", "overflow"),
        ("2 ** 63", "overflow"),
        ("10 ** 10 ** 10", "overflow"),
        ("2 ** (2 ** 62)", "overflow"),
        ("1e308 * 10", "overflow"),
        ("10.0 ** 1000", "overflow"),
        ("exp(1000)", "overflow"),
        ("range(10000000)", "overflow"),
        ("[1] * 10000000", "overflow"),
        ("[0, 1] * 4611686018427387904", "overflow"),
        ("(-8) ** 0.5", "bad-argument"),
        ("sqrt(-1)", "bad-argument"),
        ("log(0)", "bad-argument"),
        ("isqrt(-1)", "bad-argument"),
        ("[1][1]", "bad-argument"),
        ("index([1], 2)", "bad-argument"),
        ("int('1_0')", "bad-argument"),
        ("float('inf')", "bad-argument"),
        ("round_up(1, 0)", "bad-argument"),
        ("ceil_div(1, -2)", "bad-argument"),
        ("min([])", "bad-argument"),
        ("sqrt(1, 2)", "bad-argument"),
        ("select(true, 1)", "bad-argument"),
        ("open('x')", "unknown-function"),
        ("__import__('os')", "unknown-function"),
    ],
)
def test_what_cannot_be_computed_is_a_finding(text, expected):
    assert slug(text) == expected


def test_a_finding_underlines_the_operation_and_says_what_the_operands_are():
    with pytest.raises(MappingError) as caught:
        evaluate(parse("1 + (kv + name)"), {"kv": 8, "name": "x"})
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.message == "`+` does not take an integer and a string"
    shown = [(label.span.source.text[label.span.start : label.span.end], label.text) for label in diagnostic.labels]
    assert shown == [("kv + name", ""), ("kv", "is 8"), ("name", 'is "x"')]


def test_a_value_from_outside_is_checked_as_well():
    assert slug("a", a=2**63) == "overflow"


def test_depth_is_a_finding_and_not_a_recursion_error():
    tree = parse("1")
    for _ in range(5_000):
        tree = syntax.Binary("+", tree, tree.right if isinstance(tree, syntax.Binary) else tree, tree.span)
    with pytest.raises(MappingError) as caught:
        evaluate(tree, {})
    assert caught.value.diagnostics[0].slug == "expression-too-deep"
    assert names(tree) == ()
    assert polynomial(tree, {}) is None
    wanted = True
    with pytest.raises(MappingError):
        invert(syntax.Unary("not", syntax.Binary("+", tree, syntax.Name("a", tree.span), tree.span), tree.span), wanted)


def test_a_numbered_pair_has_no_value_here():
    span = parse("1").span
    with pytest.raises(MappingError) as caught:
        evaluate(syntax.Numbered((syntax.Name("a", span),), span), {"a": 1})
    assert caught.value.diagnostics[0].slug == "misplaced-numbering"


# --- what is missing --------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named_all_at_once():
    assert value("a + b * a + c", c=1) == Missing(("a", "b"))
    assert value("max(a, 1, b)") == Missing(("a", "b"))
    assert value("[1, a]") == Missing(("a",))
    assert value("a[0]") == Missing(("a",))
    assert value("-a") == Missing(("a",))
    assert value("_") == Missing(())


def test_a_fallback_takes_the_first_that_is_there():
    assert value("a ?? b ?? 3") == 3
    assert value("a ?? b ?? 3", b=2) == 2
    assert value("a ?? b", a=None, b=2) == 2
    assert value("a ?? b", a=False, b=True) is False
    assert value("a ?? b", a=0, b=1) == 0
    assert value("a ?? b") == Missing(("a", "b"))
    assert value("a ?? b", a=None) == Missing(("b",))
    assert value("a ?? b", b=None) is None
    assert value("(a + 1) ?? 7") == 7


def test_logic_decides_as_soon_as_it_can():
    assert value("false and a") is False
    assert value("a and false") is False
    assert value("a or true") is True
    assert value("true or 1 / 0 == 1") is True
    assert value("a and true") == Missing(("a",))
    assert value("false or a") == Missing(("a",))
    assert value("a and b") == Missing(("a", "b"))
    assert value("not a") == Missing(("a",))
    assert value("select(a, 1, 2)") == Missing(("a",))
    assert value("select(true, a, 2)") == Missing(("a",))


def test_a_config_is_a_scope():
    config = {
        "num-layers": 2,
        "rope_parameters": {"rope-theta": 5.0, "deep": {"x": 1}},
        "qwen3next.block_count": 48,
        "a.b": {"c": 7},
        "null": None,
        "a_b": "exact",
        "a-b": "dashed",
    }
    scope = nested(config)
    assert scope("num_layers") == 2
    assert scope("rope_parameters.rope_theta") == 5.0
    assert scope("rope_parameters.deep.x") == 1
    assert scope("qwen3next.block_count") == 48
    assert scope("a.b.c") == 7
    assert scope("null") is None
    assert scope("a_b") == "exact"
    assert scope("rope_parameters.none") == Missing(("rope_parameters.none",))
    assert scope("num_layers.x") == Missing(("num_layers.x",))
    assert scope("null.x") == Missing(("null.x",))
    assert evaluate(parse("rope_theta ?? rope_parameters.rope_theta ?? 1"), scope) == 5.0
    assert evaluate(parse("rope_parameters['deep']"), scope) == {"x": 1}
    assert evaluate(parse("rope_parameters['type'] ?? 'default'"), scope) == "default"


# --- names and polynomials --------------------------------------------------------------------------------------------


def test_names_in_order():
    tree = parse("b.c ?? [a, true, none, _][b.c] + f(d, -a) * (not e)")
    assert names(tree) == keys(tree) == ("b.c", "a", "d", "e")


def test_polynomials():
    let = {"e": parse("n * d"), "loop": parse("loop + 1"), "half": parse("n // 2")}
    assert str(polynomial(parse("2 * e + e - (kv + 1) ** 2"), let)) == str(
        polynomial(parse("3 * n * d - kv * kv - 2 * kv - 1"), {})
    )
    assert str(polynomial(parse("-kv"), {})) == "-kv"
    for text in ("kv / 2", "half", "loop", "a.b", "true", "_", "sqrt(n)", "n ** d", "n ** -1", "1.5 * n", "[n]", "'n'"):
        assert polynomial(parse(text), let) is None, text


def test_a_polynomial_that_explodes_is_none():
    assert polynomial(parse("(a + b + c + d + e + f) ** 60"), {}) is None
    assert polynomial(parse("10 ** 10 * 10 ** 10"), {}) is None
    let = {f"x{k}": parse(f"x{k + 1} * x{k + 1}") for k in range(60)}
    assert polynomial(parse("x0"), let) is None
    assert polynomial(parse("x55"), let) is not None


# --- inverse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        ("hidden_size", 64, ("hidden_size", 64)),
        ("no_weight_tying ?? false", True, ("no_weight_tying", True)),
        ("no_weight_tying ?? false", False, ("no_weight_tying", False)),
        ("not (tie_word_embeddings ?? false)", False, ("tie_word_embeddings", True)),
        ("rope_parameters.rope_theta ?? rope_theta ?? 10000", 1, ("rope_parameters.rope_theta", 1)),
        ("head_dim ?? (hidden_size // heads)", 128, ("head_dim", 128)),
        ("rope_scaling ?? none", None, ("rope_scaling", None)),
        ("x * 2", 8, ("x", 4)),
        ("x + 1", 8, ("x", 7)),
        ("1 - x", 8, ("x", -7)),
        ("3 * (x - 2) + 1", 10, ("x", 5)),
        ("-x", 8, ("x", -8)),
        ("x // 1", 8, ("x", 8)),
        ("x / 2", 8, ("x", 16)),
        ("x / 2", 3.5, ("x", 7)),
        ("6 / x", 2, ("x", 3)),
        ("x * 0.5", 8, ("x", 16.0)),
        ("x * 0.1", 0.3, ("x", 3.0)),
        ("x + 0.1", 0.3, ("x", 0.2)),
        ("x", 1e-05, ("x", 1e-05)),
        ("[x]", [3], ("x", 3)),
        ("[x, 0]", [3, 0], ("x", 3)),
        ("[x, x]", [3, 3], ("x", 3)),
        ("float(x)", 2, ("x", 2)),
        ("x == 'rmsnorm'", True, ("x", "rmsnorm")),
        ("x != 'rmsnorm'", False, ("x", "rmsnorm")),
        ("x == true", False, ("x", False)),
        ("select(act == 'swiglu', 'silu', act)", "silu", ("act", "swiglu")),
        ("select(act == 'swiglu', 'silu', act)", "gelu", ("act", "gelu")),
        ("select(flag, 1, 2)", 2, ("flag", False)),
        ("_", 5, None),
        ("128", 128, None),
        ("'llama'", "llama", None),
    ],
)
def test_inverse(text, wanted, expected):
    found = invert(parse(text), wanted)
    assert found == expected
    if found is not None and expected is not None:
        assert type(found[1]) is type(expected[1])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("128", 64),
        ("'llama'", "mistral"),
        ("1 == 1.0", False),
        ("a * b", 8),
        ("a + a", 8),
        ("x * 2", 7),
        ("x * 0", 0),
        ("x // 2", 4),
        ("x % 2", 0),
        ("x ** 2", 4),
        ("x[0]", 4),
        ("x * 2", "8"),
        ("x * 2", True),
        ("x + 1e20", 1.0),
        ("not x", 1),
        ("'llama' ?? x", "mistral"),
        ("x != 'rmsnorm'", True),
        ("x == 'rmsnorm'", False),
        ("[x]", [1, 2]),
        ("[x, y]", [1, 2]),
        ("[x, x]", [1, 2]),
        ("[x, 1]", [1, 2]),
        ("select(flag, 1, 2)", 3),
        ("x ?? 5", None),
        ("sqrt(x)", 4.0),
        ("x + 1", -(2**63) + 1),
        ("x / 2", 2**62),
    ],
)
def test_no_inverse(text, wanted):
    with pytest.raises(MappingError) as caught:
        invert(parse(text), wanted)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.slug == "not-invertible"
    assert "`" in diagnostic.message
    assert diagnostic.labels


def test_names_that_are_known_are_constants():
    assert invert(parse("heads * tp"), 32, {"tp": 4}) == ("heads", 8)


def test_not_a_number_can_be_written():
    key, written = invert(parse("x ?? 0"), math.nan) or ("", 0)
    assert key == "x"
    assert isinstance(written, float)
    assert math.isnan(written)


# --- against Python ---------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(st.integers(-50, 50).map(str), st.floats(-9, 9).map(lambda x: repr(round(x, 2))))
ATOMS = st.one_of(NUMBERS, st.sampled_from(["a", "b", "c"]))
TREES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda x: f"(-{x})"),
        inner.map(lambda x: f"abs({x})"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        st.tuples(inner, st.integers(0, 4)).map(lambda t: f"({t[0]} ** {t[1]})"),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(TREES, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), TREES)
def test_agrees_with_python(left, operator, right):
    scope = {"a": 7, "b": -3, "c": 2.5}
    for text in (left, f"{left} {operator} {right}"):
        try:
            expected = eval(text, {"__builtins__": {"abs": abs, "max": max}}, scope)
        except (ZeroDivisionError, OverflowError):
            with pytest.raises(MappingError):
                value(text, **scope)
            continue
        try:
            found = value(text, **scope)
        except MappingError as error:
            assert error.diagnostics[0].slug in {"overflow", "division-by-zero"}  # noqa: PT017
            continue
        assert type(found) is type(expected)
        assert found == expected or (math.isnan(found) and math.isnan(expected))


@settings(max_examples=200, deadline=None)
@example("((0 // 0) ** 0)")
@given(TREES)
def test_a_polynomial_is_worth_what_its_expression_is(text):
    tree = parse(text)
    size = polynomial(tree, {})
    scope = {"a": 7, "b": -3, "c": 2}
    if size is not None:
        try:
            assert size.evaluate(scope) == evaluate(tree, scope)
        except MappingError as error:
            assert error.diagnostics[0].slug == "overflow"  # noqa: PT017


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6)))
def test_what_is_written_reads_back(seed, wanted):
    choose = random.Random(seed)
    text = "x"
    for _ in range(choose.randrange(5)):
        constant = choose.choice(["2", "3", "0.5", "-7", "0.1", "1"])
        operator = choose.choice("+-*/")
        text = f"({text} {operator} {constant})" if choose.random() < 0.7 else f"({constant} {operator} {text})"
    try:
        found = invert(parse(text), wanted)
    except MappingError:
        return
    assert found is not None
    read = value(text, x=found[1])
    assert read == wanted if isinstance(read, int) else math.isclose(read, wanted, rel_tol=1e-12)
