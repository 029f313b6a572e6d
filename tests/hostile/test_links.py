"""Links and names that lead out of a checkpoint: nothing else on the machine is read, shown, or copied along."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save_file

import tensormap
from tensormap.cli import cli
from tensormap.diagnostics import MappingError

SECRET = "what is nobody else's business"
MAPPING = """mapping here <-> there
side here {
    tag "latest" = "step0"
    files "part_{n}.pt" as l.{n}.
    config "*.json"
}
config {
    e <-> e
}
l.0.a [e] <-> a [e]
"""


def saved(place: Path) -> Path:
    """Write a checkpoint whose files a tag names, and a secret beside it."""
    (place / "outside").mkdir(parents=True)
    (place / "outside" / "secret").write_text(SECRET)
    folder = place / "run"
    (folder / "step0").mkdir(parents=True)
    torch.save({"a": torch.arange(3.0)}, folder / "step0" / "part_0.pt")
    (folder / "latest").write_text("step0")
    (folder / "config.json").write_text('{"e": 3}')
    (place / "mine.tmap").write_text(MAPPING)
    return folder


def moved(name: str) -> Callable[[Path], None]:
    """Move a file or directory of the checkpoint outside, and leave a link to it."""

    def attack(folder: Path) -> None:
        os.rename(folder / name, folder.parent / "outside" / "moved")
        (folder / name).symlink_to("../" * (name.count("/") + 1) + "outside/moved")

    return attack


def secret(name: str) -> Callable[[Path], None]:
    """Put a link to the secret where a file is looked for."""

    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder.parent / "outside" / "secret")

    return attack


ATTACKS: dict[str, Callable[[Path], None]] = {
    "the file that names the directory": secret("latest"),
    "the directory": moved("step0"),
    "a file with tensors": moved("step0/part_0.pt"),
    "a config that is one": moved("config.json"),
    "a config that is none": secret("config.json"),
    "another config": secret("z.json"),
    "a tokenizer": secret("tokenizer.json"),
    "a template of a chat": secret("chat_template.jinja"),
    "a link to a link": lambda folder: (secret("z")(folder), (folder / "tokenizer.json").symlink_to("z"))[1],
}


def apply(folder: Path, *more: str) -> tuple[int, str]:
    arguments = ["apply", str(folder.parent / "mine.tmap"), str(folder), str(folder.parent / "out")]
    arguments += ["--to", "there", *more]
    result = CliRunner().invoke(cli, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_link_that_leads_outside_is_refused(tmp_path: Path, attack: Callable[[Path], None]) -> None:
    folder = saved(tmp_path)
    attack(folder)
    code, said = apply(folder)
    assert code == 3, said
    assert "error[link-outside]" in said
    assert SECRET not in said
    assert not (tmp_path / "out").exists()


def test_what_the_attacks_start_from_is_converted(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    assert apply(folder)[0] == 0
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"


def test_a_link_inside_is_followed(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "words").write_text("{}")
    (folder / "tokenizer.json").symlink_to("words")
    os.rename(folder / "step0" / "part_0.pt", folder / "weights")
    (folder / "step0" / "part_0.pt").symlink_to("../weights")
    assert apply(folder)[0] == 0
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"


def test_a_config_that_is_named_may_lie_anywhere(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    moved("config.json")(folder)
    os.rename(tmp_path / "outside" / "moved", tmp_path / "outside" / "config.json")
    assert apply(folder, "--config", str(tmp_path / "outside" / "config.json"))[0] == 0


@pytest.mark.parametrize("attack", [secret("latest"), moved("step0")], ids=["pointer", "directory"])
def test_the_pointer_of_a_checkpoint_that_no_mapping_describes(tmp_path: Path, attack: Callable[[Path], None]) -> None:
    folder = saved(tmp_path)
    attack(folder)
    result = CliRunner().invoke(cli, ["inspect", str(folder)])
    assert result.exit_code == 3
    assert "error[link-outside]" in result.stderr
    assert SECRET not in result.stderr


def test_the_file_that_names_the_directory_is_not_read_whole(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    os.truncate(folder / "latest", 1 << 40)
    code, said = apply(folder)
    assert code == 3, said
    assert "missing-file" in said or "bad-tag" in said
    (folder / "latest").write_text("\x1b[31mred`")
    code, said = apply(folder)
    assert code == 3
    assert "\\x1b[31mred\\x60" in said


@pytest.mark.parametrize(
    "name", ["../outside/secret", "/etc/passwd", "a/../../b", "", ".", "a//b", "**/x", "a**", "./x", "x/", "a\tb"]
)
@pytest.mark.parametrize(
    "line", ['files "{}"', 'config "{}"', 'tag "{}" = "d"', 'tag "t" = "{}"', 'tag "t" = "d", "{}"']
)
def test_a_name_in_a_mapping_that_leads_outside_is_refused(line: str, name: str) -> None:
    text = f"mapping l <-> r\nside l {{\n    {line.format(name)}\n}}\na <-> b\n"
    with pytest.raises(MappingError) as caught:
        tensormap.loads(text)
    assert {each.slug for each in caught.value.diagnostics} <= {"unsafe-path", "bad-character"}


def test_a_link_that_is_named_may_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "outside" / "a.safetensors")
    (tmp_path / "b.safetensors").symlink_to("outside/a.safetensors")
    (tmp_path / "in").symlink_to("outside")
    for each in ("b.safetensors", "in"):
        assert list(tensormap.open(tmp_path / each)) == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        'files "*a*a*a*b"',
        'files "{a}*{b}*c*/*"',
        'files "a" under "*a*b"',
        'config "*a*a*a*.json"',
    ],
)
def test_a_name_that_could_be_matched_in_too_many_ways_is_refused(line: str) -> None:
    with pytest.raises(MappingError) as caught:
        tensormap.loads(f"mapping l <-> r\nside l {{\n    {line}\n}}\na <-> b\n")
    assert caught.value.diagnostics[0].slug == "too-large"


def test_what_may_be_matched_is_matched_in_time(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    for k in range(20):
        (folder / "step0" / ("a" * 250 + str(k))).write_text("")
    (tmp_path / "mine.tmap").write_text(MAPPING.replace('"part_{n}.pt"', '"*a*a*b" as x.\n    files "part_{n}.pt"'))
    began = time.process_time()
    assert apply(folder)[0] == 3
    assert time.process_time() - began < 15


def test_a_config_beside_a_run_is_read_and_no_link_out_of_it(tmp_path: Path) -> None:
    folder = saved(tmp_path / "all")
    os.rename(folder / "config.json", tmp_path / "all" / "config.json")
    arguments = [
        "apply",
        str(tmp_path / "all" / "mine.tmap"),
        str(folder / "step0"),
        str(tmp_path / "out"),
        "--to",
        "there",
    ]
    assert CliRunner().invoke(cli, [*arguments]).exit_code == 0
    os.rename(tmp_path / "all" / "config.json", tmp_path / "elsewhere")
    (tmp_path / "all" / "config.json").symlink_to("../elsewhere")
    result = CliRunner().invoke(cli, [*arguments, "--overwrite"])
    assert result.exit_code == 3
    assert "error[link-outside]" in result.stderr
