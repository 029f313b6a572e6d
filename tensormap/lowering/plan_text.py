"""A plan as text: what will happen, before it happens. Tensors that differ in numbers only stand on one line.

Linear in the number of steps; the same plan gives the same text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from math import prod

from tensormap import shown
from tensormap.dtypes import BY_NAME
from tensormap.families import Family, collapse, pattern, skeleton
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
    Scalar,
    TextFile,
)

WIDTH = 120
"""A tensor's sources go to a line of their own where the line would be longer."""

_LONG_TEXT = 4000  # characters of a text file that is shown
_INFIX = {"+": 1, "-": 1, "*": 2, "/": 2}


def show(plan: Plan) -> str:
    """Return what a plan does: what is read, each file with its tensors and where they come from, and the notes."""
    lines = [*_head(plan), ""]
    for group in _groups(plan.outputs):
        lines += [*_file(plan, group), ""]
    for text in plan.texts:
        lines += _text(text)
    lines += [f"{shown.plain(each.path)}  {shown.size(each.size)}, copied from the source" for each in plan.companions]
    if plan.texts or plan.companions:
        lines.append("")
    if plan.verifications:
        lines += [*_verifications(plan), ""]
    lines += [f"note: {shown.plain(each)}" for each in plan.notes]
    return "\n".join(lines).rstrip("\n")


def tensor_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Return how many bytes a tensor's elements take."""
    return (prod(shape) * BY_NAME[dtype].bits + 7) // 8


# --- the head


def _head(plan: Plan) -> Iterator[str]:
    size = sum(each.size for each in plan.sources)
    tensors = sum(len(each.tensors) for each in plan.outputs)
    written = sum(each.layout.size for each in plan.outputs)
    yield f"{shown.plain(plan.mapping)}: writes side `{shown.plain(plan.side)}`"
    yield f"reads   {shown.counted(len(plan.sources), 'file')}, {shown.size(size)}, in {shown.plain(plan.root)}"
    yield (
        f"writes  {shown.counted(len(plan.outputs), 'file')} with {shown.counted(tensors, 'tensor')}, {shown.size(written)}"
        f"{_others(plan)}"
    )
    yield f"steps   {_steps(plan)}"


def _others(plan: Plan) -> str:
    count = len(plan.texts) + len(plan.companions)
    return f"; {shown.counted(count, 'more file')}" if count else ""


def _steps(plan: Plan) -> str:
    counts: Counter[str] = Counter()
    for output in plan.outputs:
        for step in output.steps:
            match step:
                case Copy():
                    cast = plan.inputs[step.source.tensor].dtype != output.tensors[step.target.tensor].dtype
                    counts["cast" if cast else "copy"] += 1
                case Compute():
                    counts["compute"] += 1
                case Fill():
                    counts["fill"] += 1
    nouns = (("copy", "box copied", "boxes copied"), ("cast", "cast", "cast"), ("compute", "computed", "computed"))
    parts = [
        shown.counted(counts[key], *words) for key, *words in (*nouns, ("fill", "filled", "filled")) if counts[key]
    ]
    if plan.verifications:
        parts.append(f"before these {shown.counted(len(plan.verifications), 'comparison')} of sources")
    return ", ".join(parts) or "none"


# --- files with tensors


def _groups(outputs: Sequence[OutputFile]) -> Iterator[tuple[str, list[OutputFile]]]:
    """Yield files whose names differ in numbers only, together."""
    for family in collapse((each.path, each.format) for each in outputs):
        yield family.pattern, [outputs[k] for k in family.members]


def _file(plan: Plan, group: tuple[str, list[OutputFile]]) -> Iterator[str]:
    path, files = group
    size = shown.size(sum(each.layout.size for each in files))
    several = f"  x{len(files):,}" if len(files) > 1 else ""
    yield f"{shown.plain(path) or 'the target, one file'}{several}  {size}, {files[0].format}"
    if not any(each.tensors for each in files):
        yield "  no tensors"
        return
    rows: list[tuple[str, _Key]] = []
    sources: list[tuple[int, ...]] = []
    words: dict[int, tuple[str, ...]] = {}
    for file in files:
        for tensor, made in zip(file.tensors, _made(plan.inputs, file), strict=True):
            for each in made.sources:
                if each not in words:
                    words[each] = skeleton(_called(plan.inputs[each]))
            rows.append((tensor.name, _Key(tensor.dtype, tensor.shape, made.how(words))))
            sources.append(tuple(made.sources))
    families = collapse(rows)
    left = [_left(each) for each in families]
    width = max(len(each) for each in left)
    width = width if width <= WIDTH // 2 else 0
    for family, text in zip(families, left, strict=True):
        used = dict.fromkeys(source for k in family.members for source in sources[k])
        right = _right(plan.inputs, list(used), family.key.how)
        line = f"  {text:<{width}}  <- {', '.join(right)}"
        if len(line) <= WIDTH:
            yield line
            continue
        yield f"  {text}"
        line = f"      <- {', '.join(right)}"
        if len(line) <= WIDTH:
            yield line
        else:
            yield f"      <- {right[0]}"
            yield from (f"         {each}" for each in right[1:])


