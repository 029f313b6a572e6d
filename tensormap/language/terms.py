"""A term as written to what it holds: stored tensors and a formula over them, a constant, or a generator."""

from __future__ import annotations

from dataclasses import replace

from tensormap.diagnostics import Label
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.functions import GENERATORS, INVERSES, ONE_WAY
from tensormap.language.holes import template as template_of
from tensormap.language.layouts import layout as layout_of
from tensormap.language.scope import Scope
from tensormap.suggest import did_you_mean


def content(value: syntax.Value, prefixes: tuple[syntax.Template, ...], scope: Scope) -> m.Content:
    """Return what a term holds."""
    match value:
        case syntax.Tensor(template=syntax.Template(parts=("_",)), layout=layout):
            return m.Fixed(None, layout_of(layout, scope) if layout else None)
        case syntax.Constant(layout=layout):
            return m.Fixed(_expression(value), layout_of(layout, scope) if layout else None)
        case syntax.Negative(operand=syntax.Constant(layout=layout)):
            return m.Fixed(_expression(value), layout_of(layout, scope) if layout else None)
        case syntax.Apply(function=function, arguments=arguments, span=span) if function in GENERATORS:
            wanted = GENERATORS[function]
            if len(arguments) != len(wanted):
                listed = ", ".join(wanted)
                scope.fail(
                    "wrong-arguments",
                    f"`{function}` takes {len(wanted)} arguments, here are {len(arguments)}",
                    span,
                    f"`{function}({listed})`",
                )
            return m.Generated(function, tuple(_expression(each) for each in arguments))
        case syntax.Apply(function=function) if function in scope.externs:
            return _called(value, scope.externs[function], prefixes, scope)
        case _:
            tensors: list[m.Tensor] = []
            formula = _formula(value, prefixes, tensors, scope, top=True)
            if not tensors:
                return m.Fixed(_expression(value), None)
            return m.Stored(tuple(tensors), formula)


def _called(value: syntax.Apply, extern: m.Extern, prefixes: tuple[syntax.Template, ...], scope: Scope) -> m.Content:
    """Read `f(a, b)` of an extern: tensors in, one tensor out. An argument without a layout has the one of the signature."""
    if len(value.arguments) != len(extern.inputs):
        scope.fail(
            "wrong-arguments",
            f"`{extern.name}` takes {len(extern.inputs)} tensors, here are {len(value.arguments)}",
            value.span,
            "",
            Label(extern.span, "its signature", False),
        )
    if len(extern.outputs) != 1:
        scope.fail("wrong-arguments", f"`{extern.name}` must return one tensor to stand in a rule", extern.span)
    tensors: list[m.Tensor] = []
    for argument, layout in zip(value.arguments, extern.inputs, strict=False):
        if not isinstance(argument, syntax.Tensor):
            scope.fail("wrong-arguments", f"`{extern.name}` takes tensors, not arithmetic", argument.span)
            continue
        tensor = _tensor(argument, prefixes, scope)
        tensors.append(tensor if argument.layout is not None else replace(tensor, layout=layout))
    formula = m.Function(extern.name, tuple(m.Operand(k) for k in range(len(tensors))))
    return m.Stored(tuple(tensors), formula, extern.name, extern.outputs[0])


def _formula(
    value: syntax.Value,
    prefixes: tuple[syntax.Template, ...],
    tensors: list[m.Tensor],
    scope: Scope,
    *,
    top: bool = False,
) -> m.Formula:
    match value:
        case syntax.Tensor(template=template, layout=layout, aliases=aliases, dtype=dtype, span=span):
            if not top and layout is None and not aliases and dtype is None and _is_scalar(template, scope):
                return m.Scalar(syntax.Name(str(template.parts[0]), span))
            tensor = _tensor(value, prefixes, scope)
            if tensor not in tensors:  # a formula may name a tensor twice: it is read once
                tensors.append(tensor)
            return m.Operand(tensors.index(tensor))
        case syntax.Constant():
            return m.Scalar(_expression(value))
        case syntax.Negative(operand=operand):
            inner = _formula(operand, prefixes, tensors, scope)
            return m.Function("neg", (inner,))
        case syntax.Arithmetic(operator=operator, left=left, right=right):
            one = _formula(left, prefixes, tensors, scope)
            return m.Function(operator, (one, _formula(right, prefixes, tensors, scope)))
        case syntax.Apply(function=function, arguments=arguments, span=span):
            known = (*INVERSES, *ONE_WAY)
            if function in scope.externs:
                scope.fail("wrong-arguments", f"the extern `{function}` stands alone on its side of a rule", span)
            elif function in GENERATORS:
                scope.fail("wrong-arguments", f"the generator `{function}` stands alone on its side of a rule", span)
            elif function not in known:
                hint = did_you_mean(function, (*known, *GENERATORS))
                scope.fail(
                    "unknown-function",
                    f"there is no function `{function}`",
                    span,
                    help=f"did you mean `{hint}`?" if hint else "declare it: `extern f([...]) -> [...]`",
                )
            return m.Function(function, tuple(_formula(each, prefixes, tensors, scope) for each in arguments))


def _tensor(value: syntax.Tensor, prefixes: tuple[syntax.Template, ...], scope: Scope) -> m.Tensor:
    return m.Tensor(
        template_of(value.template, prefixes, scope),
        layout_of(value.layout, scope),
        tuple(m.Alias(template_of(each.template, prefixes, scope), each.maybe) for each in value.aliases),
        value.dtype,
        span=value.span,
    )


def _is_scalar(template: syntax.Template, scope: Scope) -> bool:
    if len(template.parts) != 1 or not isinstance(template.parts[0], str) or template.quoted:
        return False
    text = template.parts[0]
    return text in scope.lets or text in scope.params or text in scope.scalars or text in scope.indices


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
