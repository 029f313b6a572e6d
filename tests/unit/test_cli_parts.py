"""Runs in parts, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from tensormap.cli import cli

CONVERT = ("names.tmap", "src", "out", "--max-shard-size", "100")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a mapping and a checkpoint that becomes four files; it is where the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.tmap").write_text("mapping a <-> b\n\nw.{i} [x y] <-> v.{i} [y x]\n")
    (tmp_path / "src").mkdir()
    tensors = {f"w.{i}": np.full((5, 3), i, np.float32) for i in range(4)}
    save_file(tensors, tmp_path / "src" / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_parts_and_their_end(place: Path) -> None:
    result = run("apply", *CONVERT, "--part", "2/3")
    assert result.exit_code == 0
    head, rest = result.stdout.splitlines()
    assert head.startswith("part 2/3 of out: 1 file, ")
    assert rest == "still to be made: 2 parts of 3"

    result = run("finalize", "out")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.splitlines()[0] == f"error[parts-missing]: `{place / 'out'}` lacks 2 of its 3 parts: 1, 3"
    assert not (place / "out").exists()

    run("apply", *CONVERT, "--part", "1/3")
    result = run("apply", *CONVERT, "--part", "3/3")
    assert result.stdout.splitlines()[1] == "all parts are there: `tensormap finalize out` ends the run"
    result = run("finalize", "out")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "wrote out: 5 files"

    assert run("apply", "names.tmap", "src", "whole", "--max-shard-size", "100").exit_code == 0
    assert names(place / "out") == names(place / "whole")
    for name in names(place / "out"):
        assert (place / "out" / name).read_bytes() == (place / "whole" / name).read_bytes()
    assert names(place) == ["names.tmap", "out", "src", "whole"]


def test_parts_as_json(place: Path) -> None:
    said = json.loads(run("apply", *CONVERT, "--part", "2/3", "--json").stdout)
    assert (said["part"], said["waiting"]) == ([2, 3], [1, 3])
    assert "part" not in json.loads(run("apply", *CONVERT, "--discard", "--json").stdout)


def test_a_part_of_a_saved_plan(place: Path) -> None:
    run("plan", *CONVERT[:2], *CONVERT[3:], "--save", "plan.json")
    for part in ("1/2", "2/2"):
        assert run("apply", "--plan", "plan.json", "out", "--part", part).exit_code == 0
    assert run("finalize", "--plan", "plan.json", "out").exit_code == 0
    assert len(names(place / "out")) == 5


def test_the_end_of_other_work_is_refused(place: Path) -> None:
    run("apply", *CONVERT, "--part", "1/1")
    result = run("finalize", *CONVERT[:3])
    assert result.exit_code == 5
    assert result.stderr.startswith("error[resume-mismatch]: ")
    assert run("finalize", *CONVERT).exit_code == 0


def test_parts_are_removed_when_asked(place: Path) -> None:
    run("apply", *CONVERT, "--part", "1/2")
    result = run("apply", *CONVERT, "--part", "2/2", "--discard")
    assert result.exit_code == 2
    assert "finalize --discard" in result.stderr
    assert run("finalize", "out", "--discard").stdout == "removed 2 files that the parts of out had finished\n"
    assert names(place) == ["names.tmap", "src"]
    result = run("finalize", "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error[no-parts]: ")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("3", "`3` is not `K/N`"),
        ("a/b", "`a/b` is not `K/N`"),
        ("-1/2", "`-1/2` is not `K/N`"),
        ("0/4", "error[bad-part]: there is no part 0 of 4"),
        ("5/4", "error[bad-part]: there is no part 5 of 4"),
    ],
)
def test_what_is_no_part(place: Path, value: str, says: str) -> None:
    result = run("apply", *CONVERT, "--part", value)
    assert result.exit_code == 2
    assert says in result.stderr
    assert names(place) == ["names.tmap", "src"]


def test_a_part_may_be_resumed_as_any_run(place: Path) -> None:
    """A scheduler that puts a job back in its queue may say so; a part goes on with what it began either way."""
    run("apply", *CONVERT, "--part", "1/1")
    result = run("apply", *CONVERT, "--part", "1/1", "--resume")
    assert result.exit_code == 0
    assert "4 files had been written before" in result.stdout
