"""Which formulas can be written: one tensor, and around it only steps that can be taken back."""

from __future__ import annotations

import pytest

import tensormap
from tensormap.diagnostics import MappingError


@pytest.mark.parametrize(
    "formula",
    [
        "-w",
        "w + 1",
        "1 + w",
        "w - 1",
        "1 - w",
        "2 * w",
        "w * 2",
        "w / 2",
        "2 / w",
        "exp(w)",
        "log(w) + 1",
        "-(3 - exp(2 * w))",
    ],
)
def test_written(formula: str) -> None:
    assert tensormap.loads(f"{formula} <-> v")
    assert tensormap.loads(f"v <-> {formula}")


@pytest.mark.parametrize(
    "formula",
    [
        "abs(w)",
        "abs(w) + 1",
        "1 + abs(w)",
        "2 * round(w)",
        "tanh(w) / 2",
        "1 / tanh(w)",
        "w + u",
        "w * (u + 1)",
        "-abs(w)",
    ],
)
def test_refused(formula: str) -> None:
    for text in (f"{formula} <-> v", f"{formula} <- v", f"v <-> {formula}", f"v -> {formula}"):
        with pytest.raises(MappingError) as caught:
            tensormap.loads(text)
        assert "not-invertible" in [each.slug for each in caught.value.diagnostics], text
    assert tensormap.loads(f"{formula} -> v")
    assert tensormap.loads(f"v <- {formula}")
