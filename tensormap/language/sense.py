"""Laws of a mapping as a whole: it says something, it can hold, and what its config lines give is something that has a value."""

from __future__ import annotations

from collections.abc import Iterator

from tensormap.diagnostics import Diagnostic, Label, MappingError
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing, Value, evaluate, names
from tensormap.language.polynomial import Polynomial
from tensormap.suggest import did_you_mean


def says_something(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """A mapping relates tensors. One without a rule is no mistake for a program that makes it, and is one for a file."""
    if not mapping.rules:
        yield Diagnostic(
            "no-rules",
            f"`{mapping.name}` has no rule: it reads no tensor and writes none",
            help=("a rule is an equation between tensors: `w [x y] <-> weight [y x]`",),
            severity="warning",
        )


def requirements_can_hold(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """What is required of every checkpoint does not fail whatever the sizes are."""

    def look(name: str) -> Value | Missing:
        return evaluate(mapping.lets[name], look) if name in mapping.lets else Missing((name,))

    for each in mapping.requirements:
        if each.guards:
            continue  # a way to refuse what a condition describes
        try:
            value = evaluate(each.condition, look)
        except MappingError:
            continue  # reported where it is evaluated with values
        if not isinstance(value, Missing) and not value:
            message = "this never holds, so the mapping is for no checkpoint"
            yield Diagnostic("never-holds", message, (Label(each.span, "required here"),))


def config_gives_values(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """No config line gives a value to an index: it has positions, and its size has another name."""
    for line in mapping.config:
        for name in names(line.value) if line.value is not None else ():
            index = mapping.indices.get(name)
            if index is None or index.size == Polynomial.dimension(name):
                continue
            labels = [Label(line.span, f"`{name}` stands here for a value")]
            if index.span is not None:
                labels.append(Label(index.span, "and is declared as an index here", primary=False))
            yield Diagnostic(
                "index-as-value",
                f"`{name}` is an index, which has a position and no value of its own",
                tuple(labels),
                help=(f"its size is `{index.size}`: write that",),
            )


def comparisons_can_hold(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """No condition compares a param with a variant that it does not have, or a position with a word: neither is ever equal."""
    for expression in _conditions(mapping):
        for name, word in _compared(expression):
            param, index = mapping.params.get(name.text), mapping.indices.get(name.text)
            if param is not None and param.variants and word.value not in param.variants:
                if word.span.source is not param.span.source:
                    continue  # an included file may know more variants than the file that includes it
                near = did_you_mean(word.value, param.variants)
                yield Diagnostic(
                    "unknown-variant",
                    f"`{name.text}` has no variant `{word.value}`, so the two are never equal",
                    (
                        Label(word.span),
                        Label(param.span, f"its variants are {', '.join(param.variants)}", primary=False),
                    ),
                    help=(f"did you mean `{near}`?",) if near else (),
                )
            elif index is not None and index.words:
                help = f"`{name.text} == {index.words.index(word.value)}`" if word.value in index.words else ""
                yield Diagnostic(
                    "index-as-value",
                    f"`{name.text}` is an index, which is a position here and never equal to a word",
                    (Label(word.span, f"the words are {', '.join(index.words)}, in this order, counted from 0"),),
                    help=(f"write {help}",) if help else (),
                )


def _conditions(mapping: m.Mapping) -> Iterator[syntax.Expression]:
    """Yield each condition of the mapping once."""
    guarded = [each.guards for each in mapping.rules]
    guarded.extend(each.guards for each in mapping.config)
    guarded.extend(each.guards for each in mapping.requirements)
    found = [guard.condition for guards in guarded for guard in guards]
    found.extend(each.condition for each in mapping.requirements)
    found.extend(each.condition for side in mapping.sides for each in side.files if each.condition is not None)
    found.extend(mapping.lets.values())
    yield from dict.fromkeys(found)


def _compared(expression: syntax.Expression) -> Iterator[tuple[syntax.Name, syntax.String]]:
    """Yield what stands on both sides of an `==`, `!=` or `in`, where that is a name and a word."""
    match expression:
        case syntax.Binary(operator="==" | "!=", left=syntax.Name() as name, right=syntax.String() as word):
            yield name, word
        case syntax.Binary(operator="==" | "!=", left=syntax.String() as word, right=syntax.Name() as name):
            yield name, word
        case syntax.Binary(operator="in" | "not in", left=syntax.Name() as name, right=syntax.List(items=items)):
            yield from ((name, each) for each in items if isinstance(each, syntax.String))
        case syntax.Binary(left=left, right=right):
            yield from _compared(left)
            yield from _compared(right)
        case syntax.Unary(operand=operand):
            yield from _compared(operand)
        case syntax.Call(arguments=arguments):
            for each in arguments:
                yield from _compared(each)
        case _:
            pass
