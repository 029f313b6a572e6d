"""A plan from JSON values, checked down to the last number: a plan may come from anywhere.

Nothing in it may point outside of what it describes, nor a path outside of its directory.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

from tensormap.checkpoints.catalog import Checksum, FileLayout, Piece, SourceFile
from tensormap.checkpoints.gguf_types import ENCODINGS
from tensormap.dtypes import BY_NAME
from tensormap.lowering.plan import (
    Call,
    Companion,
    Compute,
    Copy,
    Fill,
    Formula,
    Function,
    Generator,
    Input,
    Operand,
    Output,
    OutputFile,
    Plan,
    Region,
    Scalar,
    Step,
    TextFile,
    Verify,
)

VERSION = 1
"""Of the JSON form: another one is not read."""

Item = TypeVar("Item")

_DEEPEST = 100  # formulas in formulas
_INTEGERS = {int}
_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}

LARGEST = 1 << 63
"""No file is as long, and no tensor as large."""


class NoPlan(Exception):
    """What is wrong with the values."""


def read(value: Any) -> Plan:
    """Return the plan that JSON values say. NoPlan if they say none."""
    if not isinstance(value, dict) or "tensormap_plan" not in value:
        raise NoPlan("it does not begin as one")
    if value["tensormap_plan"] != VERSION or isinstance(value["tensormap_plan"], bool):
        raise NoPlan(f"it is of another version than {VERSION}")
    names = (
        "tensormap_plan",
        "root",
        "mapping",
        "digest",
        "side",
        "sources",
        "inputs",
        "outputs",
        "verifications",
        "texts",
    )
    table = _table(value, (*names, "companions", "notes"), "the plan")
    sources = _each(table["sources"], "sources", _read_source)
    inputs = _read_inputs(table["inputs"], len(sources))
    reaches = tuple(_reach(each, sources) for each in inputs)
    _check_calls(inputs, reaches)
    return Plan(
        root=_text(table["root"], "root"),
        mapping=_text(table["mapping"], "mapping"),
        digest=_text(table["digest"], "digest"),
        side=_text(table["side"], "side"),
        sources=sources,
        inputs=inputs,
        outputs=_each(table["outputs"], "outputs", lambda one: _read_output(one, reaches)),
        verifications=_each(table["verifications"], "verifications", lambda one: _read_verify(one, reaches)),
        texts=_each(table["texts"], "texts", _read_text),
        companions=_each(table["companions"], "companions", _read_companion),
        notes=_each(table["notes"], "notes", lambda one: _text(one, "a note")),
    )


def _read_source(value: Any) -> SourceFile:
    path, size, mtime, header = _list(value, 4, "a source")
    return SourceFile(_path(path), _count(size), _integer(mtime), _text(header, "a source's header"))


def _reach(one: Input, sources: Sequence[SourceFile]) -> int:
    """Return how many elements lie behind an input's first: of a file all, since tensors in it may be views."""
    if one.file < 0 or one.encoding is not None:
        return math.prod(one.shape)
    room = (sources[one.file].size - one.offset) * 8 // BY_NAME[one.dtype].bits
    if _extent(one.shape, one.strides) > room:
        raise NoPlan("an input leaves its file")
    return room


def _check_calls(inputs: Sequence[Input], reaches: Sequence[int]) -> None:
    """Refuse a call whose arguments are not the inputs that it names."""
    for one in inputs:
        for index, shape in one.call.arguments if one.call is not None else ():
            strides = inputs[index].strides
            if (strides is not None and len(strides) != len(shape)) or _extent(shape, strides) > reaches[index]:
                raise NoPlan("an argument of a call leaves its tensor, or the file that this is in")


def _extent(shape: Sequence[int], strides: Sequence[int] | None) -> int:
    """Return how many elements lie from the first of a tensor to its last; without strides it has no gaps."""
    if strides is None or 0 in shape:
        return math.prod(shape)
    return _last(0, shape, strides) + 1


def _last(offset: int, sizes: Sequence[int], strides: Sequence[int]) -> int:
    """Return the last element that a box touches."""
    return offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))


def _read_inputs(value: Any, files: int) -> tuple[Input, ...]:
    if not isinstance(value, list):
        raise NoPlan("inputs are no list")
    return tuple(_read_input(each, files, number) for number, each in enumerate(_taken(value)))


