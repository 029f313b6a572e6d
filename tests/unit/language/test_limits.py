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


CONTROL, INVISIBLE = "a control character cannot", "an invisible character cannot"
TURNING = "a bidirectional control character would"
CHARACTERS = {
    "a NUL byte cannot": (0x00,),
    CONTROL: (0x01, 0x08, 0x0B, 0x0C, 0x0E, 0x1F, 0x7F, 0x80, 0x9F),
    "a carriage return without": (0x0D,),
    INVISIBLE: (0xAD, 0x200B, 0x200D, 0x2028, 0x2029, 0x2060, 0x2065, 0x206A, 0x206F, 0xFEFF, 0xFFF9, 0xFFFF),
    TURNING: (0x061C, 0x200E, 0x200F, 0x202A, 0x202E, 0x2066, 0x2069),
    "the file is not valid UTF-8": (0xD800, 0xDFFF),
}


@pytest.mark.parametrize(("code", "says"), [(code, says) for says, codes in CHARACTERS.items() for code in codes])
def test_characters_that_nobody_sees(code: int, says: str) -> None:
    with pytest.raises(MappingError) as caught:
        scan(Source("m.tmap", f"a {chr(code)} b"))
    (finding,) = caught.value.diagnostics
    assert finding.slug == "bad-character"
    assert finding.message.startswith(says)
    assert finding.labels[0].text == f"U+{code:04X}"


@pytest.mark.parametrize(
    "code", [0x09, 0x7E, 0xA0, 0x200A, 0x2010, 0x2027, 0x202F, 0x205F, 0x2070, 0xE000, 0xFFF8, 0x10000]
)
def test_characters_beside_them(code: int) -> None:
    assert _slugs(f"a {chr(code)} b") == []


LARGEST = (1 << 63) - 1


@pytest.mark.parametrize(
    "number", ["1.0e-400", "1.0e-0000000400", "1.0e0", "0.0e400", "1.7e308", f"{LARGEST}", f"000{LARGEST}"]
)
def test_numbers_that_can_be_written(number: str) -> None:
    assert parse(Source("m.tmap", f"let x = {number}")).statements


@pytest.mark.parametrize("number", ["1.0e-401", "1.0e-1000", "0.0e401", "1.8e308", f"{LARGEST + 1}", f"00{LARGEST}0"])
def test_numbers_that_cannot(number: str) -> None:
    with pytest.raises(MappingError):
        parse(Source("m.tmap", f"let x = {number}"))


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


LETS = {
    "lets behind one another": ("".join(f"let s{k} = s{k + 1} - 1\n" for k in range(64)), "let s64 = s65 - 1\n", "s0"),
    "factors of one name": ("let s = 1" + " * a" * 64, " * a", "s"),
    "factors of many names": ("let s = 1" + "".join(f" * a{k}" for k in range(64)), " * b", "s"),
    "a number": (f"let s = {1 << 61} * 2 * a", " * 2", "s"),
    "a number that is negative": (f"let s = -{1 << 61} * 2 * a", " * 2", "s"),
}


@pytest.mark.parametrize(("text", "more", "name"), LETS.values(), ids=LETS)
def test_sizes_that_are_worked_out(text: str, more: str, name: str) -> None:
    def rule(lets: str) -> str:
        return f"{lets.rstrip()}{'' if lets.endswith(chr(10)) else ' - 1'}\nw [{name}] <-> v [{name}]\n"

    assert tensormap.loads(rule(text))
    with pytest.raises(MappingError) as caught:
        tensormap.loads(rule(text + more))
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
