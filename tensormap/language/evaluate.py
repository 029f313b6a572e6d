"""The value of an expression: a small total arithmetic, evaluated by us node by node, never by Python.

What is not known is a value too: `Missing` says which names stood in the way. Where a name's value comes from is the business of a
scope; knows no config file and no checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tensormap.diagnostics import Diagnostic, Label, MappingError
from tensormap.language import arithmetic
from tensormap.language.arithmetic import EvaluationError, Value
from tensormap.language.syntax import (
    Binary,
    Call,
    Expression,
    Integer,
    Item,
    List,
    Name,
    Number,
    Numbered,
    String,
    Unary,
)


@dataclass(frozen=True, slots=True)
class Missing:
    """No value: `names` are the unknown names that an expression would need, in order; `_` needs none."""

    names: tuple[str, ...]


Lookup: TypeAlias = "Callable[[str], Value | Missing]"
Scope: TypeAlias = "Mapping[str, Value] | Lookup"

CONSTANTS: dict[str, Value] = {"true": True, "false": False, "none": None}
ABSENT = "_"
LAZY = ("??", "and", "or")
DEEPEST = 150  # operators inside operators; far beyond what anyone writes, far below Python's own limit


def evaluate(expression: Expression, scope: Scope) -> Value | Missing:
    """Return the value, or `Missing` with the unknown names that it depends on.

    `a ?? b` is `a` unless that is missing or none, then `b`. `and` and `or` decide as soon as one side does, whatever is
    unknown on the other. MappingError: `type-mismatch`, `division-by-zero`, `overflow`, `bad-argument`, `unknown-function`.

    >>> evaluate(parse_expression("num_kv_heads ?? num_attention_heads"), {"num_attention_heads": 32})
    32
    """
    return _value(expression, as_lookup(scope), 0)


def as_lookup(scope: Scope) -> Lookup:
    if isinstance(scope, Mapping):
        table = scope
        return lambda name: table[name] if name in table else Missing((name,))
    return scope


def _value(expression: Expression, scope: Lookup, depth: int) -> Value | Missing:
    if depth > DEEPEST:
        raise error("expression-too-deep", "the expression nests too deeply", expression)
    try:
        match expression:
            case Integer() | Number() | String():
                return _literal(expression)
            case Name():
                return _name(expression.text, scope)
            case Unary():
                return _unary(expression, scope, depth)
            case Binary() if expression.operator in LAZY:
                return _lazy(expression, scope, depth)
            case Binary():
                pair = _all((expression.left, expression.right), scope, depth)
                return pair if isinstance(pair, Missing) else arithmetic.operate(expression.operator, *pair)
            case Call(function="select"):
                return _select(expression, scope, depth)
            case Call():
                arguments = _all(expression.arguments, scope, depth)
                return arguments if isinstance(arguments, Missing) else arithmetic.call(expression.function, arguments)
            case Item():
                return _item(expression, scope, depth)
            case List():
                return _all(expression.items, scope, depth)
            case Numbered():
                raise error("misplaced-numbering", "`(a b)` numbers pairs only inside the braces of a name", expression)
    except EvaluationError as fault:
        raise _report(fault, expression, scope) from None


def _literal(expression: Integer | Number | String) -> Value:
    if isinstance(expression, Number):
        return float(expression.text)
    return arithmetic.checked(expression.value)


def _name(name: str, scope: Lookup) -> Value | Missing:
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name == ABSENT:
        return Missing(())
    value = scope(name)
    return value if isinstance(value, Missing) else arithmetic.checked(value)


def _all(expressions: Iterable[Expression], scope: Lookup, depth: int) -> tuple[Value, ...] | Missing:
    """Evaluate all, so that everything that is missing is named at once."""
    values: list[Value] = []
    missing: list[Missing] = []
    for each in expressions:
        value = _value(each, scope, depth + 1)
        if isinstance(value, Missing):
            missing.append(value)
        else:
            values.append(value)
    return _union(*missing) if missing else tuple(values)


def _union(*missing: Missing) -> Missing:
    return Missing(tuple(dict.fromkeys(name for each in missing for name in each.names)))


def _unary(expression: Unary, scope: Lookup, depth: int) -> Value | Missing:
    value = _value(expression.operand, scope, depth + 1)
    if isinstance(value, Missing):
        return value
    return arithmetic.negate(value) if expression.operator == "-" else arithmetic.invert_truth(value)


def _lazy(expression: Binary, scope: Lookup, depth: int) -> Value | Missing:
    left = _value(expression.left, scope, depth + 1)
    if expression.operator == "??":
        if left is not None and not isinstance(left, Missing):
            return left
        right = _value(expression.right, scope, depth + 1)
        return _union(left, right) if isinstance(left, Missing) and isinstance(right, Missing) else right
    decided = expression.operator == "or"
    if not isinstance(left, Missing) and arithmetic.truth(expression.operator, left) is decided:
        return decided
    right = _value(expression.right, scope, depth + 1)
    if not isinstance(right, Missing) and arithmetic.truth(expression.operator, right) is decided:
        return decided
    unknown = [each for each in (left, right) if isinstance(each, Missing)]
    return _union(*unknown) if unknown else not decided


def _select(expression: Call, scope: Lookup, depth: int) -> Value | Missing:
    condition, yes, no = branches(expression)
    value = _value(condition, scope, depth + 1)
    if isinstance(value, Missing):
        return value
    return _value(yes if arithmetic.truth("select", value) else no, scope, depth + 1)


def branches(expression: Call) -> tuple[Expression, Expression, Expression]:
    """Return condition and arms of a `select`."""
    if len(expression.arguments) != 3:
        raise error("bad-argument", f"`select` takes 3 arguments, not {len(expression.arguments)}", expression)
    condition, yes, no = expression.arguments
    return condition, yes, no


def _item(expression: Item, scope: Lookup, depth: int) -> Value | Missing:
    pair = _all((expression.base, expression.key), scope, depth)
    if isinstance(pair, Missing):
        return pair
    base, key = pair
    if isinstance(base, Mapping) and isinstance(key, str):
        return base[key] if key in base else Missing((f"{words(expression.base)}.{key}",))
    if not isinstance(base, (list, tuple, str)) or not isinstance(key, int) or isinstance(key, bool):
        raise EvaluationError("type-mismatch", f"{arithmetic.kind(base)} has no item at {arithmetic.kind(key)}")
    if not -len(base) <= key < len(base):
        count = f"{len(base)} item{'' if len(base) == 1 else 's'}"
        raise EvaluationError(
            "bad-argument", f"`{words(expression.base)}` has {count}, and none at {key}, counted from 0"
        )
    return arithmetic.checked(base[key])


# --- names ------------------------------------------------------------------------------------------------------------


def names(expression: Expression) -> tuple[str, ...]:
    """Return the names that occur, in order and once each; `true`, `false`, `none` and `_` are not names."""
    found: dict[str, None] = {}
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Name) and node.text not in CONSTANTS and node.text != ABSENT:
            found[node.text] = None
        waiting.extend(reversed(_children(node)))
    return tuple(found)


def _children(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Unary():
            return (expression.operand,)
        case Binary():
            return (expression.left, expression.right)
        case Call():
            return expression.arguments
        case Item():
            return (expression.base, expression.key)
        case List():
            return expression.items
        case Numbered():
            return expression.parts
        case Name() | Integer() | Number() | String():
            return ()


# --- findings ---------------------------------------------------------------------------------------------------------


def words(expression: Expression) -> str:
    span = expression.span
    return span.source.text[span.start : span.end]


def error(slug: str, message: str, expression: Expression, label: str = "") -> MappingError:
    return MappingError(Diagnostic(slug, message, (Label(expression.span, label),)))


def _report(fault: EvaluationError, expression: Expression, scope: Lookup) -> MappingError:
    """Report a fault where it happened, with what the operands are that are not written out."""
    labels = [Label(expression.span)]
    if isinstance(expression, Binary) and expression.operator not in LAZY:
        for operand in (expression.left, expression.right):
            value = None if isinstance(operand, (Integer, Number, String, List)) else evaluate(operand, scope)
            if isinstance(value, (int, float, str)):
                labels.append(Label(operand.span, f"is {arithmetic.show(value)}", primary=False))
    return MappingError(Diagnostic(fault.slug, fault.message, tuple(labels)))
