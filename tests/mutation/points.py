"""Where a module can be changed at one point, and how. Knows syntax trees; imports nothing of what it changes.

Left alone: texts, annotations, decorators, patterns, what stands in `raise` and in assertions (`assert`, `zip(strict=...)`),
`TYPE_CHECKING`, scripts (`__name__`), and what is kept only to be faster (conditions on a name that ends in `cache`).
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("tensormap/language", "tensormap/lowering")

KINDS = {
    "compare": "`<` for `<=`, `==` for `!=`, `in` for `not in`",
    "arithmetic": "`+` for `-`, `*` for `//`, `|` for `&`",
    "logic": "`and` for `or`, a `not` left out",
    "constant": "a number one off, `True` for `False`",
    "return": "nothing returned, or the contrary",
    "condition": "always true, or never",
    "loop": "`continue` for `break`",
    "statement": "a call or `+=` left out",
    "arguments": "two of the same type swapped",
    "slice": "one further",
}

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_TEXT = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `owner` is the function or class it stands in; `nth` tells equal changes of one owner apart."""

    file: str
    line: int
    kind: str
    owner: str
    old: str
    new: str
    nth: int = 0

    @property
    def key(self) -> str:
        """Return what names it, whatever happens to the lines above."""
        return f"{self.file} | {self.owner} | {self.old} -> {self.new}" + (f" | {self.nth}" if self.nth else "")


def shown(mutant: Mutant) -> str:
    """Return the line that a page has for it."""
    where = f"`{mutant.file.removeprefix('tensormap/')}`" + (f", `{mutant.owner}`" if mutant.owner else "")
    return f"* {where}: `{_plain(mutant.new)}` for `{_plain(mutant.old)}`"


def _plain(text: str) -> str:
    plain = " ".join(text.split()).replace("`", "'")
    return plain if len(plain) < 70 else f"{plain[:50]} ... {plain[-15:]}"


@dataclass(frozen=True, slots=True)
class Point:
    """A mutant, and what it replaces in the tree of its module. `function` is the outermost one it stands in."""

    mutant: Mutant
    parent: ast.AST
    field: str
    index: int | None
    new: ast.AST
    function: ast.FunctionDef | None
    qualname: str
    first: int  # the lines of the statement, up to the change
    last: int


@cache
def tree_of(file: str) -> ast.Module:
    """Parse a module once."""
    return ast.parse((ROOT / file).read_text("utf-8"), file)


@cache
def points(file: str) -> tuple[Point, ...]:
    """List the changes of a module, in the order of its text."""
    found: list[Point] = []
    seen: Counter[str] = Counter()
    for each in _Finder(file).found(tree_of(file)):
        key = each.mutant.key
        found.append(replace(each, mutant=replace(each.mutant, nth=seen[key])))
        seen[key] += 1
    return tuple(found)


def files() -> tuple[str, ...]:
    """List the modules that are changed."""
    return tuple(
        path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))
    )


