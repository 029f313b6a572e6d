"""What a mapping file declares: params, lets, indices with their sizes, externs, and the names that configs and bounds give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import names as names_in
from tensormap.language.layouts import layout
from tensormap.language.polynomial import Polynomial
from tensormap.language.scope import Scope
from tensormap.language.sizes import polynomial


def declare(statements: Iterable[syntax.Statement], scope: Scope) -> None:
    """Collect params, lets, indices and the names that configs and bounds give, wherever they stand."""
    for each in statements:
        match each:
            case syntax.Param(name=name, variants=variants, default=default, text=text, span=span):
                old = scope.params.get(name)
                if old is not None and old.variants == variants and old.span.source != span.source:
                    continue  # included files may share a param
                if scope.new(name, span):
                    scope.params[name] = m.Param(name, variants, default, text, span)
            case syntax.Let(name=name, value=value, span=span):
                if scope.new(name, span):
                    scope.lets[name] = value
                    scope.scalars.update(names_in(value))
            case syntax.Index():
                _declare_index(each, scope)
            case syntax.Config(lines=lines):
                for line in lines:
                    scope.scalars.update(names_in(line.value) if line.value is not None else ())
            case syntax.Scope():
                for arm in _arms(each):
                    declare(arm.statements, scope)
            case _:
                pass
    scope.scalars -= set(scope.indices)


def _declare_index(index: syntax.Index, scope: Scope) -> None:
    if not scope.new(index.name, index.span):
        return
    if index.bound is not None:
        scope.scalars.update(names_in(index.bound))
    repeated = [word for word, count in Counter(index.values).items() if count > 1]
    if repeated:
        scope.fail("duplicate-declaration", f"index `{index.name}` lists `{repeated[0]}` twice", index.span)
    size = Polynomial.number(len(index.values))
    scope.indices[index.name] = m.Index(index.name, size, tuple(index.values), None, index.span)


def settle(statements: Iterable[syntax.Statement], scope: Scope) -> None:
    """Work out the size of every declared index, then the externs' layouts."""
    for each in statements:
        match each:
            case syntax.Index(name=name, bound=bound, span=span) if bound is not None and name in scope.indices:
                of = None
                if isinstance(bound, syntax.Item):
                    match bound:
                        case syntax.Item(base=syntax.Name(text=base), key=syntax.Name(text=key)):
                            of = key
                            if key not in scope.indices:
                                scope.fail("unknown-index", f"`{key}` is not an index", bound.span)
                            size = Polynomial.dimension(f"{base}[{key}]")
                        case _:
                            size = polynomial(bound, scope)
                else:
                    size = polynomial(bound, scope)
                scope.indices[name] = m.Index(name, size, (), of, span)
            case syntax.Extern(name=name, inputs=inputs, outputs=outputs, arrow=arrow, span=span):
                scope.externs[name] = m.Extern(
                    name,
                    tuple(layout(one, scope) for one in inputs),
                    tuple(layout(one, scope) for one in outputs),
                    arrow == "<->",
                    span,
                )
            case syntax.Scope():
                for arm in _arms(each):
                    settle(arm.statements, scope)
            case _:
                pass


def _arms(scope: syntax.Scope) -> Iterator[syntax.Scope]:
    """Yield a scope and the arms behind its `else`s."""
    arm: syntax.Scope | None = scope
    while arm is not None:
        yield arm
        arm = arm.otherwise
