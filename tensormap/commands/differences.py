"""How two checkpoints differ, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tensormap import shown
from tensormap.commands import outcome, terminal

if TYPE_CHECKING:
    from tensormap.runtime.diff import TensorDifference


def show(found: Sequence[TensorDifference], count: int, names: tuple[str, str], *, as_json: bool, quiet: bool) -> int:
    """Print what was found, and return the exit code. `count` tensors were compared; `names` say what left and right are."""
    code = outcome.FOUND if found else 0
    if as_json:
        terminal.out_json({"equal": not found, "tensors": count, "differences": [_as_data(each) for each in found]})
    elif not quiet:
        for line in _lines(found, names):
            terminal.out(line)
        equal = f"equal: {shown.counted(count, 'tensor')}, every element"
        terminal.out(f"{len(found):,} of {shown.counted(count, 'tensor')} differ" if found else equal)
    return code


def _as_data(one: TensorDifference) -> dict[str, Any]:
    data: dict[str, Any] = {"name": one.name, "reason": one.reason}
    if one.left or one.right:
        data |= {"left": one.left, "right": one.right}
    if one.reason == "values":
        data |= {"at": list(one.coordinates), "count": one.count, "elements": one.elements, "largest": one.largest}
    return data


def _lines(found: Sequence[TensorDifference], names: tuple[str, str]) -> list[str]:
    """Say what differs; what differs in the same way stands on one line, values apart."""
    from tensormap.families import collapse

    left, right = names
    lines = []
    for family in collapse((each.name, _way(each, k)) for k, each in enumerate(found)):
        one = found[family.members[0]]
        name = shown.plain(family.pattern)
        times = f"  x{len(family.members):,}" if len(family.members) > 1 else ""
        match one.reason:
            case "missing":
                lines.append(f"{name}{times}: only in {left}")
            case "added":
                lines.append(f"{name}{times}: only in {right}")
            case "values":
                lines.append(f"{name}: {_values(one)}")
            case _:
                lines.append(f"{name}{times}: {one.reason} {one.left} in {left}, {one.right} in {right}")
    return lines


def _way(one: TensorDifference, place: int) -> tuple[object, ...]:
    return (one.reason, place) if one.reason == "values" else (one.reason, one.left, one.right)


def _values(one: TensorDifference) -> str:
    most = "" if one.largest is None else f", by at most {one.largest:g}"
    where = f" at [{', '.join(map(str, one.coordinates))}]" if one.coordinates else ""
    return f"{one.count:,} of {shown.counted(one.elements, 'element')} differ{most}; first{where}: {one.left} and {one.right}"
