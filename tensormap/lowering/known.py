"""What is known while a mapping is bound to a checkpoint: dimensions, params and config values, and sizes worked out from them."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Any

from tensormap.language import syntax
from tensormap.language.expressions import Missing, evaluate
from tensormap.language.expressions import names as names_in
from tensormap.language.mapping import Mapping
from tensormap.language.polynomial import Polynomial

NOWHERE: Map[str, int] = {}


def indices_in(expression: syntax.Expression, mapping: Mapping) -> frozenset[str]:
    """Return the indices on whose positions an expression depends."""
    found: set[str] = set()
    pending = list(names_in(expression))
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in mapping.indices:
            found.add(name)
        elif name in mapping.lets:
            pending.extend(names_in(mapping.lets[name]))
    return frozenset(found)


@dataclass(slots=True)
class Known:
    """Values by name, over one mapping. Sizes and conditions are evaluated at positions of indices where they need one."""

    mapping: Mapping
    values: dict[str, Any] = field(default_factory=dict)
    sizes: Map[str, int] = field(default_factory=dict)  # the least that names of axes and ranges can be
    nowhere: Map[str, Any] = field(init=False)  # for conditions: no index has a position
    _sizes: dict[Polynomial, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nowhere = {name: Missing((name,)) for name in self.mapping.indices}

    def put(self, name: str, value: Any) -> bool:
        """Take note of a value; say whether it is new. What was worked out before is forgotten."""
        if name in self.values and type(self.values[name]) is type(value) and self.values[name] == value:
            return False
        self.values[name] = value
        self._sizes.clear()
        return True

    def drop(self, name: str) -> None:
        """Forget a value."""
        self.values.pop(name, None)
        self._sizes.clear()

    def evaluate(self, expression: syntax.Expression, positions: Map[str, Any] = NOWHERE) -> Any:
        """Return an expression's value, or a Missing that names what is not known."""

        def look(name: str) -> Any:
            if name in positions:
                return positions[name]
            if name in self.values:
                return self.values[name]
            if name in self.mapping.lets:
                return evaluate(self.mapping.lets[name], look)
            return Missing((name,))

        return evaluate(expression, look)

    def size(self, polynomial: Polynomial, positions: Map[str, int] = NOWHERE) -> int | None:
        """Return a size as a number, or None if a dimension of it is not known."""
        if not positions and polynomial in self._sizes:
            return self._sizes[polynomial]
        total = 0
        for monomial, coefficient in polynomial.terms:
            for name, exponent in monomial:
                value = self.dimension(name, positions)
                if value is None:
                    return None
                coefficient *= value**exponent
            total += coefficient
        if not positions:
            self._sizes[polynomial] = total
        return total

    def dimension(self, name: str, positions: Map[str, int] = NOWHERE) -> int | None:
        """Return the number that a name in a polynomial stands for, or None."""
        if name in self.mapping.derived:  # what can be worked out counts before what shapes alone would say
            value = self.evaluate(self.mapping.derived[name], positions)
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            if not isinstance(value, Missing):
                return None  # no size, whatever shapes would say
        if name in self.values:
            value = self.values[name]
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        if name in self.mapping.derived:
            return None
        if name in self.mapping.sums:
            index, inner = self.mapping.sums[name]
            count = self.size(self.mapping.indices[index].size)
            return None if count is None else self.before(index, inner, count)
        if name.endswith("]") and "[" in name:
            return self._item(name, positions)
        if name in self.mapping.lets:
            value = self.evaluate(self.mapping.lets[name], positions)
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        return None

    def _item(self, name: str, positions: Map[str, int]) -> int | None:
        base, _, key = name[:-1].partition("[")
        if key not in positions:
            return None
        values = self.evaluate(syntax.Name(base, self.mapping.rules[0].span if self.mapping.rules else None))  # type: ignore[arg-type]
        if not isinstance(values, (list, tuple)) or positions[key] >= len(values):
            return None
        value = values[positions[key]]
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def before(self, index: str, inner: Polynomial, position: int) -> int | None:
        """Return the sum of `inner` over the positions of `index` before this one."""
        total = 0
        for k in range(position):
            part = self.size(inner, {index: k})
            if part is None:
                return None
            total += part
        return total

    def moving(self, size: Polynomial) -> frozenset[str]:
        """Return the indices on whose positions a size depends, such as `p` for `stages[p]`."""
        return frozenset().union(*(self._moving(name) for name in size.dimensions))

    def _moving(self, name: str) -> frozenset[str]:
        mapping = self.mapping
        if name in mapping.sums:
            index, inner = mapping.sums[name]
            return self.moving(inner) - {index}
        expression = mapping.derived.get(name, mapping.lets.get(name))
        if expression is not None:
            return indices_in(expression, mapping)
        return frozenset([name[:-1].partition("[")[2]] if name.endswith("]") else [])

    def count(self, index: str, positions: Map[str, int] = NOWHERE) -> int | None:
        """Return how many positions an index has, or None."""
        return self.size(self.mapping.indices[index].size, positions)
