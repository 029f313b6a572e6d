"""Every finding is explained, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tensormap
from tensormap.commands.mappings import explanations

PACKAGE = Path(tensormap.__file__).parent
SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
NO_SLUGS = {"utf-8", "latin-1", "torch-legacy"}  # of the shape of one
REPORTERS = {"Diagnostic", "refusal", "refused", "error", "Contradiction", "EvaluationError", "_fail", "_refuse"}


def slugs(text: str) -> Iterator[str]:
    """Yield the slugs in a program: every string with a dash that could be one, and the first arguments of what reports."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Constant(value=str(value)) if SLUG.fullmatch(value):
                yield value
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(value)), *_]):
                if name in REPORTERS:
                    yield value
            case ast.Assign(targets=[ast.Name(id="slug")], value=ast.Constant(value=str(value))):
                yield value
            case ast.AnnAssign(target=ast.Name(id="slug"), value=ast.Constant(value=str(value))):
                yield value


def used() -> set[str]:
    return {slug for path in PACKAGE.rglob("*.py") for slug in slugs(path.read_text())} - NO_SLUGS


def test_the_scan_sees_slugs() -> None:
    text = 'Diagnostic("one", "x")\nself._fail("two", 1)\nslug = "three"\nx = {"k": ("four-4", 1)}\nprint("five")\n'
    assert set(slugs(text)) == {"one", "two", "three", "four-4"}


def test_every_slug_is_explained() -> None:
    known = set(explanations())
    assert used() == known, f"not explained: {sorted(used() - known)}; not used: {sorted(known - used())}"


def test_they_stand_in_the_order_of_the_alphabet_and_say_something() -> None:
    text = (PACKAGE / "explanations.md").read_text()
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert titles == sorted(titles)
    assert len(titles) == len(set(titles))
    for slug, said in explanations().items():
        assert len(said.split()) >= 10, slug
        assert said.endswith((".", "`")), slug


def test_the_documentation_is_the_same_text() -> None:
    assert (PACKAGE.parent / "docs" / "diagnostics.md").read_text() == (PACKAGE / "explanations.md").read_text()
