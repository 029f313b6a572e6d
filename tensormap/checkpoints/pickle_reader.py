"""Pickles as data: a machine for pickle's opcodes that imports nothing and calls nothing a pickle names.

Protocols 0 to 5. Builds lists, dicts, numbers and texts itself; hands every constructor to `rules`, which knows what torch
writes. What it does not know becomes an `Instance`: a name, and the state it came with. (PEP 307, 3154, 574)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tensormap.checkpoints.pickle_values import Fault, Global, Instance, Rules, Truncated, hashable

OPCODE_CAP = 10_000_000
INTEGER_CAP = 1024  # bytes; a file name or a seed is far smaller


def load(data: bytes, start: int, rules: Rules) -> tuple[Any, int, int]:
    """Read one pickle; return its value, the offset after it, and how many opcodes it has."""
    machine = _Machine(data, start, rules)
    try:
        value = machine.run()
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
        if machine.at > machine.end:  # an argument of one byte is read without asking
            raise Truncated from None
        raise Fault("an opcode does not fit what is on the stack") from error
    return value, machine.at, machine.count


_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's names


def _key(value: Any) -> Any:
    if not hashable(value):
        raise Fault("a dictionary or set has a key that cannot be one")
    return value


class _Machine:
    __slots__ = ("at", "count", "data", "end", "memo", "rules", "stack", "stacks")

    def __init__(self, data: bytes, start: int, rules: Rules) -> None:
        self.data = data
        self.at = start
        self.end = len(data)
        self.count = 0
        self.rules = rules
        self.stack: list[Any] = []
        self.stacks: list[list[Any]] = []  # the stacks below each open mark
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        table = _TABLE
        count = 0
        while count < OPCODE_CAP:
            if self.at >= self.end:
                raise Truncated
            code = self.data[self.at]
            self.at += 1
            count += 1
            if code == 0x2E:  # STOP
                self.count = count
                return self.stack.pop()
            operation = table[code]
            if operation is None:
                message = (
                    f"opcode {code:#04x} is not supported" if code in _REFUSED else f"there is no opcode {code:#04x}"
                )
                raise Fault(message)
            operation(self)
        raise Fault(f"the pickle has more than {OPCODE_CAP} opcodes")

    # --- arguments ---

    def take(self, size: int) -> bytes:
        at = self.at
        end = at + size
        if end > self.end:
            raise Truncated
        self.at = end
        return self.data[at:end]

    def byte(self) -> int:
        at = self.at
        self.at = at + 1
        return self.data[at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            if self.end - self.at > 1 << 20:
                raise Fault("a line is too long")
            raise Truncated
        line = self.data[self.at : end]
        self.at = end + 1
        return line

    # --- the stack ---

    def marked(self) -> list[Any]:
        if not self.stacks:
            raise Fault("a mark is missing")
        items = self.stack
        self.stack = self.stacks.pop()
        return items

    def proto(self) -> None:
        version = self.byte()
        if version > 5:
            raise Fault(f"pickle protocol {version} is not known")

    def frame(self) -> None:
        self.number(8)

    def mark(self) -> None:
        self.stacks.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def pop_mark(self) -> None:
        self.marked()

    def dup(self) -> None:
        self.stack.append(self.stack[-1])

    # --- the memo ---

    def put(self) -> None:
        self.memo[_decimal(self.line())] = self.stack[-1]

    def binput(self) -> None:
        self.memo[self.byte()] = self.stack[-1]

    def long_binput(self) -> None:
        self.memo[self.number(4)] = self.stack[-1]

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self) -> None:
        self.stack.append(self.memo[_decimal(self.line())])

    def binget(self) -> None:
        self.stack.append(self.memo[self.byte()])

    def long_binget(self) -> None:
        self.stack.append(self.memo[self.number(4)])

    # --- atoms ---

    def integer(self) -> None:
        text = self.line()
        self.stack.append({b"00": False, b"01": True}[text] if text in (b"00", b"01") else _decimal(text))

    def long(self) -> None:
        self.stack.append(_decimal(self.line().removesuffix(b"L")))

    def binint(self) -> None:
        self.stack.append(int.from_bytes(self.take(4), "little", signed=True))

    def binint1(self) -> None:
        self.stack.append(self.byte())

    def binint2(self) -> None:
        self.stack.append(self.number(2))

    def long1(self) -> None:
        self.signed(self.byte())

    def long4(self) -> None:
        self.signed(self.number(4))

    def signed(self, size: int) -> None:
        if size > INTEGER_CAP:
            raise Fault(f"an integer has {size} bytes")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def float_text(self) -> None:
        self.stack.append(float(self.line()))

    def binfloat(self) -> None:
        self.stack.append(struct.unpack(">d", self.take(8))[0])

    def none(self) -> None:
        self.stack.append(None)

    def true(self) -> None:
        self.stack.append(True)

    def false(self) -> None:
        self.stack.append(False)

    # --- texts: Python 2's are texts where they can be ---

    def string(self) -> None:
        text = self.line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise Fault("a string has no quotes")
        self.stack.append(_text2(text[1:-1].decode("unicode_escape").encode("latin-1")))

    def binstring(self) -> None:
        self.stack.append(_text2(self.take(self.number(4))))

    def short_binstring(self) -> None:
        self.stack.append(_text2(self.take(self.byte())))

    def unicode(self) -> None:
        self.stack.append(_whole(self.line().decode("raw_unicode_escape")))

    def binunicode(self) -> None:
        self.stack.append(self.take(self.number(4)).decode())

    def short_binunicode(self) -> None:
        self.stack.append(self.take(self.byte()).decode())

    def binunicode8(self) -> None:
        self.stack.append(self.take(self.number(8)).decode())

    def binbytes(self) -> None:
        self.stack.append(self.take(self.number(4)))

    def short_binbytes(self) -> None:
        self.stack.append(self.take(self.byte()))

    def binbytes8(self) -> None:
        self.stack.append(self.take(self.number(8)))

    # --- containers ---

    def empty_tuple(self) -> None:
        self.stack.append(())

    def tuple_of(self) -> None:
        items = self.marked()
        self.stack.append(tuple(items))

    def tuple1(self) -> None:
        self.stack[-1] = (self.stack[-1],)

    def tuple2(self) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def tuple3(self) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def empty_list(self) -> None:
        self.stack.append([])

    def list_of(self) -> None:
        items = self.marked()
        self.stack.append(items)

    def append(self) -> None:
        self.extend([self.stack.pop()])

    def appends(self) -> None:
        self.extend(self.marked())

    def extend(self, items: Any) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif isinstance(target, Instance):
            target.items.update(enumerate(items, len(target.items)))
        else:
            raise Fault("something is appended to what is no list")

    def empty_dict(self) -> None:
        self.stack.append({})

    def dict_of(self) -> None:
        items = self.marked()
        self.stack.append({})
        self.update(items)

    def setitem(self) -> None:
        value = self.stack.pop()
        self.update([self.stack.pop(), value])

    def setitems(self) -> None:
        self.update(self.marked())

    def update(self, items: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, Instance):
            target = target.items
        if type(target) is not dict or len(items) % 2:
            raise Fault("something is put into what is no dictionary")
        for k in range(0, len(items), 2):
            key = items[k]
            if type(key) is not str and not hashable(key):
                _key(key)
            target[key] = items[k + 1]

    def empty_set(self) -> None:
        self.stack.append(set())

    def additems(self) -> None:
        items = self.marked()
        target = self.stack[-1]
        if isinstance(target, Instance):
            self.extend(items)
        elif type(target) is set:
            target.update(map(_key, items))
        else:
            raise Fault("something is added to what is no set")

    def frozenset_of(self) -> None:
        items = self.marked()
        self.stack.append(frozenset(map(_key, items)))

    # --- names and calls ---

    def globally(self) -> None:
        module, name = self.line(), self.line()
        self.named(module.decode(), name.decode())

    def stack_global(self) -> None:
        name = self.stack.pop()
        module = self.stack.pop()
        if type(module) is not str or type(name) is not str:
            raise Fault("a global's name is no text")
        self.named(module, name)

    def named(self, module: str, name: str) -> None:
        self.stack.append(Global(_MODULES.get(module, module), name))

    def call(self, called: Any, arguments: Any) -> None:
        if type(arguments) is not tuple:
            raise Fault("a call's arguments are no tuple")
        if isinstance(called, Global):
            self.stack.append(self.rules.build(called, arguments))
        else:
            self.stack.append(Instance("the result of an unnamed call", arguments))

    def reduce(self) -> None:
        arguments = self.stack.pop()
        self.call(self.stack.pop(), arguments)

    def newobj_ex(self) -> None:
        self.stack.pop()
        self.reduce()

    def inst(self) -> None:
        module, name = self.line(), self.line()
        arguments = tuple(self.marked())
        self.named(module.decode(), name.decode())
        self.call(self.stack.pop(), arguments)

    def obj(self) -> None:
        called, *arguments = self.marked()
        self.call(called, tuple(arguments))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Instance):
            target.state = state
        # What else was built needs no state: attributes of a dictionary (`_metadata`) or a tensor are no weights.

    def persid(self) -> None:
        self.stack.append(self.rules.persistent(self.line().decode()))

    def binpersid(self) -> None:
        self.stack.append(self.rules.persistent(self.stack.pop()))


def _decimal(text: bytes) -> int:
    if len(text) > 2 * INTEGER_CAP:
        raise Fault("an integer is too long")
    return int(text)


def _text2(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _whole(text: str) -> str:
    text.encode()  # a lone surrogate is no text
    return text


_REFUSED = frozenset(
    {0x82, 0x83, 0x84, 0x97, 0x98}
)  # the extension registry and out-of-band buffers: nothing writes them to files

_OPERATIONS: dict[str, Callable[[_Machine], None]] = {
    "\x80": _Machine.proto, "\x95": _Machine.frame, "(": _Machine.mark, "0": _Machine.pop, "1": _Machine.pop_mark,
    "2": _Machine.dup, "p": _Machine.put, "q": _Machine.binput, "r": _Machine.long_binput, "\x94": _Machine.memoize,
    "g": _Machine.get, "h": _Machine.binget, "j": _Machine.long_binget, "I": _Machine.integer, "L": _Machine.long,
    "J": _Machine.binint, "K": _Machine.binint1, "M": _Machine.binint2, "\x8a": _Machine.long1, "\x8b": _Machine.long4,
    "F": _Machine.float_text, "G": _Machine.binfloat, "N": _Machine.none, "\x88": _Machine.true, "\x89": _Machine.false,
    "S": _Machine.string, "T": _Machine.binstring, "U": _Machine.short_binstring, "V": _Machine.unicode,
    "X": _Machine.binunicode, "\x8c": _Machine.short_binunicode, "\x8d": _Machine.binunicode8, "B": _Machine.binbytes,
    "C": _Machine.short_binbytes, "\x8e": _Machine.binbytes8, "\x96": _Machine.binbytes8, ")": _Machine.empty_tuple,
    "t": _Machine.tuple_of, "\x85": _Machine.tuple1, "\x86": _Machine.tuple2, "\x87": _Machine.tuple3,
    "]": _Machine.empty_list, "l": _Machine.list_of, "a": _Machine.append, "e": _Machine.appends,
    "}": _Machine.empty_dict, "d": _Machine.dict_of, "s": _Machine.setitem, "u": _Machine.setitems,
    "\x8f": _Machine.empty_set, "\x90": _Machine.additems, "\x91": _Machine.frozenset_of, "c": _Machine.globally,
    "\x93": _Machine.stack_global, "R": _Machine.reduce, "\x81": _Machine.reduce, "\x92": _Machine.newobj_ex,
    "i": _Machine.inst, "o": _Machine.obj, "b": _Machine.build, "P": _Machine.persid, "Q": _Machine.binpersid,
}  # fmt: skip
_TABLE: tuple[Callable[[_Machine], None] | None, ...] = tuple(_OPERATIONS.get(chr(code)) for code in range(256))
