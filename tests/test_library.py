"""Every mapping of the library loads, is lawful, is formatted, and says where its layouts are defined."""

from __future__ import annotations

import pytest

import tensormap
from tensormap import library
from tensormap.diagnostics import Source
from tensormap.language.parser import parse
from tensormap.language.printer import print_file

NAMES = tuple(library.bundled())
LINES = 120
"""A mapping is read by people, at one sitting; what several of them share lies in `mappings/common`."""


def test_the_library_is_there() -> None:
    assert len(NAMES) >= 80


@pytest.mark.parametrize("name", NAMES)
def test_mapping(name: str) -> None:
    text = library.bundled()[name].read_text("utf-8")
    assert text.startswith("# "), "a head comment cites the code that defines both layouts"
    assert print_file(parse(Source(name, text))) == text, "run `tensormap fmt`"
    assert text.count("\n") <= LINES
    findings = tensormap.load(name).check()
    assert not findings.errors
    assert len(findings.proved) >= 4