def _read_input(value: Any, files: int, number: int) -> Input:
    name, dtype, shape, file, offset, strides, made, encoding, call = _list(value, 9, "an input")
    generator = None
    if made is not None:
        called, arguments = _list(made, 2, "a generator")
        generator = Generator(_text(called, "a generator"), _each(arguments, "arguments", _read_number))
    computed = None if call is None else _read_call(call, number)
    if generator is not None or computed is not None:
        if file != -1 or (generator is not None and computed is not None):
            raise NoPlan("an input is computed, and is in a file or computed twice")
    elif not 0 <= _integer(file) < files:
        raise NoPlan("an input is in no file of the plan")
    sizes = _counts(shape)
    steps = None if strides is None else _counts(strides)
    if steps is not None and len(steps) != len(sizes):
        raise NoPlan("an input has not as many strides as axes")
    if encoding is not None:
        stored = ENCODINGS.get(encoding) if isinstance(encoding, str) else None
        if stored is None or stored.dtype != dtype or file == -1 or steps or not sizes or sizes[-1] % stored.block:
            raise NoPlan("an input is encoded in no known way")
    known = _text(name, "a name"), _dtype(dtype), sizes, _integer(file), _count(offset)
    return Input(*known, steps, generator, encoding, computed)


def _read_call(value: Any, number: int) -> Call:
    """Read what computes input `number` from inputs before it."""
    name, arguments = _list(value, 2, "a call")

    def argument(each: Any) -> tuple[int, tuple[int, ...]]:
        index, shape = _list(each, 2, "an argument")
        if not 0 <= _integer(index) < number:
            raise NoPlan("an input is computed from one that does not stand before it")
        return index, _counts(shape)

    return Call(_text(name, "a call"), _each(arguments, "arguments", argument))


def _read_output(value: Any, inputs: Sequence[int]) -> OutputFile:
    names = ("path", "format", "size", "pieces", "offsets", "checksums", "tensors", "steps")
    table = _table(value, names, "an output")
    size = _count(table["size"])
    offsets = _counts(table["offsets"])
    tensors = _each(table["tensors"], "tensors", _read_tensor)
    if len(offsets) != len(tensors):
        raise NoPlan("an output has not as many offsets as tensors")
    for offset, tensor in zip(offsets, tensors, strict=True):
        bits = math.prod(tensor.shape) * BY_NAME[tensor.dtype].bits
        if offset + (bits + 7) // 8 > size:
            raise NoPlan("a tensor leaves its file")
    room = tuple(math.prod(tensor.shape) for tensor in tensors)
    pieces = _each(table["pieces"], "pieces", lambda one: _read_piece(one, size))
    checksums = _each(table["checksums"], "checksums", lambda one: _read_checksum(one, size))
    steps = _each(table["steps"], "steps", lambda one: _read_step(one, inputs, room))
    layout = FileLayout(size, pieces, offsets, checksums)
    return OutputFile(_path(table["path"], empty=True), _text(table["format"], "a format"), tensors, layout, steps)


def _read_tensor(value: Any) -> Output:
    name, dtype, shape, offset = _list(value, 4, "a tensor")
    return Output(_text(name, "a name"), _dtype(dtype), _counts(shape), _count(offset))


def _read_piece(value: Any, size: int) -> Piece:
    offset, data = _list(value, 2, "a piece")
    piece = Piece(_count(offset), _read_bytes(data))
    if piece.offset + len(piece.data) > size:
        raise NoPlan("a piece leaves its file")
    return piece


def _read_checksum(value: Any, size: int) -> Checksum:
    start, length, into = _list(value, 3, "a checksum")
    made = Checksum(_count(start), _count(length), _counts(into))
    if made.start + made.size > size or any(each + 4 > size for each in made.into):
        raise NoPlan("a checksum leaves its file")
    return made


def _read_step(value: Any, inputs: Sequence[int], tensors: Sequence[int]) -> Step:
    match value:
        case ["copy", sizes, source, target]:
            known = _counts(sizes)
            return Copy(known, _read_region(source, inputs, known), _read_target(target, tensors, known))
        case ["fill", sizes, number, target]:
            known = _counts(sizes)
            return Fill(known, _read_number(number), _read_target(target, tensors, known))
        case ["compute", sizes, sources, formula, target]:
            known = _counts(sizes)
            regions = _each(sources, "regions", lambda one: _read_region(one, inputs, known))
            into = _read_target(target, tensors, known)
            return Compute(known, regions, _read_formula(formula, len(regions)), into)
        case _:
            raise NoPlan("a step is none")


