"""`verify` sees every single bit that changes in what was written, and nothing where nothing changed."""

from __future__ import annotations

import functools
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import tensormap
from tensormap import api
from tensormap.cli import cli
from tensormap.runtime.execute import run
from tests.torture.workloads import Workload, tree

KINDS = ("data", "header", "other files")


@pytest.fixture(params=["torch", "safetensors", "gguf"])
def work(request: pytest.FixtureRequest, formats: dict[str, Workload]) -> Workload:
    return formats[request.param]


@pytest.fixture(autouse=True)
def planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command take the same mapping and plan each time: the source stays as it is, and to plan takes longest."""
    load, plan = functools.cache(api.load), api.plan
    kept: dict[str, api.Plan] = {}

    def cached(*arguments: Any, **more: Any) -> api.Plan:
        key = repr((arguments, more))
        if key not in kept:
            kept[key] = plan(*arguments, **more)
        return kept[key]

    monkeypatch.setattr(api, "load", load)
    monkeypatch.setattr(api, "plan", cached)


def verified(work: Workload, target: Path, *more: str) -> int:
    """Run `verify` as the command line does; return its exit code."""
    arguments = ["verify", work.mapping, str(work.source), str(target), *work.options, "--quiet", *more]
    return CliRunner().invoke(cli, arguments).exit_code


def places(work: Workload) -> dict[str, list[tuple[str, int, int]]]:
    """List stretches of bytes (file, first, end) by kind: of tensors, of what else is in their files, of all other files."""
    found: dict[str, list[tuple[str, int, int]]] = {kind: [] for kind in KINDS}
    for output in work.plan.outputs:
        position = 0
        sizes = [len(tensor_bytes) for tensor_bytes in _tensors(work, output.path)]
        for start, size in sorted(zip(output.layout.offsets, sizes, strict=True)):
            found["header"].append((output.path, position, start))
            found["data"].append((output.path, start, start + size))
            position = start + size
        found["header"].append((output.path, position, output.layout.size))
    names = {each.path for each in work.plan.outputs}
    found["other files"] = [(name, 0, len(data)) for name, data in work.whole.items() if name not in names]
    return {kind: [each for each in stretches if each[1] < each[2]] for kind, stretches in found.items()}


def _tensors(work: Workload, path: str) -> list[bytes]:
    (output,) = (each for each in work.plan.outputs if each.path == path)
    bits = {"float32": 32, "int64": 64, "bfloat16": 16, "float16": 16}
    sizes = []
    for each in output.tensors:
        count = bits[each.dtype] // 8
        for axis in each.shape:
            count *= axis
        sizes.append(bytes(count))
    return sizes


def flip(target: Path, name: str, byte: int, bit: int) -> Callable[[], object]:
    """Change one bit; return what sets it back."""
    path = target / name
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[byte] ^= 1 << bit
    path.write_bytes(damaged)
    return lambda: path.write_bytes(whole)


def hunt(work: Workload, place: Path, count: int) -> Counter[str]:
    """Flip so many bits, one after the other, and count by kind and exit code."""
    random_ = random.Random(f"flips {work.name} {count}")
    target = place / "target"
    run(work.plan, target)
    stretches = places(work)
    seen: Counter[str] = Counter()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        name, low, high = random_.choices(stretches[kind], [high - low for _, low, high in stretches[kind]])[0]
        byte, bit = random_.randrange(low, high), random_.randrange(8)
        restore = flip(target, name, byte, bit)
        code = verified(work, target)
        restore()
        assert code in (1, 3), f"exit {code} with bit {bit} of byte {byte} of {name} changed"
        seen[f"{kind}: {code}"] += 1
        if number % 20 == 0:
            assert verified(work, target) == 0, "a false alarm"
    assert tree(target) == work.whole
    return seen


def test_flipped_bits(work, place):
    seen = hunt(work, place, 30)
    assert seen["data: 1"] == 10  # in data, nothing else can notice


@pytest.mark.torture
def test_500_flipped_bits(work, place):
    seen = hunt(work, place, 500)
    assert seen["data: 1"] == 167
    assert set(seen) >= {"header: 1", "header: 3", "other files: 1"}


def test_every_bit_of_a_header(formats, place):
    """A stride through all of one file that is no tensor, so that no field of it is left out."""
    for work in formats.values():
        target = place / work.name
        run(work.plan, target)
        path = work.plan.outputs[-1].path
        header = [(low, high) for name, low, high in places(work)["header"] if name == path]
        for byte in [byte for low, high in header for byte in range(low, high)][::97]:
            restore = flip(target, path, byte, byte % 8)
            assert verified(work, target) in (1, 3), (path, byte)
            restore()


def test_there_is_no_false_alarm(work, place):
    """However it was written."""
    for number, options in enumerate(({}, {"workers": 1, "tile": 128}, {"checksum": True})):
        target = place / f"target-{number}"
        run(work.plan, target, **options)
        for more in ((), ("--workers", "1"), ("--tensors",), ("--memory", "1MB")):
            assert verified(work, target, *more) == 0


def test_no_more_differences_than_tensors(work, place):
    """All tensors differ, and none is counted twice."""
    target = place / "target"
    run(work.plan, target)
    for output in work.plan.outputs:
        data = bytearray((target / output.path).read_bytes())
        for start in output.layout.offsets:
            data[start] ^= 1
        (target / output.path).write_bytes(data)
    arguments = ["verify", work.mapping, str(work.source), str(target), *work.options, "--json"]
    said = json.loads(CliRunner().invoke(cli, arguments).stdout)
    assert len(said["differences"]) == said["tensors"] == sum(len(each.tensors) for each in work.plan.outputs)


STORED = {
    "safetensors": "",
    "one torch file": """side theirs {
    files "model.bin"
}
""",
    "a torch file with a tree": """side theirs {
    files "model.pth" at state.module under m.
}
""",
    "a torch file a layer, and one for the rest": """index i < 1

