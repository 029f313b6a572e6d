"""The cases of `tests/corpus/*.md`: a mapping, a catalog, and the diagnostics or the plan that follow. No Python inside.

A case begins with `## title`. Its blocks: `tmap`; `catalog`, a tensor a line as `name dtype [shape]`; `config`, as JSON;
`set`, as `name = value` lines; `to`, the side; `options` of `tensormap.plan`, as JSON; and the outcome: `diagnostics`, `plan`, what
`check` says, or `values`, what is written, or why nothing is, where the elements of the source are 1, 2, 3 and so on, from tensor
to tensor. `TENSORMAP_REWRITE=1` rewrites every outcome; the diff is what a reviewer reads.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import tensormap
from tensormap.diagnostics import TensormapError
from tensormap.dtypes import BY_NAME

FOLDER = Path(__file__).with_name("corpus")
REWRITE = os.environ.get("TENSORMAP_REWRITE") == "1"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Case:
    """One case: where it stands, its title, and its blocks by kind."""

    path: Path
    title: str
    blocks: dict[str, str]

    @property
    def outcome(self) -> str:
        return next((each for each in ("plan", "values", "check") if each in self.blocks), "diagnostics")


def _cases() -> list[Case]:
    found = []
    for path in sorted(FOLDER.glob("*.md")):
        for part in re.split(r"^## ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
            title, _, body = part.partition("\n")
            found.append(Case(path, title.strip(), dict(_BLOCK.findall(body))))
    return found


CASES = _cases()


def _write(case: Case, folder: Path) -> None:
    """Make the checkpoint of a case: headers, and holes for data where nothing reads them."""
    header: dict[str, object] = {}
    offset = 0
    data: list[bytes] = []
    first = 1
    for line in case.blocks.get("catalog", "").splitlines():
        name, dtype, shape = line.split(" ", 2)
        sizes = json.loads(shape)
        count = BY_NAME[dtype].size
        for size in sizes:
            count *= size
        if "values" in case.blocks:
            elements = np.arange(first, first + count // BY_NAME[dtype].size, dtype=dtype)
            data.append(elements.tobytes())
            first += len(elements)
        header[name] = {"dtype": BY_NAME[dtype].code, "shape": sizes, "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write(b"".join(data))
        file.truncate(8 + len(text) + offset)
    if "config" in case.blocks:
        (folder / "config.json").write_text(case.blocks["config"])


def _outcome(case: Case, folder: Path) -> str:
    settings = dict(line.split(" = ", 1) for line in case.blocks.get("set", "").splitlines())
    try:
        mapping = tensormap.loads(case.blocks["tmap"].rstrip("\n"), "case.tmap")
        if "check" in case.blocks:
            return _checked(mapping)
        if "catalog" not in case.blocks:
            return "none"
        _write(case, folder)
        to = case.blocks["to"].strip() if "to" in case.blocks else None
        options = json.loads(case.blocks.get("options", "{}"))
        plan = tensormap.plan(mapping, folder, to=to, set=settings, **options)
        if "values" in case.blocks:
            tensormap.apply(plan, folder / "out")
            return _written(folder / "out")
    except TensormapError as error:
        return _stable(str(error), folder)
    return _stable(str(plan), folder)


def _checked(mapping: tensormap.Mapping) -> str:
    """List what `check` proves, what it leaves open, and what each direction loses."""
    found = mapping.check()
    lines = [str(each) for each in (*found.errors, *found.warnings)]
    lines += [f"proved: {each}" for each in found.proved]
    lines += [f"left: {each}" for each in found.left]
    for side, losses in found.losses.items():
        lines += [f"{side}: {each.kind}: {each.text}" for each in losses] or [f"{side}: lossless"]
    return "\n".join(lines)


def _written(folder: Path) -> str:
    """List what a folder holds: a tensor a line, and the config."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        for name, array in load_file(path).items():
            lines.append(f"{name} {array.dtype} {json.dumps(array.tolist())}")
    if (folder / "config.json").exists():
        lines.append(f"config.json {json.dumps(json.loads((folder / 'config.json').read_text()))}")
    return "\n".join(lines)


def _stable(text: str, folder: Path) -> str:
    return "\n".join(line.rstrip() for line in text.replace(str(folder), "DIR").splitlines())


@pytest.mark.parametrize("case", CASES, ids=[f"{each.path.stem}: {each.title}" for each in CASES])
def test_case(case: Case, tmp_path: Path) -> None:
    got = _outcome(case, tmp_path)
    if REWRITE:
        _rewrite(case, got)
    else:
        assert got == case.blocks.get(case.outcome, "").rstrip("\n")


def _rewrite(case: Case, got: str) -> None:
    text = case.path.read_text("utf-8")
    start = text.index(f"## {case.title}\n")
    stop = text.find("\n## ", start + 1)
    part = text[start : stop if stop >= 0 else len(text)]
    failed = got.startswith(("error[", "none"))
    kind = case.outcome if case.outcome in ("values", "check") else "diagnostics" if failed else "plan"
    block = f"```{kind}\n{got}\n```"
    blocks = [each for each in _BLOCK.finditer(part) if each.group(1) in ("plan", "values", "check", "diagnostics")]
    new = (
        part[: blocks[0].start()] + block + part[blocks[0].end() :] if blocks else part.rstrip("\n") + f"\n\n{block}\n"
    )
    case.path.write_text(text[:start] + new + (text[stop:] if stop >= 0 else ""), "utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) >= 30
    assert len({(each.path, each.title) for each in CASES}) == len(CASES)
