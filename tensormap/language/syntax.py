"""The tree as written: what the parser builds, the printer prints and `resolve` reads.

Every node is frozen, has tuple children and a `span` that does not take part in equality, so `parse(print(tree)) == tree`.
Comments and blank lines are trivia of statements and do not take part in equality either. This module knows nothing of
what a tree means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tensormap.diagnostics import Span


def _span() -> Span:
    """Declare a span field: not compared, not shown. Every parsed node has one; the default only lets it stand behind defaults."""
    return field(default=None, compare=False, repr=False)  # type: ignore[return-value]


# --- expressions (config lines, conditions, sizes, holes) -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """A name in an expression: a dimension, param, let, index or config key, dots included."""

    text: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Integer:
    value: int
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal number; `text` is as written."""

    text: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class String:
    value: str
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x` or `not x`."""

    operator: Literal["-", "not"]
    operand: Expression
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`; operators: + - * / // % ** ?? and or in == != < <= > >=."""

    operator: str
    left: Expression
    right: Expression
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Expression, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Item:
    """`base[key]`."""

    base: Expression
    key: Expression
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class List:
    items: tuple[Expression, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Numbered:
    """`(a b)` inside a hole: numbers pairs in order, `a` major. Parts are names, integers, `x[y]` or sums."""

    parts: tuple[Expression, ...]
    span: Span = _span()


Expression: TypeAlias = Name | Integer | Number | String | Unary | Binary | Call | Item | List | Numbered

# --- name templates -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hole:
    """`{expression}` or `{expression:0W}` inside a name; `width` is W, 0 where none was written."""

    expression: Expression
    width: int = 0
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Template:
    """A tensor name: literal text and holes, in order. Primes at its end are part of the text."""

    parts: tuple[str | Hole, ...]
    quoted: bool = False
    span: Span = _span()


# --- layouts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """A named axis: `e`, `e'` (the prime is part of `name`), `v[r]` (`of="r"`), `o/128` (`per=128`), each with a tag."""

    name: str
    of: str | None = None
    per: int | None = None
    tag: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Literal1:
    """A literal size: `1`, `2`, ..."""

    value: int
    tag: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Ellipsis1:
    """`...`: the axes that are not named."""

    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Product:
    """Axes side by side: one summand of a group."""

    axes: tuple[AxisLike, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Group:
    """`(a b)`, a product axis, is a group of one summand; `(a + b)`, a concatenation axis, of several."""

    summands: tuple[Product, ...]
    tag: str | None = None
    span: Span = _span()


AxisLike: TypeAlias = Axis | Literal1 | Ellipsis1 | Group


@dataclass(frozen=True, slots=True)
class Layout:
    axes: tuple[AxisLike, ...]
    span: Span = _span()


# --- terms ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alias:
    """One more name of a tied tensor: `= name`, or `= name?` with `maybe`."""

    template: Template
    maybe: bool
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Tensor:
    """`name = alias? [layout] as dtype`. The names `_` (don't care) and bare lets and params parse as tensors too."""

    template: Template
    aliases: tuple[Alias, ...] = ()
    layout: Layout | None = None
    dtype: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, with a layout or without; `text` is as written."""

    text: str
    layout: Layout | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Apply:
    """`function(arguments)`: a generator, an elementwise function, or an extern."""

    function: str
    arguments: tuple[Value, ...]
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Negative:
    operand: Value
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left operator right`, elementwise; operators + - * /."""

    operator: str
    left: Value
    right: Value
    span: Span = _span()


Value: TypeAlias = Tensor | Constant | Apply | Negative | Arithmetic


@dataclass(frozen=True, slots=True)
class Term:
    """One side's entry in a rule: a value with an optional tag."""

    value: Value
    tag: str | None = None
    span: Span = _span()


# --- clauses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """`block LEFT <-> RIGHT`: prefixes for the names inside."""

    left: Template
    arrow: str
    right: Template
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class When:
    condition: Expression
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Replicated:
    """`replicated r, q by HOW`; `how` is None where not written."""

    names: tuple[str, ...]
    how: str | None = None
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Optional1:
    """`optional`."""

    span: Span = _span()


Clause: TypeAlias = Block | When | Replicated | Optional1

# --- statements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trivia:
    """What stands around a statement and means nothing: whole-line comments before it (without `#` or the space behind it
    removed; `None` is a blank line), and the comment at its end.
    """

    before: tuple[str | None, ...] = ()
    after: str | None = None


def _trivia() -> Trivia:
    return field(default=Trivia(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """`mapping LEFT <-> RIGHT`."""

    left: str
    right: str
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Entry:
    """`key = value` behind `with` in a `files` line: an entry that a written file holds beside its tensors."""

    key: str
    value: Expression
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Files:
    """`files PATTERN [at PATH] [under TEMPLATE] [as PREFIX] [with k = v, ...] [when CONDITION]`.

    `at`: nested dictionaries in the file, outermost first, separated by dots. `under`: the prefix of the keys inside that is
    taken off. `prefix`: what is put before each name instead.
    """

    pattern: Template
    at: Template | None = None
    under: Template | None = None
    prefix: Template | None = None
    entries: tuple[Entry, ...] = ()
    condition: Expression | None = None
    span: Span = _span()
    trivia: Trivia = _trivia()


CONFIG_KINDS = ("dict", "namespace")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """`config PATTERN [at PATH] [as KIND]`. A config `at` a path lies in torch files, beside their tensors; KIND is `dict`, or
    `namespace` for an `argparse.Namespace`.
    """

    pattern: str
    at: str | None = None
    span: Span = _span()
    trivia: Trivia = _trivia()
    kind: str = "dict"


@dataclass(frozen=True, slots=True)
class Separator:
    """`path SEPARATOR`: what stands between the parts of a name, if not a dot."""

    text: str
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Tag:
    """`tag FILE = DIRECTORY [, PATTERN ...]`: a text file that names the subdirectory with the files; DIRECTORY is what is written.
    A PATTERN with a hole is the directory that is meant where the file holds a number: `"iter_{n:07}"`.
    """

    file: str
    directory: str
    span: Span = _span()
    trivia: Trivia = _trivia()
    patterns: tuple[Template, ...] = ()


SideLine: TypeAlias = Files | ConfigFile | Separator | Tag


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    lines: tuple[SideLine, ...]
    closing: Trivia = _trivia()  # what stands before the closing brace
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Param:
    """`param NAME [in VARIANT, ...] [= DEFAULT] ["what it is"]`."""

    name: str
    variants: tuple[str, ...] = ()
    default: Expression | None = None
    text: str | None = None
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Index:
    """`index NAME < BOUND` or `index NAME in VALUE, ...`."""

    name: str
    bound: Expression | None = None
    values: tuple[str, ...] = ()
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Let:
    name: str
    value: Expression
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Require:
    condition: Expression
    text: str | None = None
    span: Span = _span()
    trivia: Trivia = _trivia()


REST = "..."
"""The name on both sides of a config line that stands for every key which no other line reads."""


@dataclass(frozen=True, slots=True)
class ConfigLine:
    """`[value =] left <-> right`; an arrow `->` or `<-` makes it one-way."""

    value: Expression | None
    left: Expression
    arrow: str
    right: Expression
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Config:
    lines: tuple[ConfigLine, ...]
    closing: Trivia = _trivia()
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    value: Expression
    span: Span = _span()


@dataclass(frozen=True, slots=True)
class Use:
    """`use "common/x.tmap" with left = "...", e = hidden`."""

    path: str
    bindings: tuple[Binding, ...] = ()
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Extern:
    """`extern f([...], [...]) -> [...], [...]`."""

    name: str
    inputs: tuple[Layout, ...]
    arrow: str
    outputs: tuple[Layout, ...]
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Scope:
    """`{ ... }` behind clauses."""

    clauses: tuple[Clause, ...]
    statements: tuple[Statement, ...]
    otherwise: Scope | None = None  # `else { }` has no clauses; `else when ... { }` has
    closing: Trivia = _trivia()
    span: Span = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Rule:
    """`terms ARROW terms clause*`; one side may be the single term `_`."""

    left: tuple[Term, ...]
    arrow: str
    right: tuple[Term, ...]
    clauses: tuple[Clause, ...] = ()
    span: Span = _span()
    trivia: Trivia = _trivia()


Statement: TypeAlias = Header | Side | Param | Index | Let | Require | Config | Use | Extern | Scope | Rule


@dataclass(frozen=True, slots=True)
class File:
    """A whole mapping file."""

    statements: tuple[Statement, ...]
    closing: Trivia = _trivia()  # comments behind the last statement
    span: Span = _span()
