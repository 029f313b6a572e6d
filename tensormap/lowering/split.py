"""A plan split by output file into jobs that need nothing of each other. Depends on the plan alone: every machine cuts alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tensormap.lowering.plan import Compute, Copy, Fill, Input, OutputFile, Plan, Region, Step, Verify

_WORTH = 64 << 20  # bytes that are worth a job: smaller files share one


@dataclass(frozen=True, slots=True)
class Job:
    """Output files to write and comparisons of sources to make: indices into `Plan.outputs` and `Plan.verifications`."""

    files: tuple[int, ...]
    checks: tuple[int, ...] = ()


def parts(plan: Plan, count: int) -> tuple[Job, ...]:
    """Split a plan into `count` jobs of neighbouring files, so that the largest has as few bytes as possible.

    Neighbours, because they mostly read the same source files. Where there are fewer files than parts, the last parts have none.
    """
    files = _cut([each.layout.size for each in plan.outputs], count)
    checks = _cut([math.prod(each.sizes) for each in plan.verifications], count)
    return tuple(Job(tuple(one), tuple(other)) for one, other in zip(files, checks, strict=True))


def jobs(plan: Plan) -> Iterator[Job]:
    """Split a plan into as many jobs as are worth being one: comparisons first, then a file each, tiny ones together."""
    for group in _gathered(math.prod(each.sizes) for each in plan.verifications):
        yield Job((), group)
    for group in _gathered(each.layout.size for each in plan.outputs):
        yield Job(group)


def narrow(plan: Plan, job: Job) -> Plan:
    """Return the plan of one job: its files and comparisons, the inputs and sources that these read, and nothing else."""
    outputs = [plan.outputs[k] for k in job.files]
    checks = [plan.verifications[k] for k in job.checks]
    inputs = _numbered(_read(plan, outputs, checks))
    sources = _numbered(plan.inputs[k].file for k in inputs if plan.inputs[k].file >= 0)
    return replace(
        plan,
        sources=tuple(plan.sources[k] for k in sources),
        inputs=tuple(_input(plan.inputs[k], inputs, sources) for k in inputs),
        outputs=tuple(replace(each, steps=tuple(_step(step, inputs) for step in each.steps)) for each in outputs),
        verifications=tuple(
            replace(each, sources=_regions(each.sources, inputs), expected=_region(each.expected, inputs))
            for each in checks
        ),
        texts=(),
        companions=(),
        notes=(),
    )


def _cut(sizes: Sequence[int], count: int) -> list[range]:
    """Cut a sequence into `count` stretches, the largest as small as possible, no stretch empty where there are items enough."""
    low, high = max(sizes, default=0), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        if _stretches(sizes, middle) <= count:
            high = middle
        else:
            low = middle + 1
    found: list[range] = []
    start = 0
    for number in range(count):
        left = count - number - 1
        end, held = start, 0
        while end < len(sizes) and (end == start or (held + sizes[end] <= high and len(sizes) - end > left)):
            held += sizes[end]
            end += 1
        found.append(range(start, end))
        start = end
    return found


def _stretches(sizes: Sequence[int], limit: int) -> int:
    """Return how many stretches of at most `limit` a sequence has."""
    count = held = 0
    for size in sizes:
        if not count or held + size > limit:
            count, held = count + 1, 0
        held += size
    return count


def _gathered(sizes: Iterable[int]) -> Iterator[tuple[int, ...]]:
    group: list[int] = []
    held = 0
    for number, size in enumerate(sizes):
        if group and held + size > _WORTH:
            yield tuple(group)
            group, held = [], 0
        group.append(number)
        held += size
    if group:
        yield tuple(group)


def _read(plan: Plan, outputs: Sequence[OutputFile], checks: Sequence[Verify]) -> Iterator[int]:
    """Yield the inputs that files and comparisons read, and those that these are computed from."""
    waiting = [region.tensor for output in outputs for step in output.steps for region in _sources(step)] + [
        region.tensor for check in checks for region in (*check.sources, check.expected)
    ]
    seen: set[int] = set()
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        yield index
        call = plan.inputs[index].call
        if call is not None:
            waiting += [argument for argument, _ in call.arguments]


def _sources(step: Step) -> tuple[Region, ...]:
    match step:
        case Copy():
            return (step.source,)
        case Compute():
            return step.sources
        case Fill():
            return ()


def _numbered(indices: Iterable[int]) -> dict[int, int]:
    """Return new numbers for indices, which keep their order."""
    return {old: new for new, old in enumerate(sorted(set(indices)))}


def _input(one: Input, inputs: dict[int, int], sources: dict[int, int]) -> Input:
    call = one.call
    if call is not None:
        return one._replace(
            call=replace(call, arguments=tuple((inputs[index], shape) for index, shape in call.arguments))
        )
    return one if one.file < 0 else one._replace(file=sources[one.file])


def _step(step: Step, inputs: dict[int, int]) -> Step:
    match step:
        case Copy():
            return step._replace(source=_region(step.source, inputs))
        case Compute():
            return replace(step, sources=_regions(step.sources, inputs))
        case Fill():
            return step


def _regions(regions: Sequence[Region], inputs: dict[int, int]) -> tuple[Region, ...]:
    return tuple(_region(each, inputs) for each in regions)


def _region(region: Region, inputs: dict[int, int]) -> Region:
    return Region(inputs[region.tensor], region.offset, region.strides)
