"""What a mapping file has declared so far, and what was found wrong on the way: filled once, asked by everything that resolves."""

from __future__ import annotations

from dataclasses import dataclass, field

from tensormap.diagnostics import Diagnostic, Label, MappingError, Span
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import names
from tensormap.language.polynomial import Polynomial
from tensormap.language.room import MAX_LETS, Room

CONSTANT_NAMES = ("true", "false", "none", "_")


@dataclass(slots=True)
class Scope:
    """The names of one mapping and all that it includes; `resolving` are the lets that are being put in."""

    params: dict[str, m.Param] = field(default_factory=dict)
    indices: dict[str, m.Index] = field(default_factory=dict)
    lets: dict[str, syntax.Expression] = field(default_factory=dict)
    scalars: set[str] = field(default_factory=set)
    externs: dict[str, m.Extern] = field(default_factory=dict)
    derived: dict[str, syntax.Expression] = field(default_factory=dict)
    sums: dict[str, tuple[str, Polynomial]] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    found: list[Diagnostic] = field(default_factory=list)
    room: Room = field(default_factory=Room)
    resolving: list[str] = field(default_factory=list)

    def fail(self, slug: str, message: str, span: Span, label: str = "", *more: Label, help: str | None = None) -> None:
        """Take note of a finding; they are raised together at the end."""
        self.found.append(Diagnostic(slug, message, (Label(span, label), *more), (), (help,) if help else ()))

    def new(self, name: str, span: Span) -> bool:
        """Take note of where a name is declared; False where it cannot be."""
        if name in CONSTANT_NAMES:
            self.fail("reserved-name", f"`{name}` has a meaning of its own and cannot be declared", span)
            return False
        if name in self.places:
            self.fail(
                "duplicate-declaration",
                f"`{name}` is declared twice",
                span,
                "the second",
                Label(self.places[name], "the first", False),
            )
            return False
        self.places[name] = span
        return True

    def enter(self, name: str, span: Span) -> bool:
        """Begin to put a let in; False where it is being put in already."""
        self.room.take(4, span)
        if name in self.resolving:
            self.fail("let-cycle", f"`{name}` is defined through itself", span)
            return False
        if len(self.resolving) >= MAX_LETS:
            message = f"`{name}` is defined through more than {MAX_LETS} others, one behind the other"
            raise MappingError([*self.found, Diagnostic("too-large", message, (Label(span),))])
        self.resolving.append(name)
        return True

    def index(self, text: str, span: Span) -> m.Index | None:
        """Return the index of this name; a name that nothing else declares becomes one."""
        if text in self.indices:
            return self.indices[text]
        if text in self.params or text in self.lets or text in self.scalars or "." in text:
            return None
        index = m.Index(text, Polynomial.dimension(text), (), None, span)
        self.indices[text] = index
        return index

    def holds_index(self, expression: syntax.Expression) -> bool:
        """Say whether an expression in a hole depends on an index."""
        return any(self.index(name, expression.span) is not None for name in names(expression))
