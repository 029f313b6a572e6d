"""Canonical text, exactly."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tensormap.diagnostics import Source, Span
from tensormap.language import syntax as s
from tensormap.language.parser import parse, parse_expression, parse_template
from tensormap.language.printer import (
    print_expression,
    print_file,
    print_layout,
    print_rule,
    print_template,
    print_term,
)

NOWHERE = Span(Source("", ""), 0, 0)


def formatted(text):
    tree = parse(Source("m.tmap", dedent(text)))
    once = print_file(tree)
    again = parse(Source("m.tmap", once))
    assert again == tree
    assert print_file(again) == once
    return once


def check(text, expected):
    assert formatted(text) == dedent(expected).lstrip("\n")


def test_nothing_prints_as_nothing():
    assert formatted("") == ""
    assert formatted("\n  \n\n") == ""
    assert formatted("\n\n# c\n\n") == "# c\n"


def test_neighbouring_rules_align_their_arrows():
    check(
        """
        a.weight   [x y]<->b.weight [y  x]
        c -> _
        longer.name [ (a+b) ] <->  d   replicated r , q by mean optional

        next <-> run
        # a comment ends a run
        x.y.z <-> z
        optional { b <-> c }
        after.a.block <-> d
        e <- _ # a comment behind does not
        f.g <-> h
        """,
        """
        a.weight [x y]        <-> b.weight [y x]
        c                     -> _
        longer.name [(a + b)] <-> d   replicated r, q by mean optional

        next <-> run
        # a comment ends a run
        x.y.z <-> z
        optional {
            b <-> c
        }
        after.a.block <-> d
        e             <- _  # a comment behind does not
        f.g           <-> h
        """,
    )


def test_long_left_sides_are_not_aligned():
    long = "a" * 61
    check(f"\na <-> b\n{long} <-> c\ndd <-> e\n", f"\na  <-> b\n{long} <-> c\ndd <-> e\n")


def test_alignment_never_makes_a_line_too_long():
    right = "b" * 110
    check(f"\na <-> {right}\nlonger <-> c\n", f"\na <-> {right}\nlonger <-> c\n")


def test_a_rule_longer_than_a_line_breaks_before_its_arrow_and_its_commas():
    term = "self_attention.linear_qkv.weight [(kv (g + 1 + 1) d) e]"
    check(
        f"\n{term} <-> {term}, {term},{term}   when x\n",
        f"""
        {term}
            <-> {term}
              , {term}
              , {term}   when x
        """,
    )
    check(
        f"\n{term}, q -> {term}, {term}\n",
        f"""
        {term}, q
            -> {term}, {term}
        """,
    )
    check(
        f"\n{term}, {term}, {term} -> {term}, {term}, q\n",
        f"""
        {term}
          , {term}
          , {term}
            -> {term}
             , {term}
             , q
        """,
    )


def test_config_lines_align_values_and_arrows():
    check(
        """
        config {
          e = dim<->hidden
          tp*kv = _ <-> num_heads ?? n # c
          eps <- rms
          # other
          k <-> l

          a_long_value = x -> _
        }
        """,
        """
        config {
            e       = dim <-> hidden
            tp * kv = _   <-> num_heads ?? n  # c
                      eps <- rms
            # other
            k <-> l

            a_long_value = x -> _
        }
        """,
    )


def test_lines_of_a_side_align_their_strings():
    check(
        """
        side a {
          files "x-{r}.pt" at m.s under module. as {r}. with step=1,"a b"=none when tp==1
          config "c.json"   at "a b"
          tag "latest"="x"
        }
        side b { path "/" }
        """,
        """
        side a {
            files  "x-{r}.pt" at m.s under module. as {r}. with step = 1, "a b" = none when tp == 1
            config "c.json" at "a b"
            tag    "latest" = "x"
        }
        side b {
            path "/"
        }
        """,
    )


def test_scopes_and_declarations():
    check(
        """
        mapping a<->b
        param p in x,"1" = "1" "what"
        index i<n
        index s in w,"b-c"
        let e=(a+b)*c
        require (a==b) "why"
        use "c.tmap" with left="a." ,e = 2*f
        extern f([a],[ ])->[b]
        block a.{i}.<->b. when x { } else when y { replicated r by sum {
        w[e]<->v } } else { }
        """,
        """
        mapping a <-> b
        param p in x, "1" = "1" "what"
        index i < n
        index s in w, "b-c"
        let e = (a + b) * c
        require a == b "why"
        use "c.tmap" with left = "a.", e = 2 * f
        extern f([a], []) -> [b]
        block a.{i}. <-> b. when x {
        } else when y {
            replicated r by sum {
                w [e] <-> v
            }
        } else {
        }
        """,
    )


def test_comments_and_single_blank_lines_stay():
    check(
        """

        # top


        #close
        #! other
        a <-> b   # behind
        c # inside
          # inside too
          <-> d
        when x {   # behind a brace

            # alone

            e <-> f

            # last

        }   # behind the end


        # end

        """,
        """
        # top

        # close
        #! other
        a <-> b  # behind
        # inside
        # inside too
        c <-> d
        when x {
            # behind a brace

            # alone

            e <-> f

            # last
        }  # behind the end

        # end
        """,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("((a))+(b*c)", "a + b * c"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a-b)-c", "a - b - c"),
        ("(a*b)**(-c)", "(a * b) ** -c"),
        ("(-a)**2", "(-a) ** 2"),
        ("-(a**2)", "-a ** 2"),
        ("-(a+b)", "-(a + b)"),
        ("(a ** b) ** c", "(a ** b) ** c"),
        ("a ** (b ** c)", "a ** b ** c"),
        ("not(a ?? b)", "not (a ?? b)"),
        ("not a == b", "not (a == b)"),
        ("(not a) == b", "(not a) == b"),
        ("not not a", "not not a"),
        ("not(x in [1,2])", "x not in [1, 2]"),
        ("(a==b)==c", "(a == b) == c"),
        ("a < - b", "a < -b"),
        ("(a or b)and c", "(a or b) and c"),
        ("f( x )[ 1 ]", "f(x)[1]"),
        ("(a+b)[1]", "(a + b)[1]"),
        ("a ?? (b ?? c)", "a ?? (b ?? c)"),
        ("1.0e-5", "1.0e-5"),
        ("007", "7"),
        ('"a b"', '"a b"'),
    ],
)
def test_expressions_have_no_more_parentheses_than_they_need(text, expected):
    tree = parse_expression(text)
    assert print_expression(tree) == expected
    assert parse_expression(expected) == tree


def test_a_negative_integer_prints_as_it_would_be_read():
    base = s.Binary("**", s.Integer(-2, NOWHERE), s.Integer(-3, NOWHERE), NOWHERE)
    assert print_expression(base) == "(-2) ** -3"


@pytest.mark.parametrize(
    "text", ["a.{i + 2}.{n:02}", "{(p l)}.x'", "{((a + 1) (2 * b) c[d])}", "$kv.{i}", "{(a b) * 2}"]
)
def test_names_print_as_written(text):
    assert print_template(parse_template(text)) == text


def test_parts_of_a_rule_print_alone():
    text = 'q: -exp(a = b? = "c" [x q:(y + 2 z) t:3 v[r] o/128 ...] as f32) * -(b - c), 1e-3 [] <-> _   optional when x'
    rule = parse(Source("m.tmap", text)).statements[0]
    assert print_rule(rule) == text
    assert print_term(rule.left[1]) == "1e-3 []"
    assert print_layout(rule.left[1].value.layout) == "[]"
