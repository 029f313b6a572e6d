"""What every folder of tests needs."""

from __future__ import annotations

from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The checkpoints that the real programs wrote."""
    return FIXTURES