side theirs {
    files "layer_{i:02}.pt" as {i}.
    files "rest/all.pt" with version = 3
}
""",
}
"""Ways to store a side. What this mapping reads and writes has the same names and shapes: only the mark in a file can tell."""


def square(stored: str, place: Path, *, called: str = "square", axes: str = "[x y]") -> tuple[tensormap.Mapping, str]:
    """Return the mapping, and the name of its tensor; its source is written to `source`."""
    name = "{i}.w" if "{i" in stored else "w"
    save_file(
        {name.format(i=0): np.arange(9, dtype=np.float32).reshape(3, 3)}, (place / "source.safetensors").as_posix()
    )
    text = f"mapping mine <-> theirs\n{stored}{name} {axes} <-> {name} [y {axes[1]}]"
    return tensormap.loads(text, called), name.format(i=0)


@pytest.mark.parametrize("stored", STORED)
def test_what_was_converted_is_not_converted_again(place, stored):
    mapping, name = square(STORED[stored], place)
    tensormap.apply(mapping, place / "source.safetensors", place / "once", to="theirs")
    if not STORED[stored]:  # the files of the others say which side they are
        with pytest.raises(tensormap.MappingError) as unsure:
            tensormap.apply(mapping, place / "once", place / "twice")
        assert unsure.value.diagnostics[0].slug == "direction-needed"
    tensormap.apply(mapping, place / "once", place / "back", to="mine")
    assert tensormap.open(place / "back")[name].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    with pytest.raises(tensormap.CheckpointError) as caught:
        tensormap.apply(mapping, place / "once", place / "twice", to="theirs")
    assert not (place / "twice").exists()
    assert caught.value.diagnostics[0].slug == "already-converted"
    assert caught.value.diagnostics[0].help == ("convert it back with `--to mine`",)


@pytest.mark.parametrize("stored", STORED)
def test_a_mapping_is_known_by_its_name_or_its_text(place, stored):
    mapping, _ = square(STORED[stored], place)
    copied, _ = square(STORED[stored], place, called="copied")
    edited, _ = square(STORED[stored], place, axes="[z y]")
    another, _ = square(STORED[stored], place, called="another", axes="[z y]")
    tensormap.apply(mapping, place / "source.safetensors", place / "once", to="theirs")
    for same in (copied, edited):
        with pytest.raises(tensormap.CheckpointError) as caught:
            tensormap.apply(same, place / "once", place / "twice", to="theirs")
        assert caught.value.diagnostics[0].slug == "already-converted"
        assert not (place / "twice").exists()
    if not STORED[stored]:  # a torch file of theirs may not fit as one of mine in any case
        tensormap.apply(another, place / "once", place / "twice", to="theirs")


@pytest.mark.parametrize("stored", STORED)
def test_the_mark_says_nothing_that_changes(place, stored):
    """No time, no host, no path: the same work gives the same mark anywhere."""
    written = []
    for number in range(2):
        folder = place / f"{number}"
        folder.mkdir()
        mapping, _ = square(STORED[stored], folder)
        tensormap.apply(mapping, folder / "source.safetensors", folder / "out", to="theirs")
        written.append(tree(folder / "out"))
    assert written[0] == written[1]
    for data in written[0].values():
        assert b"tensormap.mapping" in data
        assert str(place).encode() not in data
