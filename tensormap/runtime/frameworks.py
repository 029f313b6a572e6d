"""Arrays of numpy, torch and jax by one set of names: their dtypes, their elements as they can be moved, and formulas over them.

An array is `raw` while it is moved: elements of a dtype that its framework cannot move are seen as integers of the same size.
torch and jax are never imported here before a tensor of theirs is seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensormap.diagnostics import CheckpointError, Diagnostic
from tensormap.dtypes import BY_NAME
from tensormap.lowering.plan import Formula, Function, Operand, Scalar
from tensormap.runtime import arithmetic
from tensormap.runtime.casts import cast_into, numpy_dtype, raw_dtype

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Numpy:
    """numpy, with the dtypes of ml_dtypes."""

    has_values = True

    def __str__(self) -> str:
        return "a numpy array"

    def dtype(self, array: Any) -> str:
        return str(array.dtype.name)

    def raw(self, array: Any) -> Any:
        array = np.asarray(array)  # a number of numpy's own is one, too
        native = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
        return native.view(raw_dtype(native.dtype.itemsize)) if native.dtype.kind != "c" else native

    def seen(self, raw: Any, dtype: str) -> Any:
        """Return a raw array as what it is."""
        return raw.view(numpy_dtype(dtype))

    def host(self, raw: Any, dtype: str) -> Array:
        """Return a raw array as numpy's."""
        return np.asarray(self.seen(raw, dtype))

    def adopt(self, array: Array) -> Any:
        """Return numpy's array as a raw one here."""
        return self.raw(array)

    def whole(self, array: Any) -> Any:
        """Return an array without gaps."""
        return array if array.flags.c_contiguous else array.copy(order="C")

    def same(self, one: Any, other: Any) -> bool:
        """Say whether two raw arrays hold the same bytes."""
        return bool(np.array_equal(one, other)) or one.tobytes() == other.tobytes()

    def compute(self, formula: Formula, raws: Sequence[Any], dtypes: Sequence[str], dtype: str, what: str) -> Any:
        """Return a formula's value, rounded once to `dtype`, as a raw array."""
        arrays = [self.host(raw, each) for raw, each in zip(raws, dtypes, strict=True)]
        return self.raw(computed(formula, arrays, dtypes, dtype, what))


@dataclass(frozen=True, slots=True)
class Torch:
    """torch on one device."""

    device: Any

    @property
    def has_values(self) -> bool:
        """Whether there is anything to compare: tensors on the meta device have shapes only."""
        return bool(self.device.type != "meta")

    def __str__(self) -> str:
        return f"a torch tensor on {self.device}"

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def raw(self, array: Any) -> Any:
        seen = _torch_raw(array.dtype)
        return array if seen is None else array.view(seen)

    def seen(self, raw: Any, dtype: str) -> Any:
        own = _torch_dtype(dtype)
        return raw if _torch_raw(own) is None else raw.view(own)

    def host(self, raw: Any, dtype: str) -> Array:
        import torch

        tensor = self.seen(raw, dtype).detach().cpu().resolve_conj().resolve_neg().contiguous()
        if BY_NAME[dtype].kind not in ("complex", "bool"):
            tensor = tensor.view(getattr(torch, f"int{BY_NAME[dtype].bits}") if dtype != "uint8" else torch.uint8)
        array: Array = tensor.numpy().view(numpy_dtype(dtype))
        return array

    def adopt(self, array: Array) -> Any:
        import torch

        seen = array.copy()
        if array.dtype.kind not in "cb":
            seen = seen.view(f"i{array.dtype.itemsize}")
        return self.raw(torch.from_numpy(seen).view(_torch_dtype(array.dtype.name)).to(self.device))

    def whole(self, array: Any) -> Any:
        return array.contiguous()

    def same(self, one: Any, other: Any) -> bool:
        import torch

        if not self.has_values:
            return True
        if one.dtype.is_floating_point:
            integer = getattr(torch, f"int{8 * one.element_size()}")
            one, other = one.detach().view(integer), other.detach().view(integer)
        return bool(torch.equal(one, other))

    def compute(self, formula: Formula, raws: Sequence[Any], dtypes: Sequence[str], dtype: str, what: str) -> Any:
        import torch

        if not _is_smooth(formula, dtypes, dtype):
            hosts = [self.host(raw, each) for raw, each in zip(raws, dtypes, strict=True)]
            return self.adopt(computed(formula, hosts, dtypes, dtype, what))
        working = getattr(torch, _working(dtypes, dtype))
        tensors = [self.seen(raw, each).to(working) for raw, each in zip(raws, dtypes, strict=True)]
        value = _value(formula, tensors, torch, lambda number: torch.tensor(number, dtype=working, device=self.device))
        return self.raw(_torch_rounded(value, _torch_dtype(dtype)))


@dataclass(frozen=True, slots=True)
class Jax:
    """jax; where its arrays lie is its own business."""

    has_values = True

    def __str__(self) -> str:
        return "a jax array"

    def dtype(self, array: Any) -> str:
        return str(array.dtype.name)

    def raw(self, array: Any) -> Any:
        return array

    def seen(self, raw: Any, dtype: str) -> Any:  # noqa: ARG002 - as the others
        return raw

    def host(self, raw: Any, dtype: str) -> Array:  # noqa: ARG002
        return np.asarray(raw)

    def adopt(self, array: Array) -> Any:
        return import_module("jax.numpy").asarray(array)

    def whole(self, array: Any) -> Any:
        return array

    def same(self, one: Any, other: Any) -> bool:
        return np.asarray(one).tobytes() == np.asarray(other).tobytes()

    def compute(self, formula: Formula, raws: Sequence[Any], dtypes: Sequence[str], dtype: str, what: str) -> Any:
        numpy = import_module("jax.numpy")
        if not _is_smooth(formula, dtypes, dtype):
            hosts = [self.host(raw, each) for raw, each in zip(raws, dtypes, strict=True)]
            return self.adopt(computed(formula, hosts, dtypes, dtype, what))
        working = np.dtype(_working(dtypes, dtype))
        arrays = [raw.astype(working) for raw in raws]
        value = _value(formula, arrays, numpy, lambda number: numpy.asarray(number, working))
        return value.astype(numpy_dtype(dtype))


