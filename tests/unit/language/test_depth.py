"""How deep an expression may nest: as deep as the limit says, whatever the operators are, and not one deeper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tensormap.diagnostics import MappingError, Source, Span
from tensormap.language.evaluate import DEEPEST, Missing
from tensormap.language.expressions import evaluate, invert, polynomial
from tensormap.language.polynomial import Polynomial
from tensormap.language.syntax import Binary, Call, Expression, Integer, Item, List, Name, String, Unary

SPAN = Span(Source("m.tmap", "x"), 0, 1)
X = Name("x", SPAN)
Y = Name("y", SPAN)
ONE, NOTHING = Integer(1, SPAN), Integer(0, SPAN)
TRUE = Name("true", SPAN)
ABSENT = Name("_", SPAN)

Wrap = Callable[[Expression], Expression]


def _binary(operator: str, other: Expression = ONE, *, left: bool) -> Wrap:
    return lambda inner: Binary(operator, inner, other, SPAN) if left else Binary(operator, other, inner, SPAN)


def _called(function: str, *others: Expression, at: int = 0) -> Wrap:
    return lambda inner: Call(function, (*others[:at], inner, *others[at:]), SPAN)


def _wrapped(wrap: Wrap, times: int, core: Expression = X) -> Expression:
    tree = core
    for _ in range(times):
        tree = wrap(tree)
    return tree


def _refused(run: Callable[[], Any], slug: str = "expression-too-deep") -> None:
    with pytest.raises(MappingError) as caught:
        run()
    assert [each.slug for each in caught.value.diagnostics] == [slug]


VALUES: dict[str, tuple[Wrap, Any, Any]] = {
    "a minus": (lambda inner: Unary("-", inner, SPAN), 3, 3),
    "not": (lambda inner: Unary("not", inner, SPAN), True, True),
    "a sum, on its left": (_binary("+", left=True), 3, 3 + DEEPEST),
    "a sum, on its right": (_binary("+", left=False), 3, 3 + DEEPEST),
    "a product": (_binary("*", left=True), 3, 3),
    "a power": (_binary("**", left=True), 3, 3),
    "a fallback, on its left": (_binary("??", left=True), 3, 3),
    "a fallback, on its right": (_binary("??", ABSENT, left=False), 3, 3),
    "and, on its left": (_binary("and", TRUE, left=True), True, True),
    "and, on its right": (_binary("and", TRUE, left=False), True, True),
    "or, on its left": (_binary("or", Name("false", SPAN), left=True), True, True),
    "or, on its right": (_binary("or", Name("false", SPAN), left=False), True, True),
    "a call": (_called("abs"), 3, 3),
    "a call, behind another argument": (_called("max", ONE, at=1), 3, 3),
    "a choice, as its condition": (_called("select", TRUE, Name("false", SPAN)), True, True),
    "a choice, as its first arm": (_called("select", TRUE, ONE, at=1), 3, 3),
    "a choice, as its second arm": (_called("select", Name("false", SPAN), ONE, at=2), 3, 3),
    "an item, as its number": (lambda inner: Item(Y, inner, SPAN), 0, 0),
}


@pytest.mark.parametrize(("wrap", "given", "wanted"), VALUES.values(), ids=VALUES)
def test_values(wrap: Wrap, given: Any, wanted: Any) -> None:
    scope = {"x": given, "y": (0, 1)}
    assert evaluate(_wrapped(wrap, DEEPEST), scope) == wanted
    _refused(lambda: evaluate(_wrapped(wrap, DEEPEST + 1), scope))


def test_a_list_of_a_list() -> None:
    def wrap(inner: Expression) -> Expression:
        return Item(List((inner,), SPAN), NOTHING, SPAN)

    assert evaluate(_wrapped(wrap, DEEPEST // 2), {"x": 3}) == 3
    _refused(lambda: evaluate(_wrapped(wrap, DEEPEST // 2 + 1), {"x": 3}))


SIZES: dict[str, tuple[Wrap, Expression, Polynomial]] = {
    "a minus": (lambda inner: Unary("-", inner, SPAN), X, Polynomial.dimension("x")),
    "a sum, on its left": (_binary("+", left=True), X, Polynomial.dimension("x") + Polynomial.number(DEEPEST)),
    "a sum, on its right": (_binary("+", left=False), X, Polynomial.dimension("x") + Polynomial.number(DEEPEST)),
    "a difference": (_binary("-", left=True), X, Polynomial.dimension("x") - Polynomial.number(DEEPEST)),
    "a product, on its left": (_binary("*", left=True), X, Polynomial.dimension("x")),
    "a product, on its right": (_binary("*", left=False), X, Polynomial.dimension("x")),
    "a power, as its base": (_binary("**", left=True), X, Polynomial.dimension("x")),
    "a power, as its exponent": (_binary("**", left=False), ONE, Polynomial.number(1)),
}


@pytest.mark.parametrize(("wrap", "core", "wanted"), SIZES.values(), ids=SIZES)
def test_sizes(wrap: Wrap, core: Expression, wanted: Polynomial) -> None:
    assert polynomial(_wrapped(wrap, DEEPEST, core), {}) == wanted
    assert polynomial(_wrapped(wrap, DEEPEST + 1, core), {}) is None


def test_sizes_through_lets() -> None:
    lets: dict[str, Expression] = {f"a{k}": Name(f"a{k + 1}", SPAN) for k in range(DEEPEST + 1)}
    assert polynomial(Name("a1", SPAN), lets) == Polynomial.dimension(f"a{DEEPEST + 1}")
    assert polynomial(Name("a0", SPAN), lets) is None


CONFIGS: dict[str, tuple[Wrap, Any, Any]] = {
    "a minus": (lambda inner: Unary("-", inner, SPAN), 3, 3),
    "not": (lambda inner: Unary("not", inner, SPAN), True, True),
    "a sum, on its left": (_binary("+", left=True), 3 + DEEPEST, 3),
    "a sum, on its right": (_binary("+", left=False), 3 + DEEPEST, 3),
    "a fallback": (_binary("??", left=True), 3, 3),
    "a fallback behind what is known": (_binary("??", Y, left=False), 3, 3),
    "a whole number": (_called("int"), 3, 3),
    "a decimal": (_called("float"), 3.0, 3.0),
    "an equality": (_binary("==", TRUE, left=True), True, True),
    "an inequality": (_binary("!=", TRUE, left=True), True, True),
}


@pytest.mark.parametrize(("wrap", "value", "written"), CONFIGS.values(), ids=CONFIGS)
def test_what_is_written_into_a_config(wrap: Wrap, value: Any, written: Any) -> None:
    scope = {"y": None}
    assert invert(_wrapped(wrap, DEEPEST), value, scope) == ("x", written)
    _refused(lambda: invert(_wrapped(wrap, DEEPEST + 1), value, scope))


def test_choices_in_a_config() -> None:
    wrap = _called("select", TRUE, Name("false", SPAN))
    wanted = True
    assert invert(_wrapped(wrap, DEEPEST), wanted) == ("x", True)
    _refused(lambda: invert(_wrapped(wrap, DEEPEST + 1), wanted), "not-invertible")


def test_a_list_in_a_config() -> None:
    value: Any = 3
    for _ in range(DEEPEST):
        value = [value]
    assert invert(_wrapped(lambda inner: List((inner,), SPAN), DEEPEST), value) == ("x", 3)


def test_what_is_missing_below() -> None:
    tree = _wrapped(_binary("+", left=True), DEEPEST)
    assert evaluate(tree, {}) == Missing(("x",))
    assert evaluate(Binary("??", ABSENT, String("s", SPAN), SPAN), {}) == "s"
