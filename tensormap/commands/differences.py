"""How two checkpoints differ, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tensormap import shown
from tensormap.commands import outcome, terminal

if TYPE_CHECKING:
    from tensormap.runtime.diff import TensorDifference
    from tensormap.runtime.verify_files import FileDifference


def show(
    found: Sequence[TensorDifference],
    count: int,
    names: tuple[str, str],
    *,
    files: tuple[Sequence[FileDifference], int] | None = None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Print what was found, and return the exit code. `count` tensors were compared; `names` say what left and right are; `files`
    are those that differ beside their tensors, and how many were compared.
    """
    different, compared = files or ((), 0)
    code = outcome.FOUND if found or different else 0
    if as_json:
        data = {"equal": not code, "tensors": count, "differences": [_as_data(each) for each in found]}
        if files is not None:
            data |= {"files": compared, "file_differences": [asdict(each) for each in different]}
        terminal.out_json(data)
    elif not quiet:
        for line in [*_lines(found, names), *map(_file, different)]:
            terminal.out(line)
        terminal.out(_summary(len(found), count, len(different), compared))
        if different and not found:
            terminal.err(
                "the files were written with other options, by another program, or changed since: `--tensors` compares tensors only"
            )
    return code


def _summary(found: int, count: int, different: int, compared: int) -> str:
    """Say in one line how much differs."""
    tensors, files = shown.counted(count, "tensor"), shown.counted(compared, "file")
    if not found and not different:
        return f"equal: {tensors}, every element" + (f", and {files}, every byte" if compared else "")
    said = [f"{found:,} of {tensors}"] if found else []
    said += [f"{different:,} of {files}"] if different else []
    return f"{' and '.join(said)} differ"


def _file(one: FileDifference) -> str:
    path = shown.plain(one.path) or "the file"
    match one.reason:
        case "missing":
            return f"{path}: missing"
        case "size":
            return f"{path}: {one.wanted:,} bytes would be written, and there are {one.found:,}"
        case "bytes":
            return f"{path}: byte {one.at:,} differs, and is no tensor's"


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
