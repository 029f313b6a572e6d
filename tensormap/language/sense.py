"""Laws of a mapping as a whole: it says something, it can hold, and what its config lines give is something that has a value."""

from __future__ import annotations

from collections.abc import Iterator

from tensormap.diagnostics import Diagnostic, Label, MappingError
from tensormap.language import mapping as m
from tensormap.language.expressions import Missing, Value, evaluate, names
from tensormap.language.polynomial import Polynomial


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
