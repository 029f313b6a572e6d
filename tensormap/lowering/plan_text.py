"""A plan as text: what will happen, before it happens. Tensors that differ in numbers only stand on one line.

Linear in the number of steps; the same plan gives the same text.
"""

from __future__ import annotations

from collections.abc import Iterator

from tensormap import shown
from tensormap.lowering.plan import Plan, TextFile
from tensormap.lowering.plan_families import Files, Tensors, compared, files, step_counts

WIDTH = 120
"""A tensor's sources go to a line of their own where the line would be longer."""

_LONG_TEXT = 4000  # characters of a text file that is shown


def show(plan: Plan) -> str:
    """Return what a plan does: what is read, each file with its tensors and where they come from, and the notes."""
    lines = [*_head(plan), ""]
    for group in files(plan):
        lines += [*_file(group), ""]
    for text in plan.texts:
        lines += _text(text)
    lines += [f"{shown.plain(each.path)}  {shown.size(each.size)}, copied from the source" for each in plan.companions]
    if plan.texts or plan.companions:
        lines.append("")
    if plan.verifications:
        lines += [*_verifications(plan), ""]
    lines += [f"note: {shown.plain(each)}" for each in plan.notes]
    return "\n".join(lines).rstrip("\n")


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
    counts = step_counts(plan)
    nouns = (("copy", "box copied", "boxes copied"), ("cast", "cast", "cast"), ("compute", "computed", "computed"))
    parts = [
        shown.counted(counts[key], *words) for key, *words in (*nouns, ("fill", "filled", "filled")) if counts[key]
    ]
    if plan.verifications:
        parts.append(f"before these {shown.counted(len(plan.verifications), 'comparison')} of sources")
    return ", ".join(parts) or "none"


# --- files with tensors


def _file(group: Files) -> Iterator[str]:
    several = f"  x{group.count:,}" if group.count > 1 else ""
    yield f"{shown.plain(group.pattern) or 'the target, one file'}{several}  {shown.size(group.size)}, {group.format}"
    if not group.tensors:
        yield "  no tensors"
        return
    left = [_left(each) for each in group.tensors]
    width = max(len(each) for each in left)
    width = width if width <= WIDTH // 2 else 0
    for each, text in zip(group.tensors, left, strict=True):
        right = _right(each)
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


def _left(each: Tensors) -> str:
    text = f"{shown.plain(each.pattern)}  {each.dtype} {list(each.shape)}"
    return text if each.count == 1 else f"{text}  x{each.count:,}  {shown.size(each.size)}"


def _right(each: Tensors) -> list[str]:
    """Say where tensors come from, in parts that may stand on lines of their own."""
    parts = [shown.plain(source) for source in each.sources]
    if each.boxes:
        parts.append(shown.counted(each.boxes, "box", "boxes"))
    return [*parts, *map(shown.plain, each.marks)] or ["nothing: it has no elements"]


# --- what is compared


def _verifications(plan: Plan) -> Iterator[str]:
    """Say for each rule which tensors are compared."""
    yield "compared before anything is written:"
    for rule, names in compared(plan):
        yield f"  {shown.plain(names)}  ({shown.plain(rule)})"


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
