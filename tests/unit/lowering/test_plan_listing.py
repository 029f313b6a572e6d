"""A plan as JSON to be read: what its text shows, as data."""

from __future__ import annotations

import json
from dataclasses import replace

from tensormap.lowering import plan_listing
from tensormap.lowering.plan import OutputFile, Plan
from tests.unit.lowering.test_plan_text import made


def test_tensors_that_differ_in_numbers_only_stand_together() -> None:
    (files,) = plan_listing.listing(made())["files"]
    assert (files["path"], files["count"], files["format"]) == (
        "model-{00001..00002}-of-00002.safetensors",
        2,
        "safetensors",
    )
    first, second, third, *rest = files["tensors"]
    assert first == {
        "name": "layers.{0..1}.q.weight",
        "count": 2,
        "dtype": "float32",
        "shape": (8, 4),
        "bytes": 256,
        "from": ("{2..3}.{0..1}.qkv.weight",),
        "boxes": 3,
    }
    assert second["how"] == ("cast from float32",)
    assert third["how"] == ("computed: (x1 + x2) / 2",)
    assert [each["name"] for each in rest] == ["layers.{0..1}.pad.weight", "layers.{0..1}.none.weight"]
    assert rest[1]["from"] == ()


def test_it_counts_what_the_plan_has() -> None:
    plan = made()
    found = plan_listing.listing(plan)
    assert found["writes"] == {
        "files": 2,
        "tensors": sum(each["count"] for files in found["files"] for each in files["tensors"]),
        "bytes": sum(each["bytes"] for each in found["files"]),
    }
    assert found["reads"]["tensors"] == len(plan.inputs)
    assert sum(found["steps"].values()) == sum(len(each.steps) for each in plan.outputs)


def test_its_text_is_json_with_as_much_on_a_line_as_fits() -> None:
    text = plan_listing.dump(made())
    assert json.loads(text) == json.loads(json.dumps(plan_listing.listing(made())))
    lines = text.splitlines()
    assert max(map(len, lines)) <= plan_listing.WIDTH + 1  # and a comma
    assert lines[0] == "{"
    assert '  "reads": {"files": 1, "tensors": 9, "bytes": 1500000},' in lines


def test_it_does_not_grow_with_the_number_of_tensors() -> None:
    def many(count: int) -> Plan:
        plan = made()
        file = plan.outputs[0]
        named = [
            tensor._replace(name=tensor.name.replace("layers.0", f"layers.{k}"))
            for k in range(count)
            for tensor in file.tensors
        ]
        steps = [
            step._replace(target=step.target._replace(tensor=step.target.tensor + k * len(file.tensors)))
            for k in range(count)
            for step in file.steps
            if hasattr(step, "_replace")
        ]
        return replace(plan, outputs=(OutputFile(file.path, file.format, tuple(named), file.layout, tuple(steps)),))

    assert len(plan_listing.dump(many(400))) < len(plan_listing.dump(many(10))) + 100
