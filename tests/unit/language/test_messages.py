"""Mistakes in the text that have a sentence of their own: where it points, and what it advises."""

from __future__ import annotations

import pytest

import tensormap
from tensormap.diagnostics import MappingError


@pytest.mark.parametrize(
    ("text", "message", "at", "advice"),
    [
        ("index i : 3", "expected `<` or `in`, not `:`", ":", ()),
        (
            "x [e] <--y [e]",
            "`<--` is not an arrow",
            "<--",
            ("write a space between an arrow and a minus",),
        ),
        ("let n == 3", "expected `=`, not `==`", "==", ("`==` compares two values",)),
        ("require n = 3", "`=` does not compare", "=", ("write `==`",)),
        ("require a < b < c", "comparisons do not chain", "<", ("write `a < b and b < c`",)),
        ("w [a + b] <-> v [a b]", "a sum of axes stands in parentheses", "+", ("write `[(a + b)]`",)),
        ("w [a, b] <-> v [a b]", "axes are separated by spaces, not commas", ",", ()),
        (
            "w [a * b] <-> v [a b]",
            "axes side by side multiply; `*` is not written in a layout",
            "*",
            ("write `(a b)`",),
        ),
    ],
)
def test_message(text: str, message: str, at: str, advice: tuple[str, ...]) -> None:
    with pytest.raises(MappingError) as caught:
        tensormap.loads(text)
    finding = caught.value.diagnostics[0]
    label = finding.labels[0]
    assert (finding.slug, finding.message) == ("syntax", message)
    assert text[label.span.start : label.span.end] == at
    assert finding.help == advice
