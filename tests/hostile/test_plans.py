"""Plans that were changed and given a new digest: they are refused, or run as any plan does, and lead nowhere else."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tensormap.diagnostics import TensormapError
from tensormap.lowering import plan_json
from tensormap.runtime.execute import run
from tests.torture import workloads

VALUES: list[Any] = [
    *(0, -1, 1, 2, 3, 10**6, 10**12, 2**62, 2**63 - 1, 2**63, 10**30, 1.5, None, True),
    *("x", "../../x", "/etc/x", "", "\0", "float32", "uint8", "bool", "float4_e2m1fn_x2", "Q4_0"),
    *([], [0], [-1], {}),
]
Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("plans")
    made = workloads.to_torch(folder / "t"), workloads.to_safetensors(folder / "s"), workloads.to_gguf(folder / "g")
    found = [json.loads(plan_json.dump(each.plan)) for each in made]
    for each in found:
        del each["sha256"]
    return found


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Yield where each value of a plan stands, lists among them."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*here, key))
        return
    yield here
    for number, each in enumerate(value if isinstance(value, list) else ()):
        yield from places(each, (*here, number))


def put(plan: Any, place: Place, value: Any) -> None:
    for key in place[:-1]:
        plan = plan[key]
    plan[place[-1]] = value


def attempt(plan: dict[str, Any], folder: Path) -> str:
    """Run a plan; tell how it ended. What is beside the target is never touched."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "beside").write_text("beside")
    target = folder / "target"
    try:
        run(plan_json.load(plan_json.sealed(json.dumps(plan, separators=(",", ":")))), target)
        end = "ran"
    except TensormapError as error:
        end = error.diagnostics[0].slug
    except OSError:
        end = "disk"
    assert os.path.lexists(target) == (end == "ran")
    allowed = {"beside", "target", ".target.tensormap"}
    assert {each.name for each in folder.iterdir()} <= allowed
    assert (folder / "beside").read_text() == "beside"
    return end


def changed(plans: list[dict[str, Any]], random_: random.Random) -> dict[str, Any]:
    plan = copy.deepcopy(random_.choice(plans))
    known = list(places(plan))
    for _ in range(random_.choice([1, 1, 1, 2, 3])):
        try:
            put(plan, random_.choice(known), random_.choice(VALUES))
        except (IndexError, KeyError, TypeError):  # what was there has been changed already
            continue
    return plan


def hunt(plans: list[dict[str, Any]], folder: Path, count: int) -> Counter[str]:
    random_ = random.Random(f"plans {count}")
    return Counter(attempt(changed(plans, random_), folder) for _ in range(count))


def test_changed_plans(plans: list[dict[str, Any]], tmp_path: Path) -> None:
    seen = hunt(plans, tmp_path / "p", 150)
    assert seen["bad-plan"] > 50, seen
    assert seen["ran"], seen


@pytest.mark.torture
def test_5000_changed_plans(plans: list[dict[str, Any]], tmp_path: Path) -> None:
    seen = hunt(plans, tmp_path / "p", 5000)
    assert seen["bad-plan"] > 2000, seen
    assert seen["ran"] > 50, seen


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("source", 2**62),
        ("source", 2**63),
        ("source", 10**30),
        ("source strides", 2**62),
        ("source strides", 10**30),
        ("target", 2**62),
        ("target strides", 0),
        ("input", 2**63 - 1),
        ("input", 2**64),
    ],
)
def test_a_step_that_leaves_its_files(
    plans: list[dict[str, Any]], tmp_path: Path, number: int, what: str, value: int
) -> None:
    """All steps at once, so that every way in which bytes are moved meets it."""
    plan = copy.deepcopy(plans[number])
    if what == "input":
        for each in plan["inputs"]:
            each[4] = value
    for step in [step for output in plan["outputs"] for step in output["steps"]]:
        regions = {"source": step[2:3] if step[0] == "copy" else [], "target": step[-1:]}
        for region in regions.get(what.split(maxsplit=1)[0], []):
            if "strides" in what:
                region[2] = [value] * len(region[2])
            else:
                region[1] = value
    assert attempt(plan, tmp_path / "p") == "bad-plan"
