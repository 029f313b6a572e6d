"""The mapping files are found wherever the package is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPINGS = sorted(path.relative_to(ROOT / "mappings") for path in (ROOT / "mappings").rglob("*.tmap"))


def test_they_are_resources_of_the_package() -> None:
    assert MAPPINGS
    for path in MAPPINGS:
        assert (
            files("tensormap").joinpath("mappings", *path.parts).read_text() == (ROOT / "mappings" / path).read_text()
        )


@pytest.mark.slow
def test_a_wheel_holds_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tensormap", "mappings"):
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "--wheel-dir", tmp_path, source], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"tensormap/mappings/{path.as_posix()}" for path in MAPPINGS} <= names
    assert {"tensormap/py.typed", "tensormap/language/grammar.lark"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
