"""What a leg's steps make of arrays: real elements, or codes that stand for elements and say where each came from.

With codes two conversions are compared by what they mean: equal codes are equal elements whatever the numbers, and no two
different ways of computing a number meet by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from tensormap.lowering import plan
from tensormap.runtime import arithmetic, generators
from tensormap.runtime.casts import numpy_dtype, raw_dtype
from tests.laws.headers import Tensors
from tests.laws.legs import Leg

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class Kind(Protocol):
    """What elements are."""

    def empty(self, dtype: str, shape: tuple[int, ...]) -> Array: ...
    def generated(self, generator: plan.Generator, shape: tuple[int, ...]) -> Array: ...
    def evaluate(
        self, formula: plan.Formula, operands: Sequence[Array], dtypes: Sequence[str], target: Array, dtype: str
    ) -> None: ...


class Elements:
    """Real elements, computed as tensormap computes them."""

    def empty(self, dtype: str, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, numpy_dtype(dtype))

    def generated(self, generator: plan.Generator, shape: tuple[int, ...]) -> Array:
        return np.asarray(generators.values(generator, np.arange(_count(shape)).reshape(shape)))

    def evaluate(
        self, formula: plan.Formula, operands: Sequence[Array], dtypes: Sequence[str], target: Array, dtype: str
    ) -> None:
        arithmetic.evaluate(formula, operands, dtypes, target, dtype, "an element")


class Codes:
    """Codes: 64 bits that are as good as unique."""

    def empty(self, dtype: str, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, np.uint64)

    def generated(self, generator: plan.Generator, shape: tuple[int, ...]) -> Array:
        numbers = np.asarray(generators.values(generator, np.arange(_count(shape)).reshape(shape)))
        return _mixed(numbers.astype(np.float64).view(np.uint64), 1)

    def evaluate(
        self, formula: plan.Formula, operands: Sequence[Array], dtypes: Sequence[str], target: Array, dtype: str
    ) -> None:
        target[...] = self._value(formula, operands)

    def _value(self, formula: plan.Formula, operands: Sequence[Array]) -> Any:
        match formula:
            case plan.Operand(index):
                return operands[index]
            case plan.Scalar(value):
                return _mixed(np.asarray(float(value)).view(np.uint64), 1)
            case plan.Function("mean", arguments):
                values = [self._value(each, operands) for each in arguments]
                same = np.logical_and.reduce([each == values[0] for each in values])
                return np.where(same, values[0], self._mix("mean", values))
            case plan.Function(name, arguments):
                return self._mix(name, [self._value(each, operands) for each in arguments])

    def _mix(self, name: str, values: Sequence[Array]) -> Array:
        mixed = np.asarray(values[0]).astype(np.uint64) ^ np.uint64(int.from_bytes(name.encode()[:7], "big"))
        for number, value in enumerate(values[1:]):
            mixed = _mixed(mixed, number + 2) + value
        return _mixed(mixed, len(values) + 7)


def _mixed(codes: Array, salt: int) -> Array:
    """Scatter codes (the finaliser of splitmix64, https://prng.di.unimi.it/splitmix64.c)."""
    with np.errstate(over="ignore"):
        mixed = codes.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15 * salt % (1 << 64))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def codes(tensors: Tensors) -> dict[str, Array]:
    """Give every element of every tensor a code of its own."""
    found: dict[str, Array] = {}
    start = 1
    for name, (_, shape) in tensors.items():
        count = _count(shape)
        found[name] = _mixed(np.arange(start, start + count, dtype=np.uint64), 3).reshape(shape)
        start += count
    return found


def elements(tensors: Tensors, seed: int, numbers: frozenset[str] = frozenset()) -> dict[str, Array]:
    """Give every tensor random bytes, whatever they mean as numbers; those in `numbers` positive ones of moderate size."""
    random = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name, (dtype, shape) in tensors.items():
        held = numpy_dtype(dtype)
        if name in numbers:
            found[name] = (np.abs(random.standard_normal(shape)) + 0.25).astype(held)
        else:
            found[name] = np.frombuffer(random.bytes(_count(shape) * held.itemsize), held).reshape(shape).copy()
    return found


