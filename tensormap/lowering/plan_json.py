"""A plan as JSON, without loss, and back. What is read is checked down to the last number: a plan may come from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, NoReturn

from tensormap.diagnostics import CheckpointError, Diagnostic
from tensormap.lowering.plan import (
    Compute,
    Copy,
    Fill,
    Formula,
    Function,
    Input,
    Operand,
    OutputFile,
    Plan,
    Region,
    Scalar,
    Step,
    Verify,
)
from tensormap.lowering.plan_reading import VERSION, NoPlan, read

_SEAL = ',"sha256":"'
_ROWS = 1000  # of a list that are made text at once
_PIECE = 1 << 20  # characters of a text that are read at once


def dump(plan: Plan) -> str:
    """Return a plan as JSON text: an object whose last entry is the digest of the text without it. The bytes in it are text where
    they are UTF-8, else base64.
    """
    parts = list(_parts(plan))
    parts[-1] = parts[-1][:-1] + _seal(parts)
    return "".join(parts)


def sealed(text: str) -> str:
    """Return an object as JSON text with one entry more, the last: the digest of the text without it."""
    return text[:-1] + _seal([text])


def _seal(parts: Iterable[str]) -> str:
    return f'{_SEAL}{_digest(parts)}"}}'


def digest(plan: Plan) -> str:
    """Return the digest that `dump` would write."""
    return _digest(_parts(plan))


def _parts(plan: Plan) -> Iterator[str]:
    """Yield the text piece by piece: its values would take several times its memory."""
    head = {
        "tensormap_plan": VERSION,
        "root": plan.root,
        "mapping": plan.mapping,
        "digest": plan.digest,
        "side": plan.side,
        "sources": [[each.path, each.size, each.mtime_ns, each.header] for each in plan.sources],
    }
    yield _json(head)[:-1]
    yield from _rows("inputs", map(_input, plan.inputs))
    yield ',"outputs":['
    for number, each in enumerate(plan.outputs):
        yield "," if number else ""
        yield from _output(each)
    yield "]"
    yield from _rows("verifications", map(_verification, plan.verifications))
    tail = {
        "texts": [[each.path, _bytes(each.data)] for each in plan.texts],
        "companions": [[each.source, each.path, each.size] for each in plan.companions],
        "notes": plan.notes,
    }
    yield f",{_json(tail)[1:]}"


def _output(one: OutputFile) -> Iterator[str]:
    layout = one.layout
    head = {
        "path": one.path,
        "format": one.format,
        "size": layout.size,
        "pieces": [[each.offset, _bytes(each.data)] for each in layout.pieces],
    }
    yield _json(head)[:-1]
    yield from _rows("offsets", iter(layout.offsets))
    yield from _rows("checksums", ([each.start, each.size, each.into] for each in layout.checksums))
    yield from _rows("tensors", ([each.name, each.dtype, each.shape, each.offset] for each in one.tensors))
    yield from _rows("steps", map(_step, one.steps))
    yield "}"


def _rows(key: str, rows: Iterator[object]) -> Iterator[str]:
    """Yield an entry that is a list, many rows at a time."""
    yield f',"{key}":['
    between = ""
    while some := list(islice(rows, _ROWS)):
        yield between + _json(some)[1:-1]
        between = ","
    yield "]"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _input(one: Input) -> list[Any]:
    made = None if one.generator is None else [one.generator.name, list(map(_number, one.generator.arguments))]
    call = None if one.call is None else [one.call.name, one.call.arguments]
    return [one.name, one.dtype, one.shape, one.file, one.offset, one.strides, made, one.encoding, call]


def _verification(one: Verify) -> list[Any]:
    regions = list(map(_region, one.sources))
    return [one.sizes, regions, _formula(one.formula), _region(one.expected), one.rule, one.ulps]


def _step(step: Step) -> list[Any]:
    match step:
        case Copy():
            return ["copy", step.sizes, _region(step.source), _region(step.target)]
        case Fill():
            return ["fill", step.sizes, _number(step.value), _region(step.target)]
        case Compute():
            sources = list(map(_region, step.sources))
            return ["compute", step.sizes, sources, _formula(step.formula), _region(step.target)]


def _region(region: Region) -> list[Any]:
    return [region.tensor, region.offset, region.strides]


def _formula(formula: Formula) -> list[Any]:
    match formula:
        case Operand():
            return ["operand", formula.index]
        case Scalar():
            return ["scalar", _number(formula.value)]
        case Function():
            return ["function", formula.name, *map(_formula, formula.arguments)]


def _number(value: int | float) -> int | float | str:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _bytes(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


# --- and back


def load(text: str) -> Plan:
    """Read a plan that `dump` wrote. CheckpointError (`bad-plan`) if it is none, if anything in it points outside of what it
    describes, or if it would write or read outside of its directories; (`plan-changed`) if it is not as it was written.

    The digest notices accidents and edits. Whoever means harm writes a new one, so that everything else is checked all the same.
    """
    whole = _is_whole(text.strip())  # first, for the values take much memory
    try:
        value = json.loads(text, parse_constant=_constant, object_pairs_hook=_unique)
        if isinstance(value, dict):
            value.pop("sha256", None)
        plan = read(value)
    except NoPlan as error:
        said = str(error)
    except RecursionError:
        said = "it is nested too deeply"
    except ValueError as error:
        said = f"it is not JSON: {error}"
    else:
        if whole:
            return plan
        message = "the plan was changed after it was made: it is not what its digest is of"
        help_ = "make it again with `tensormap plan --save FILE`"
        raise CheckpointError(Diagnostic("plan-changed", message, help=(help_,)))
    raise CheckpointError(
        Diagnostic(
            "bad-plan", f"this is no plan of tensormap: {said}", help=("`tensormap plan --save FILE` writes one",)
        )
    )


def _is_whole(text: str) -> bool:
    """Tell whether a text ends with the digest of what stands before it."""
    end = text.rfind(_SEAL)
    if end < 0:
        return False
    body = (text[at : min(at + _PIECE, end)] for at in range(0, end, _PIECE))
    return text[end:] == _seal(chain(body, ["}"]))


def _digest(parts: Iterable[str]) -> str:
    known = hashlib.sha256()
    for part in parts:
        known.update(part.encode("utf-8", "surrogatepass"))
    return known.hexdigest()


def _constant(text: str) -> NoReturn:
    raise NoPlan(f"{text} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise NoPlan("an object has a key twice")
    return table
