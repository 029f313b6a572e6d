from __future__ import annotations

import contextlib
import pickle
import pickletools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensormap.checkpoints import pickle_reader
from tensormap.checkpoints.pickle_reader import load
from tensormap.checkpoints.pickle_values import Fault, Global, Instance, Truncated
from tensormap.checkpoints.torch_objects import TorchRules


def read(data: bytes) -> Any:
    value, end, _ = load(data, 0, TorchRules())
    assert end == len(data)
    return value


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
keys = st.integers(-(2**59), 2**59) | st.text() | st.none() | st.booleans()
plain = st.recursive(
    atoms | st.frozensets(keys),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.lists(inner).map(tuple) | st.sets(keys),
    max_leaves=20,
)


@given(plain, st.integers(0, 5))
def test_plain_values_are_read_as_pickle_reads_them(value: Any, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@given(plain, st.integers(0, 5))
def test_a_pickle_that_is_cut_short_asks_for_more(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    for end in {*range(min(len(data), 40)), *range(0, len(data), max(1, len(data) // 7))}:
        with pytest.raises(Truncated):
            load(data[:end], 0, TorchRules())


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Fault, Truncated):
        load(data, 0, TorchRules())


@given(plain, st.integers(0, 5), st.data())
def test_any_change_is_read_or_refused(value: Any, protocol: int, data: st.DataObject) -> None:
    changed = bytearray(pickle.dumps(value, protocol))
    for _ in range(3):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Fault, Truncated):
        load(bytes(changed), 0, TorchRules())


class Custom:
    """Never built by the reader."""

    def __init__(self) -> None:
        self.x = 1


class Dictionary(dict[str, int]):
    """A subclass with items."""


@pytest.mark.parametrize("protocol", range(6))
def test_other_objects_are_only_named(protocol: int) -> None:
    found = read(pickle.dumps([Custom(), Custom, Dictionary(a=1)], protocol))
    assert isinstance(found[0], Instance)
    assert found[0].kind.endswith(".Custom")
    assert found[0].state == {"x": 1}
    assert found[1] == Global(Custom.__module__, "Custom")
    assert found[2].kind.endswith(".Dictionary")
    assert found[2].items == {"a": 1}


def test_python_2s_texts_are_texts() -> None:
    assert read(b"\x80\x02}U\x01aU\x01bs.") == {"a": "b"}
    assert read(b"S'a\\x41'\n.") == "aA"
    assert read(b"\x80\x02U\x01\xff.") == b"\xff"
    assert read(b"I00\n.") is False
    assert read(b"I01\n.") is True
    assert read(b"L5L\n.") == 5


def test_a_pickle_of_too_many_opcodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_reader, "OPCODE_CAP", 10)
    assert load(b"N0" * 4 + b"N.", 0, TorchRules()) == (None, 10, 10)
    with pytest.raises(Fault, match="more than 10 opcodes"):
        load(b"N0" * 5 + b"N.", 0, TorchRules())


def test_a_line_of_a_megabyte_is_refused() -> None:
    with pytest.raises(Truncated):
        load(b"V" + b"x" * 1000, 0, TorchRules())
    with pytest.raises(Fault, match="too long"):
        load(b"V" + b"x" * 2_000_000, 0, TorchRules())


def test_every_opcode_is_known_or_refused() -> None:
    refused = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
    for opcode in pickletools.opcodes:
        with pytest.raises((Fault, Truncated)) as error:
            load(opcode.code.encode("latin-1") + bytes(300), 0, TorchRules())
        assert ("is not supported" in str(error.value)) == (opcode.name in refused), opcode.name
        assert "there is no opcode 0x" not in str(error.value) or "0x00" in str(error.value)
