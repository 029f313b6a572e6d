"""Make an included file's statements fit the place that includes them: prefixes, bound names, and names of its own.

`use "common/mlp.tmap" with left = "decoder.", right = "model.", e = hidden` binds the prefixes of both sides and the name `e`;
every other dimension, index and let of the included file is its own and is marked with the number of the inclusion.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import Any

from tensormap.diagnostics import MARK, Diagnostic, Label
from tensormap.language import syntax
from tensormap.language.functions import GENERATORS
from tensormap.language.parser import parse_template
from tensormap.suggest import did_you_mean

GIVEN = ("true", "false", "none", "_", "dtype")
"""Names that mean the same everywhere: `dtype` is what most tensors are written as."""


@dataclass(frozen=True, slots=True)
class Included:
    scope: syntax.Scope
    found: tuple[Diagnostic, ...]


def include(tree: syntax.File, use: syntax.Use, number: int) -> Included:
    """Return the statements of `tree` as a scope of the including file."""
    prefixes: dict[str, syntax.Template] = {}
    bound: dict[str, syntax.Expression] = {}
    found: list[Diagnostic] = []
    for binding in use.bindings:
        if binding.name in ("left", "right"):
            if not isinstance(binding.value, syntax.String):
                found.append(
                    Diagnostic("bad-binding", f"`{binding.name}` is a prefix in quotes", (Label(binding.span),))
                )
                continue
            parsed = parse_template(binding.value.value)
            prefixes[binding.name] = _respan(parsed, binding.value.span)
        else:
            bound[binding.name] = binding.value
    empty = syntax.Template((), False, use.span)
    clause = syntax.Block(prefixes.get("left", empty), "<->", prefixes.get("right", empty), use.span)
    lets: list[syntax.Statement] = []
    renames: dict[str, str] = {}
    for name, value in bound.items():
        if isinstance(value, syntax.Name):
            renames[name] = value.text
        else:
            renames[name] = f"{name}{MARK}{number}"
            lets.append(syntax.Let(renames[name], value, use.span))
    kept = _params(tree.statements)
    rename = _Rename(renames, kept, f"{MARK}{number}")
    body = tuple(
        rename.node(each)
        for each in tree.statements
        if not isinstance(each, syntax.Header | syntax.Side)
        and not (isinstance(each, syntax.Let | syntax.Index | syntax.Param) and each.name in bound)
    )
    rename.met.update(
        each.name for each in tree.statements if isinstance(each, syntax.Let | syntax.Index | syntax.Param)
    )
    found.extend(_unmet(each, use, rename.met) for each in use.bindings if each.name in bound.keys() - rename.met)
    return Included(syntax.Scope((clause,), (*lets, *body), span=use.span), tuple(found))


def _unmet(binding: syntax.Binding, use: syntax.Use, met: set[str]) -> Diagnostic:
    """Report a binding of a name that the included file does not have: it would bind nothing."""
    near = did_you_mean(binding.name, sorted(met))
    return Diagnostic(
        "bad-binding",
        f"`{use.path}` has no name `{binding.name}`",
        (Label(binding.span, "bound here"),),
        help=(f"did you mean `{near}`?",) if near else (),
    )


def _params(statements: tuple[syntax.Statement, ...]) -> frozenset[str]:
    return frozenset(each.name for each in statements if isinstance(each, syntax.Param))


def _respan(template: syntax.Template, span: Any) -> syntax.Template:
    parts = tuple(part if isinstance(part, str) else replace(part, span=span) for part in template.parts)
    return replace(template, parts=parts, span=span)


@dataclass(frozen=True, slots=True)
class _Rename:
    """Rewrite every name in a tree. Params keep theirs: they are what a user sets."""

    bound: dict[str, str]
    kept: frozenset[str]
    mark: str
    met: set[str] = field(default_factory=set)  # every name that was come upon

    def name(self, text: str) -> str:
        base = text.rstrip("'")
        primes = text[len(base) :]
        self.met.add(base)
        if base in self.bound:
            return self.bound[base] + primes
        if base in self.kept or base in GIVEN or "." in base:
            return text
        return base + self.mark + primes

    def node(self, node: Any) -> Any:
        match node:
            case syntax.Name(text=text):
                return replace(node, text=self.name(text))
            case syntax.Axis(name=name, of=of):
                return replace(node, name=self.name(name), of=self.name(of) if of else None)
            case syntax.Index(name=name, bound=bound):
                return replace(node, name=self.name(name), bound=self.node(bound) if bound else None)
            case syntax.Param(variants=variants, default=syntax.Name(text=text)) if text in variants:
                return node
            case syntax.Let(name=name, value=value):
                return replace(node, name=self.name(name), value=self.node(value))
            case syntax.Replicated(names=names):
                return replace(node, names=tuple(self.name(each) for each in names))
            case syntax.ConfigLine(value=value):
                return replace(node, value=self.node(value) if value else None)
            case syntax.Tensor(template=syntax.Template(parts=(str() as text,), quoted=False), layout=None) if (
                text in self.bound
            ):
                return replace(node, template=replace(node.template, parts=(self.name(text),)))
            case syntax.Apply(function=function, arguments=arguments) if function in GENERATORS:
                return replace(node, arguments=tuple(self.number(each) for each in arguments))
            case tuple():
                return tuple(self.node(each) for each in node)
            case _ if dataclasses.is_dataclass(node) and not isinstance(node, type):
                changed = {
                    each.name: self.node(getattr(node, each.name))
                    for each in dataclasses.fields(node)
                    if each.name not in ("span", "trivia", "closing")
                }
                return replace(node, **changed)
            case _:
                return node

    def number(self, value: Any) -> Any:
        """Rewrite an argument of a generator, where a bare name is a number and no tensor."""
        match value:
            case syntax.Tensor(template=syntax.Template(parts=(str() as text,), quoted=False), layout=None):
                return replace(value, template=replace(value.template, parts=(self.name(text),)))
            case syntax.Arithmetic(left=left, right=right):
                return replace(value, left=self.number(left), right=self.number(right))
            case syntax.Negative(operand=operand):
                return replace(value, operand=self.number(operand))
            case _:
                return self.node(value)