@contextmanager
def changed(point: Point) -> Iterator[ast.Module]:
    """Have the tree of a module with one change."""
    held = getattr(point.parent, point.field)
    if point.index is None:
        setattr(point.parent, point.field, point.new)
    else:
        old, held[point.index] = held[point.index], point.new
    try:
        yield ast.fix_missing_locations(tree_of(point.mutant.file))
    finally:
        if point.index is None:
            setattr(point.parent, point.field, held)
        else:
            held[point.index] = old


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node hangs."""

    parent: ast.AST
    field: str
    index: int | None


@dataclass(frozen=True, slots=True)
class _Context:
    owner: str = ""
    function: ast.FunctionDef | None = None
    qualname: str = ""
    types: tuple[tuple[str, str], ...] = ()  # of the parameters
    returns: str = ""
    generator: bool = False
    statement: int = 0  # the line where it begins


@dataclass(frozen=True, slots=True)
class _Finder:
    file: str

    def found(self, tree: ast.Module) -> Iterator[Point]:
        yield from self._inside(tree, _Context())

    def _inside(self, node: ast.AST, context: _Context, left_out: tuple[str, ...] = ()) -> Iterator[Point]:
        for field, value in ast.iter_fields(node):
            if field in left_out:
                continue
            if isinstance(value, ast.AST):
                yield from self._at(value, _Place(node, field, None), context)
            elif isinstance(value, list):
                for k, each in enumerate(value):
                    if isinstance(each, ast.AST):
                        yield from self._at(each, _Place(node, field, k), context)

    def _at(self, node: ast.AST, place: _Place, context: _Context) -> Iterator[Point]:
        match node:
            case ast.FunctionDef():
                yield from self._inside(
                    node, _within(node, context), ("decorator_list", "args", "returns", "type_params")
                )
                return
            case ast.ClassDef(name=name):
                owner = f"{context.owner}.{name}".lstrip(".")
                yield from self._inside(
                    node, replace(context, owner=owner), ("decorator_list", "bases", "keywords", "type_params")
                )
                return
            case ast.Assert() | ast.Raise() | ast.JoinedStr() | ast.pattern() | ast.Import() | ast.ImportFrom():
                return
            case ast.AnnAssign():
                yield from self._inside(node, context, ("target", "annotation"))
                return
            case ast.If(test=test) if _mentions(test):
                return
            case ast.Call(func=ast.Name(id="assert_never" | "cast" | "TypeVar")):
                return
        if isinstance(node, ast.stmt):
            context = replace(context, statement=node.lineno)
        elif isinstance(node, ast.match_case):
            context = replace(context, statement=node.pattern.lineno)
        for kind, new in _changes(node, place, context):
            yield self._point(node, place, context, kind, ast.copy_location(new, node))
        yield from self._inside(node, context)

    def _point(self, node: ast.AST, place: _Place, context: _Context, kind: str, new: ast.AST) -> Point:
        shown = (place.parent, ast.unparse(place.parent)) if _small(place.parent) and kind in _NARROW else None
        old_text, new_text = ast.unparse(node), ast.unparse(ast.fix_missing_locations(new))
        if shown is not None:
            old_text = shown[1]
            held = getattr(place.parent, place.field)
            new_text = _unparsed_with(place, held, new)
        mutant = Mutant(self.file, node.lineno, kind, context.owner, old_text, new_text)  # type: ignore[attr-defined]
        last: int = node.end_lineno  # type: ignore[attr-defined]
        return Point(
            mutant,
            place.parent,
            place.field,
            place.index,
            new,
            context.function,
            context.qualname,
            context.statement,
            last,
        )


_NARROW = ("constant", "slice")


def _small(node: ast.AST) -> bool:
    return isinstance(node, ast.expr) and not isinstance(node, ast.Lambda | ast.GeneratorExp | ast.Dict)


def _unparsed_with(place: _Place, held: object, new: ast.AST) -> str:
    if place.index is None:
        setattr(place.parent, place.field, new)
    else:
        assert isinstance(held, list)
        old, held[place.index] = held[place.index], new
    text = ast.unparse(place.parent)
    if place.index is None:
        setattr(place.parent, place.field, held)
    else:
        assert isinstance(held, list)
        held[place.index] = old
    return text


def _within(node: ast.FunctionDef, context: _Context) -> _Context:
    owner = f"{context.owner}.{node.name}".lstrip(".")
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    own = {each.arg: ast.unparse(each.annotation) for each in arguments if each.annotation is not None}
    return _Context(
        owner,
        context.function or node,
        context.qualname or owner,
        tuple((dict(context.types) | own).items()),
        ast.unparse(node.returns) if node.returns is not None else "",
        any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node)),
    )


def _mentions(test: ast.expr) -> bool:
    """Say whether a condition is about types, a cache, or how a module is started."""
    names = [each.id for each in ast.walk(test) if isinstance(each, ast.Name)]
    names += [each.attr for each in ast.walk(test) if isinstance(each, ast.Attribute)]
    return any(name in ("TYPE_CHECKING", "__name__") or name.endswith("cache") for name in names)


def _changes(node: ast.AST, place: _Place, context: _Context) -> Iterator[tuple[str, ast.AST]]:  # noqa: C901, PLR0912
    match node:
        case ast.Compare(ops=ops):
            for k, each in enumerate(ops):
                if type(each) in _COMPARED:
                    new = copy.copy(node)
                    new.ops = [*ops[:k], _COMPARED[type(each)](), *ops[k + 1 :]]
                    yield "compare", new
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _COMPUTED:
            if not any(isinstance(each, _TEXT) or _is_text(each) for each in (left, right)) and not _of_types(
                node, place
            ):
                yield "arithmetic", ast.BinOp(left, _COMPUTED[type(op)](), right)
        case ast.AugAssign(op=op, target=target, value=value):
            yield "statement", ast.Pass()
            if type(op) in _COMPUTED and not isinstance(value, _TEXT):
                yield "arithmetic", ast.AugAssign(target, _COMPUTED[type(op)](), value)
        case ast.Expr(value=ast.Call()):
            yield "statement", ast.Pass()
        case ast.BoolOp(op=op, values=values):
            yield "logic", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "logic", operand
        case ast.Constant(value=bool() as value):
            if not (isinstance(place.parent, ast.keyword) and place.parent.arg == "strict"):
                yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield "constant", ast.Constant(value + 1)
            if value == 1:
                yield "constant", ast.Constant(0)
        case ast.Return(value=ast.expr() as value) if not context.generator:
            if context.returns == "bool" or isinstance(value, ast.Compare):
                yield "return", ast.Return(ast.UnaryOp(ast.Not(), value))
            elif not (isinstance(value, ast.Constant) and value.value is None):
                yield "return", ast.Return(ast.Constant(None))
        case ast.Continue():
            yield "loop", ast.Break()
        case ast.Break():
            yield "loop", ast.Continue()
        case ast.Call(func=func, args=args, keywords=keywords):
            types = dict(context.types)
            for k, (one, other) in enumerate(pairwise(args)):
                if isinstance(one, ast.Name) and isinstance(other, ast.Name) and one.id != other.id:
                    type_ = types.get(one.id)
                    if type_ is not None and type_ == types.get(other.id):
                        yield "arguments", ast.Call(func, [*args[:k], other, one, *args[k + 2 :]], keywords)
        case ast.Slice(lower=lower, upper=upper, step=step):
            if lower is not None and not isinstance(lower, ast.Constant):
                yield "slice", ast.Slice(_further(lower), upper, step)
            if upper is not None and not isinstance(upper, ast.Constant):
                yield "slice", ast.Slice(lower, _further(upper), step)
    if _is_condition(node, place):
        if not isinstance(place.parent, ast.While):
            yield "condition", ast.Constant(True)
        yield "condition", ast.Constant(False)


def _is_condition(node: ast.AST, place: _Place) -> bool:
    if isinstance(node, ast.Constant):
        return False
    held = place.parent
    return (
        (isinstance(held, ast.If | ast.IfExp | ast.While) and place.field == "test")
        or (isinstance(held, ast.comprehension) and place.field == "ifs")
        or (isinstance(held, ast.match_case) and place.field == "guard")
    )


def _further(bound: ast.expr) -> ast.expr:
    return ast.BinOp(bound, ast.Add(), ast.Constant(1))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _of_types(node: ast.BinOp, place: _Place) -> bool:
    """Say whether `A | B` is a union of types: all parts are classes by their spelling."""
    if not isinstance(node.op, ast.BitOr):
        return False
    parts = [
        each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in (node.left, node.right)
    ]
    return any(part.lstrip("_")[:1].isupper() or part in ("int", "str", "bool", "float") for part in parts) or (
        isinstance(place.parent, ast.Call)
        and isinstance(place.parent.func, ast.Name)
        and place.parent.func.id == "isinstance"
    )
