"""Findings as a terminal and a program see them."""

from __future__ import annotations

import random
import time
from textwrap import dedent

import pytest

from tensormap.diagnostics import CheckpointError, Diagnostic, Label, Source, Span
from tensormap.render import render, render_json

QKV = Source(
    "hf_to_mcore.tmap",
    "mapping hf <-> mcore\n"
    "index i < layers\n"
    "\n"
    "block model.layers.{i}. <-> decoder.layers.{i}. {\n"
    "\n"
    "    self_attn.q_proj.weight [(kv g d) e]\n"
    "    <-> w [e]\n"
    "}\n",
)


def label(source, text, said="", *, primary=True, nth=0):
    start = -1
    for _ in range(nth + 1):
        start = source.text.index(text, start + 1)
    return Label(Span(source, start, start + len(text)), said, primary)


def shown(*labels, message="a thing", width=None, **more):
    return render(Diagnostic("slug", message, labels, **more), width=width)


def check(found, expected):
    assert found == dedent(expected).strip("\n")


def test_the_shape_of_a_finding():
    found = Diagnostic(
        "axis-not-divisible",
        "a dimension of size 24 does not split into `(kv g d)`",
        (
            label(QKV, "(kv g d)", "with kv = 5, d = 4"),
            label(QKV, "self_attn.q_proj.weight", "shape [24, 6]", primary=False),
        ),
        ("first seen at `model.layers.0.self_attn.q_proj.weight`, and in 31 more layers",),
        ("one thing\nand another",),
    )
    check(
        render(found),
        """
        error[axis-not-divisible]: a dimension of size 24 does not split into `(kv g d)`
         --> hf_to_mcore.tmap:6:30
          |
        6 |     self_attn.q_proj.weight [(kv g d) e]
          |     ----------------------- shape [24, 6]
          |                              ^^^^^^^^ with kv = 5, d = 4
          |
          = note: first seen at `model.layers.0.self_attn.q_proj.weight`, and in 31 more layers
          = help: one thing
                  and another
        """,
    )


def test_a_finding_without_a_place():
    check(shown(notes=("a fact",), severity="warning"), "warning[slug]: a thing\n  = note: a fact")


def test_distant_lines_have_dots_between_and_a_single_line_is_shown():
    check(
        shown(
            label(QKV, "hf", "one", primary=False),
            label(QKV, "block", "two"),
            label(QKV, "q_proj", "three", primary=False),
        ),
        """
        error[slug]: a thing
         --> hf_to_mcore.tmap:4:1
          |
        1 | mapping hf <-> mcore
          |         -- one
        ...
        4 | block model.layers.{i}. <-> decoder.layers.{i}. {
          | ^^^^^ two
        5 |
        6 |     self_attn.q_proj.weight [(kv g d) e]
          |               ------ three
        """,
    )


def test_line_numbers_of_unequal_width_stand_flush():
    source = Source("a", "\n" * 8 + "nine\nten\n")
    check(
        shown(label(source, "nine"), label(source, "ten")),
        """
        error[slug]: a thing
          --> a:9:1
           |
         9 | nine
           | ^^^^
        10 | ten
           | ^^^
        """,
    )


def test_several_sources_each_have_a_heading():
    other = Source("common.tmap", "let e = 3\n")
    check(
        shown(label(other, "e = 3", "and here", primary=False), label(QKV, "mapping", "here"), help=("rename one",)),
        """
        error[slug]: a thing
         --> hf_to_mcore.tmap:1:1
          |
        1 | mapping hf <-> mcore
          | ^^^^^^^ here
         ::: common.tmap:1:5
          |
        1 | let e = 3
          |     ----- and here
          |
          = help: rename one
        """,
    )


def test_a_label_of_several_lines_shows_the_first_and_the_last():
    check(
        shown(
            label(
                QKV,
                "block model.layers.{i}. <-> decoder.layers.{i}. {\n\n    self_attn.q_proj.weight [(kv g d) e]\n    <-> w",
                "all of it",
            )
        ),
        """
        error[slug]: a thing
         --> hf_to_mcore.tmap:4:1
          |
        4 | block model.layers.{i}. <-> decoder.layers.{i}. {
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        ...
        7 |     <-> w [e]
          |     ^^^^^ all of it
        """,
    )


def test_a_label_that_ends_with_its_line_stays_on_it():
    check(
        shown(label(QKV, "index i < layers\n", "here")),
        """
        error[slug]: a thing
         --> hf_to_mcore.tmap:2:1
          |
        2 | index i < layers
          | ^^^^^^^^^^^^^^^^ here
        """,
    )


@pytest.mark.parametrize(
    ("text", "place", "line", "column"), [("", 0, 1, 1), ("ab", 2, 1, 3), ("ab\n", 3, 2, 1), ("ab", 99, 1, 3)]
)
def test_an_empty_place_and_one_behind_the_end_get_one_caret(text, place, line, column):
    found = shown(Label(Span(Source("a", text), place, place), "ends")).splitlines()
    assert found[1] == f" --> a:{line}:{column}"
    assert found[-1] == "  | " + " " * (column - 1) + "^ ends"


