"""A pickle of nested dictionaries with tensors, byte for byte as `torch.save` writes it (protocol 2). Knows no file."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from tensormap.checkpoints.catalog import Opaque
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.dtypes import BY_NAME

_BATCH = 1000  # pickle writes this many items of a list or dictionary at once


class Leaf(NamedTuple):
    """A tensor: row-major in storage `key` of its own."""

    key: str
    dtype: str
    shape: tuple[int, ...]


def dump(tree: Mapping[str, Any]) -> bytes:
    """Return the pickle of a dictionary of `Leaf`s, numbers, texts, None, lists, tuples, namespaces and dictionaries of these."""
    writer = _Writer()
    writer.save(tree)
    return bytes(writer.out + b".")


class _Form(NamedTuple):
    """How tensors of one dtype and shape are written: the bytes before their key, and those from there on between the numbers that
    they have in the memo, which rise by one.
    """

    head: bytes
    packer: struct.Struct
    between: tuple[bytes, ...]


class _Writer:
    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")
        self.count = 0  # of things in the memo
        self.known: dict[str, int] = {}  # constants' and globals' places in the memo
        self.marks: list[int] = []  # where wide numbers of the memo stand
        self.forms: dict[tuple[str, tuple[int, ...]], _Form] = {}

    def save(self, value: Any) -> None:
        match value:
            case None:
                self.out += b"N"
            case bool():
                self.out += b"\x88" if value else b"\x89"
            case int():
                self.integer(value)
            case float():
                self.out += b"G" + struct.pack(">d", value)
            case str():
                self.text(value)
            case Leaf():
                self.tensor(value)
            case tuple():
                self.tuple_of(value)
            case list():
                self.list_of(value)
            case Mapping():
                self.dictionary(value)
            case Opaque(kind="argparse.Namespace", state=Mapping() as state):
                self.namespace(state)
            case _:
                raise refusal("object-not-in-format", f"a torch file is not given a {shown(type(value).__name__)}")

    def memoize(self) -> None:
        if self.count < 256:
            self.out += bytes((0x71, self.count))
        else:
            self.marks.append(len(self.out) + 1)
            self.out += b"r" + self.count.to_bytes(4, "little")
        self.count += 1

    def get(self, place: int) -> None:
        self.out += bytes((0x68, place)) if place < 256 else b"j" + place.to_bytes(4, "little")

    def constant(self, name: str, code: bytes) -> None:
        """Write something that is written once and then only pointed at."""
        if name in self.known:
            self.get(self.known[name])
        else:
            self.known[name] = self.count
            self.out += code
            self.memoize()

    def named(self, module: str, name: str) -> None:
        self.constant(f"{module} {name}", f"c{module}\n{name}\n".encode())

    def word(self, text: str) -> None:
        self.constant(text, _unicode(text))

    def text(self, text: str) -> None:
        self.out += _unicode(text)
        self.memoize()

    def integer(self, value: int) -> None:
        if 0 <= value < 1 << 8:
            self.out += bytes((0x4B, value))
        elif 0 <= value < 1 << 16:
            self.out += b"M" + value.to_bytes(2, "little")
        elif -(1 << 31) <= value < 1 << 31:
            self.out += b"J" + value.to_bytes(4, "little", signed=True)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            if value < 0 and len(data) > 1 and data[-1] == 0xFF and data[-2] & 0x80:
                data = data[:-1]
            if len(data) > 255:
                raise refusal("object-not-in-format", f"a torch file is not given an integer of {len(data)} bytes")
            self.out += bytes((0x8A, len(data))) + data

    def tuple_of(self, items: tuple[Any, ...]) -> None:
        if not items:
            self.out += b")"
            return
        if len(items) > 3:
            self.out += b"("
        for each in items:
            self.save(each)
        self.out += b"t" if len(items) > 3 else bytes((0x84 + len(items),))
        self.memoize()

    def list_of(self, items: list[Any]) -> None:
        self.out += b"]"
        self.memoize()
        if len(items) == 1:
            self.save(items[0])
            self.out += b"a"
            return
        for start in range(0, len(items), _BATCH):
            self.out += b"("
            for each in items[start : start + _BATCH]:
                self.save(each)
            self.out += b"e"

    def dictionary(self, items: Mapping[Any, Any]) -> None:
        self.out += b"}"
        self.memoize()
        pairs = list(items.items())
        if len(pairs) == 1:
            self.save(pairs[0][0])
            self.save(pairs[0][1])
            self.out += b"s"
            return
        # After a full batch pickle begins another one, even if nothing is left for it.
        for start in range(0, len(pairs) + 1 if pairs and len(pairs) % _BATCH == 0 else len(pairs), _BATCH):
            self.out += b"("
            for key, each in pairs[start : start + _BATCH]:
                self.save(key)
                if type(each) is Leaf:
                    self.tensor(each)
                else:
                    self.save(each)
            self.out += b"u"

    def namespace(self, items: Mapping[Any, Any]) -> None:
        """Write an `argparse.Namespace`: torch's restricted loader takes one where its program has allowed the class."""
        self.named("argparse", "Namespace")
        self.out += b")\x81"
        self.memoize()
        if items:
            self.dictionary(items)
            self.out += b"b"

    def tensor(self, leaf: Leaf) -> None:
        """Write a tensor. Once the memo has wide numbers, those of one form differ in these and their keys alone."""
        form = self.forms.get((leaf.dtype, leaf.shape))
        if form is not None:
            head, packer, between = form
            numbers = range(self.count, self.count + len(between))
            self.out += (
                head + _unicode(leaf.key) + packer.pack(*chain.from_iterable(zip(between, numbers, strict=True)))
            )
            self.count += len(between)
            return
        start, known, wide = len(self.out), len(self.known), self.count >= 256
        self.marks.clear()
        self._tensor(leaf)
        if wide and len(self.known) == known:
            self.forms[leaf.dtype, leaf.shape] = self._form(start, len(_unicode(leaf.key)))

    def _form(self, start: int, key: int) -> _Form:
        """Return the form of the tensor that was just written from `start` on, with a key of so many bytes."""
        head = self.marks[0] - 1 - key
        begins = [head + key, *(mark + 4 for mark in self.marks)]
        between = tuple(bytes(self.out[a:b]) for a, b in zip(begins, self.marks, strict=False))
        packer = struct.Struct("<" + "".join(f"{len(each)}sI" for each in between))
        return _Form(bytes(self.out[start:head]), packer, between)

    def _tensor(self, leaf: Leaf) -> None:
        """Write `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`; v3 where a dtype has no storage class."""
        dtype = BY_NAME[leaf.dtype]
        count = 1
        strides = []
        for size in reversed(leaf.shape):
            strides.append(count)
            count *= max(size, 1)
        numel = 0 if 0 in leaf.shape else count
        self.named("torch._utils", "_rebuild_tensor_v2" if dtype.storage else "_rebuild_tensor_v3")
        self.out += b"(("
        self.word("storage")
        if dtype.storage:
            self.named("torch", dtype.storage)
        else:
            self.named("torch.storage", "UntypedStorage")
        self.text(leaf.key)
        self.word("cpu")
        self.integer(numel if dtype.storage else numel * dtype.size)
        self.out += b"t"
        self.memoize()
        self.out += b"QK\x00"
        self.tuple_of(leaf.shape)
        self.tuple_of(tuple(reversed(strides)))
        self.out += b"\x89"
        self.named("collections", "OrderedDict")
        self.out += b")R"
        self.memoize()
        if not dtype.storage:
            self.named("torch", dtype.name)
        self.out += b"t"
        self.memoize()
        self.out += b"R"
        self.memoize()


def _unicode(text: str) -> bytes:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise refusal(
            "name-not-in-format", f"a torch file cannot hold {shown(ascii(text))}: it is not Unicode text"
        ) from None
    return b"X" + len(data).to_bytes(4, "little") + data


def nested(tree: Mapping[str, Any], tensors: Sequence[tuple[tuple[str, ...], str, tuple[int, ...]]]) -> dict[str, Any]:
    """Return `tree` with every tensor as a `Leaf` at its path, in order; the k-th has the storage key `k`."""
    root = _copied(tree)
    for k, (path, dtype, shape) in enumerate(tensors):
        table: Any = root
        for key in path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                break
        if not path or not isinstance(table, dict) or path[-1] in table:
            raise refusal("name-not-in-format", f"a torch file cannot hold two things at {shown('.'.join(path))}")
        table[path[-1]] = Leaf(str(k), dtype, shape)
    return root


def _copied(tree: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: _copied(each) if isinstance(each, Mapping) else each for key, each in tree.items()}
