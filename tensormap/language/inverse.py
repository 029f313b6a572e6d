"""Which formulas can be solved for their tensor."""

from __future__ import annotations

from tensormap.language import mapping as m
from tensormap.language.functions import INVERSES


def tensor_count(formula: m.Formula) -> int:
    """Count the tensors in a formula."""
    match formula:
        case m.Operand():
            return 1
        case m.Scalar():
            return 0
        case m.Function(arguments=arguments):
            return sum(tensor_count(each) for each in arguments)


def invertible(formula: m.Formula) -> bool:
    """Say whether a formula holds one tensor and only steps with an inverse around it."""
    match formula:
        case m.Operand():
            return True
        case m.Scalar():
            return False
        case m.Function(name="+" | "-" | "*" | "/", arguments=(left, right)):
            return tensor_count(formula) == 1 and (invertible(left) or invertible(right))
        case m.Function(name=name, arguments=(argument,)):
            return name in INVERSES and invertible(argument)
        case _:
            return False
