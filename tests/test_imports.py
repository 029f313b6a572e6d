"""What an import costs: torch is loaded by what needs it, when it needs it. The layers are import-linter's business."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tensormap

PACKAGE = Path(tensormap.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LAZY = {"torch", "einops"}


def _imports(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield the top packages that a module imports when it is imported itself: not those inside of functions."""
    for node in nodes:
        match node:
            case ast.Import():
                yield from (each.name.partition(".")[0] for each in node.names)
            case ast.ImportFrom() if node.module and not node.level:
                yield node.module.partition(".")[0]
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case _:
                for name in ("body", "orelse", "finalbody", "handlers"):
                    yield from _imports(getattr(node, name, []))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_loads_torch_when_imported(path: Path) -> None:
    assert not LAZY & set(_imports(ast.parse(path.read_text()).body))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_mapped_into_memory(path: Path) -> None:
    """Writing through a map was 3 to 5 times slower, and a source that is cut short would be a signal instead of an error."""
    assert "mmap" not in path.read_text().replace("memmap", "mmap")


def test_the_walk_sees_imports() -> None:
    text = (
        "try:\n    import torch.nn\nexcept ImportError:\n    from einops import rearrange\ndef f():\n    import rich\n"
    )
    assert list(_imports(ast.parse(text).body)) == ["torch", "einops"]


def _loaded(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


@pytest.mark.parametrize("statement", ["import tensormap", "import tensormap.cli"])
def test_the_front_door_is_light(statement: str) -> None:
    assert not LAZY & _loaded(statement)
