"""Every case: there and back to the byte, loaded strictly, with the same logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.cases import all_cases
from tests.parity.harness import Case, check


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_parity(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
