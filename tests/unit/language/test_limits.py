"""The limits of a text: what is just small enough is read, and the next larger is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import tensormap
from tensormap.diagnostics import MappingError, Source
from tensormap.language.parser import parse, parse_template
from tensormap.language.partition import parted, ways
from tensormap.language.room import MAX_FACTORS
from tensormap.language.scan import MAX_BYTES, MAX_DEPTH, MAX_WORDS, scan, words
from tensormap.language.syntax import Name, Numbered, Rule


def _slugs(text: str) -> list[str]:
    try:
        scan(Source("m.tmap", text))
    except MappingError as error:
        return [each.slug for each in error.diagnostics]
    return []


@pytest.mark.parametrize(
    ("text", "more", "slug"),
    [
        ("a " * MAX_WORDS, "a", "too-long"),
        ("# and\n" + '"a b" ' * (MAX_WORDS // 3), '"a"', "too-long"),
        ("#" * MAX_BYTES, "#", "too-long"),
        ("#" + "\u00e9" * ((MAX_BYTES - 1) // 2), "\u00e9", "too-long"),
        ("(" * MAX_DEPTH + ")" * MAX_DEPTH, "(" * (MAX_DEPTH + 1) + ")" * (MAX_DEPTH + 1), "too-deep"),
        ("([{" * (MAX_DEPTH // 3) + "}])" * (MAX_DEPTH // 3), "([{" * 22 + "}])" * 22, "too-deep"),
    ],
    ids=["words", "words in quotes", "bytes", "bytes of letters that take two", "parentheses", "brackets of all kinds"],
)
def test_sizes_of_a_text(text: str, more: str, slug: str) -> None:
    assert _slugs(text) == []
    assert _slugs(text + more) == [slug]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("a.b_{i} <-> c # d e", 6),
        ('"a b" <-> c', 5),
        ('use "x/y" with n = 3', 9),
        ('"', 1),
    ],
)
def test_words(text: str, count: int) -> None:
    assert words(Source("m.tmap", text)) == count


def test_ten_findings_are_enough() -> None:
    with pytest.raises(MappingError) as caught:
        scan(Source("m.tmap", "\u200b " * 12))
    assert len(caught.value.diagnostics) == 10
    with pytest.raises(MappingError) as caught:
        scan(Source("m.tmap", "\u200b " * 9))
    assert len(caught.value.diagnostics) == 9


@pytest.mark.parametrize(("length", "found"), [((1 << 16) - 1, 2), (1 << 16, 1)])
def test_reading_goes_on_behind_a_mistake_unless_the_text_is_long(length: int, found: int) -> None:
    text = "a => b\nc => d\n"
    text += "#" * (length - len(text))
    with pytest.raises(MappingError) as caught:
        parse(Source("m.tmap", text))
    assert len(caught.value.diagnostics) == found


@pytest.mark.parametrize(("start", "piece"), [("let x = a", " + a"), ("let x = ", "-"), ("a <-> b", " + b")])
def test_long_sums_are_read(start: str, piece: str) -> None:
    """As long as what is asked of an expression later: 150 operators."""
    assert parse(Source("m.tmap", start + piece * 150 + ("a" if piece == "-" else ""))).statements


def test_names_and_holes() -> None:
    assert parse_template("a" * 4096).parts == ("a" * 4096,)
    hole = "i+" * 127 + "i"
    assert len(parse_template(f"a.{{{hole}i}}").parts) == 2
    for text in ("a" * 4097, f"a.{{{hole}iii}}"):
        with pytest.raises(MappingError) as caught:
            parse_template(text)
        assert [each.slug for each in caught.value.diagnostics] == ["too-long"]


def _axes(count: int) -> str:
    return " ".join(f"a{k}" for k in range(count))


@pytest.mark.parametrize(("before", "behind"), [("[", "]"), ("[(", ")]")])
def test_factors(before: str, behind: str) -> None:
    text = f"w {before}{{}}{behind} <-> v {before}{{}}{behind}"
    assert tensormap.loads(text.format(_axes(MAX_FACTORS), _axes(MAX_FACTORS)))
    longer = text.format(_axes(MAX_FACTORS + 1), _axes(MAX_FACTORS + 1))
    with pytest.raises(MappingError) as caught:
        tensormap.loads(longer)
    spans = [each.labels[0].span for each in caught.value.diagnostics]
    assert [longer[each.start : each.end] for each in spans] == [f"a{MAX_FACTORS}"] * 2
    assert {each.slug for each in caught.value.diagnostics} == {"too-large"}


def test_what_is_included_counts(tmp_path: Path) -> None:
    using = 'use "one.tmap"\nuse "two.tmap"\na [e] <-> b [e]\n'
    filler = MAX_BYTES - len(using)
    (tmp_path / "one.tmap").write_text("#" * 1000)
    (tmp_path / "two.tmap").write_text("#" * (filler - 1000))
    (tmp_path / "mapping.tmap").write_text(using)
    assert tensormap.load(tmp_path / "mapping.tmap")
    (tmp_path / "two.tmap").write_text("#" * (filler - 999))
    with pytest.raises(MappingError) as caught:
        tensormap.load(tmp_path / "mapping.tmap")
    assert [each.slug for each in caught.value.diagnostics] == ["too-long"]


def _holds(expression: object) -> bool:
    return isinstance(expression, Name | Numbered)


@pytest.mark.parametrize(
    "text",
    [
        "w",
        "w.{i}",
        "w.{i + 2}",
        "w.{i + j}",
        "w.{i + j + k}",
        "w.{1 + i + 2 + j}",
        "w.{i + j}.x.{k + l}",
        "w.{(i j) + k}",
    ],
)
def test_how_many_terms_a_name_with_joined_ranges_stands_for(text: str) -> None:
    (rule,) = parse(Source("m.tmap", f"{text} <-> v")).statements
    assert isinstance(rule, Rule)
    assert ways(rule.left[0], _holds) == len(parted(rule.left[0], _holds))
