"""Further peers, which are asked where they are installed: timm, open_clip, openai-whisper, diffusers."""

from __future__ import annotations

import importlib
from typing import Any

import pytest


def peer(name: str) -> Any:
    """Import a peer, or skip the test: its absence, or that of what it needs, says nothing about a mapping."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")