Framework: TypeAlias = Numpy | Torch | Jax


def framework_of(tensor: Any) -> Framework | None:
    """Return the framework of a tensor; None if it is none."""
    if isinstance(tensor, (np.ndarray, np.generic)):
        return Numpy()
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(tensor, torch.Tensor):
        return Torch(tensor.device)
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(tensor, jax.Array):
        return Jax()
    return None


def unusual(tensor: Any) -> str:
    """Say what a tensor is that has no elements at strides; nothing where it has."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(tensor, torch.Tensor):
        return ""
    if tensor.is_nested:
        return "a nested torch tensor"
    if tensor.is_quantized:
        return "a quantised torch tensor"
    return "" if tensor.layout is torch.strided else "a sparse torch tensor"


def constant(value: float, dtype: str, what: str) -> Array:
    """Return a number as numpy's array without axes, rounded once."""
    array = np.empty((), numpy_dtype(dtype))
    cast_into(array, dtype, np.asarray(value), what)
    return array


def computed(formula: Formula, arrays: Sequence[Array], dtypes: Sequence[str], dtype: str, what: str) -> Array:
    """Return a formula's value over numpy's arrays of one shape, rounded once to `dtype`."""
    target: Array = np.empty(arrays[0].shape if arrays else (), numpy_dtype(dtype))
    arithmetic.evaluate(formula, arrays, dtypes, target, dtype, what)
    return target


# --- formulas where gradients flow ---------------------------------------------------------------------------------------

_OWN_NAME = {
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "neg": "negative",
    "min": "minimum",
    "max": "maximum",
}
_FUNCTIONS = frozenset(
    {"exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "reciprocal", "square", "abs", "tanh", "round"}
    | {"sum", "mean", "sigmoid", "rsqrt", "softplus"}
)


def _is_smooth(formula: Formula, dtypes: Sequence[str], dtype: str) -> bool:
    """Say whether a formula is between floating-point numbers, and of functions that every framework has. Frameworks differ
    in what they make of a number too large for 8 bits, and such numbers have no gradient.
    """
    if any(BY_NAME[each].kind != "float" for each in (*dtypes, dtype)) or BY_NAME[dtype].bits == 8:
        return False
    return _is_known(formula)


def _is_known(formula: Formula) -> bool:
    if isinstance(formula, Function):
        known = formula.name in _OWN_NAME or formula.name in _FUNCTIONS
        return known and all(_is_known(each) for each in formula.arguments)
    return True


def _working(dtypes: Sequence[str], dtype: str) -> str:
    return "float64" if "float64" in (*dtypes, dtype) else "float32"


def _value(formula: Formula, tensors: Sequence[Any], namespace: Any, number: Callable[[float], Any]) -> Any:
    match formula:
        case Operand(index):
            return tensors[index]
        case Scalar(value):
            return number(value)
        case Function(name, arguments):
            values = [_value(each, tensors, namespace, number) for each in arguments]
            if name == "sigmoid":
                return 1 / (1 + namespace.exp(-values[0]))
            if name == "rsqrt":
                return 1 / namespace.sqrt(values[0])
            if name == "softplus":
                return namespace.logaddexp(number(0), values[0])
            if name == "sum":
                return reduce(namespace.add, values)
            if name == "mean":
                equal = reduce(namespace.logical_and, (each == values[0] for each in values[1:]))
                return namespace.where(equal, values[0], reduce(namespace.add, values) / len(values))
            function: Callable[..., Any] = getattr(namespace, _OWN_NAME.get(name, name))
            return reduce(function, values) if name in ("min", "max") else function(*values)


# --- torch ---------------------------------------------------------------------------------------------------------------


def _torch_dtype(name: str) -> Any:
    import torch

    found = getattr(torch, name, None)
    if found is None:
        message = f"torch has no dtype `{name}`"
        raise CheckpointError(Diagnostic("unknown-dtype", message))
    return found


def _torch_raw(dtype: Any) -> Any:
    """Return the integer dtype as which torch moves this one; None where it moves it as it is."""
    import torch

    name = str(dtype).removeprefix("torch.")
    if name.startswith(("float8", "float4")):
        return torch.uint8
    if name in ("uint16", "uint32", "uint64"):
        return getattr(torch, name.removeprefix("u"))
    return None


def _torch_rounded(value: Any, dtype: Any) -> Any:
    """Round once, to nearest even: torch goes from float64 to narrow dtypes through float32, so that one is rounded to odd."""
    import torch

    if value.dtype != torch.float64 or dtype in (torch.float64, torch.float32):
        return value.to(dtype)
    rounded = value.float()
    exact = value.detach()
    nearest = rounded.detach()
    inexact = (nearest.double() != exact) & nearest.isfinite()
    bits = nearest.view(torch.int32)
    bits = torch.where(inexact & (nearest.double().abs() > exact.abs()), bits - 1, bits)
    odd = torch.where(inexact, bits | 1, bits).view(torch.float32)
    return torch.where(inexact, rounded + (odd - nearest), rounded).to(dtype)
