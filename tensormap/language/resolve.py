"""From the tree as written to what it means: included files, declarations, then every rule with what the blocks around it say.

Raises MappingError with everything that was found. Whether the equations hold together is for `checks` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from tensormap.diagnostics import Diagnostic, Label, MappingError, Source, Span
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.declarations import declare, settle
from tensormap.language.include import Included, include
from tensormap.language.parser import parse
from tensormap.language.partition import idle, parted, ways
from tensormap.language.printer import print_expression, print_file
from tensormap.language.scan import MAX_BYTES, MAX_WORDS, words
from tensormap.language.scope import Scope
from tensormap.language.sides import sides
from tensormap.language.terms import content
from tensormap.suggest import did_you_mean

Loader = Callable[[str, Span], Source]

_HOWS: dict[str, m.How] = {"equal": "equal", "mean": "mean", "sum": "sum", "first": "first"}
_LEAST = 100  # words that an included file counts as at least


@dataclass(frozen=True, slots=True)
class _Context:
    """What the blocks around a statement say."""

    left: tuple[syntax.Template, ...] = ()
    right: tuple[syntax.Template, ...] = ()
    guards: tuple[m.Guard, ...] = ()
    replicated: tuple[tuple[str, m.How], ...] = ()
    optional: bool = False


def resolve(source: Source, load: Loader, name: str | None = None) -> m.Mapping:
    """Return the mapping that a text means. `load` finds included files by their path."""
    tree = parse(source)
    return _Resolver(source, load).run(tree, name or PurePosixPath(source.name).stem)


class _Resolver:
    """One run over one file and what it includes. Collects findings and raises them at the end."""

    def __init__(self, source: Source, load: Loader) -> None:
        self.source = source
        self.load = load
        self.scope = Scope()
        self.rules: list[m.Rule] = []
        self.config: list[m.ConfigRule] = []
        self.requirements: list[m.Requirement] = []
        self.included: list[str] = []
        self.included_texts: list[str] = []
        self.words = 0
        self.letters = 0
        self.weights: dict[int, int] = {}  # of a guard's condition, by the number of its `when`

    def run(self, tree: syntax.File, name: str) -> m.Mapping:
        scope = self.scope
        self._count(self.source, Span(self.source, 0, 0))
        statements = self._expand(tree.statements, (self.source.name,))
        both = sides(statements, scope)
        declare(statements, scope)
        settle(statements, scope)
        self._statements(statements, _Context())
        if any(each.severity == "error" for each in scope.found):
            raise MappingError(scope.found)
        return m.Mapping(
            name=name,
            source=self.source,
            sides=both,
            params=scope.params,
            indices=scope.indices,
            lets=scope.lets,
            derived=scope.derived,
            sums=scope.sums,
            requirements=tuple(self.requirements),
            config=tuple(self.config),
            rules=tuple(self.rules),
            externs=scope.externs,
            canonical=print_file(tree) + "".join(self.included_texts),
            included=tuple(self.included),
        )

    # --- included files ---------------------------------------------------------------------------------------------

    def _expand(self, statements: Sequence[syntax.Statement], chain: tuple[str, ...]) -> tuple[syntax.Statement, ...]:
        """Replace every `use` by a scope that holds the included statements, names made their own."""
        out: list[syntax.Statement] = []
        for each in statements:
            match each:
                case syntax.Use(path=path, span=span):
                    source = self.load(path, span)
                    if source.name in chain or len(chain) > 16:
                        self.scope.fail("include-cycle", f"`{path}` includes itself", span, "this leads back here")
                        continue
                    self.included.append(path)
                    self._count(source, span)
                    tree = parse(source)
                    self.included_texts.append(print_file(tree))
                    inner: Included = include(tree, each, len(self.included))
                    self.scope.found.extend(inner.found)
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
            self.scope.fail("empty-rule", "both sides of this config line are absent", line.span)
        elif line.value is None and (left is None or right is None):
            key, away = (right, "<-") if left is None else (left, "->")
            if key is not None and _arrow(line.arrow) != away:
                self.scope.fail(
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
            self.scope.fail("stray-else", "`else` belongs to a `when`", scope.otherwise.span)
            return
        if len(guards) > 1:
            self.scope.fail(
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
                    number = len(self.weights) + 1
                    self.weights[number] = _weight(condition)
                    guards.append(m.Guard(condition, False, number))
                case syntax.Replicated(names=replicas, how=how, span=span):
                    if how is not None and how not in _HOWS:
                        hint = did_you_mean(how, tuple(_HOWS))
                        self.scope.fail(
                            "unknown-clause",
                            f"replicas are not made or merged `by {how}`",
                            span,
                            "equal, mean, sum or first",
                            help=f"did you mean `{hint}`?" if hint else None,
                        )
                        how = None
                    self.scope.room.take(len(replicas) * (1 + len(context.replicated)), span)
                    added = tuple((name, _HOWS[how or "equal"]) for name in replicas)
                    kept = tuple(pair for pair in context.replicated if pair[0] not in replicas)
                    context = replace(context, replicated=(*kept, *added))
                case syntax.Optional1():
                    context = replace(context, optional=True)
        return replace(context, guards=(*context.guards, *guards)), tuple(guards)

    def _rule(self, rule: syntax.Rule, context: _Context) -> None:
        inner, _ = self._clauses(rule.clauses, context)
        guards = sum(self.weights[each.scope] for each in inner.guards)
        self.scope.room.take(1 + guards + len(inner.replicated) + len(inner.left) + len(inner.right), rule.span)
        left = self._side_terms(rule.left, inner.left)
        right = self._side_terms(rule.right, inner.right)
        if not left and not right:
            self.scope.fail("empty-rule", "both sides of this rule are `_`", rule.span)
        wild = [
            tensor.template
            for term in (*left, *right)
            if isinstance(term.content, m.Stored)
            for tensor in term.content.tensors
            if tensor.template.wild
        ]
        if wild and left and right:
            self.scope.fail(
                "wild-name",
                "`*` in a name stands only in rules that drop",
                wild[0].span or rule.span,
                help="what one rule says of many names has an index: `norm.{s}` with `index s in weight, bias`",
            )
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
            self.scope.room.take(ways(term, self.scope.holds_index), term.span)
            for each in idle(term, self.scope.holds_index):
                self.scope.fail(
                    "not-affine",
                    f"`{print_expression(each)}` stands behind the last range, where nothing follows that it could move",
                    each.span,
                    help="before the first range a number moves all of them, between two it leaves a gap",
                )
        return tuple(
            m.Term(each.tag, content(each.value, prefixes, self.scope), each.span)
            for term in terms
            for each in parted(term, self.scope.holds_index)
        )


def _weight(expression: syntax.Expression) -> int:
    """Count the parts of an expression."""
    span = expression.span
    return 1 + (span.end - span.start) // 4


def _arrow(text: str) -> m.Arrow:
    return "<->" if text == "<->" else "->" if text == "->" else "<-"
