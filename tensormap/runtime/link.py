"""One pair of blocks of a rule, ready to be read: which tensors, at which positions, and what their numbers become."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.language.layout import Leaf
from tensormap.language.pairing import Pair, block_atoms, term_blocks
from tensormap.lowering import formulas, generator_shapes, plan
from tensormap.lowering.bind import Bound
from tensormap.lowering.instances import Account, Instances, rest_of
from tensormap.lowering.writer import ULPS
from tensormap.runtime import axes, frameworks, generators
from tensormap.runtime.comparison import Array, Differences, Found
from tensormap.runtime.frameworks import Framework

Place: TypeAlias = Map[str, int]


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor that is read: one of the source's, or a virtual one that another rule makes. `dtype` None: nothing decides it."""

    name: str
    tensor: m.Tensor
    place: Place
    shape: tuple[int, ...]
    dtype: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """`paths` choose the block in each of the left term's tensors, `target` the one on the right. `inner` are the indices that
    only the left names have, `reduced` the replicated ones among them, `spread` those on the right that share a sum.
    """

    rule: m.Rule
    left: m.Content
    right: m.Content
    tensors: tuple[m.Tensor, ...]
    paths: tuple[axes.Path, ...]
    target: axes.Path
    inner: tuple[str, ...]
    reduced: tuple[tuple[str, m.How], ...]
    spread: tuple[str, ...]

    @staticmethod
    def writing(rule: m.Rule, pair: Pair, term: m.Term) -> Link:
        """Return the link that reads the left block of a pair to write the right one."""
        left = rule.left[pair.left.term].content
        here, there = block_atoms(pair.left, left), block_atoms(pair.right, term.content)
        assert isinstance(term.content, m.Stored)
        own = term.content.tensors[0]
        number = term_blocks(term, pair.right.term).index(pair.right)
        reduced = tuple((name, how) for name, how in rule.replicated if name in here and name not in there)
        merged = {name for name, _ in reduced}
        tensors, paths, indices = _left(rule, pair)
        return Link(
            rule,
            left,
            term.content,
            tensors,
            paths,
            list(axes.paths(own.layout.axes))[number],
            tuple(name for name in indices if name not in own.template.indices and name not in merged),
            reduced,
            tuple(name for name, how in rule.replicated if how == "sum" and name in there and name not in here),
        )

    @staticmethod
    def verifying(rule: m.Rule, pair: Pair) -> Link:
        """Return the link that reads the left block of a pair, replicas too, to compare it with the right one."""
        tensors, paths, indices = _left(rule, pair)
        left, right = rule.left[pair.left.term].content, rule.right[pair.right.term].content
        return Link(rule, left, right, tensors, paths, (), indices, (), ())

    @property
    def formula(self) -> m.Formula:
        """What the left term makes of its tensors."""
        assert isinstance(self.left, m.Stored)
        return self.left.formula

    @property
    def is_anything(self) -> bool:
        """Say whether the right side is `_`."""
        return isinstance(self.right, m.Fixed) and self.right.value is None

    @property
    def computes(self) -> bool:
        """Say whether numbers change on the way."""
        plain = isinstance(self.right, m.Stored) and isinstance(self.right.formula, m.Operand)
        if isinstance(self.left, m.Stored):
            plain = plain and isinstance(self.left.formula, m.Operand)
        return not plain or bool(self.spread) or any(how in ("mean", "sum") for _, how in self.reduced)

    def spot(self, place: Place) -> tuple[int, ...]:
        """Return the positions of the inner indices."""
        missing = next((name for name in self.inner if name not in place), None)
        if missing is not None:
            raise axes.Loose(missing)
        return tuple(place[name] for name in self.inner)


def _left(rule: m.Rule, pair: Pair) -> tuple[tuple[m.Tensor, ...], tuple[axes.Path, ...], tuple[str, ...]]:
    term = rule.left[pair.left.term]
    if not isinstance(term.content, m.Stored):
        return (), (), ()
    number = term_blocks(term, pair.left.term).index(pair.left)
    tensors = term.content.tensors
    choices = [list(axes.paths(tensor.layout.axes)) for tensor in tensors]
    paths = tuple(each[number if len(each) > 1 else 0] for each in choices)
    return tensors, paths, tuple(dict.fromkeys(index for each in tensors for index in each.template.indices))


