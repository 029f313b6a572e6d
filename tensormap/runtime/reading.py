"""The left sides of links, read from tensors in memory: which tensors they are, what their elements become, what must agree."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

import numpy as np

from tensormap import externs
from tensormap.checkpoints.gguf_blocks import decode
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.language.layout import Leaf, atoms
from tensormap.language.names import Template
from tensormap.lowering import formulas, generator_shapes, plan
from tensormap.lowering.agreement import ULPS
from tensormap.lowering.bind import Bound
from tensormap.lowering.instances import Account, Instances, rest_of
from tensormap.lowering.replicas import whole_shares
from tensormap.runtime import axes, calling, frameworks, generators
from tensormap.runtime.comparison import Array, Differences, Found
from tensormap.runtime.frameworks import Framework
from tensormap.runtime.link import Held, Link, Place
from tensormap.runtime.parts import Called


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
    _results: calling.Results = field(default_factory=calling.Results)

    # --- which tensors ----------------------------------------------------------------------------------------------

    def replicas(self, link: Link, place: Place) -> list[dict[str, int]]:
        """List the positions at which a link's replicas are read."""
        names = [name for name, _ in link.reduced]
        counts = [range(self._replica_count(link, name)) for name in names]
        return [{**place, **dict(zip(names, chosen, strict=True))} for chosen in product(*counts)]

    def _replica_count(self, link: Link, name: str) -> int:
        if name in self.bound.mapping.indices:
            return self.instances.count(name)
        found = (atom for each in link.tensors for atom in atoms(each.layout))
        return self.instances.number(next(atom.size for atom in found if atom.name == name))

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
        if held.function is not None and held.name not in self._kept:
            self._kept[held.name] = self._call(held.function, held)
        if held.name not in self._kept:
            tensor = self.tensors[held.name]
            framework = frameworks.framework_of(tensor)
            assert framework is not None
            assert held.dtype is not None
            raw = framework.raw(tensor)
            encoding = self.bound.catalog.tensors[held.name].encoding
            if encoding is not None and framework.dtype(tensor) == "uint8":
                raw = framework.adopt(decode(encoding, framework.host(raw, "uint8")).reshape(held.shape))
            self._kept[held.name] = framework, raw, held.dtype
        return self._kept[held.name]

    def called(self, link: Link, held: Sequence[Held]) -> list[Held]:
        """Return the tensors that an extern makes of a link's, replica by replica."""
        assert isinstance(link.left, m.Stored)
        assert link.left.call is not None
        assert link.left.output is not None
        found: list[Held] = []
        count = len(link.tensors)
        for k in range(0, len(held), count):
            arguments = tuple(held[k : k + count])
            dtype = externs.registered(link.left.call).dtype or arguments[0].dtype
            shape = self.instances.shape(link.left.output, (), arguments[0].place)
            name = f"{link.left.call}({', '.join(each.name for each in arguments)})"
            tensor = m.Tensor(Template(()), link.left.output, span=link.rule.span)
            found.append(Held(name, tensor, arguments[0].place, shape, dtype, link.left.call, arguments))
        return found

    def _call(self, function: str, held: Held) -> tuple[Framework, Any, str]:
        """Call an extern. It sees numpy's arrays, so no gradient flows through it."""
        framework, _, own = self._open(held.arguments[0])
        dtype = held.dtype or own

        def load(argument: Held, _: tuple[int, ...]) -> Array:
            place, raw, kind = self._open(argument)
            return place.host(raw, kind)

        arguments = tuple((each, each.shape) for each in held.arguments)
        called = Called(held.name, function, arguments, held.shape)
        return framework, framework.adopt(self._results.get(called, dtype, load)), dtype

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
            flat = np.arange(prod(held.shape), dtype=np.int64).reshape(held.shape)
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
        count, wanted = prod(made), prod(shape)
        generator = self._generator(link.left if isinstance(link.left, m.Generated) else link.right, place)
        if count != wanted:
            message = f"`{name}` has {wanted} elements here, and `{generator}` makes {count}"
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
            if (count := self._spread_count(link, index)) > 1:
                whole_shares(name, dtype, link.rule)
                formula = plan.Function("/", (formula, plan.Scalar(count)))
        if isinstance(formula, plan.Operand) and dtypes[formula.index] == dtype:
            return raws[formula.index]
        return framework.compute(formula, raws, dtypes, dtype, what)

    def _spread_count(self, link: Link, name: str) -> int:
        if name in self.bound.mapping.indices:
            return self.instances.count(name)
        assert isinstance(link.right, m.Stored)
        found = (atom for each in link.right.tensors for atom in atoms(each.layout))
        return self.instances.number(next(atom.size for atom in found if atom.name == name))

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
        per = link.width
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
                if held[a].name != held[b].name or equal & {atom.name for atom in atoms(held[a].tensor.layout)}:
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
        if framework == other_framework and framework.same(raw, base):
            return
        a, b = framework.host(raw, dtype), other_framework.host(base, dtype)
        whole = Found(one.shape, lambda: np.arange(a.size, dtype=np.int64).reshape(one.shape))
        differences.compare(rule, (one.name, other.name), a, b, whole, None)

    def verify(self, link: Link, place: Place, held: Held, differences: Differences) -> None:
        """Compare a link's only tensor with the constant or the generated tensor on the right."""
        framework, raw, dtype = self._open(held)
        if not framework.has_values:
            return
        piece = self._piece(raw, held, link.paths[0], None, place)
        found = framework.host(piece, dtype)
        if isinstance(link.right, m.Generated):
            values = self._values(link, place, found.shape, held.name)
            arguments, ulps = [values], ULPS if BY_NAME[dtype].kind == "float" else 0
            generator = self._generator(link.right, place)
            names: tuple[str, ...] = (str(generator), held.name)
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
