"""From the tree as written to what it means: scopes, prefixes, indices, axes and guards are worked out here.

Raises MappingError with everything that was found. Whether the equations hold together is for `checks` to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from tensormap.diagnostics import Diagnostic, Label, MappingError, Source, Span
from tensormap.language import layout as axes
from tensormap.language import mapping as m
from tensormap.language import names, partition, syntax
from tensormap.language.expressions import names as names_in
from tensormap.language.functions import GENERATORS, INVERSES, ONE_WAY
from tensormap.language.include import Included, include
from tensormap.language.parser import parse
from tensormap.language.partition import idle, parted, ways
from tensormap.language.polynomial import Polynomial
from tensormap.language.printer import print_expression, print_file
from tensormap.language.room import MAX_FACTORS, MAX_LETS, Room
from tensormap.language.scan import MAX_BYTES, MAX_WORDS, words
from tensormap.suggest import did_you_mean

Loader = Callable[[str, Span], Source]

_HOWS: dict[str, m.How] = {"equal": "equal", "mean": "mean", "sum": "sum", "first": "first"}
_MOST_OPEN_ENDS = 3  # of a name of files: all ways to match it are tried
_LEAST = 100  # words that an included file counts as at least
CONSTANT_NAMES = ("true", "false", "none", "_")


@dataclass(frozen=True, slots=True)
class _Context:
    """What the blocks around a statement say."""

    left: tuple[syntax.Template, ...] = ()
    right: tuple[syntax.Template, ...] = ()
    guards: tuple[m.Guard, ...] = ()
    replicated: tuple[tuple[str, m.How], ...] = ()
    optional: bool = False


@dataclass(slots=True)
class _Scope:
    """What has been declared so far; filled by `_declare`, read afterwards."""

    params: dict[str, m.Param] = field(default_factory=dict)
    indices: dict[str, m.Index] = field(default_factory=dict)
    lets: dict[str, syntax.Expression] = field(default_factory=dict)
    scalars: set[str] = field(default_factory=set)
    externs: dict[str, m.Extern] = field(default_factory=dict)
    derived: dict[str, syntax.Expression] = field(default_factory=dict)
    sums: dict[str, tuple[str, Polynomial]] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)


def resolve(source: Source, load: Loader, name: str | None = None) -> m.Mapping:
    """Return the mapping that a text means. `load` finds included files by their path."""
    tree = parse(source)
    return _Resolver(source, load).run(tree, name or PurePosixPath(source.name).stem)


class _Resolver:
    """One run over one file and what it includes. Collects findings and raises them at the end."""

    def __init__(self, source: Source, load: Loader) -> None:
        self.source = source
        self.load = load
        self.found: list[Diagnostic] = []
        self.scope = _Scope()
        self.sides: dict[str, m.Side] = {}
        self.header = ("left", "right")
        self.rules: list[m.Rule] = []
        self.config: list[m.ConfigRule] = []
        self.requirements: list[m.Requirement] = []
        self.when_count = 0
        self.included: list[str] = []
        self.resolving: list[str] = []
        self.room = Room()
        self.words = 0
        self.letters = 0
        self.weights: dict[int, int] = {}  # of a guard's condition, by the number of its `when`

    # --- the whole --------------------------------------------------------------------------------------------------

    def run(self, tree: syntax.File, name: str) -> m.Mapping:
        self._count(self.source, Span(self.source, 0, 0))
        statements = self._expand(tree.statements, (self.source.name,))
        self._headers(statements)
        self._declare(statements)
        self._sizes(statements)
        self._statements(statements, _Context())
        if any(each.severity == "error" for each in self.found):
            raise MappingError(self.found)
        return m.Mapping(
            name=name,
            source=self.source,
            sides=(
                self.sides.get(self.header[0], m.Side(self.header[0])),
                self.sides.get(self.header[1], m.Side(self.header[1])),
            ),
            params=self.scope.params,
            indices=self.scope.indices,
            lets=self.scope.lets,
            derived=self.scope.derived,
            sums=self.scope.sums,
            requirements=tuple(self.requirements),
            config=tuple(self.config),
            rules=tuple(self.rules),
            externs=self.scope.externs,
            canonical=print_file(tree) + "".join(self.included_texts),
            included=tuple(self.included),
        )

    included_texts: tuple[str, ...] = ()

    def _fail(
        self, slug: str, message: str, span: Span, label: str = "", *more: Label, help: str | None = None
    ) -> None:
        self.found.append(Diagnostic(slug, message, (Label(span, label), *more), (), (help,) if help else ()))

    # --- included files ---------------------------------------------------------------------------------------------

    def _expand(self, statements: Sequence[syntax.Statement], chain: tuple[str, ...]) -> tuple[syntax.Statement, ...]:
        """Replace every `use` by a scope that holds the included statements, names made their own."""
        out: list[syntax.Statement] = []
        for each in statements:
            match each:
                case syntax.Use(path=path, span=span):
                    source = self.load(path, span)
                    if source.name in chain or len(chain) > 16:
                        self._fail("include-cycle", f"`{path}` includes itself", span, "this leads back here")
                        continue
                    self.included.append(path)
                    self._count(source, span)
                    tree = parse(source)
                    self.included_texts = (*self.included_texts, print_file(tree))
                    inner: Included = include(tree, each, len(self.included))
                    self.found.extend(inner.found)
                    body = self._expand(inner.scope.statements, (*chain, source.name))
                    out.append(replace(inner.scope, statements=body))
                case syntax.Scope():
                    out.append(self._expand_scope(each, chain))
                case _:
                    out.append(each)
        return tuple(out)

    def _count(self, source: Source, span: Span) -> None:
        """Count what a file adds to the text of a mapping; a file that is included over and over counts as often."""
        self.words += _LEAST + words(source)
        self.letters += len(source.text)
        if self.words > MAX_WORDS + _LEAST or self.letters > MAX_BYTES:
            message = f"with all that it includes, a mapping holds at most {MAX_WORDS} words in {MAX_BYTES} bytes"
            raise MappingError(Diagnostic("too-long", message, (Label(span),)))

    def _expand_scope(self, scope: syntax.Scope, chain: tuple[str, ...]) -> syntax.Scope:
        otherwise = self._expand_scope(scope.otherwise, chain) if scope.otherwise else None
        return replace(scope, statements=self._expand(scope.statements, chain), otherwise=otherwise)

    # --- declarations -----------------------------------------------------------------------------------------------

    def _headers(self, statements: Iterable[syntax.Statement]) -> None:
        first: syntax.Header | None = None
        for each in statements:
            if isinstance(each, syntax.Header):
                if first is not None:
                    self._fail(
                        "duplicate-declaration",
                        "a mapping has one header",
                        each.span,
                        "the second",
                        Label(first.span, "the first", False),
                    )
                elif each.left == each.right:
                    self._fail("duplicate-declaration", "the two sides need different names", each.span)
                else:
                    first = each
                    self.header = (each.left, each.right)
        for each in statements:
            if isinstance(each, syntax.Side):
                self._side(each)

    def _side(self, side: syntax.Side) -> None:
        if side.name not in self.header:
            hint = did_you_mean(side.name, self.header)
            self._fail(
                "unknown-side",
                f"this mapping has no side `{side.name}`",
                side.span,
                f"its sides are `{self.header[0]}` and `{self.header[1]}`",
                help=f"did you mean `{hint}`?" if hint else None,
            )
            return
        if side.name in self.sides:
            self._fail("duplicate-declaration", f"side `{side.name}` is declared twice", side.span)
        files = tuple(each for each in side.lines if isinstance(each, syntax.Files))
        configs = tuple(each for each in side.lines if isinstance(each, syntax.ConfigFile))
        tags = [each for each in side.lines if isinstance(each, syntax.Tag)]
        separators = [each.text for each in side.lines if isinstance(each, syntax.Separator)]
        named: list[syntax.Files | syntax.ConfigFile | syntax.Tag] = [*files, *configs, *tags]
        for line in named:
            self._stays_inside(line)
        self.sides[side.name] = m.Side(
            side.name, files, configs, tags[0] if tags else None, separators[0] if separators else "."
        )

    def _stays_inside(self, line: syntax.Files | syntax.ConfigFile | syntax.Tag) -> None:
        """Refuse names of files that lead out of a checkpoint, or through all that is below it."""
        match line:
            case syntax.Tag(file=file, directory=directory, patterns=patterns):
                names = [file, directory, *map(_plain, patterns)]
            case syntax.Files(pattern=template):
                names = [_plain(template)]
            case syntax.ConfigFile(pattern=pattern):
                names = [pattern]
        for name in names:
            parts = name.split("/")
            if any(part in ("", ".", "..") or "**" in part or not part.isprintable() for part in parts):
                self._fail("unsafe-path", f"`{name}` is not the name of a file inside of a checkpoint", line.span)
        match line:
            case syntax.ConfigFile(pattern=pattern):
                open_ends = pattern.count("*")
            case syntax.Files(pattern=template, under=under):
                open_ends = max(_open_ends(template), 0 if under is None else _open_ends(under) + 2)
            case _:
                open_ends = 0
        if open_ends > _MOST_OPEN_ENDS:
            self._fail("too-large", "a name of files has too many parts that may end anywhere", line.span)

    def _new(self, name: str, span: Span) -> bool:
        if name in CONSTANT_NAMES:
            self._fail("reserved-name", f"`{name}` has a meaning of its own and cannot be declared", span)
            return False
        if name in self.scope.places:
            self._fail(
                "duplicate-declaration",
                f"`{name}` is declared twice",
                span,
                "the second",
                Label(self.scope.places[name], "the first", False),
            )
            return False
        self.scope.places[name] = span
        return True

    def _declare(self, statements: Iterable[syntax.Statement]) -> None:
        """Collect params, lets, indices and the names that configs and bounds give, wherever they stand."""
        for each in statements:
            match each:
                case syntax.Param(name=name, variants=variants, default=default, text=text, span=span):
                    old = self.scope.params.get(name)
                    if old is not None and old.variants == variants and old.span.source != span.source:
                        continue  # included files may share a param
                    if self._new(name, span):
                        self.scope.params[name] = m.Param(name, variants, default, text, span)
                case syntax.Let(name=name, value=value, span=span):
                    if self._new(name, span):
                        self.scope.lets[name] = value
                        self.scope.scalars.update(_names(value))
                case syntax.Index():
                    self._declare_index(each)
                case syntax.Config(lines=lines):
                    for line in lines:
                        self.scope.scalars.update(_names(line.value) if line.value is not None else ())
                case syntax.Scope():
                    for arm in _arms(each):
                        self._declare(arm.statements)
                case _:
                    pass
        self.scope.scalars -= set(self.scope.indices)

    def _declare_index(self, index: syntax.Index) -> None:
        if not self._new(index.name, index.span):
            return
        if index.bound is not None:
            self.scope.scalars.update(_names(index.bound))
        repeated = [word for word, count in Counter(index.values).items() if count > 1]
        if repeated:
            self._fail("duplicate-declaration", f"index `{index.name}` lists `{repeated[0]}` twice", index.span)
        size = Polynomial.number(len(index.values))
        self.scope.indices[index.name] = m.Index(index.name, size, tuple(index.values), None, index.span)

    def _sizes(self, statements: Iterable[syntax.Statement]) -> None:
        """Work out the size of every declared index, then the externs' layouts."""
        for each in statements:
            match each:
                case syntax.Index(name=name, bound=bound, span=span) if (
                    bound is not None and name in self.scope.indices
                ):
                    of = None
                    if isinstance(bound, syntax.Item):
                        match bound:
                            case syntax.Item(base=syntax.Name(text=base), key=syntax.Name(text=key)):
                                of = key
                                if key not in self.scope.indices:
                                    self._fail("unknown-index", f"`{key}` is not an index", bound.span)
                                size = Polynomial.dimension(f"{base}[{key}]")
                            case _:
                                size = self._polynomial(bound)
                    else:
                        size = self._polynomial(bound)
                    self.scope.indices[name] = m.Index(name, size, (), of, span)
                case syntax.Extern(name=name, inputs=inputs, outputs=outputs, arrow=arrow, span=span):
                    self.scope.externs[name] = m.Extern(
                        name,
                        tuple(self._layout(one) for one in inputs),
                        tuple(self._layout(one) for one in outputs),
                        arrow == "<->",
                        span,
                    )
                case syntax.Scope():
                    for arm in _arms(each):
                        self._sizes(arm.statements)
                case _:
                    pass

    # --- sizes ------------------------------------------------------------------------------------------------------

    def _polynomial(self, expression: syntax.Expression) -> Polynomial:
        """Return an expression as a polynomial; what is none becomes a derived dimension of its own."""
        match expression:
            case syntax.Integer(value=value):
                return Polynomial.number(value)
            case syntax.Name(text=text) if text in self.scope.lets:
                if not self._enter(text, expression.span):
                    return Polynomial.number(1)
                result = self._polynomial(self.scope.lets[text])
                self.resolving.pop()
                return result
            case syntax.Name(text=text) if text in self.scope.indices:
                return self.scope.indices[text].size
            case syntax.Name(text=text) if text not in CONSTANT_NAMES:
                return Polynomial.dimension(text)
            case syntax.Unary(operator="-", operand=operand):
                return Polynomial.number(-1) * self._polynomial(operand)
            case syntax.Binary(operator="+" | "-" | "*" as operator, left=left, right=right, span=span):
                return self._combined(operator, self._polynomial(left), self._polynomial(right), span)
            case syntax.Binary(operator="**", left=left, right=syntax.Integer(value=power)) if 0 <= power <= 8:
                result, factor = Polynomial.number(1), self._polynomial(left)
                for _ in range(power):
                    result = self._combined("*", result, factor, expression.span)
                return result
            case _:
                text = print_expression(expression)
                self.scope.derived[text] = expression
                return Polynomial.dimension(text)

    def _enter(self, name: str, span: Span) -> bool:
        """Begin to put a let in; False where it is being put in already."""
        self.room.take(4, span)
        if name in self.resolving:
            self._fail("let-cycle", f"`{name}` is defined through itself", span)
            return False
        if len(self.resolving) >= MAX_LETS:
            message = f"`{name}` is defined through more than {MAX_LETS} others, one behind the other"
            raise MappingError([*self.found, Diagnostic("too-large", message, (Label(span),))])
        self.resolving.append(name)
        return True

    def _combined(self, operator: str, left: Polynomial, right: Polynomial, span: Span) -> Polynomial:
        """Add, subtract or multiply two sizes, as long as one that can be written down comes out."""
        self.room.take(len(left.terms) * len(right.terms) if operator == "*" else len(left.terms + right.terms), span)
        result = left + right if operator == "+" else left - right if operator == "-" else left * right
        if not result.bounded:
            message = "this size has numbers of more than 63 bits, or products of more than 64 factors"
            raise MappingError([*self.found, Diagnostic("too-large", message, (Label(span),))])
        return result

    def _layout(self, layout: syntax.Layout | None) -> axes.Layout:
        if layout is None:
            return axes.REST
        rests = [each for each in layout.axes if isinstance(each, syntax.Ellipsis1)]
        if len(rests) > 1:
            self._fail("bad-layout", "`...` can stand once in a layout", rests[1].span)
        if len(layout.axes) > MAX_FACTORS:
            self._fail("too-large", f"a tensor has at most {MAX_FACTORS} axes", layout.axes[MAX_FACTORS].span)
            return axes.REST
        resolved = axes.Layout(tuple(self._axis(each, outermost=True) for each in layout.axes), layout.span)
        self.room.take(axes.extent(resolved), layout.span)
        for index, inner in axes.ragged_sums(resolved):
            self.scope.sums[axes.ragged_total(index, inner)] = (index, inner)
        return resolved

    def _axis(self, axis: syntax.AxisLike, *, outermost: bool = False) -> axes.Node:
        match axis:
            case syntax.Literal1(value=value, tag=tag, span=span):
                if value < 1:
                    self._fail("bad-layout", "an axis has at least one position", span)
                return axes.Leaf(axes.Atom(str(value), Polynomial.number(value)), 1, tag, span)
            case syntax.Ellipsis1(span=span):
                if not outermost:
                    self._fail("bad-layout", "`...` stands only as an axis of its own, not inside parentheses", span)
                    return axes.Leaf(axes.Atom("1", axes.ONE), 1, None, span)
                return axes.Rest(span)
            case syntax.Group(summands=summands, tag=tag, span=span):
                if long := [each for each in summands if len(each.axes) > MAX_FACTORS]:
                    self._fail("too-large", f"a product has at most {MAX_FACTORS} axes", long[0].axes[MAX_FACTORS].span)
                    return axes.Leaf(axes.Atom("1", axes.ONE), 1, None, span)
                return axes.Sum(
                    tuple(axes.Product(tuple(self._axis(each) for each in one.axes)) for one in summands), tag, span
                )
            case syntax.Axis():
                return self._named_axis(axis)

    def _named_axis(self, axis: syntax.Axis) -> axes.Node:
        base = axis.name.rstrip("'")
        primes = axis.name[len(base) :]
        per = axis.per or 1
        if axis.of is not None:
            name = f"{base}[{axis.of}]"
            return axes.Leaf(axes.Atom(name + primes, Polynomial.dimension(name), axis.of), per, axis.tag, axis.span)
        if base in self.scope.indices:
            index = self.scope.indices[base]
            leaf = axes.Leaf(axes.Atom(axis.name, index.size, index.of), per, axis.tag, axis.span)
        elif base in self.scope.lets and per == 1:
            if not self._enter(base, axis.span):
                return axes.Leaf(axes.Atom(axis.name, Polynomial.dimension(base)))
            node = self._let_axis(self.scope.lets[base], primes, axis)
            self.resolving.pop()
            return node
        else:
            leaf = axes.Leaf(axes.Atom(axis.name, Polynomial.dimension(base)), per, axis.tag, axis.span)
        if per > 1:
            name = axes.quotient(leaf.atom, per)
            counted = (syntax.Name(base, axis.span), syntax.Integer(per, axis.span))
            self.scope.derived[name] = syntax.Call("ceil_div", counted, axis.span)
        return leaf

    def _let_axis(self, value: syntax.Expression, primes: str, axis: syntax.Axis) -> axes.Node:
        """Substitute a let of `*` and `+`; anything else is an atom whose size is worked out."""
        if not _structural(value):
            size = self._polynomial(value)
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
                    return (self._named_axis(syntax.Axis(text + primes, None, None, None, axis.span)),)
                case _:
                    raise AssertionError(part)

        def summands(part: syntax.Expression) -> tuple[axes.Product, ...]:
            match part:
                case syntax.Binary(operator="+", left=left, right=right):
                    return (*summands(left), *summands(right))
                case _:
                    return (axes.Product(factors(part)),)

        return axes.Sum(summands(value), axis.tag, axis.span)

    # --- names ------------------------------------------------------------------------------------------------------

    def _template(self, template: syntax.Template, prefixes: tuple[syntax.Template, ...]) -> names.Template:
        first = template.parts[0] if template.parts else ""
        virtual = isinstance(first, str) and first.startswith("$")
        parts: list[names.Part] = []
        letters = sum(len(part) for one in prefixes for part in one.parts if isinstance(part, str))
        self.room.take(letters // 16, template.span)
        for one in (*(() if virtual else prefixes), template):
            for part in one.parts:
                resolved = part if isinstance(part, str) else self._hole(part)
                if parts and isinstance(resolved, str) and isinstance(parts[-1], str):
                    parts[-1] += resolved
                elif resolved != "":
                    parts.append(resolved)
        ways_ = 1
        for each in {part.index: part for part in parts if isinstance(part, names.WordHole)}.values():
            ways_ *= len(each.words)
        self.room.take(ways_ * (1 + len(parts)), template.span)
        wild = template.quoted and any(isinstance(part, str) and "*" in part for part in template.parts)
        return names.Template(tuple(parts), wild, template.span)

    def _hole(self, hole: syntax.Hole) -> names.Part:
        match hole.expression:
            case syntax.Name(text=text, span=span):
                index = self._index(text, span)
                if index is not None and index.words:
                    return names.WordHole(text, index.words, hole.span)
            case _:
                pass
        offset, parts, ragged = self._affine(hole.expression)
        return names.NumberHole(offset, tuple(parts.items()), ragged, hole.width, hole.span)

    def _index(self, text: str, span: Span) -> m.Index | None:
        """Return the index of this name; a name that nothing else declares becomes one."""
        if text in self.scope.indices:
            return self.scope.indices[text]
        scope = self.scope
        if text in scope.params or text in scope.lets or text in scope.scalars or "." in text:
            return None
        index = m.Index(text, Polynomial.dimension(text), (), None, span)
        scope.indices[text] = index
        return index

    def _affine(self, expression: syntax.Expression) -> tuple[Polynomial, dict[str, Polynomial], tuple[str, ...]]:
        """Return offset, stride by index, and the ragged indices of a hole's arithmetic."""
        match expression:
            case syntax.Name(text=text, span=span):
                if self._index(text, span) is not None:
                    return axes.ZERO, {text: axes.ONE}, ()
                return self._polynomial(expression), {}, ()
            case syntax.Binary(operator="+" | "-" as operator, left=left, right=right):
                sign = Polynomial.number(1 if operator == "+" else -1)
                one, other = self._affine(left), self._affine(right)
                parts = dict(one[1])
                for index, stride in other[1].items():
                    parts[index] = parts.get(index, axes.ZERO) + stride * sign
                return one[0] + other[0] * sign, parts, (*one[2], *other[2])
            case syntax.Binary(operator="*", left=left, right=right):
                one, other = self._affine(left), self._affine(right)
                if one[1] and other[1]:
                    self._fail("not-affine", "a hole may not multiply two indices", expression.span)
                    return axes.ZERO, {}, ()
                factor, affine = (one[0], other) if not one[1] else (other[0], one)
                return affine[0] * factor, {k: v * factor for k, v in affine[1].items()}, affine[2]
            case syntax.Numbered(parts=pieces):
                return self._numbered(pieces)
            case syntax.Call(function=partition.SIZE, arguments=(inner,)):
                _, strides, _ = self._affine(inner)
                total = axes.ONE
                for index, stride in strides.items():
                    total = total + stride * (self.scope.indices[index].size - axes.ONE)
                return total, {}, ()
            case syntax.Item(base=syntax.Name(text=base), key=syntax.Name(text=key)):
                self._fail(
                    "not-affine",
                    f"`{base}[{key}]` cannot stand in a name by itself",
                    expression.span,
                    help="declare an index: `index x < " + f"{base}[{key}]`",
                )
                return axes.ZERO, {}, ()
            case _:
                inside = [each for each in _names(expression) if each in self.scope.indices]
                if inside:
                    self._fail(
                        "not-affine",
                        f"a hole holds sums, products with numbers and `(a b)` of indices; this does more with `{inside[0]}`",
                        expression.span,
                    )
                    return axes.ZERO, {}, ()
                return self._polynomial(expression), {}, ()

    def _numbered(
        self, pieces: tuple[syntax.Expression, ...]
    ) -> tuple[Polynomial, dict[str, Polynomial], tuple[str, ...]]:
        offset, parts, ragged = axes.ZERO, {}, ()  # type: tuple[Polynomial, dict[str, Polynomial], tuple[str, ...]]
        inner = axes.ONE
        for piece in reversed(pieces):
            start, strides, more = self._affine(piece)
            if len(pieces) > 1 and (start.terms or len(strides) != 1):
                self._fail(
                    "not-affine", "`(a b)` in a hole numbers pairs of indices; each part is one index", piece.span
                )
            offset = offset + start * inner
            total = inner
            for index, stride in strides.items():
                if index in parts:
                    self._fail("not-affine", f"`{index}` stands twice in one hole", piece.span)
                depends = any(name.endswith(f"[{index}]") for name in inner.dimensions)
                parts[index] = stride * inner
                if depends:
                    ragged = (*ragged, index)
                    name = axes.ragged_total(index, inner)
                    self.scope.sums[name] = (index, inner)
                    total = Polynomial.dimension(name)
                else:
                    total = self.scope.indices[index].size * inner
            ragged = (*ragged, *more)
            inner = total
        return offset, dict(reversed(parts.items())), ragged

    # --- statements -------------------------------------------------------------------------------------------------

    def _statements(self, statements: Iterable[syntax.Statement], context: _Context) -> None:
        for each in statements:
            match each:
                case syntax.Rule():
                    self._rule(each, context)
                case syntax.Scope():
                    self._scope(each, context)
                case syntax.Require(condition=condition, text=text, span=span):
                    self.requirements.append(m.Requirement(condition, text, context.guards, span))
                case syntax.Config(lines=lines):
                    for line in lines:
                        self._config(line, context)
                case _:
                    pass

    def _config(self, line: syntax.ConfigLine, context: _Context) -> None:
        if isinstance(line.left, syntax.Name) and line.left.text == syntax.REST:
            self.config.append(m.ConfigRule(None, None, _arrow(line.arrow), None, context.guards, line.span, rest=True))
            return
        absent = ("_",)
        left = None if isinstance(line.left, syntax.Name) and line.left.text in absent else line.left
        right = None if isinstance(line.right, syntax.Name) and line.right.text in absent else line.right
        if left is None and right is None:
            self._fail("empty-rule", "both sides of this config line are absent", line.span)
        elif line.value is None and (left is None or right is None):
            key, away = (right, "<-") if left is None else (left, "->")
            if key is not None and _arrow(line.arrow) != away:
                self._fail(
                    "empty-rule",
                    f"nothing says what `{print_expression(key)}` is written with",
                    line.span,
                    help=f"give the line a value, as in `n = ...`, or read the key and drop it: `{away}`",
                )
        self.config.append(m.ConfigRule(line.value, left, _arrow(line.arrow), right, context.guards, line.span))

    def _scope(self, scope: syntax.Scope, context: _Context) -> None:
        inner, guards = self._clauses(scope.clauses, context)
        self._statements(scope.statements, inner)
        if scope.otherwise is None:
            return
        if not guards:
            self._fail("stray-else", "`else` belongs to a `when`", scope.otherwise.span)
            return
        if len(guards) > 1:
            self._fail(
                "stray-else", "`else` behind two `when`s is ambiguous; join them with `and`", scope.otherwise.span
            )
        negated = tuple(replace(each, negated=True) for each in guards)
        self._scope(scope.otherwise, replace(context, guards=(*context.guards, *negated)))

    def _clauses(self, clauses: Iterable[syntax.Clause], context: _Context) -> tuple[_Context, tuple[m.Guard, ...]]:
        guards: list[m.Guard] = []
        for clause in clauses:
            match clause:
                case syntax.Block(left=left, right=right):
                    context = replace(context, left=(*context.left, left), right=(*context.right, right))
                case syntax.When(condition=condition):
                    self.when_count += 1
                    self.weights[self.when_count] = _weight(condition)
                    guards.append(m.Guard(condition, False, self.when_count))
                case syntax.Replicated(names=replicas, how=how, span=span):
                    if how is not None and how not in _HOWS:
                        hint = did_you_mean(how, tuple(_HOWS))
                        self._fail(
                            "unknown-clause",
                            f"replicas are not made or merged `by {how}`",
                            span,
                            "equal, mean, sum or first",
                            help=f"did you mean `{hint}`?" if hint else None,
                        )
                        how = None
                    self.room.take(len(replicas) * (1 + len(context.replicated)), span)
                    added = tuple((name, _HOWS[how or "equal"]) for name in replicas)
                    kept = tuple(pair for pair in context.replicated if pair[0] not in replicas)
                    context = replace(context, replicated=(*kept, *added))
                case syntax.Optional1():
                    context = replace(context, optional=True)
        return replace(context, guards=(*context.guards, *guards)), tuple(guards)

    def _rule(self, rule: syntax.Rule, context: _Context) -> None:
        inner, _ = self._clauses(rule.clauses, context)
        guards = sum(self.weights[each.scope] for each in inner.guards)
        self.room.take(1 + guards + len(inner.replicated) + len(inner.left) + len(inner.right), rule.span)
        left = self._side_terms(rule.left, inner.left)
        right = self._side_terms(rule.right, inner.right)
        if not left and not right:
            self._fail("empty-rule", "both sides of this rule are `_`", rule.span)
        wild = [
            tensor.template
            for term in (*left, *right)
            if isinstance(term.content, m.Stored)
            for tensor in term.content.tensors
            if tensor.template.wild
        ]
        if wild and left and right:
            self._fail("wild-name", "`*` in a name stands only in rules that drop", wild[0].span or rule.span)
        self.rules.append(
            m.Rule(
                left,
                _arrow(rule.arrow),
                right,
                inner.guards,
                inner.replicated,
                inner.optional,
                len(self.rules),
                rule.span,
            )
        )

    def _side_terms(self, terms: tuple[syntax.Term, ...], prefixes: tuple[syntax.Template, ...]) -> tuple[m.Term, ...]:
        if len(terms) == 1 and terms[0].tag is None:
            match terms[0].value:
                case syntax.Tensor(template=syntax.Template(parts=("_",)), layout=None, aliases=()):
                    return ()
                case _:
                    pass
        for term in terms:
            self.room.take(ways(term, self._holds_index), term.span)
            for each in idle(term, self._holds_index):
                self._fail(
                    "not-affine",
                    f"`{print_expression(each)}` stands behind the last range, where nothing follows that it could move",
                    each.span,
                    help="before the first range a number moves all of them, between two it leaves a gap",
                )
        return tuple(
            m.Term(each.tag, self._content(each.value, prefixes), each.span)
            for term in terms
            for each in parted(term, self._holds_index)
        )

    def _holds_index(self, expression: syntax.Expression) -> bool:
        """Say whether an expression in a hole depends on an index."""
        return any(self._index(name, expression.span) is not None for name in names_in(expression))

    # --- terms ------------------------------------------------------------------------------------------------------

    def _content(self, value: syntax.Value, prefixes: tuple[syntax.Template, ...]) -> m.Content:
        match value:
            case syntax.Tensor(template=syntax.Template(parts=("_",)), layout=layout):
                return m.Fixed(None, self._layout(layout) if layout else None)
            case syntax.Constant(layout=layout):
                return m.Fixed(_expression(value), self._layout(layout) if layout else None)
            case syntax.Negative(operand=syntax.Constant(layout=layout)):
                return m.Fixed(_expression(value), self._layout(layout) if layout else None)
            case syntax.Apply(function=function, arguments=arguments, span=span) if function in GENERATORS:
                wanted = GENERATORS[function]
                if len(arguments) != len(wanted):
                    listed = ", ".join(wanted)
                    self._fail(
                        "wrong-arguments",
                        f"`{function}` takes {len(wanted)} arguments, here are {len(arguments)}",
                        span,
                        f"`{function}({listed})`",
                    )
                return m.Generated(function, tuple(_expression(each) for each in arguments))
            case syntax.Apply(function=function) if function in self.scope.externs:
                return self._called(value, self.scope.externs[function], prefixes)
            case _:
                tensors: list[m.Tensor] = []
                formula = self._formula(value, prefixes, tensors, top=True)
                if not tensors:
                    return m.Fixed(_expression(value), None)
                return m.Stored(tuple(tensors), formula)

    def _called(self, value: syntax.Apply, extern: m.Extern, prefixes: tuple[syntax.Template, ...]) -> m.Content:
        """Read `f(a, b)` of an extern: tensors in, one tensor out. An argument without a layout has the one of the signature."""
        if len(value.arguments) != len(extern.inputs):
            self._fail(
                "wrong-arguments",
                f"`{extern.name}` takes {len(extern.inputs)} tensors, here are {len(value.arguments)}",
                value.span,
                "",
                Label(extern.span, "its signature", False),
            )
        if len(extern.outputs) != 1:
            self._fail("wrong-arguments", f"`{extern.name}` must return one tensor to stand in a rule", extern.span)
        tensors: list[m.Tensor] = []
        for argument, layout in zip(value.arguments, extern.inputs, strict=False):
            if not isinstance(argument, syntax.Tensor):
                self._fail("wrong-arguments", f"`{extern.name}` takes tensors, not arithmetic", argument.span)
                continue
            tensor = self._tensor(argument, prefixes)
            tensors.append(tensor if argument.layout is not None else replace(tensor, layout=layout))
        formula = m.Function(extern.name, tuple(m.Operand(k) for k in range(len(tensors))))
        return m.Stored(tuple(tensors), formula, extern.name, extern.outputs[0])

    def _formula(
        self, value: syntax.Value, prefixes: tuple[syntax.Template, ...], tensors: list[m.Tensor], *, top: bool = False
    ) -> m.Formula:
        match value:
            case syntax.Tensor(template=template, layout=layout, aliases=aliases, dtype=dtype, span=span):
                if not top and layout is None and not aliases and dtype is None and self._is_scalar(template):
                    return m.Scalar(syntax.Name(str(template.parts[0]), span))
                tensor = self._tensor(value, prefixes)
                if tensor not in tensors:  # a formula may name a tensor twice: it is read once
                    tensors.append(tensor)
                return m.Operand(tensors.index(tensor))
            case syntax.Constant():
                return m.Scalar(_expression(value))
            case syntax.Negative(operand=operand):
                inner = self._formula(operand, prefixes, tensors)
                return m.Function("neg", (inner,))
            case syntax.Arithmetic(operator=operator, left=left, right=right):
                one = self._formula(left, prefixes, tensors)
                return m.Function(operator, (one, self._formula(right, prefixes, tensors)))
            case syntax.Apply(function=function, arguments=arguments, span=span):
                known = (*INVERSES, *ONE_WAY)
                if function in self.scope.externs:
                    self._fail("wrong-arguments", f"the extern `{function}` stands alone on its side of a rule", span)
                elif function not in known:
                    hint = did_you_mean(function, (*known, *GENERATORS))
                    self._fail(
                        "unknown-function",
                        f"there is no function `{function}`",
                        span,
                        help=f"did you mean `{hint}`?" if hint else "declare it: `extern f([...]) -> [...]`",
                    )
                return m.Function(function, tuple(self._formula(each, prefixes, tensors) for each in arguments))

    def _tensor(self, value: syntax.Tensor, prefixes: tuple[syntax.Template, ...]) -> m.Tensor:
        return m.Tensor(
            self._template(value.template, prefixes),
            self._layout(value.layout),
            tuple(m.Alias(self._template(each.template, prefixes), each.maybe) for each in value.aliases),
            value.dtype,
            span=value.span,
        )

    def _is_scalar(self, template: syntax.Template) -> bool:
        if len(template.parts) != 1 or not isinstance(template.parts[0], str) or template.quoted:
            return False
        text = template.parts[0]
        scope = self.scope
        return text in scope.lets or text in scope.params or text in scope.scalars or text in scope.indices


def _weight(expression: syntax.Expression) -> int:
    """Count the parts of an expression."""
    span = expression.span
    return 1 + (span.end - span.start) // 4


def _arms(scope: syntax.Scope) -> Iterator[syntax.Scope]:
    """Yield a scope and the arms behind its `else`s."""
    arm: syntax.Scope | None = scope
    while arm is not None:
        yield arm
        arm = arm.otherwise


def _arrow(text: str) -> m.Arrow:
    return "<->" if text == "<->" else "->" if text == "->" else "<-"


def _structural(value: syntax.Expression) -> bool:
    match value:
        case syntax.Integer() | syntax.Name():
            return True
        case syntax.Binary(operator="*" | "+", left=left, right=right):
            return _structural(left) and _structural(right)
        case _:
            return False


def _names(expression: syntax.Expression) -> tuple[str, ...]:
    """List the names in an expression."""
    match expression:
        case syntax.Name(text=text):
            return () if text in CONSTANT_NAMES else (text,)
        case syntax.Unary(operand=operand):
            return _names(operand)
        case syntax.Binary(left=left, right=right):
            return (*_names(left), *_names(right))
        case syntax.Call(arguments=many) | syntax.List(items=many) | syntax.Numbered(parts=many):
            return tuple(name for each in many for name in _names(each))
        case syntax.Item(base=base, key=key):
            return (*_names(base), *_names(key))
        case _:
            return ()


def _expression(value: syntax.Value) -> syntax.Expression:
    """Read a term's arithmetic as an expression, for values that hold no tensor."""
    match value:
        case syntax.Constant(text=text, span=span):
            return syntax.Integer(int(text), span) if text.isdigit() else syntax.Number(text, span)
        case syntax.Tensor(template=template, span=span):
            return syntax.Name("".join(part for part in template.parts if isinstance(part, str)), span)
        case syntax.Negative(operand=operand, span=span):
            return syntax.Unary("-", _expression(operand), span)
        case syntax.Arithmetic(operator=operator, left=left, right=right, span=span):
            return syntax.Binary(operator, _expression(left), _expression(right), span)
        case syntax.Apply(function=function, arguments=arguments, span=span):
            return syntax.Call(function, tuple(_expression(each) for each in arguments), span)


def _plain(template: syntax.Template) -> str:
    """Return a template's text, with a digit for each hole."""
    return "".join(part if isinstance(part, str) else "0" for part in template.parts)


def _open_ends(template: syntax.Template) -> int:
    """Count the parts of a name that may end anywhere. Numbers may not: something else stands between them."""
    return sum(part.count("*") for part in template.parts if isinstance(part, str))
