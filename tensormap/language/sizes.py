"""A size as written to a polynomial over dimensions. What is none becomes a derived dimension of its own."""

from __future__ import annotations

from tensormap.diagnostics import Diagnostic, Label, MappingError, Span
from tensormap.language import syntax
from tensormap.language.polynomial import Polynomial
from tensormap.language.printer import print_expression
from tensormap.language.scope import CONSTANT_NAMES, Scope


def polynomial(expression: syntax.Expression, scope: Scope) -> Polynomial:
    """Return an expression as a polynomial; what is none becomes a derived dimension of its own."""
    match expression:
        case syntax.Integer(value=value):
            return Polynomial.number(value)
        case syntax.Name(text=text) if text in scope.lets:
            if not scope.enter(text, expression.span):
                return Polynomial.number(1)
            result = polynomial(scope.lets[text], scope)
            scope.resolving.pop()
            return result
        case syntax.Name(text=text) if text in scope.indices:
            return scope.indices[text].size
        case syntax.Name(text=text) if text not in CONSTANT_NAMES:
            return Polynomial.dimension(text)
        case syntax.Unary(operator="-", operand=operand):
            return Polynomial.number(-1) * polynomial(operand, scope)
        case syntax.Binary(operator="+" | "-" | "*" as operator, left=left, right=right, span=span):
            return _combined(operator, polynomial(left, scope), polynomial(right, scope), span, scope)
        case syntax.Binary(operator="**", left=left, right=syntax.Integer(value=power)) if 0 <= power <= 8:
            result, factor = Polynomial.number(1), polynomial(left, scope)
            for _ in range(power):
                result = _combined("*", result, factor, expression.span, scope)
            return result
        case _:
            text = print_expression(expression)
            scope.derived[text] = expression
            return Polynomial.dimension(text)


def _combined(operator: str, left: Polynomial, right: Polynomial, span: Span, scope: Scope) -> Polynomial:
    """Add, subtract or multiply two sizes, as long as one that can be written down comes out."""
    scope.room.take(len(left.terms) * len(right.terms) if operator == "*" else len(left.terms + right.terms), span)
    result = left + right if operator == "+" else left - right if operator == "-" else left * right
    if not result.bounded:
        message = "this size has numbers of more than 63 bits, or products of more than 64 factors"
        raise MappingError([*scope.found, Diagnostic("too-large", message, (Label(span),))])
    return result
