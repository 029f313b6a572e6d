"""What a user sees of the attacks on single files: exit code 3, a finding and no traceback, no target, and the name of the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tensormap.cli import cli
from tests.hostile import test_gguf, test_safetensors, test_torch
from tests.hostile.zips import torch_file

LARGE = 1 << 20  # what is larger has its own tests, and takes long
UNREAD = ("bit flip in a record nobody needs",)  # a conversion takes nothing from it, so it does not look


def safetensors() -> Iterator[tuple[str, bytes]]:
    yield from ((name, data) for name, (data, _) in test_safetensors.ATTACKS.items())


def torch() -> Iterator[tuple[str, bytes]]:
    for attacks in (test_torch.ZIPS, test_torch.LEGACY):
        yield from ((name, data) for name, (data, _) in attacks.items() if name not in UNREAD)
    yield from ((name, torch_file(data)) for name, data in test_torch.PICKLES.items())


def gguf() -> Iterator[tuple[str, bytes]]:
    yield from ((name, data) for name, (data, _) in test_gguf.ATTACKS.items())


@pytest.mark.parametrize(
    ("attacks", "name", "least"),
    [(safetensors, "a.safetensors", 60), (torch, "w.pt", 50), (gguf, "a.gguf", 45)],
)
def test_a_conversion_ends_with_exit_code_3(tmp_path: Path, attacks, name: str, least: int) -> None:
    (tmp_path / "all.tmap").write_text(f'{name[0]} <-> b\n"*" -> _\n_ <- "*"\n')
    path, target = tmp_path / name, tmp_path / "out"
    tried = 0
    for attack, data in attacks():
        if len(data) > LARGE:
            continue
        path.write_bytes(data)
        result = CliRunner().invoke(cli, ["apply", str(tmp_path / "all.tmap"), str(path), str(target), "--to", "right"])
        assert result.exit_code == 3, f"{attack}: {result.output}"
        assert name in result.stderr, attack
        assert "Traceback" not in result.output, attack
        assert all(each.isprintable() for each in result.output.splitlines()), attack
        assert sorted(os.listdir(tmp_path)) == sorted(["all.tmap", name]), attack
        tried += 1
    assert tried >= least


def test_a_sound_file_is_converted(tmp_path: Path) -> None:
    (tmp_path / "all.tmap").write_text('w <-> b\n"*" -> _\n_ <- "*"\n')
    (tmp_path / "w.pt").write_bytes(torch_file())
    arguments = ["apply", *(str(tmp_path / each) for each in ("all.tmap", "w.pt", "out")), "--to", "right"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
