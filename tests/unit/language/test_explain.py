"""The words of syntax errors, exactly as a user sees them."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tensormap.diagnostics import MappingError, Source
from tensormap.language.parser import parse

CASES = {
    "missing_arrow": (
        "a.w [x y] b.w [y x]\n",
        """
        error[syntax]: expected an arrow `<->`, `->` or `<-` between the two sides of this rule
         --> m.tmap:1:11
          |
        1 | a.w [x y] b.w [y x]
          |           ^^^ found `b.w`
        """,
    ),
    "missing_right_side": (
        "a.w [x y]\nb <-> c\n",
        """
        error[syntax]: expected an arrow `<->`, `->` or `<-` between the two sides of this rule
         --> m.tmap:1:10
          |
        1 | a.w [x y]
          |          ^ the line ends here
        """,
    ),
    "wrong_arrow": (
        "a.w => b.w\n",
        """
        error[syntax]: `=>` is not an arrow
         --> m.tmap:1:5
          |
        1 | a.w => b.w
          |     ^^
          |
          = help: write `<->` for an equation that is read both ways, `->` or `<-` for one that is read one way
        """,
    ),
    "equals_for_arrow": (
        "a.w [e] == b.w [e]\n",
        """
        error[syntax]: `==` is not an arrow
         --> m.tmap:1:9
          |
        1 | a.w [e] == b.w [e]
          |         ^^
          |
          = help: write `<->` for an equation that is read both ways, `->` or `<-` for one that is read one way
        """,
    ),
    "second_arrow": (
        "a <-> b <-> c\n",
        """
        error[syntax]: a second arrow in one statement
         --> m.tmap:1:9
          |
        1 | a <-> b <-> c
          |   --- the first arrow
          |         ^^^
        """,
    ),
    "open_bracket": (
        "a.w [x y <-> b.w [y x]\n",
        """
        error[unclosed]: this `[` is not closed
         --> m.tmap:1:5
          |
        1 | a.w [x y <-> b.w [y x]
          |     ^ opened here
          |          --- this arrow stands inside it
        """,
    ),
    "open_brace": (
        "block a. <-> b. {\n    w <-> w\n\nc <-> d\n",
        """
        error[unclosed]: this `{` is not closed
         --> m.tmap:1:17
          |
        1 | block a. <-> b. {
          |                 ^ opened here
        ...
        4 | c <-> d
          |        - the text ends here
        """,
    ),
    "open_hole": (
        "layers.{i + 2.w <-> h.{i}.w\n",
        """
        error[unclosed]: this hole is not closed
         --> m.tmap:1:8
          |
        1 | layers.{i + 2.w <-> h.{i}.w
          |        ^ opened here
          |                            - the line ends here
        """,
    ),
    "open_parenthesis_before_a_declaration": (
        "require x == (a + b\nlet y = 3\na <-> b\n",
        """
        error[unclosed]: this `(` is not closed
         --> m.tmap:1:14
          |
        1 | require x == (a + b
          |              ^ opened here
          |                    - the line ends here
        """,
    ),
    "wrong_closer": (
        "w [(a b] <-> c\n",
        """
        error[unclosed]: this `(` is not closed
         --> m.tmap:1:4
          |
        1 | w [(a b] <-> c
          |    ^ opened here
          |        - `)` expected before this
        """,
    ),
    "unknown_clause": (
        "norm <-> norm   replicate r\n",
        """
        error[unknown-clause]: `replicate` is not a clause
         --> m.tmap:1:17
          |
        1 | norm <-> norm   replicate r
          |                 ^^^^^^^^^
          |
          = help: did you mean `replicated`?
        """,
    ),
    "unknown_statement": (
        "idnex r < tp\n",
        """
        error[unknown-clause]: `idnex` does not begin a statement
         --> m.tmap:1:1
          |
        1 | idnex r < tp
          | ^^^^^
          |
          = help: did you mean `index`?
        """,
    ),
    "other_languages_word": (
        "if x {\n    a <-> b\n}\n",
        """
        error[unknown-clause]: `if` does not begin a statement
         --> m.tmap:1:1
          |
        1 | if x {
          | ^^
          |
          = help: did you mean `when`?
        """,
    ),
    "unknown_side_line": (
        'side a {\n    file "x.pt"\n}\n',
        """
        error[unknown-clause]: `file` does not begin a line of a side
         --> m.tmap:2:5
          |
        2 |     file "x.pt"
          |     ^^^^
          |
          = help: did you mean `files`?
        """,
    ),
    "touching_holes": (
        "layers.{i}{j}.w <-> h\n",
        """
        error[adjacent-holes]: two holes side by side cannot be told apart
         --> m.tmap:1:11
          |
        1 | layers.{i}{j}.w <-> h
          |        --- follows this one at once
          |           ^^^ this hole
          |
          = help: pad both, as in `{i:02}{j:02}`, or number pairs in one hole, as in `{(i j)}`
        """,
    ),
    "hole_beside_a_digit": (
        "w{i}0 <-> h\n",
        """
        error[adjacent-holes]: a hole beside the digit `0` cannot be told from it
         --> m.tmap:1:2
          |
        1 | w{i}0 <-> h
          |  ^^^
          |
          = help: pad it, as in `{i:02}`
        """,
    ),
    "empty_hole": (
        "layers.{}.w <-> h\n",
        """
        error[syntax]: this hole is empty
         --> m.tmap:1:8
          |
        1 | layers.{}.w <-> h
          |        ^^
          |
          = help: write an index into it, as in `{i}`
        """,
    ),
    "hole_with_two_names": (
        "layers.{c b} <-> h\n",
        """
        error[syntax]: expected an operator or the end of the hole after `c`
         --> m.tmap:1:11
          |
        1 | layers.{c b} <-> h
          |           ^ found `b`
          |
          = help: a hole holds sums and products of names and numbers, or `(a b)`, which numbers pairs
        """,
    ),
    "else_on_its_own_line": (
        "when x {\n    a <-> b\n}\nelse {\n    c <-> d\n}\n",
        """
        error[syntax]: `else` stands on the line of the `}` before it
         --> m.tmap:4:1
          |
        3 | }
          | - its block ends here
        4 | else {
          | ^^^^
          |
          = help: write `} else {`
        """,
    ),
    "else_without_when": (
        "else {\n    c <-> d\n}\n",
        """
        error[syntax]: this `else` has no `when` before it
         --> m.tmap:1:1
          |
        1 | else {
          | ^^^^
        """,
    ),
    "colon_for_equals": (
        "param tp: 1\n",
        """
        error[syntax]: expected `=`, not `:`
         --> m.tmap:1:9
          |
        1 | param tp: 1
          |         ^
        """,
    ),
    "equals_in_a_condition": (
        "a <-> b when x = 1\n",
        """
        error[syntax]: `=` does not compare
         --> m.tmap:1:16
          |
        1 | a <-> b when x = 1
          |                ^
          |
          = help: write `==`
        """,
    ),
    "chained_comparison": (
        "require 1 < x < 4\n",
        """
        error[syntax]: comparisons do not chain
         --> m.tmap:1:15
          |
        1 | require 1 < x < 4
          |           - first
          |               ^ second comparison
          |
          = help: write `a < b and b < c`
        """,
    ),
    "comma_in_a_layout": (
        "w [x, y] <-> b\n",
        """
        error[syntax]: axes are separated by spaces, not commas
         --> m.tmap:1:5
          |
        1 | w [x, y] <-> b
          |     ^
        """,
    ),
    "sum_in_a_layout": (
        "w [x + y] <-> b\n",
        """
        error[syntax]: a sum of axes stands in parentheses
         --> m.tmap:1:6
          |
        1 | w [x + y] <-> b
          |      ^
          |
          = help: write `[(a + b)]`
        """,
    ),
    "layout_in_parentheses": (
        "w (a b) <-> c\n",
        """
        error[syntax]: expected `,` or `)` between arguments
         --> m.tmap:1:6
          |
        1 | w (a b) <-> c
          |   - opened here
          |      ^ found `b`
          |
          = help: a layout stands in square brackets: `w [a b]`
        """,
    ),
    "keyword_as_name": (
        "index <-> y\n",
        """
        error[syntax]: `index` begins a statement, and this is none
         --> m.tmap:1:1
          |
        1 | index <-> y
          | ^^^^^
          |
          = help: a tensor of this name is written in quotes: `"index"`
        """,
    ),
    "dash_in_a_name": (
        "lm-head.weight <-> h\n",
        """
        error[syntax]: `lm-head.weight` reads as a difference
         --> m.tmap:1:1
          |
        1 | lm-head.weight <-> h
          | ^^^^^^^^^^^^^^
          |
          = help: put a name in quotes, `"lm-head.weight"`, or write spaces around `-`
        """,
    ),
    "unfinished_line": (
        "let x = 3 +\nindex r < tp\n",
        """
        error[syntax]: a statement is not finished after `+`
         --> m.tmap:1:12
          |
        1 | let x = 3 +
          |            ^ the line ends here
        """,
    ),
    "less_than_minus": (
        "require a <-b\n",
        """
        error[syntax]: `<-` is an arrow
         --> m.tmap:1:11
          |
        1 | require a <-b
          |           ^^
          |
          = help: write `< -` to compare
        """,
    ),
    "glued_number": (
        "w [2p] <-> b\n",
        """
        error[syntax]: `2p` is neither a number nor a name
         --> m.tmap:1:4
          |
        1 | w [2p] <-> b
          |    ^^
          |
          = help: a product is `2 * p`, in a layout `(2 p)`; a name that begins so has quotes
        """,
    ),
    "curly_quotes": (
        "\u201cw\u201d <-> b\n",
        """
        error[bad-character]: `\u201c` cannot stand outside strings and comments
         --> m.tmap:1:1
          |
        1 | \u201cw\u201d <-> b
          | ^ U+201C
          |
          = help: strings stand in double quotes
        """,
    ),
    "byte_order_mark": (
        "\ufeffa <-> b\n",
        r"""
        error[bad-character]: the file begins with a byte order mark
         --> m.tmap:1:1
          |
        1 | \u{feff}a <-> b
          | ^^^^^^^^ U+FEFF
          |
          = help: save it as UTF-8 without one
        """,
    ),
    "several_errors": (
        "param tp: 1\nindex i < layers\na <-> b <-> c\nconfig {\n    e = x => y\n    f = x <-> y\n    g = dim\n}\nw [x, y] <-> b",
        """
        error[syntax]: expected `=`, not `:`
         --> m.tmap:1:9
          |
        1 | param tp: 1
          |         ^

        error[syntax]: a second arrow in one statement
         --> m.tmap:3:9
          |
        3 | a <-> b <-> c
          |   --- the first arrow
          |         ^^^

        error[syntax]: `=>` is not an arrow
         --> m.tmap:5:11
          |
        5 |     e = x => y
          |           ^^
          |
          = help: write `<->` for an equation that is read both ways, `->` or `<-` for one that is read one way

        error[syntax]: expected an arrow `<->`, `->` or `<-` between the two keys of this config line
         --> m.tmap:7:12
          |
        7 |     g = dim
          |            ^ the line ends here
          |
          = help: `_` stands where a side has no such key: `n = num_layers <-> _`

        error[syntax]: axes are separated by spaces, not commas
         --> m.tmap:9:5
          |
        9 | w [x, y] <-> b
          |     ^
        """,
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_words(text, expected):
    with pytest.raises(MappingError) as caught:
        parse(Source("m.tmap", text))
    assert str(caught.value) == dedent(expected).strip("\n")