@dataclass(frozen=True, slots=True)
class _How:
    """How tensors are made that may share a line: the words of their sources' names, in how many boxes where that is not one for
    each source, and what else is done.
    """

    words: tuple[tuple[str, ...], ...]
    boxes: int
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Key:
    dtype: str
    shape: tuple[int, ...]
    how: _How


def _left(family: Family[_Key]) -> str:
    dtype, shape = family.key.dtype, family.key.shape
    count = len(family.members)
    text = f"{shown.plain(family.pattern)}  {dtype} {list(shape)}"
    return text if count == 1 else f"{text}  x{count:,}  {shown.size(count * tensor_bytes(dtype, shape))}"


def _right(inputs: Sequence[Input], used: Sequence[int], how: _How) -> list[str]:
    """Say where tensors come from, in parts that may stand on lines of their own."""
    families = collapse((_called(inputs[each]), None) for each in used)
    parts = [shown.plain(each.pattern) for each in families]
    if how.boxes:
        parts.append(shown.counted(how.boxes, "box", "boxes"))
    return [*parts, *how.marks] or ["nothing: it has no elements"]


def _called(source: Input) -> str:
    if source.generator is None:
        return source.name
    return f"{source.generator.name}({', '.join(map(str, source.generator.arguments))})"


class _Made:
    """How one tensor is made: from which inputs, in how many boxes, and what is more to be said."""

    __slots__ = ("boxes", "marks", "sources")

    def __init__(self) -> None:
        self.sources: dict[int, None] = {}
        self.boxes = 0
        self.marks: dict[str, None] = {}

    def take(self, inputs: Sequence[Input], number: int) -> None:
        """Note an input, or, where a function of the user makes it, those that it is made of."""
        waiting, seen = [number], {number}
        while waiting:
            number = waiting.pop()
            source = inputs[number]
            if source.call is not None:
                self.marks[f"computed by `{shown.plain(source.call.name)}`"] = None
                arguments = [each for each, _ in source.call.arguments if each not in seen]
                seen.update(arguments)
                waiting += reversed(arguments)
                continue
            self.sources[number] = None
            if source.encoding is not None:
                self.marks[f"decoded from {source.encoding}"] = None

    def how(self, words: Map[int, tuple[str, ...]]) -> _How:
        boxes = 0 if self.boxes in (1, len(self.sources)) else self.boxes
        return _How(tuple(dict.fromkeys(words[each] for each in self.sources)), boxes, tuple(self.marks))


def _made(inputs: Sequence[Input], file: OutputFile) -> list[_Made]:
    made = [_Made() for _ in file.tensors]
    for step in file.steps:
        one = made[step.target.tensor]
        match step:
            case Copy():
                one.boxes += 1
                one.take(inputs, step.source.tensor)
                dtype = inputs[step.source.tensor].dtype
                if dtype != file.tensors[step.target.tensor].dtype:
                    one.marks[f"cast from {dtype}"] = None
            case Compute():
                one.boxes += 1
                for region in step.sources:
                    one.take(inputs, region.tensor)
                one.marks[f"computed: {_formula(step.formula, len(step.sources))}"] = None
            case Fill():
                one.marks[f"filled with {step.value}"] = None
    return made


def _formula(formula: Formula, count: int, tight: int = 0) -> str:
    """Return a formula as it would be written, its operands `x`, or `x1`, `x2` where there are several."""
    match formula:
        case Operand():
            return "x" if count == 1 else f"x{formula.index + 1}"
        case Scalar():
            return str(formula.value) if formula.value >= 0 else f"({formula.value})"
        case Function("neg", (one,)):
            return f"-{_formula(one, count, 3)}"
        case Function(name, (left, right)) if name in _INFIX:
            own = _INFIX[name]
            text = f"{_formula(left, count, own)} {name} {_formula(right, count, own + 1)}"
            return f"({text})" if own < tight else text
        case Function():
            return f"{formula.name}({', '.join(_formula(each, count) for each in formula.arguments)})"


# --- what is compared


def _verifications(plan: Plan) -> Iterator[str]:
    """Say for each rule which tensors are compared."""
    yield "compared before anything is written:"
    rules: dict[str, dict[int, None]] = {}
    for each in plan.verifications:
        tensors = rules.setdefault(each.rule, {})
        tensors.update(dict.fromkeys((*(region.tensor for region in each.sources), each.expected.tensor)))
    for rule, tensors in rules.items():
        yield f"  {shown.plain(pattern(_called(plan.inputs[k]) for k in sorted(tensors)))}  ({shown.plain(rule)})"


# --- files with text


def _text(file: TextFile) -> Iterator[str]:
    """Show a file whole where it is short."""
    head = f"{shown.plain(file.path)}  {shown.size(len(file.data))}"
    try:
        text = file.data.decode("utf-8")
    except UnicodeDecodeError:
        yield head
        return
    lines = text.splitlines()
    if len(text) > _LONG_TEXT:
        yield head
    elif len(lines) == 1:
        yield f"{head}: {shown.plain(lines[0])}"
    else:
        yield head
        yield from (f"  {shown.plain(each)}".rstrip() for each in lines)
