"""The parts of statements as text: expressions, names, layouts and terms, with no more parentheses than they need.

Printing text that was read gives text that reads the same; messages quote a user's words in this form.
"""

from __future__ import annotations

from tensormap.language import syntax
from tensormap.language.syntax import AxisLike, Expression, Layout, Template, Term, Value

_BINDING = {
    "or": 1,
    "and": 2,
    "in": 4,
    "==": 4,
    "!=": 4,
    "<": 4,
    "<=": 4,
    ">": 4,
    ">=": 4,
    "??": 5,
    "+": 6,
    "-": 6,
    "*": 7,
    "/": 7,
    "//": 7,
    "%": 7,
    "**": 9,
}
_NOT = 3
_COMPARISON = 4
_MINUS = 8
_POWER = 9
_PRIMARY = 10


def print_expression(expression: Expression) -> str:
    """Return an expression's text."""
    return _expression(expression, 0)


def _expression(expression: Expression, least: int) -> str:
    """Print an expression that stands where only what binds at least as tightly as `least` may stand without parentheses."""
    text, binding = _bound_expression(expression)
    return text if binding >= least else f"({text})"


def _bound_expression(expression: Expression) -> tuple[str, int]:
    """Return an expression's text and how tightly it binds."""
    match expression:
        case syntax.Name(text=text) | syntax.Number(text=text):
            return text, _PRIMARY
        case syntax.Integer(value=value):
            return str(value), _PRIMARY if value >= 0 else _MINUS
        case syntax.String(value=string):
            return f'"{string}"', _PRIMARY
        case syntax.Unary(operator="not", operand=syntax.Binary("in", left, right)):
            return f"{_expression(left, _COMPARISON + 1)} not in {_expression(right, _COMPARISON + 1)}", _COMPARISON
        case syntax.Unary(operator="not", operand=operand):
            binds = isinstance(operand, syntax.Unary) and operand.operator == "not"
            return f"not {_expression(operand, _NOT if binds else _PRIMARY)}", _NOT
        case syntax.Unary(operand=operand):
            return f"-{_expression(operand, _MINUS)}", _MINUS
        case syntax.Binary("**", left, right):
            return f"{_expression(left, _PRIMARY)} ** {_expression(right, _MINUS)}", _POWER
        case syntax.Binary(operator, left, right):
            binding = _BINDING[operator]
            least = binding + 1 if binding == _COMPARISON else binding
            return f"{_expression(left, least)} {operator} {_expression(right, binding + 1)}", binding
        case syntax.Call(function=function, arguments=arguments):
            return f"{function}({', '.join(map(print_expression, arguments))})", _PRIMARY
        case syntax.Item(base=base, key=key):
            return f"{_expression(base, _PRIMARY)}[{print_expression(key)}]", _PRIMARY
        case syntax.List(items=items):
            return f"[{', '.join(map(print_expression, items))}]", _PRIMARY
        case syntax.Numbered(parts=parts):
            return f"({' '.join(_expression(each, _PRIMARY) for each in parts)})", _PRIMARY


def print_template(template: Template) -> str:
    """Return a name's text, in quotes if it was written so."""
    text = "".join(part if isinstance(part, str) else _hole(part) for part in template.parts)
    return f'"{text}"' if template.quoted else text


def _hole(hole: syntax.Hole) -> str:
    width = f":0{hole.width}" if hole.width else ""
    return f"{{{print_expression(hole.expression)}{width}}}"


def print_layout(layout: Layout) -> str:
    """Return a layout's text with its brackets."""
    return f"[{' '.join(map(_axis, layout.axes))}]"


def _axis(axis: AxisLike) -> str:
    match axis:
        case syntax.Axis(name=name, of=of, per=per, tag=tag):
            return _tag(tag, "") + name + (f"[{of}]" if of else "") + ("" if per is None else f"/{per}")
        case syntax.Literal1(value=value, tag=tag):
            return f"{_tag(tag, '')}{value}"
        case syntax.Ellipsis1():
            return "..."
        case syntax.Group(summands=summands, tag=tag):
            return f"{_tag(tag, '')}({' + '.join(' '.join(map(_axis, each.axes)) for each in summands)})"


def _tag(tag: str | None, space: str) -> str:
    return f"{tag}:{space}" if tag else ""


def print_term(term: Term) -> str:
    """Return a term's text with its tag."""
    return _tag(term.tag, " ") + _value(term.value, 0)


def _value(value: Value, least: int) -> str:
    """Print a value that stands where only what binds at least as tightly as `least` may stand without parentheses."""
    text, binding = _bound_value(value)
    return text if binding >= least else f"({text})"


def _bound_value(value: Value) -> tuple[str, int]:
    match value:
        case syntax.Tensor(template=template, aliases=aliases, layout=layout, dtype=dtype):
            words = [print_template(template)]
            words += [f"= {print_template(each.template)}{'?' if each.maybe else ''}" for each in aliases]
            words += [print_layout(layout)] if layout else []
            words += [f"as {dtype}"] if dtype else []
            return " ".join(words), _PRIMARY
        case syntax.Constant(text=text, layout=layout):
            return f"{text} {print_layout(layout)}" if layout else text, _PRIMARY
        case syntax.Apply(function=function, arguments=arguments):
            return f"{function}({', '.join(_value(each, 0) for each in arguments)})", _PRIMARY
        case syntax.Negative(operand=operand):
            return f"-{_value(operand, _MINUS)}", _MINUS
        case syntax.Arithmetic(operator=operator, left=left, right=right):
            binding = _BINDING[operator]
            return f"{_value(left, binding)} {operator} {_value(right, binding + 1)}", binding
