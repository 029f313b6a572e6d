"""A change in a process that has everything imported: the code of a function is replaced where the function is."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, FunctionType
from typing import Any

from tests.mutation.points import ROOT, Point, changed


@dataclass(frozen=True, slots=True)
class Caches:
    """What the package remembers between calls: a change must not hide behind it."""

    held: tuple[Any, ...]

    @staticmethod
    def found() -> Caches:
        kind = type(functools.cache(lambda: None))
        mine = (each for each in gc.get_objects() if type(each) is kind)
        return Caches(tuple(each for each in mine if each.__wrapped__.__module__.startswith("tensormap.")))

    def clear(self) -> None:
        """Forget everything."""
        for each in self.held:
            each.cache_clear()


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions that live in this process, by file, name and first line."""

    held: dict[tuple[str, str, int], list[FunctionType]]

    @staticmethod
    def found() -> Functions:
        held: dict[tuple[str, str, int], list[FunctionType]] = {}
        for each in gc.get_objects():
            if type(each) is FunctionType:  # an object may answer `isinstance` with a warning
                code = each.__code__
                held.setdefault((code.co_filename, code.co_qualname, code.co_firstlineno), []).append(each)
        return Functions(held)

    def change(self, point: Point) -> bool:
        """Replace the code of one function, and of the functions that it has made; False where none of this process has it."""
        path = str(ROOT / point.mutant.file)
        with changed(point) as tree:
            module = compile(tree, path, "exec", dont_inherit=True)
        assert point.function is not None
        found = False
        inside = f"{point.qualname}.<locals>."
        for code in _codes(module):
            if code.co_qualname != point.qualname and not code.co_qualname.startswith(inside):
                continue
            if not _holds(code, point.function.lineno, point.function.end_lineno or 0):
                continue
            for each in self.held.get((path, code.co_qualname, code.co_firstlineno), ()):  # what it returned, too
                if each.__code__.co_freevars == code.co_freevars:
                    each.__code__ = code
                    found = True
        return found


def _holds(code: CodeType, first: int, last: int) -> bool:
    lines = [line for _, _, line in code.co_lines() if line is not None]
    return bool(lines) and first <= max(lines) <= last


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


@dataclass(frozen=True, slots=True)
class Importer(MetaPathFinder):
    """Imports one module with a change, in a process that has imported nothing of the package."""

    point: Point

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self.point.mutant.file
        if fullname != file.removesuffix(".py").replace("/", "."):
            return None
        return spec_from_file_location(fullname, ROOT / file, loader=_Loader(fullname, str(ROOT / file), self.point))


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, point: Point) -> None:
        super().__init__(fullname, path)
        self.point = point

    def get_code(self, fullname: str) -> CodeType:
        with changed(self.point) as tree:
            return compile(tree, self.path, "exec", dont_inherit=True)
