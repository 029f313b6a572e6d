"""Which tensors a bound rule means: the names of a family at every position where the rule's conditions hold, and their shapes.

Keeps the account of what has been claimed. Reads no data, and knows nothing of how elements move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field

from tensormap.diagnostics import CheckpointError, Diagnostic, Label, Span
from tensormap.language import mapping as m
from tensormap.language.layout import Layout, Node, Product, Rest
from tensormap.language.layout import size as axis_size
from tensormap.language.names import Template, formatter
from tensormap.language.polynomial import Polynomial
from tensormap.lowering import coverage
from tensormap.lowering.bind import Bound
from tensormap.lowering.state import position_names

Place = Map[str, int]
NOWHERE: Place = {}


class Instances:
    """The names, positions and sizes of one binding."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.known = bound.known
        self._guards: dict[tuple[int, bool, tuple[int, ...]], bool] = {}
        self._conditions: dict[int, tuple[tuple[m.Guard, tuple[str, ...]], ...]] = {}
        self._formatters: dict[Template, Callable[[Place], str]] = {}

    def number(self, polynomial: Polynomial, place: Place = NOWHERE, span: Span | None = None) -> int:
        """Return a size as a number. CheckpointError if nothing determines it."""
        value = self.known.size(polynomial, place)
        if value is None:
            labels = (Label(span),) if span else ()
            raise CheckpointError(Diagnostic("underdetermined", f"nothing says how much `{polynomial}` is", labels))
        return value

    def size(self, node: Node | Product, place: Place) -> int:
        """Return how many positions an axis has."""
        return self.number(axis_size(node), place)

    def count(self, index: str, place: Place = NOWHERE) -> int:
        """Return how many positions an index has."""
        return max(0, self.number(self.bound.mapping.indices[index].size, place))

    def shape(self, layout: Layout, rest: tuple[int, ...], place: Place) -> tuple[int, ...]:
        """Return the shape of a tensor of this layout, `rest` standing for `...`."""
        sizes: list[int] = []
        for axis in layout.axes:
            sizes.extend(rest if isinstance(axis, Rest) else (self.number(axis_size(axis), place, layout.span),))
        return tuple(sizes)

    def formatter(self, template: Template) -> Callable[[Place], str]:
        """Return the function from positions to a template's name."""
        flat = {index: self.count(index) for index in template.indices if self._flat(index)}
        return formatter(template, flat, self.number, self._before)

    def name(self, template: Template, place: Place) -> str:
        """Return a template's name at these positions."""
        if template not in self._formatters:
            self._formatters[template] = self.formatter(template)
        return self._formatters[template](place)

    def _before(self, index: str, inner: Polynomial, position: int) -> int:
        return sum(self.number(inner, {index: k}) for k in range(position))

    def _flat(self, index: str) -> bool:
        return self.bound.mapping.indices[index].of is None

    def places(self, indices: Sequence[str], fixed: Place = NOWHERE) -> Iterator[dict[str, int]]:
        """Yield every combination of positions, an index whose size depends on another behind that one."""
        places: Iterator[dict[str, int]] = iter([dict(fixed)])
        for index in sorted((index for index in indices if index not in fixed), key=self._depends):
            places = self._along(index, places)
        return places

    def _along(self, index: str, places: Iterable[Place]) -> Iterator[dict[str, int]]:
        """Yield each place at every position of one more index."""
        depends = self._depends(index)
        count = 0 if depends else self.count(index)
        for place in places:
            for position in range(self.count(index, place) if depends else count):
                yield {**place, index: position}

    def _depends(self, index: str) -> bool:
        return not self._flat(index)

    def holds(self, rule: m.Rule, place: Place) -> bool:
        """Say whether the conditions of a rule hold at these positions; one that needs a position not given is left out."""
        if not rule.guards:
            return True
        for guard, needed in self._positional(rule):
            if any(name not in place for name in needed):
                continue
            key = (guard.scope, guard.negated, tuple([place[name] for name in needed]))
            if key not in self._guards:
                value = self.known.evaluate(guard.condition, {name: place[name] for name in needed})
                self._guards[key] = bool(value) != guard.negated
            if not self._guards[key]:
                return False
        return True

    def _positional(self, rule: m.Rule) -> tuple[tuple[m.Guard, tuple[str, ...]], ...]:
        """List the conditions of a rule with the indices that they depend on."""
        if rule.number not in self._conditions:
            mapping = self.bound.mapping
            self._conditions[rule.number] = tuple((guard, position_names(guard, mapping)) for guard in rule.guards)
        return self._conditions[rule.number]

    def family(self, rule: m.Rule, template: Template) -> Iterator[tuple[str, dict[str, int]]]:
        """Yield every name of a template with its positions, where the rule's conditions hold."""
        write = self.formatter(template)
        for place in self.places(template.indices):
            if self.holds(rule, place):
                yield write(place), place


