"""A plan as JSON to be read: tensors that differ in numbers only stand together, as they do in its text.

What can be applied is `plan_json`'s, with every tensor and every step; this is a hundredth of it.
"""

from __future__ import annotations

import json
from typing import Any

from tensormap.lowering.plan import Plan
from tensormap.lowering.plan_families import compared, files, step_counts

WIDTH = 120
"""What does not fit on a line of so many characters is written in several."""


def dump(plan: Plan) -> str:
    """Return the listing of a plan as JSON text."""
    return _text(listing(plan))


def listing(plan: Plan) -> dict[str, Any]:
    """Return what a plan does as plain data. Where `{0..3,5}` stands in a name, `count` names are meant."""
    return {
        "mapping": plan.mapping,
        "digest": plan.digest,
        "side": plan.side,
        "root": plan.root,
        "reads": {
            "files": len(plan.sources),
            "tensors": len(plan.inputs),
            "bytes": sum(each.size for each in plan.sources),
        },
        "writes": {
            "files": len(plan.outputs),
            "tensors": sum(len(each.tensors) for each in plan.outputs),
            "bytes": sum(each.layout.size for each in plan.outputs),
        },
        "steps": dict(sorted(step_counts(plan).items())),
        "files": [
            {
                "path": group.pattern,
                "count": group.count,
                "format": group.format,
                "bytes": group.size,
                "tensors": [
                    {
                        "name": each.pattern,
                        "count": each.count,
                        "dtype": each.dtype,
                        "shape": each.shape,
                        "bytes": each.size,
                        "from": each.sources,
                    }
                    | ({"boxes": each.boxes} if each.boxes else {})
                    | ({"how": each.marks} if each.marks else {})
                    for each in group.tensors
                ],
            }
            for group in files(plan)
        ],
        "texts": [{"path": each.path, "bytes": len(each.data)} for each in plan.texts],
        "companions": [{"source": each.source, "path": each.path, "bytes": each.size} for each in plan.companions],
        "compared": [{"rule": rule, "names": names} for rule, names in compared(plan)],
        "notes": plan.notes,
    }


def _text(value: Any, indent: str = "", key: str = "") -> str:
    """Write a value behind its key, on one line where it fits."""
    line = key + json.dumps(value)
    if len(indent) + len(line) <= WIDTH or not value or not isinstance(value, (dict, list, tuple)):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        parts = [_text(each, deeper, f"{json.dumps(name)}: ") for name, each in value.items()]
        begin, end = "{}"
    else:
        parts = [_text(each, deeper) for each in value]
        begin, end = "[]"
    inner = f",\n{deeper}".join(parts)
    return f"{key}{begin}\n{deeper}{inner}\n{indent}{end}"