def _read_verify(value: Any, inputs: Sequence[int]) -> Verify:
    sizes, sources, formula, expected, rule, ulps = _list(value, 6, "a verification")
    known = _counts(sizes)
    regions = _each(sources, "regions", lambda one: _read_region(one, inputs, known))
    read = _read_formula(formula, len(regions))
    return Verify(known, regions, read, _read_region(expected, inputs, known), _text(rule, "a rule"), _count(ulps))


def _read_region(value: Any, reaches: Sequence[int], sizes: tuple[int, ...]) -> Region:
    """Read where a box of `sizes` lies in one of the tensors that have so many elements each."""
    tensor, offset, strides = _list(value, 3, "a region")
    known = _counts(strides)
    if type(tensor) is not int or type(offset) is not int or offset < 0:
        raise NoPlan("a region has no tensor or no offset")
    if not 0 <= tensor < len(reaches) or len(known) != len(sizes):
        raise NoPlan("a region is of no tensor of the plan, or has other axes than its step")
    if 0 not in sizes and _last(offset, sizes, known) >= reaches[tensor]:
        raise NoPlan("a region leaves its tensor, or the file that this is in")
    return Region(tensor, offset, known)


def _read_target(value: Any, reaches: Sequence[int], sizes: tuple[int, ...]) -> Region:
    """Read where a step writes."""
    region = _read_region(value, reaches, sizes)
    if any(not stride and size > 1 for size, stride in zip(sizes, region.strides, strict=True)):
        raise NoPlan("a step writes an element more than once")
    return region


def _read_formula(value: Any, operands: int, depth: int = 0) -> Formula:
    if depth > _DEEPEST:
        raise NoPlan("a formula is nested too deeply")
    match value:
        case ["operand", index]:
            if not 0 <= _integer(index) < operands:
                raise NoPlan("a formula names an operand that its step has not")
            return Operand(index)
        case ["scalar", number]:
            return Scalar(_read_number(number))
        case ["function", str(name), *arguments]:
            return Function(name, tuple(_read_formula(each, operands, depth + 1) for each in arguments))
        case _:
            raise NoPlan("a formula is none")


def _read_text(value: Any) -> TextFile:
    path, data = _list(value, 2, "a text")
    return TextFile(_path(path), _read_bytes(data))


def _read_companion(value: Any) -> Companion:
    source, path, size = _list(value, 3, "a companion")
    return Companion(_path(source), _path(path), _count(size))


# --- single values


def _table(value: Any, names: Sequence[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or sorted(value) != sorted(names):
        raise NoPlan(f"{what} has not the entries of one")
    return value


def _list(value: Any, length: int, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise NoPlan(f"{what} is not a list of {length}")
    return value


def _each(value: Any, what: str, read: Callable[[Any], Item]) -> tuple[Item, ...]:
    if not isinstance(value, list):
        raise NoPlan(f"{what} are no list")
    return tuple(map(read, _taken(value)))


def _taken(values: list[Any]) -> Iterator[Any]:
    """Yield values and let go of each: those of a large plan take more memory than the plan."""
    values.reverse()
    while values:
        yield values.pop()


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise NoPlan(f"{what} is no text")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise NoPlan("a number is no integer")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < LARGEST:
        raise NoPlan("a size or an offset is no count")
    return value


def _counts(value: Any) -> tuple[int, ...]:
    if type(value) is not list or (
        value and (set(map(type, value)) != _INTEGERS or min(value) < 0 or max(value) >= LARGEST)
    ):
        raise NoPlan("sizes, strides or offsets are no list of counts")
    return _known(tuple(value))


@lru_cache(1 << 12)
def _known(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return counts as they were first seen: most tensors are like others."""
    return counts


def _read_number(value: Any) -> int | float:
    if isinstance(value, str) and value in _NUMBERS:
        return _NUMBERS[value]
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise NoPlan("a number is none")


def _read_bytes(value: Any) -> bytes:
    try:
        match value:
            case str():
                return value.encode("utf-8")
            case {"base64": str(text)}:
                return base64.b64decode(text, validate=True)
            case _:
                pass
    except (UnicodeError, binascii.Error):
        pass
    raise NoPlan("bytes are neither text nor base64")


def _dtype(value: Any) -> str:
    if _text(value, "a dtype") not in BY_NAME:
        raise NoPlan("a dtype is unknown")
    return str(value)


def _path(value: Any, *, empty: bool = False) -> str:
    """Check a path: relative, and inside of the directory where it starts."""
    text = _text(value, "a path")
    pure = PurePosixPath(text)
    if pure.is_absolute() or ".." in pure.parts or "\0" in text or (not text and not empty):
        raise NoPlan("a path leads out of its directory")
    return text