@dataclass(slots=True)
class Account:
    """Which rule reads which source tensor, what is missing, and everything found wrong on the way."""

    bound: Bound
    findings: list[Diagnostic] = field(default_factory=list)
    missing: dict[int, list[tuple[m.Tensor, str]]] = field(default_factory=dict)
    _claims: dict[str, m.Rule] = field(default_factory=dict)

    def claim(self, name: str, rule: m.Rule) -> bool:
        """Let a rule read a source tensor; False where another rule does."""
        held = self._claims.setdefault(name, rule)
        if held is rule or held.number == rule.number:
            return True
        labels = (Label(rule.span, "this one"), Label(held.span, "and this one", primary=False))
        self.findings.append(Diagnostic("claimed-twice", f"two rules read `{name}`", labels))
        return False

    def claimed_by(self, name: str, rule: m.Rule) -> bool:
        held = self._claims.get(name)
        return held is not None and held.number == rule.number

    def lack(self, rule: m.Rule, lacking: Sequence[tuple[m.Tensor, str]]) -> None:
        self.missing.setdefault(rule.number, []).extend(lacking)

    def close(self, dropped: list[tuple[str, tuple[str, ...]]] | None = None) -> None:
        """Raise CheckpointError if anything was wrong, is missing, or is read by no rule. What a wild rule drops is added to
        `dropped`, with the rule's place.
        """
        left = [name for name in self.bound.catalog.tensors if name not in self._claims]
        family = Instances(self.bound).family
        left = coverage.drop_wild(self.bound.rules, left, [] if dropped is None else dropped, where, family)
        found = [*self.findings, *coverage.missing(self.missing, self.bound), *coverage.unclaimed(left, self.bound)]
        if found:
            raise CheckpointError(list(dict.fromkeys(found)))


def where(rule: m.Rule) -> str:
    """Name a rule by its file and line."""
    source = rule.span.source
    return f"{source.name}:{source.text.count(chr(10), 0, rule.span.start) + 1}"


def rest_of(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the sizes that `...` stands for in this shape; None where the ranks do not fit."""
    at = next((k for k, axis in enumerate(layout.axes) if isinstance(axis, Rest)), None)
    if at is None:
        return () if len(shape) == len(layout.axes) else None
    count = len(shape) - (len(layout.axes) - 1)
    return shape[at : at + count] if count >= 0 else None


def in_order(bound: Bound) -> Iterator[m.Rule]:
    """Yield the rules, each behind those that make the virtual tensors it reads. CheckpointError: they go in a circle."""
    pending = list(bound.rules)
    while pending:
        made: dict[str, set[int]] = {}
        for rule in pending:
            for tensor in m.stored(rule.right):
                if tensor.template.virtual:
                    made.setdefault(_form(tensor.template), set()).add(rule.number)
        ready = [rule for rule in pending if not any(_form(each.template) in made for each in m.stored(rule.left))]
        if not ready:
            message = "virtual tensors depend on each other in a circle"
            raise CheckpointError(Diagnostic("virtual-cycle", message, (Label(pending[0].span),)))
        yield from ready
        taken = {rule.number for rule in ready}
        pending = [rule for rule in pending if rule.number not in taken]


def _form(template: Template) -> str:
    return "".join(part if isinstance(part, str) else "#" for part in template.parts)
