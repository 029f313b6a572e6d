"""Laws on names: those of tensors tell positions apart, and those in expressions mean something."""

from __future__ import annotations

from collections.abc import Iterator

from tensormap.diagnostics import Diagnostic, Label, Span
from tensormap.dtypes import BY_NAME, SHORT
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import names as names_in
from tensormap.language.layout import ONE, atoms
from tensormap.language.names import NumberHole, Template
from tensormap.suggest import did_you_mean

_HINTS = 20  # unknown names that are worth looking for one by one


def holes_are_injective(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """Different positions give different names."""
    for rule in mapping.rules:
        for tensor, hole, indices in collapsed(rule, mapping):
            first, second = indices[0], indices[-1]
            if all(stride == ONE for _, stride in hole.parts):
                where = "in the name of a tensor that stands alone, and not in a `block` or in arithmetic"
                help = f"`{{{first} + {second}}}` joins ranges {where}"
            else:
                help = f"`{{({first} {second})}}` numbers the pairs of their positions in order"
            yield Diagnostic(
                "not-injective",
                f"different positions of {' and '.join(f'`{each}`' for each in indices)} give the same name",
                (Label(hole.span or tensor.span),),
                help=(help,) if len(indices) > 1 else (),
            )


def collapsed(rule: m.Rule, mapping: m.Mapping) -> Iterator[tuple[m.Tensor, NumberHole, tuple[str, ...]]]:
    """Yield the holes of a rule in which several positions have one number, with their indices, once for each tensor's name."""
    for tensor in m.stored((*rule.left, *rule.right)):
        for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
            bad = _collapsing(template, mapping)
            if bad is not None:
                yield (tensor, *bad)


def _collapsing(template: Template, mapping: m.Mapping) -> tuple[NumberHole, tuple[str, ...]] | None:
    """Return a hole whose sum is ambiguous and the indices in it, if no other hole tells them apart."""
    alone = {
        part.parts[0][0] if isinstance(part, NumberHole) else part.index
        for part in template.parts
        if not isinstance(part, str) and (not isinstance(part, NumberHole) or len(part.parts) == 1)
    }
    for part in template.parts:
        if not isinstance(part, NumberHole) or len(part.parts) < 2:
            continue
        for k in range(len(part.parts) - 1, 0, -1):
            index, stride = part.parts[k]
            outer = part.parts[k - 1]
            expected = stride * mapping.indices[index].size
            if outer[0] in part.ragged:
                continue
            if outer[1] != expected and not {outer[0], index} & alone:
                return part, (outer[0], index)
    for part in template.parts:
        if isinstance(part, NumberHole):
            for index, stride in part.parts:
                if not stride.terms:
                    return part, (index,)
    return None


def names_are_known(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """Every name in a condition, a requirement or a number is something that can have a value."""
    known = _known_names(mapping)
    said: set[str] = set()
    for expression, span in _expressions(mapping):
        for name in names_in(expression):
            if name in known or name in said:
                continue
            said.add(name)
            hint = did_you_mean(name, tuple(sorted(known))) if len(said) <= _HINTS else None
            yield Diagnostic(
                "unknown-name",
                f"nothing gives `{name}` a value",
                (Label(span, f"`{name}` is used here"),),
                help=(f"did you mean `{hint}`?",) if hint else _declaring(name, expression, mapping),
            )


def _expressions(mapping: m.Mapping) -> list[tuple[syntax.Expression, Span]]:
    """List the expressions that need values: conditions, requirements, and numbers in terms."""
    found: list[tuple[syntax.Expression, Span]] = []
    for rule in mapping.rules:
        found.extend((guard.condition, guard.condition.span) for guard in rule.guards)
        for term in (*rule.left, *rule.right):
            if isinstance(term.content, m.Generated):
                found.extend((each, term.span) for each in term.content.arguments)
            if isinstance(term.content, m.Stored):
                found.extend((each, term.span) for each in _scalars(term.content.formula))
    found.extend((each.condition, each.span) for each in mapping.requirements)
    return found


def _declaring(name: str, expression: syntax.Expression, mapping: m.Mapping) -> tuple[str, ...]:
    """Say how a name gets a value, or that it was meant as a word or as the key that a line reads."""
    if _compared(name, expression):
        return (f'a word stands in quotes: `"{name}"`',)
    for line in mapping.config:
        for side in (line.left, line.right):
            if side is not None and name in names_in(side):
                return (f"so far it is a key: begin the config line that reads it with `{name} =`",)
    return (f"declare it: a `param`, a `let`, or a config line that reads it: `{name} = KEY <-> KEY`",)


def _compared(name: str, expression: syntax.Expression) -> bool:
    """Say whether a bare name stands behind `==` or `!=`, or in the list behind `in`, as a word would."""
    match expression:
        case syntax.Binary(operator="==" | "!=", right=syntax.Name(text=text)):
            return text == name
        case syntax.Binary(operator="in", right=syntax.List(items=items)):
            return any(isinstance(each, syntax.Name) and each.text == name for each in items)
        case syntax.Binary(operator="and" | "or", left=left, right=right):
            return _compared(name, left) or _compared(name, right)
        case syntax.Unary(operand=operand):
            return _compared(name, operand)
        case _:
            return False


def _scalars(formula: m.Formula) -> Iterator[syntax.Expression]:
    match formula:
        case m.Scalar(expression=expression):
            yield expression
        case m.Function(arguments=arguments):
            for each in arguments:
                yield from _scalars(each)
        case _:
            pass


def _known_names(mapping: m.Mapping) -> set[str]:
    known = {"true", "false", "none", *mapping.params, *mapping.lets, *mapping.indices}
    for line in mapping.config:
        if line.value is not None:
            known.update(names_in(line.value))
    for index in mapping.indices.values():
        known.update(name.partition("[")[0] for name in index.size.dimensions)
    for rule in mapping.rules:
        for term in (*rule.left, *rule.right):
            layouts = [tensor.layout for tensor in m.stored((term,))]
            if isinstance(term.content, m.Fixed) and term.content.layout is not None:
                layouts.append(term.content.layout)
            for layout in layouts:
                for atom in atoms(layout):
                    known.update(name.partition("[")[0] for name in atom.size.dimensions)
    return known


def keys_are_no_values(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """A config line names the value first, then the keys: `e = hidden_size <-> hidden_size`."""
    axes = _axes(mapping)
    given = {name for line in mapping.config if line.value is not None for name in names_in(line.value)}
    used = {name for expression, _ in _expressions(mapping) for name in names_in(expression)}
    used |= (
        {name for value in mapping.lets.values() for name in names_in(value)} | {*mapping.params, *mapping.lets} | axes
    )
    for line in mapping.config:
        if not isinstance(line.value, syntax.Name) or line.value.text in used:
            continue
        keys = [key.text for key in (line.left, line.right) if isinstance(key, syntax.Name)]
        key = next((name for name in keys if name in axes - given), None)
        if key is not None:
            value = line.value.text
            yield Diagnostic(
                "key-as-value",
                f"this line reads a key `{key}`, which is an axis, and calls it `{value}`, which is none",
                (Label(line.span, "the value comes first"),),
                help=(f"did you mean `{key} = {value}`?",),
                severity="warning",
            )


def _axes(mapping: m.Mapping) -> set[str]:
    terms = (term for rule in mapping.rules for term in (*rule.left, *rule.right))
    return {
        name
        for term in terms
        for tensor in term.tensors
        for atom in atoms(tensor.layout)
        for name in atom.size.dimensions
    }


def dtypes_are_known(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """`as` names a dtype."""
    for rule in mapping.rules:
        for tensor in m.stored((*rule.left, *rule.right)):
            if tensor.dtype is not None and tensor.dtype not in BY_NAME:
                hint = SHORT.get(tensor.dtype) or did_you_mean(tensor.dtype, tuple(BY_NAME))
                yield Diagnostic(
                    "unknown-dtype",
                    f"there is no dtype `{tensor.dtype}`",
                    (Label(tensor.span),),
                    help=(f"did you mean `{hint}`?",) if hint else (),
                )


def virtual_tensors_join(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """A virtual tensor stands on the left of one rule and on the right of another."""
    sides: dict[str, tuple[list[m.Tensor], list[m.Tensor]]] = {}
    for rule in mapping.rules:
        for side, terms in ((0, rule.left), (1, rule.right)):
            for tensor in m.stored(terms):
                if tensor.template.virtual:
                    family = "".join(part if isinstance(part, str) else "#" for part in tensor.template.parts)
                    sides.setdefault(family, ([], []))[side].append(tensor)
    for left, right in sides.values():
        if not left or not right:
            only, where = (left, "left") if left else (right, "right")
            yield Diagnostic(
                "virtual-alone",
                f"`{only[0].template}` stands on the {where} side only",
                (Label(only[0].span, "joined with nothing"),),
                help=("a virtual tensor joins two rules: the left side of one, the right side of the other",),
            )


def defaults_are_variants(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """The default of a param with variants is one of them."""
    known = _known_names(mapping)
    for param in mapping.params.values():
        match param.default:
            case syntax.Name(text=text) | syntax.String(value=text) if param.variants and text not in (
                *param.variants,
                *known,
            ):
                yield Diagnostic(
                    "unknown-variant",
                    f"the default of `{param.name}` is none of its variants",
                    (Label(param.span, f"its variants are {', '.join(param.variants)}"),),
                )
            case _:
                pass