@dataclass(slots=True)
class Reader:
    """Reads links: finds their tensors by name, and their values."""

    bound: Bound
    tensors: Map[str, Any]
    instances: Instances
    account: Account
    virtuals: dict[str, Held] = field(default_factory=dict)
    tied: list[tuple[m.Rule, Held, Held]] = field(default_factory=list)
    _kept: dict[str, tuple[Framework, Any, str]] = field(default_factory=dict)

    # --- which tensors ----------------------------------------------------------------------------------------------

    def replicas(self, link: Link, place: Place) -> list[dict[str, int]]:
        """List the positions at which a link's replicas are read."""
        names = [name for name, _ in link.reduced]
        counts = [range(self._replica_count(link, name)) for name in names]
        return [{**place, **dict(zip(names, chosen, strict=True))} for chosen in product(*counts)]

    def _replica_count(self, link: Link, name: str) -> int:
        if name in self.bound.mapping.indices:
            return self.instances.count(name)
        atoms = (atom for each in link.tensors for atom in _atoms(each))
        return self.instances.number(next(atom.size for atom in atoms if atom.name == name))

    def find(self, link: Link, place: Place) -> tuple[list[Held], list[tuple[m.Tensor, str]]]:
        """Return the tensors that a link reads at these positions, replica by replica, and those that are not there."""
        found: list[Held] = []
        lacking: list[tuple[m.Tensor, str]] = []
        for each in self.replicas(link, place):
            for tensor in link.tensors:
                name = self.instances.name(tensor.template, each)
                held = (
                    self.virtuals.get(name) if tensor.template.virtual else self._stored(link.rule, tensor, name, each)
                )
                if held is None:
                    lacking.append((tensor, name))
                else:
                    found.append(Held(held.name, tensor, each, held.shape, held.dtype))
        return found, lacking

    def _stored(self, rule: m.Rule, tensor: m.Tensor, name: str, place: Place) -> Held | None:
        """Return the tensor of this name, or of one of its aliases; those that are there as well must be equal."""
        found: Held | None = None
        for each in (name, *(self.instances.name(alias.template, place) for alias in tensor.aliases)):
            info = self.bound.catalog.tensors.get(each)
            if info is None or (found is not None and self.account.claimed_by(each, rule)):
                continue
            self.account.claim(each, rule)
            held = Held(each, tensor, place, info.shape, info.dtype)
            if found is None:
                found = held
            elif (found.shape, found.dtype) == (held.shape, held.dtype):
                self.tied.append((rule, held, found))
            else:
                message = f"`{found.name}` and `{each}` are one tensor here, but have different shapes or dtypes"
                notes = tuple(f"{one.name} is {one.dtype} {list(one.shape)}" for one in (found, held))
                self.account.findings.append(Diagnostic("tied-differ", message, (Label(tensor.span),), notes))
        return found

    # --- their elements ---------------------------------------------------------------------------------------------

    def keep(self, name: str, framework: Framework, raw: Any, dtype: str) -> None:
        """Take a virtual tensor that has been made."""
        self._kept[name] = framework, raw, dtype

    def _open(self, held: Held) -> tuple[Framework, Any, str]:
        if held.name not in self._kept:
            tensor = self.tensors[held.name]
            framework = frameworks.framework_of(tensor)
            assert framework is not None
            assert held.dtype is not None
            self._kept[held.name] = framework, framework.raw(tensor), held.dtype
        return self._kept[held.name]

    def framework(self, held: Held) -> Framework:
        return self._open(held)[0]

    def dtype(self, held: Held) -> str:
        """Return the dtype that a tensor's elements have; of a virtual one, not always what it stands for."""
        return self._open(held)[2]

    def _piece(self, array: Any, held: Held, path: axes.Path, nodes: Sequence[Leaf] | None, place: Place) -> Any:
        rest = rest_of(held.tensor.layout, held.shape) or ()
        size = self.instances.size
        piece = axes.take(array, axes.nodes_of(held.tensor.layout, rest), path, {**place, **held.place}, size)
        return piece.array if nodes is None else axes.bring(piece, nodes, place, size)

    def found(self, held: Held, path: axes.Path, nodes: Sequence[Leaf] | None, place: Place) -> Found:
        """Say where the elements of a block lie in their tensor."""

        def places() -> Array:
            total = 1
            for size in held.shape:
                total *= size
            flat = np.arange(total, dtype=np.int64).reshape(held.shape)
            piece: Array = self._piece(flat, held, path, nodes, place)
            return piece

        return Found(held.shape, places)

    def filled(
        self, framework: Framework, value: float, dtype: str, nodes: Sequence[Leaf], place: Place, name: str
    ) -> Any:
        """Return a raw array of one number."""
        raw = framework.adopt(frameworks.constant(value, dtype, f"`{name}`"))
        return axes.bring(axes.Piece(raw, ()), nodes, place, self.instances.size)

    def generated(self, link: Link, place: Place) -> tuple[tuple[int, ...], str]:
        """Return the shape and dtype of a link's generated tensor. CheckpointError: it does not take these arguments."""
        made = self._generator(link.left if isinstance(link.left, m.Generated) else link.right, place)
        try:
            return generator_shapes.shape(made.name, made.arguments), generator_shapes.dtype(made.name)
        except (KeyError, ValueError) as error:
            raise CheckpointError(Diagnostic("wrong-arguments", str(error), (Label(link.rule.span),))) from None

    def _generator(self, content: m.Content, place: Place) -> plan.Generator:
        assert isinstance(content, m.Generated)
        numbers = tuple(formulas.number(each, self.bound.known, place) for each in content.arguments)
        return plan.Generator(content.name, numbers)

    def _values(self, link: Link, place: Place, shape: tuple[int, ...], name: str) -> Array:
        made, dtype = self.generated(link, place)
        count, wanted = (int(np.prod(each, dtype=object)) for each in (made, shape))
        generator = self._generator(link.left if isinstance(link.left, m.Generated) else link.right, place)
        if count != wanted:
            message = f"`{name}` has {wanted} elements here, and `{generator.name}{generator.arguments}` makes {count}"
            raise CheckpointError(Diagnostic("shape-mismatch", message, (Label(link.rule.span),)))
        values: Array = generators.values(generator, np.arange(count, dtype=np.int64))
        return values.astype(dtype, copy=False).reshape(shape)

    # --- what they become -------------------------------------------------------------------------------------------

    def value(
        self,
        link: Link,
        nodes: tuple[Leaf, ...],
        place: Place,
        held: Sequence[Held],
        framework: Framework,
        dtype: str,
        differences: Differences,
        name: str,
    ) -> Any:
        """Return what a link gives for the right block, one axis for each of `nodes`, as a raw array of `dtype`."""
        known = self.bound.known
        right = link.right
        assert isinstance(right, m.Stored)
        what = f"`{name}`"
        if isinstance(link.left, m.Fixed):
            if not isinstance(right.formula, m.Operand):
                raise CheckpointError(
                    Diagnostic("not-invertible", "arithmetic on a constant", (Label(link.rule.span),))
                )
            value = 0 if link.left.value is None else formulas.number(link.left.value, known, place)
            return self.filled(framework, value, dtype, nodes, place, name)
        if isinstance(link.left, m.Generated):
            shape = tuple(self.instances.size(node, place) for node in nodes)
            values = self._values(link, place, shape, name)
            raws, dtypes = [framework.adopt(values)], [str(values.dtype.name)]
            formula: plan.Formula = plan.Operand(0)
        else:
            raws, dtypes, formula = self._operands(link, nodes, place, held, framework, differences)
        formula = formulas.backward(right.formula, formula, known, place)
        for index in link.spread:
            formula = plan.Function("/", (formula, plan.Scalar(self._spread_count(link, index))))
        if isinstance(formula, plan.Operand) and dtypes[formula.index] == dtype:
            return raws[formula.index]
        return framework.compute(formula, raws, dtypes, dtype, what)

    def _spread_count(self, link: Link, name: str) -> int:
        if name in self.bound.mapping.indices:
            return self.instances.count(name)
        assert isinstance(link.right, m.Stored)
        atoms = (atom for each in link.right.tensors for atom in _atoms(each))
        return self.instances.number(next(atom.size for atom in atoms if atom.name == name))

    def _operands(
        self,
        link: Link,
        nodes: tuple[Leaf, ...],
        place: Place,
        held: Sequence[Held],
        framework: Framework,
        differences: Differences,
    ) -> tuple[list[Any], list[str], plan.Formula]:
        """Return the operands of a link with the formula over them, replicas merged."""
        per = len(link.tensors)
        raws = [
            self._piece(self._open(each)[1], each, link.paths[k % per], nodes, place) for k, each in enumerate(held)
        ]
        dtypes = [self.dtype(each) for each in held]
        one = formulas.forward(link.formula, self.bound.known, place)
        kept: list[int] = []  # replicas that are not copies of another
        seen: dict[tuple[int, ...], int] = {}
        equal = {name for name, how in link.reduced if how == "equal"}
        first = {name for name, how in link.reduced if how == "first"}
        for number in range(len(held) // per):
            spot = held[number * per].place
            if any(spot[name] for name in first):
                continue
            base = seen.setdefault(tuple(spot[name] for name, _ in link.reduced if name not in equal), number)
            if base == number:
                kept.append(number)
                continue
            for k in range(per):
                a, b = number * per + k, base * per + k
                if held[a].name != held[b].name or equal & {atom.name for atom in _atoms(link.tensors[k])}:
                    self._must_equal(
                        link, k, (held[a], raws[a]), (held[b], raws[b]), nodes, place, framework, differences
                    )
        chosen = [number * per + k for number in kept for k in range(per)]
        raws, dtypes = [raws[k] for k in chosen], [dtypes[k] for k in chosen]
        if len(kept) == 1:
            return raws, dtypes, one
        hows = {how for _, how in link.reduced} - {"equal", "first"}
        if len(hows) > 1:
            message = "replicas are merged in two ways at once"
            raise CheckpointError(Diagnostic("replicated-two-ways", message, (Label(link.rule.span),)))
        if hows == {"mean"} and all(framework.same(raws[k], raws[k % per]) for k in range(per, len(raws))):
            return raws[:per], dtypes[:per], one
        parts = tuple(formulas.shift(one, k * per) for k in range(len(kept)))
        return raws, dtypes, plan.Function(hows.pop(), parts)

    def _must_equal(
        self,
        link: Link,
        tensor: int,
        one: tuple[Held, Any],
        base: tuple[Held, Any],
        nodes: tuple[Leaf, ...],
        place: Place,
        framework: Framework,
        differences: Differences,
    ) -> None:
        (held, raw), (other, base_raw) = one, base
        if framework.same(raw, base_raw):
            return
        a, b = framework.host(raw, self.dtype(held)), framework.host(base_raw, self.dtype(other))
        found = self.found(other, link.paths[tensor], nodes, place)
        differences.compare(link.rule, (held.name, other.name), a, b, found, None)

    # --- what must agree --------------------------------------------------------------------------------------------

    def verify_tied(self, rule: m.Rule, one: Held, other: Held, differences: Differences) -> None:
        """Compare two whole tensors."""
        (framework, raw, dtype), (other_framework, base, _) = self._open(one), self._open(other)
        a, b = framework.host(raw, dtype), other_framework.host(base, dtype)
        whole = Found(one.shape, lambda: np.arange(a.size, dtype=np.int64).reshape(one.shape))
        differences.compare(rule, (one.name, other.name), a, b, whole, None)

    def verify(self, link: Link, place: Place, held: Held, differences: Differences) -> None:
        """Compare a link's only tensor with the constant or the generated tensor on the right."""
        framework, raw, dtype = self._open(held)
        piece = self._piece(raw, held, link.paths[0], None, place)
        found = framework.host(piece, dtype)
        if isinstance(link.right, m.Generated):
            values = self._values(link, place, found.shape, held.name)
            arguments, ulps = [values], ULPS
            generator = self._generator(link.right, place)
            names: tuple[str, ...] = (f"{generator.name}{generator.arguments}", held.name)
            start: plan.Formula = plan.Operand(0)
        else:
            assert isinstance(link.right, m.Fixed)
            assert link.right.value is not None
            number = formulas.number(link.right.value, self.bound.known, place)
            arguments, ulps, names, start = [], 0, (held.name,), plan.Scalar(number)
        formula = formulas.backward(link.formula, start, self.bound.known, place)
        what = f"`{held.name}`"
        if isinstance(formula, plan.Scalar):
            wanted: Array = np.broadcast_to(frameworks.constant(formula.value, dtype, what), found.shape)
        else:
            kinds = [str(each.dtype.name) for each in arguments]
            wanted = frameworks.computed(formula, arguments, kinds, dtype, what)
            wanted = np.broadcast_to(wanted, found.shape)
        differences.compare(link.rule, names, wanted, found, self.found(held, link.paths[0], None, place), ulps)


def _atoms(tensor: m.Tensor) -> tuple[Any, ...]:
    from tensormap.language.layout import atoms

    return atoms(tensor.layout)
