from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensormap.checkpoints.strict_json import parse
from tensormap.diagnostics import CheckpointError

names = st.text(st.characters(codec="utf-8"), max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)


@given(values, st.booleans())
def test_json_is_read(value: Any, ascii_only: Any) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode(), "f", "it") == value


def twice(value: Any) -> str:
    """Spell the first object with its first key twice."""
    if isinstance(value, dict):
        first, *_ = value
        return "{" + ",".join(f"{json.dumps(key)}: {json.dumps(value[key])}" for key in (*value, first)) + "}"
    return json.dumps(value)


@given(st.dictionaries(names, values, min_size=1), st.integers(0, 3))
def test_a_key_twice_is_refused_at_every_depth(value: dict[str, Any], depth: int) -> None:
    text = twice(value)
    for k in range(depth):
        text = f'{{"a:{k}": {text}}}' if k % 2 else f'[{{"b": {text}}}]'
    with pytest.raises(CheckpointError) as error:
        parse(text.encode(), "f", "it")
    assert error.value.diagnostics[0].slug == "json-duplicate-key"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"[" * 100_000,
        b"NaN",
        b"[Infinity]",
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(CheckpointError) as error:
        parse(text, "the file", "its header")
    assert error.value.diagnostics[0].slug == "json-invalid"
    assert error.value.diagnostics[0].message.startswith("`the file`: its header is n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" + b"9" * 5000 + b"]", "`f`: the index has a number with too many digits"),
        (b"[-Infinity]", "`f`: the index is not JSON: -Infinity is none of its numbers"),
        (b"[1", "`f`: the index is not JSON: Expecting ',' delimiter: line 1 column 3 (char 2)"),
    ],
)
def test_what_is_said(text: bytes, said: str) -> None:
    """In words about the file: Python would say which of its settings to change."""
    with pytest.raises(CheckpointError) as caught:
        parse(text, "f", "the index")
    assert caught.value.diagnostics[0].message == said