def test_tabs_wide_and_combining_letters_are_measured():
    source = Source("a", "\ta \u6f22\u5b57 e\u0301x b\r\n")
    check(
        shown(label(source, "\u6f22\u5b57", "wide"), label(source, "x", "after", primary=False)),
        """
        error[slug]: a thing
         --> a:1:4
          |
        1 |     a \u6f22\u5b57 e\u0301x b
          |       ^^^^ wide
          |             - after
        """,
    )


def test_no_character_reaches_the_terminal_that_it_would_obey():
    source = Source("a\x1b[2J", "x\x1b[31m\u202ey\x00\n")
    found = shown(
        label(source, "y", "said\x07\u2066"),
        message="m\x1b]0;t\x07\nsecond",
        notes=("n\x9b\r\n\u2028",),
        help=("\x7f\ud800",),
    )
    assert all(each.isprintable() for each in found.replace("\n", ""))
    check(
        found.replace("\\", "!"),
        """
        error[slug]: m!x1b]0;t!x07
        second
         --> a!x1b[2J:1:8
          |
        1 | x!x1b[31m!u{202e}y!x00
          |                  ^ said!x07!u{2066}
          |
          = note: n!x9b!x0d
                  !u{2028}
          = help: !x7f!u{d800}
        """,
    )


def test_long_lines_are_clipped_around_the_primary_label():
    source = Source("a", "x" * 100 + " the place " + "y" * 100)
    assert shown(label(source, "place", "here"), width=44).splitlines()[3:] == [
        "1 | ..." + "x" * 9 + " the place " + "y" * 14 + "...",
        "  | " + " " * 17 + "^^^^^ here",
    ]


@pytest.mark.parametrize(
    ("part", "line", "marks"),
    [
        ("start", "1 | start" + "-" * 13 + "...", "  | ^^^^^"),
        ("end", "1 | ..." + "-" * 15 + "end", "  | " + " " * 18 + "^^^"),
        ("-" * 192, "1 | ...tart" + "-" * 14 + "...", "  |        " + "^" * 14),
    ],
)
def test_a_clip_shows_the_ends_of_a_line(part, line, marks):
    source = Source("a", "start" + "-" * 192 + "end")
    found = shown(label(source, part), width=28).splitlines()
    assert [each.rstrip() for each in found[3:]] == [line, marks]


@pytest.mark.parametrize("start", [0, 990, 1010, 500_000, 999_990])
def test_of_a_line_without_end_only_what_is_near_is_looked_at(start):
    line = "".join(f"{k:<10}" for k in range(100_000))
    source = Source("a", line)
    labels = (Label(Span(source, start, start + 5)), Label(Span(source, 999_999, 1_000_000), "", primary=False))
    began = time.process_time()
    for _ in range(100):
        text = shown(*labels, width=80)
    assert time.process_time() - began < 5
    shown_line, under = text.split("\n")[3:5]
    at = under.index("^")
    assert shown_line[at : at + 5] == line[start : start + 5]
    assert shown_line[4:].strip(".").strip() in line


def test_any_label_can_be_shown_at_any_width():
    chance = random.Random(5)
    letters = "ab \t\n\r\u6f22\u0301\x1b"
    for _ in range(500):
        text = "".join(chance.choice(letters) for _ in range(chance.randint(0, 200)))
        places = [sorted(chance.choices(range(len(text) + 1), k=2)) for _ in range(chance.randint(1, 4))]
        source = Source("a", text)
        labels = [Label(Span(source, *place), "said", chance.random() < 0.5) for place in places]
        width = chance.choice([None, 0, 30, 50])
        found = shown(*labels, width=width)
        assert found.count("said") == len(labels)
        assert all(len(each) <= max(width or 146, 30) + 8 for each in found.splitlines()[1:])


def test_colour_only_adds_escapes():
    found = Diagnostic("slug", "m", (label(QKV, "hf", "x"), label(QKV, "<->", "y", primary=False)), ("n",), ("h",))
    plain = render(found)
    coloured = render(found, color=True)
    for code in ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == plain
    assert "\x1b[1;33mwarning[slug]" in render(Diagnostic("slug", "m", severity="warning"), color=True)


def test_json_counts_from_one():
    found = Diagnostic(
        "slug", "m", (label(QKV, "index", "x"), label(QKV, "e]\n", "y", primary=False)), ("n",), ("h",), "warning"
    )
    name = "hf_to_mcore.tmap"
    assert render_json(found) == {
        "severity": "warning",
        "slug": "slug",
        "message": "m",
        "labels": [
            {
                "source": name,
                "start": {"line": 2, "column": 1},
                "end": {"line": 2, "column": 6},
                "text": "x",
                "primary": True,
            },
            {
                "source": name,
                "start": {"line": 6, "column": 39},
                "end": {"line": 7, "column": 1},
                "text": "y",
                "primary": False,
            },
        ],
        "notes": ["n"],
        "help": ["h"],
    }


def test_an_error_prints_all_its_findings():
    error = CheckpointError([Diagnostic("one", "first"), Diagnostic("two", "second")])
    assert str(error) == "error[one]: first\n\nerror[two]: second"
