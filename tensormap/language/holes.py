"""A name as written to a template: prefixes before it, and in each hole the numbers or words that it stands for."""

from __future__ import annotations

from tensormap.language import layout as axes
from tensormap.language import names, partition, syntax
from tensormap.language.expressions import names as names_in
from tensormap.language.polynomial import Polynomial
from tensormap.language.scope import Scope
from tensormap.language.sizes import polynomial


def template(written: syntax.Template, prefixes: tuple[syntax.Template, ...], scope: Scope) -> names.Template:
    """Return the template that a name and the prefixes before it make."""
    first = written.parts[0] if written.parts else ""
    virtual = isinstance(first, str) and first.startswith("$")
    parts: list[names.Part] = []
    letters = sum(len(part) for one in prefixes for part in one.parts if isinstance(part, str))
    scope.room.take(letters // 16, written.span)
    for one in (*(() if virtual else prefixes), written):
        for part in one.parts:
            resolved = part if isinstance(part, str) else _hole(part, scope)
            if parts and isinstance(resolved, str) and isinstance(parts[-1], str):
                parts[-1] += resolved
            elif resolved != "":
                parts.append(resolved)
    ways = 1
    for each in {part.index: part for part in parts if isinstance(part, names.WordHole)}.values():
        ways *= len(each.words)
    scope.room.take(ways * (1 + len(parts)), written.span)
    wild = written.quoted and any(isinstance(part, str) and "*" in part for part in written.parts)
    return names.Template(tuple(parts), wild, written.span)


def _hole(hole: syntax.Hole, scope: Scope) -> names.Part:
    match hole.expression:
        case syntax.Name(text=text, span=span):
            index = scope.index(text, span)
            if index is not None and index.words:
                return names.WordHole(text, index.words, hole.span)
        case _:
            pass
    offset, parts, ragged = _affine(hole.expression, scope)
    return names.NumberHole(offset, tuple(parts.items()), ragged, hole.width, hole.span)


def _affine(expression: syntax.Expression, scope: Scope) -> tuple[Polynomial, dict[str, Polynomial], tuple[str, ...]]:
    """Return offset, stride by index, and the ragged indices of a hole's arithmetic."""
    match expression:
        case syntax.Name(text=text, span=span):
            if scope.index(text, span) is not None:
                return axes.ZERO, {text: axes.ONE}, ()
            return polynomial(expression, scope), {}, ()
        case syntax.Binary(operator="+" | "-" as operator, left=left, right=right):
            sign = Polynomial.number(1 if operator == "+" else -1)
            one, other = _affine(left, scope), _affine(right, scope)
            parts = dict(one[1])
            for index, stride in other[1].items():
                parts[index] = parts.get(index, axes.ZERO) + stride * sign
            return one[0] + other[0] * sign, parts, (*one[2], *other[2])
        case syntax.Binary(operator="*", left=left, right=right):
            one, other = _affine(left, scope), _affine(right, scope)
            if one[1] and other[1]:
                scope.fail("not-affine", "a hole may not multiply two indices", expression.span)
                return axes.ZERO, {}, ()
            factor, affine = (one[0], other) if not one[1] else (other[0], one)
            return affine[0] * factor, {k: v * factor for k, v in affine[1].items()}, affine[2]
        case syntax.Numbered(parts=pieces):
            return _numbered(pieces, scope)
        case syntax.Call(function=partition.SIZE, arguments=(inner,)):
            _, strides, _ = _affine(inner, scope)
            total = axes.ONE
            for index, stride in strides.items():
                total = total + stride * (scope.indices[index].size - axes.ONE)
            return total, {}, ()
        case syntax.Item(base=syntax.Name(text=base), key=syntax.Name(text=key)):
            scope.fail(
                "not-affine",
                f"`{base}[{key}]` cannot stand in a name by itself",
                expression.span,
                help="declare an index: `index x < " + f"{base}[{key}]`",
            )
            return axes.ZERO, {}, ()
        case _:
            inside = [each for each in names_in(expression) if each in scope.indices]
            if inside:
                scope.fail(
                    "not-affine",
                    f"a hole holds sums, products with numbers and `(a b)` of indices; this does more with `{inside[0]}`",
                    expression.span,
                )
                return axes.ZERO, {}, ()
            return polynomial(expression, scope), {}, ()


def _numbered(
    pieces: tuple[syntax.Expression, ...], scope: Scope
) -> tuple[Polynomial, dict[str, Polynomial], tuple[str, ...]]:
    offset, parts, ragged = axes.ZERO, {}, ()  # type: tuple[Polynomial, dict[str, Polynomial], tuple[str, ...]]
    inner = axes.ONE
    for piece in reversed(pieces):
        start, strides, more = _affine(piece, scope)
        if len(pieces) > 1 and (start.terms or len(strides) != 1):
            scope.fail("not-affine", "`(a b)` in a hole numbers pairs of indices; each part is one index", piece.span)
        offset = offset + start * inner
        total = inner
        for index, stride in strides.items():
            if index in parts:
                scope.fail("not-affine", f"`{index}` stands twice in one hole", piece.span)
            depends = any(name.endswith(f"[{index}]") for name in inner.dimensions)
            parts[index] = stride * inner
            if depends:
                ragged = (*ragged, index)
                name = axes.ragged_total(index, inner)
                scope.sums[name] = (index, inner)
                total = Polynomial.dimension(name)
            else:
                total = scope.indices[index].size * inner
        ragged = (*ragged, *more)
        inner = total
    return offset, dict(reversed(parts.items())), ragged
