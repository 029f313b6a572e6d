"""What a plan does, gathered: files that differ in numbers only stand together, and so do tensors that are made in the same way.

For what is shown of a plan, as text or as JSON. Linear in the number of steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from math import prod

from tensormap.dtypes import BY_NAME
from tensormap.families import collapse, pattern, skeleton
from tensormap.lowering.plan import Compute, Copy, Fill, Formula, Function, Input, Operand, OutputFile, Plan, Scalar

_INFIX = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True, slots=True)
class Tensors:
    """Tensors that differ in the numbers of their names only."""

    pattern: str
    dtype: str
    shape: tuple[int, ...]
    count: int
    sources: tuple[str, ...]  # patterns of the names of what they are made of
    boxes: int  # that they are made of in all; 0 where that is one for each source
    marks: tuple[str, ...]  # what else is done

    @property
    def size(self) -> int:
        """How many bytes they take."""
        return self.count * tensor_bytes(self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class Files:
    """Files that differ in the numbers of their names only, and all their tensors."""

    pattern: str
    format: str
    count: int
    size: int
    tensors: tuple[Tensors, ...]


def files(plan: Plan) -> Iterator[Files]:
    """Yield the files with tensors that a plan writes."""
    for family in collapse((each.path, each.format) for each in plan.outputs):
        members = [plan.outputs[k] for k in family.members]
        size = sum(each.layout.size for each in members)
        yield Files(family.pattern, family.key, len(members), size, tuple(_tensors(plan, members)))


def step_counts(plan: Plan) -> Counter[str]:
    """Count the steps: "copy", "cast", "compute", "fill"."""
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
    return counts


def compared(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield each rule that has sources compared, and the pattern of their names."""
    rules: dict[str, dict[int, None]] = {}
    for each in plan.verifications:
        tensors = rules.setdefault(each.rule, {})
        tensors.update(dict.fromkeys((*(region.tensor for region in each.sources), each.expected.tensor)))
    for rule, tensors in rules.items():
        yield rule, pattern(_called(plan.inputs[k]) for k in sorted(tensors))


def tensor_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Return how many bytes a tensor's elements take."""
    return (prod(shape) * BY_NAME[dtype].bits + 7) // 8


@dataclass(frozen=True, slots=True)
class _Key:
    """What tensors share that are shown together: how they are made is the words of their sources' names, in how many boxes where
    that is not one for each source, and what else is done.
    """

    dtype: str
    shape: tuple[int, ...]
    words: tuple[tuple[str, ...], ...]
    boxes: int
    marks: tuple[str, ...]


def _tensors(plan: Plan, members: Sequence[OutputFile]) -> Iterator[Tensors]:
    rows: list[tuple[str, _Key]] = []
    sources: list[tuple[int, ...]] = []
    words: dict[int, tuple[str, ...]] = {}
    for file in members:
        for tensor, made in zip(file.tensors, _made(plan.inputs, file), strict=True):
            for each in made.sources:
                if each not in words:
                    words[each] = skeleton(_called(plan.inputs[each]))
            rows.append((tensor.name, made.key(tensor.dtype, tensor.shape, words)))
            sources.append(tuple(made.sources))
    for family in collapse(rows):
        used = dict.fromkeys(source for k in family.members for source in sources[k])
        names = tuple(each.pattern for each in collapse((_called(plan.inputs[each]), None) for each in used))
        key = family.key
        yield Tensors(family.pattern, key.dtype, key.shape, len(family.members), names, key.boxes, key.marks)


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
        source = inputs[number]
        if source.call is None and source.encoding is None:
            self.sources[number] = None
            return
        waiting, seen = [number], {number}
        while waiting:
            number = waiting.pop()
            source = inputs[number]
            if source.call is not None:
                self.marks[f"computed by `{source.call.name}`"] = None
                arguments = [each for each, _ in source.call.arguments if each not in seen]
                seen.update(arguments)
                waiting += reversed(arguments)
                continue
            self.sources[number] = None
            if source.encoding is not None:
                self.marks[f"decoded from {source.encoding}"] = None

    def key(self, dtype: str, shape: tuple[int, ...], words: Map[int, tuple[str, ...]]) -> _Key:
        boxes = 0 if self.boxes in (1, len(self.sources)) else self.boxes
        return _Key(
            dtype, shape, tuple(dict.fromkeys([words[each] for each in self.sources])), boxes, tuple(self.marks)
        )


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
