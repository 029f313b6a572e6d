"""The documentation runs: every fenced block of README.md and docs/ does what it shows.

The blocks of one file run in order, in one empty folder, and share the variables of their `python` blocks.
`<!-- no-run: reason -->` before a block exempts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tensormap
from tensormap.diagnostics import TensormapError
from tests.docs.blocks import Block, blocks, commands, matches

ROOT = Path(__file__).parents[2]
# decisions show what was rejected, too
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path.exists() and "decisions" not in path.parts
]
RUN = {"python", "console", "tmap"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.filterwarnings("default")
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {"__name__": "__main__"}
    findings: list[str] = []
    for block in blocks(page.read_text()):
        if block.exempt is None and block.language in RUN:
            finding = _run(page, block, variables)
            if finding:
                findings.append(f"{page.relative_to(ROOT)}:{finding}")
    assert not findings, "\n\n".join(findings)


def _run(page: Path, block: Block, variables: dict[str, Any]) -> str:
    match block.language:
        case "python":
            return _run_python(page, block, variables)
        case "console":
            return _run_console(block)
        case _:
            return _check_mapping(block)


def _run_python(page: Path, block: Block, variables: dict[str, Any]) -> str:
    code = compile("\n" * block.line + block.text, str(page), "exec")
    try:
        exec(code, variables)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the page does
        return f"{block.line}: {type(error).__name__}: {error}"
    return ""


def _run_console(block: Block) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }
    for command in commands(block):
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.text],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=300,
            env=environment,
        )
        if command.output is None:
            if result.returncode:
                return f"{command.line}: `{command.text}` ended with {result.returncode}:\n{result.stdout}"
        elif not matches(command.output, result.stdout):
            return f"{command.line}: `{command.text}` shows\n{command.output}\n--- but printed\n{result.stdout}"
    return ""


def _check_mapping(block: Block) -> str:
    try:
        tensormap.loads(block.text)
    except TensormapError as error:
        return f"{block.line}: {error}"
    return ""


def test_blocks_are_found() -> None:
    text = "a\n```python\nx = 1\n```\n<!-- no-run: needs a GPU -->\n\n```console\n$ a \\\n  b\nout\n$ c\n```\n  ~~~\n  y\n  ~~~\n"
    first, second, third = blocks(text)
    assert (first.language, first.text, first.line, first.exempt) == ("python", "x = 1\n", 2, None)
    assert (second.language, second.exempt) == ("console", "needs a GPU")
    assert [(each.text, each.output) for each in commands(second)] == [("a \\\n  b", "out"), ("c", None)]
    assert (third.language, third.text, third.exempt) == ("", "y\n", None)


@pytest.mark.parametrize(
    ("pattern", "actual", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("took ... s", "took 1.5 s", True),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
    ],
)
def test_output_is_compared(pattern: str, actual: str, *, same: bool) -> None:
    assert matches(pattern, actual) is same


def test_an_open_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2"):
        blocks("a\n```python\n")
