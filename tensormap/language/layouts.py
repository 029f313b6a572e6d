"""A layout as written to the axis algebra: dimensions, indices and lets become atoms, sums and products."""

from __future__ import annotations

from tensormap.language import layout as axes
from tensormap.language import syntax
from tensormap.language.polynomial import Polynomial
from tensormap.language.room import MAX_FACTORS
from tensormap.language.scope import Scope
from tensormap.language.sizes import polynomial


def layout(written: syntax.Layout | None, scope: Scope) -> axes.Layout:
    """Return what a layout means; one that is left out is `[...]`."""
    if written is None:
        return axes.REST
    rests = [each for each in written.axes if isinstance(each, syntax.Ellipsis1)]
    if len(rests) > 1:
        scope.fail("bad-layout", "`...` can stand once in a layout", rests[1].span)
    if len(written.axes) > MAX_FACTORS:
        scope.fail("too-large", f"a tensor has at most {MAX_FACTORS} axes", written.axes[MAX_FACTORS].span)
        return axes.REST
    resolved = axes.Layout(tuple(_axis(each, scope, outermost=True) for each in written.axes), written.span)
    scope.room.take(axes.extent(resolved), written.span)
    for index, inner in axes.ragged_sums(resolved):
        scope.sums[axes.ragged_total(index, inner)] = (index, inner)
    return resolved


def _axis(axis: syntax.AxisLike, scope: Scope, *, outermost: bool = False) -> axes.Node:
    match axis:
        case syntax.Literal1(value=value, tag=tag, span=span):
            if value < 1:
                scope.fail("bad-layout", "an axis has at least one position", span)
            return axes.Leaf(axes.Atom(str(value), Polynomial.number(value)), 1, tag, span)
        case syntax.Ellipsis1(span=span):
            if not outermost:
                scope.fail("bad-layout", "`...` stands only as an axis of its own, not inside parentheses", span)
                return axes.Leaf(axes.Atom("1", axes.ONE), 1, None, span)
            return axes.Rest(span)
        case syntax.Group(summands=summands, tag=tag, span=span):
            if long := [each for each in summands if len(each.axes) > MAX_FACTORS]:
                scope.fail("too-large", f"a product has at most {MAX_FACTORS} axes", long[0].axes[MAX_FACTORS].span)
                return axes.Leaf(axes.Atom("1", axes.ONE), 1, None, span)
            return axes.Sum(
                tuple(axes.Product(tuple(_axis(each, scope) for each in one.axes)) for one in summands), tag, span
            )
        case syntax.Axis():
            return _named_axis(axis, scope)


def _named_axis(axis: syntax.Axis, scope: Scope) -> axes.Node:
    base = axis.name.rstrip("'")
    primes = axis.name[len(base) :]
    per = axis.per or 1
    if axis.of is not None:
        name = f"{base}[{axis.of}]"
        return axes.Leaf(axes.Atom(name + primes, Polynomial.dimension(name), axis.of), per, axis.tag, axis.span)
    if base in scope.indices:
        index = scope.indices[base]
        leaf = axes.Leaf(axes.Atom(axis.name, index.size, index.of), per, axis.tag, axis.span)
    elif base in scope.lets and per == 1:
        if not scope.enter(base, axis.span):
            return axes.Leaf(axes.Atom(axis.name, Polynomial.dimension(base)))
        node = _let_axis(scope.lets[base], primes, axis, scope)
        scope.resolving.pop()
        return node
    else:
        leaf = axes.Leaf(axes.Atom(axis.name, Polynomial.dimension(base)), per, axis.tag, axis.span)
    if per > 1:
        name = axes.quotient(leaf.atom, per)
        counted = (syntax.Name(base, axis.span), syntax.Integer(per, axis.span))
        scope.derived[name] = syntax.Call("ceil_div", counted, axis.span)
    return leaf


def _let_axis(value: syntax.Expression, primes: str, axis: syntax.Axis, scope: Scope) -> axes.Node:
    """Substitute a let of `*` and `+`; anything else is an atom whose size is worked out."""
    if not _structural(value):
        size = polynomial(value, scope)
        return axes.Leaf(axes.Atom(axis.name, size), 1, axis.tag, axis.span)

    def factors(part: syntax.Expression) -> tuple[axes.Node, ...]:
        match part:
            case syntax.Binary(operator="*", left=left, right=right):
                return (*factors(left), *factors(right))
            case syntax.Binary(operator="+"):
                return (axes.Sum(summands(part), None, axis.span),)
            case syntax.Integer(value=number):
                return (axes.Leaf(axes.Atom(str(number), Polynomial.number(number)), 1, None, axis.span),)
            case syntax.Name(text=text):
                return (_named_axis(syntax.Axis(text + primes, None, None, None, axis.span), scope),)
            case _:
                raise AssertionError(part)

    def summands(part: syntax.Expression) -> tuple[axes.Product, ...]:
        match part:
            case syntax.Binary(operator="+", left=left, right=right):
                return (*summands(left), *summands(right))
            case _:
                return (axes.Product(factors(part)),)

    return axes.Sum(summands(value), axis.tag, axis.span)


def _structural(value: syntax.Expression) -> bool:
    match value:
        case syntax.Integer() | syntax.Name():
            return True
        case syntax.Binary(operator="*" | "+", left=left, right=right):
            return _structural(left) and _structural(right)
        case _:
            return False
