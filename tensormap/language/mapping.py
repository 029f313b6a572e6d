"""What a mapping file means: two sides, equations between their tensors, rules for their configs. Immutable; no checkpoint seen."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from tensormap.diagnostics import Source, Span
from tensormap.language import syntax
from tensormap.language.layout import Layout
from tensormap.language.names import Template
from tensormap.language.polynomial import Polynomial

How: TypeAlias = Literal["equal", "mean", "sum", "first"]
Arrow: TypeAlias = Literal["<->", "->", "<-"]


@dataclass(frozen=True, slots=True)
class Index:
    """An index: its size as a polynomial, and the words it stands for if it is enumerated. `of` is the index that its size
    depends on (`index l < stages[p]`).
    """

    name: str
    size: Polynomial
    words: tuple[str, ...] = ()
    of: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Param:
    """A choice or a number that the user may set. The default counts only for the side that is written."""

    name: str
    variants: tuple[str, ...]
    default: syntax.Expression | None
    text: str | None
    span: Span = field(compare=False, repr=False)


# --- terms ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alias:
    """One more name of a tied tensor; `maybe`: written only where the written side is untied."""

    template: Template
    maybe: bool


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor, or a family of them over its indices."""

    template: Template
    layout: Layout
    aliases: tuple[Alias, ...] = ()
    dtype: str | None = None
    span: Span = field(compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Operand:
    """The k-th tensor of a term."""

    index: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number: an expression over dimensions, params, lets, config values and indices."""

    expression: syntax.Expression


@dataclass(frozen=True, slots=True)
class Function:
    """An elementwise function: `+ - * /`, `neg`, `exp`, ..., or an extern."""

    name: str
    arguments: tuple[Formula, ...]


Formula: TypeAlias = Operand | Scalar | Function


@dataclass(frozen=True, slots=True)
class Stored:
    """A term with tensors: a formula over them; a bare operand for a plain tensor. With a `call` the tensors are the arguments of
    an extern, and `output` is the layout of what it returns.
    """

    tensors: tuple[Tensor, ...]
    formula: Formula
    call: str | None = None
    output: Layout | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A constant with its layout, None where it takes its partner's axes. `value` None is `_`: don't care."""

    value: syntax.Expression | None
    layout: Layout | None


@dataclass(frozen=True, slots=True)
class Generated:
    """A tensor computed from numbers: `rope_inv_freq(2 * p, base)`."""

    name: str
    arguments: tuple[syntax.Expression, ...]


Content: TypeAlias = Stored | Fixed | Generated


@dataclass(frozen=True, slots=True)
class Term:
    tag: str | None
    content: Content
    span: Span = field(compare=False, repr=False)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of this term; none where it is a constant or is generated."""
        return self.content.tensors if isinstance(self.content, Stored) else ()


def stored(terms: Iterable[Term]) -> list[Tensor]:
    """List the tensors of terms."""
    return [tensor for term in terms for tensor in term.tensors]


# --- rules ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition of a rule: an expression, negated for the `else` arm. `scope` identifies the `when` that it belongs to."""

    condition: syntax.Expression
    negated: bool
    scope: int


@dataclass(frozen=True, slots=True)
class Rule:
    """An equation. An empty side is `_`: what the other side holds is dropped, and nothing is written for it."""

    left: tuple[Term, ...]
    arrow: Arrow
    right: tuple[Term, ...]
    guards: tuple[Guard, ...]
    replicated: tuple[tuple[str, How], ...]
    optional: bool
    number: int
    span: Span = field(compare=False, repr=False)

    @property
    def inverse(self) -> Rule:
        return replace(self, left=self.right, right=self.left, arrow=flip(self.arrow))


def flip(arrow: Arrow) -> Arrow:
    """Return the arrow as read from the other side."""
    return {"<->": "<->", "->": "<-", "<-": "->"}[arrow]  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class ConfigRule:
    """A config line: both sides' expressions and the value that they give. An absent side is None. `rest`: every key that no other
    line reads is carried over as it is; both sides are None.
    """

    value: syntax.Expression | None
    left: syntax.Expression | None
    arrow: Arrow
    right: syntax.Expression | None
    guards: tuple[Guard, ...]
    span: Span = field(compare=False, repr=False)
    rest: bool = False

    @property
    def inverse(self) -> ConfigRule:
        return replace(self, left=self.right, right=self.left, arrow=flip(self.arrow))


@dataclass(frozen=True, slots=True)
class Requirement:
    condition: syntax.Expression
    text: str | None
    guards: tuple[Guard, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Extern:
    """A registered Python function's signature."""

    name: str
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]
    both: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Side:
    """Where a side's tensors and config lie. No `files` means: as Hugging Face stores them."""

    name: str
    files: tuple[syntax.Files, ...] = ()
    configs: tuple[syntax.ConfigFile, ...] = ()
    tag: syntax.Tag | None = None
    separator: str = "."


@dataclass(frozen=True, slots=True)
class Mapping:
    """A whole mapping. `derived` holds sizes that are not polynomials, by the name they have in polynomials; `sums` those that are
    sums over the positions of an index: (index, inner size). `included` are the paths of the included files, by their number.
    """

    name: str
    source: Source
    sides: tuple[Side, Side]
    params: Map[str, Param]
    indices: Map[str, Index]
    lets: Map[str, syntax.Expression]
    derived: Map[str, syntax.Expression]
    sums: Map[str, tuple[str, Polynomial]]
    requirements: tuple[Requirement, ...]
    config: tuple[ConfigRule, ...]
    rules: tuple[Rule, ...]
    externs: Map[str, Extern]
    canonical: str
    included: tuple[str, ...] = ()

    @property
    def inverse(self) -> Mapping:
        """The same mapping with its sides swapped."""
        return replace(
            self,
            sides=(self.sides[1], self.sides[0]),
            config=tuple(each.inverse for each in self.config),
            rules=tuple(each.inverse for each in self.rules),
        )

    def towards(self, side: str) -> Mapping:
        """Return this mapping turned so that `side` is on the right. ValueError if there is no such side."""
        if side == self.sides[1].name:
            return self
        if side == self.sides[0].name:
            return self.inverse
        raise ValueError(side)