class Unequal(Exception):
    """What must be equal is not."""


def run(leg: Leg, given: Arrays, kind: Kind, *, verify: bool = True) -> dict[str, Array]:
    """Return what a leg writes. Unequal: a verification fails."""
    inputs = _inputs(leg, given, kind)
    if verify:
        for each in leg.lowered.verifications:
            expected, value = _compared(each, leg, inputs, kind)
            if not _same(expected, value, each.ulps, kind):
                raise Unequal(each.rule)
    made: dict[str, Array] = {}
    for draft in leg.lowered.drafts:
        dtype, shape = leg.tensors[draft.name]
        target = kind.empty(dtype, shape)
        for step in draft.steps:
            spot = _region(target, step.target, step.sizes)
            match step:
                case plan.Copy(_, source, _):
                    _move(leg, inputs, kind, step.sizes, (source,), plan.Operand(0), spot, dtype)
                case plan.Fill(_, value, _):
                    kind.evaluate(plan.Scalar(value), (), (), spot, dtype)
                case plan.Compute(_, sources, formula, _):
                    _move(leg, inputs, kind, step.sizes, sources, formula, spot, dtype)
        made[draft.name] = target
    return made


def freed(leg: Leg, given: Arrays, kind: Kind) -> dict[str, Array]:
    """Change arrays as little as it takes for this leg to accept them: copies become equal, constants what they must be."""
    changed = {name: array.copy() for name, array in given.items()}
    inputs = _inputs(leg, changed, kind)
    for _ in range(8):
        before = {name: array.tobytes() for name, array in changed.items()}
        for each in leg.lowered.verifications:
            expected, value = _compared(each, leg, inputs, kind)
            stored = leg.lowered.inputs[each.sources[0].tensor] if each.sources else None
            if each.formula == plan.Operand(0) and stored is not None and stored.generator is None:
                copy = _region(inputs[each.sources[0].tensor], each.sources[0], each.sizes)
                _raw(copy)[...] = _raw(expected)
            else:
                _raw(expected)[...] = _raw(value)
        if before == {name: array.tobytes() for name, array in changed.items()}:
            return changed
    raise Unequal("these constraints do not settle")


def _inputs(leg: Leg, given: Arrays, kind: Kind) -> list[Array]:
    return [
        given[each.name] if each.generator is None else kind.generated(each.generator, each.shape)
        for each in leg.lowered.inputs
    ]


def _compared(each: plan.Verify, leg: Leg, inputs: Sequence[Array], kind: Kind) -> tuple[Array, Array]:
    expected = _region(inputs[each.expected.tensor], each.expected, each.sizes)
    dtype = leg.lowered.inputs[each.expected.tensor].dtype
    value = kind.empty(dtype, each.sizes)
    _move(leg, inputs, kind, each.sizes, each.sources, each.formula, value, dtype)
    return expected, value


def _move(
    leg: Leg,
    inputs: Sequence[Array],
    kind: Kind,
    sizes: tuple[int, ...],
    sources: Sequence[plan.Region],
    formula: plan.Formula,
    target: Array,
    dtype: str,
) -> None:
    operands = [_region(inputs[each.tensor], each, sizes) for each in sources]
    kind.evaluate(formula, operands, [leg.lowered.inputs[each.tensor].dtype for each in sources], target, dtype)


def _region(array: Array, region: plan.Region, sizes: tuple[int, ...]) -> Array:
    flat = array.reshape(-1)
    step = array.itemsize
    return as_strided(flat[region.offset :], sizes, tuple(stride * step for stride in region.strides))


def _raw(array: Array) -> Array:
    return array.view(raw_dtype(array.dtype.itemsize))


def _same(expected: Array, value: Array, ulps: int, kind: Kind) -> bool:
    if ulps and isinstance(kind, Elements):
        return bool(np.allclose(expected.astype(np.float64), value.astype(np.float64), rtol=1e-6, equal_nan=True))
    return bool((_raw(expected) == _raw(value)).all())


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
