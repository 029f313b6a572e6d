"""These tests need the peers (`make test-peers`); without them the folder is skipped."""

from __future__ import annotations

import importlib.util
import os

import pytest

PEERS = importlib.util.find_spec("transformers") is not None

collect_ignore_glob = [] if PEERS else ["test_*.py"]

# before transformers is imported: nothing here may reach for a hub, or draw bars into the report
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of the peers are theirs to mend."""
    for item in items:
        if "parity" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("default"))
