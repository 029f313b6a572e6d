"""What a torch pickle's names stand for: storages, tensors that view them, and the few containers torch writes by call.

Knows nothing of files: `place` says where a storage's bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensormap.checkpoints.catalog import Opaque, TensorInfo
from tensormap.checkpoints.pickle_values import Fault, Global, Instance, hashable
from tensormap.checkpoints.refusal import shown
from tensormap.dtypes import BY_NAME, BY_STORAGE, DType

RANK_CAP = 64
DEPTH_CAP = 100
LARGEST = 2**63 - 1
SPREAD = 2**28  # bytes a tensor may take although its file is smaller: expanded tensors are kept with strides of 0


@dataclass(frozen=True, slots=True)
class View:
    """A part of a storage under a key of its own, in elements: only files from before 2018 have them."""

    key: str
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Storage:
    """`count` elements of `dtype` under `key`; an untyped storage counts bytes (`dtype` uint8)."""

    key: str
    dtype: DType
    count: int
    view: View | None = None

    @property
    def bytes(self) -> int:
        return self.count * self.dtype.size


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides count elements of `dtype`."""

    storage: Storage
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(slots=True)
class TorchRules:
    """The rules for one pickle; collects its storages by key. `legacy` files write a view beside each storage."""

    legacy: bool = False
    storages: dict[str, Storage] = field(default_factory=dict)

    def persistent(self, identifier: Any) -> Any:
        """Return the storage that a persistent id names, or an Instance where its element type is not known."""
        match identifier:
            case ("storage" | b"storage", Global(_, kind), str(key), str() | bytes() | None, int(count), *rest) if (
                count >= 0 and type(count) is int and len(rest) == self.legacy
            ):
                untyped = kind.removeprefix("_") == "UntypedStorage"
                dtype = BY_NAME["uint8"] if untyped else BY_STORAGE.get(kind)
                if dtype is None:
                    return Instance(f"torch.{kind}")
                storage = Storage(key, dtype, count, _view(rest[0] if rest else None, count))
                known = self.storages.setdefault(key, storage)
                if known.bytes != storage.bytes:
                    raise Fault(f"storage {shown(key)} has two sizes")
                return storage
            case ("module" | b"module", Global() as called, *_) if self.legacy:
                return called
        raise Fault("a persistent id does not name a storage")

    def build(self, called: Global, arguments: tuple[Any, ...]) -> Any:
        """Return what a call would have built, or an Instance of its name."""
        build = _BUILD.get((called.module, called.name))
        return Instance(called.path, arguments) if build is None else build(self, arguments)

    def rebuild_from_type(self, arguments: tuple[Any, ...]) -> Any:
        """A tensor with attributes, or of a class of its own: `_rebuild_from_type_v2(call, type, arguments, state)`."""
        called, kind, inner, *_ = arguments
        value = self.build(called, inner)
        return value if kind in _PLAIN_TENSORS else Instance(kind.path)


def _view(value: Any, count: int) -> View | None:
    match value:
        case None:
            return None
        case (str(key), int(offset), int(size)) if 0 <= offset <= offset + size <= count:
            return View(key, offset, size)
    raise Fault("a storage is viewed beyond its end")


def _tensor(storage: Any, dtype: DType | None, offset: Any, shape: Any, strides: Any, metadata: Any = None) -> Any:
    if isinstance(storage, Instance):
        return Instance(f"a tensor of {storage.kind}")
    if not isinstance(storage, Storage):
        raise Fault("a tensor has no storage")
    if dtype is None or not dtype.size:
        return Instance("a tensor of an unknown dtype")
    if metadata:
        return Instance("a tensor whose conjugate or negative is stored")
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides) or len(shape) > RANK_CAP:
        raise Fault("a tensor's shape and strides do not fit")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number <= LARGEST:
            raise Fault("a tensor's shape, strides or offset are no numbers that can be counted")
    return Tensor(storage, dtype, offset, shape, strides)


def _rebuild_v1(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    storage, offset, shape, strides = arguments
    return _tensor(storage, getattr(storage, "dtype", None), offset, shape, strides)


def _rebuild_v2(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    storage, offset, shape, strides, _grad, _hooks, *metadata = arguments
    return _tensor(storage, getattr(storage, "dtype", None), offset, shape, strides, *metadata)


def _rebuild_v3(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    storage, offset, shape, strides, _grad, _hooks, kind, *metadata = arguments
    if not isinstance(kind, Global) or kind.module != "torch":
        raise Fault("a tensor has no dtype")
    if kind.name == "float4_e2m1fn_x2":  # two to a byte: torch counts bytes, everyone else elements
        return Instance("a tensor of torch.float4_e2m1fn_x2")
    return _tensor(storage, BY_NAME.get(kind.name), offset, shape, strides, *metadata)


def _first(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    return arguments[0]


def _dictionary(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    pairs = arguments[0] if arguments else ()
    items = list(pairs.items()) if type(pairs) is dict else [tuple(pair) for pair in pairs]
    if not all(len(pair) == 2 and hashable(pair[0]) for pair in items):
        raise Fault("a dictionary is made of what are no pairs")
    return dict(items)


def _defaultdict(_: TorchRules, _factory: tuple[Any, ...]) -> Any:
    return {}


def _set(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    items = arguments[0] if arguments else []
    if type(items) not in (list, tuple, set, frozenset) or not all(map(hashable, items)):
        raise Fault("a set is made of what cannot be in one")
    return set(items)


def _list(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    return list(arguments[0]) if arguments and type(arguments[0]) in (list, tuple) else []


def _tuple(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    return tuple(arguments[0]) if arguments and type(arguments[0]) in (list, tuple) else ()


def _encode(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    """Protocol 2 writes bytes as the text of the same code points."""
    text, coding = arguments
    if coding not in ("latin1", "latin-1"):
        raise Fault("bytes are written in an unknown way")
    return text.encode("latin-1")


def _octets(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case ():
            return b""
        case (bytes() as data,):
            return data
        case (str() as text, "latin-1"):
            return text.encode("latin-1")
        case _:
            raise Fault("bytes are written in an unknown way")


def _device(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    return ":".join(str(each) for each in arguments if isinstance(each, (str, int)))


def _named(_: TorchRules, arguments: tuple[Any, ...]) -> Any:
    """An object whose first argument is its class; the third may be the dictionary that it also is."""
    kind, *rest = arguments
    items = dict(rest[1]) if len(rest) == 2 and type(rest[1]) is dict else {}
    return Instance(kind.path if isinstance(kind, Global) else "object", tuple(rest), items=items)


def _opaque(kind: str) -> Callable[[TorchRules, tuple[Any, ...]], Any]:
    return lambda _rules, _arguments: Instance(kind)


_PLAIN_TENSORS = (
    Global("torch", "Tensor"),
    Global("torch._tensor", "Tensor"),
    Global("torch.nn.parameter", "Parameter"),
    Global("torch.nn.parameter", "Buffer"),
)

# torch/_utils.py, torch/_tensor.py: what `Tensor.__reduce_ex__` names
_BUILD: dict[tuple[str, str], Callable[[TorchRules, tuple[Any, ...]], Any]] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_v1,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_v3,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): TorchRules.rebuild_from_type,
    ("torch._tensor", "_rebuild_from_type"): TorchRules.rebuild_from_type,
    ("torch.tensor", "_rebuild_from_type"): TorchRules.rebuild_from_type,
    ("torch._utils", "_rebuild_qtensor"): _opaque("a quantized tensor"),
    ("torch._utils", "_rebuild_sparse_tensor"): _opaque("a sparse tensor"),
    ("torch._utils", "_rebuild_nested_tensor"): _opaque("a nested tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _opaque("a tensor without data"),
    ("torch", "Size"): _tuple,
    ("torch", "device"): _device,
    ("collections", "OrderedDict"): _dictionary,
    ("collections", "Counter"): _dictionary,
    ("collections", "defaultdict"): _defaultdict,
    ("builtins", "dict"): _dictionary,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _set,
    ("builtins", "list"): _list,
    ("builtins", "tuple"): _tuple,
    ("builtins", "bytes"): _octets,
    ("builtins", "bytearray"): _octets,
    ("_codecs", "encode"): _encode,
    ("copyreg", "_reconstructor"): _named,
    ("copyreg", "__newobj__"): _named,
    ("numpy.core.multiarray", "_reconstruct"): _named,
    ("numpy._core.multiarray", "_reconstruct"): _named,
}


# --- from the machine's values to a catalog's ---


@dataclass(frozen=True, slots=True)
class Contents:
    """A pickle's tensors by the path of their keys, and what else it holds."""

    tensors: dict[tuple[str, ...], Tensor]
    objects: dict[tuple[str, ...], Any]


_HELD = object()
_NAMESPACES = (
    "argparse.Namespace",
    "types.SimpleNamespace",
)  # no more than a dictionary: training programs keep settings in them


def contents(value: Any, opcodes: int) -> Contents:
    """Part a pickle's value into tensors and plain values: a container without tensors stays whole, others are taken apart.

    A pickle that says much more than it spells (a list of a list of ... twice each) is a Fault.
    """
    sorter = _Sorter(16 * opcodes + 1000)
    rest = sorter.part(value, ())
    if rest is not _HELD:
        if isinstance(value, dict):
            for key, each in rest.items():
                sorter.objects[(str(key),)] = each
        else:
            sorter.objects[()] = rest
    return Contents(sorter.tensors, sorter.objects)


class _Sorter:
    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.tensors: dict[tuple[str, ...], Tensor] = {}
        self.objects: dict[tuple[str, ...], Any] = {}
        self.open: set[int] = set()  # the instances that are being taken apart: they may hold themselves

    def part(self, value: Any, path: tuple[str, ...]) -> Any:
        """Keep the tensors below `value`; return it as a plain value if there are none, else keep what is left too."""
        self.spend(len(path))
        if isinstance(value, Tensor):
            if path in self.tensors:
                raise _twice(path)
            self.tensors[path] = value
            return _HELD
        if type(value) is dict:
            below = {_plain_key(key): self.part(each, (*path, str(_plain_key(key)))) for key, each in value.items()}
            if len(below) != len(value):
                raise _twice(path)
            return below if self.free(below, path) else _HELD
        if type(value) in (list, tuple):
            listed = [self.part(each, (*path, str(k))) for k, each in enumerate(value)]
            return type(value)(listed) if self.free(dict(enumerate(listed)), path) else _HELD
        return self.plain(value, len(path))

    def free(self, below: Mapping[Any, Any], path: tuple[str, ...]) -> bool:
        if all(each is not _HELD for each in below.values()):
            return True
        for key, each in below.items():
            if each is not _HELD:
                self.objects[(*path, str(key))] = each
        return False

    def plain(self, value: Any, depth: int) -> Any:
        """Return a value without tensors as a catalog holds it."""
        self.spend(depth)
        match value:
            case None | bool() | int() | float() | str():
                return value
            case dict():
                return {_plain_key(key): self.plain(each, depth + 1) for key, each in value.items()}
            case list():
                return [self.plain(each, depth + 1) for each in value]
            case tuple():
                return tuple(self.plain(each, depth + 1) for each in value)
            case Instance(kind, _, state, items):
                known = {**items, **state} if kind in _NAMESPACES and isinstance(state, dict) else items
                if not known or id(value) in self.open:
                    return Opaque(kind)
                self.open.add(id(value))
                below = self.plain(known, depth + 1)
                self.open.remove(id(value))
                return Opaque(kind, below)
            case Global("torch", name) if name.islower():  # a dtype, a layout, a memory format
                return f"torch.{name}"
            case Global():
                return Opaque(value.path)
            case _:
                return Opaque(type(value).__name__)

    def spend(self, depth: int) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise Fault("it holds the same objects over and over again")
        if depth > DEPTH_CAP:
            raise Fault(f"its objects are nested more than {DEPTH_CAP} deep")


def _plain_key(key: Any) -> Any:
    return key if isinstance(key, (str, int, float)) else str(key)


def _twice(path: tuple[str, ...]) -> Fault:
    return Fault(f"it has two objects at {shown('.'.join(path))}")


# --- where a tensor's bytes are ---


def place(path: tuple[str, ...], tensor: Tensor, start: int, size: int, file_size: int) -> TensorInfo:
    """Return a tensor's entry in a catalog; its storage is `size` bytes of the file from `start` on. Fault if it goes beyond."""
    item = tensor.dtype.size
    count, counted, last = 1, 1, 0
    for extent, stride in zip(tensor.shape, tensor.strides, strict=True):
        count *= extent
        counted *= extent or 1  # as numpy counts the bytes of an empty tensor
        last += (extent - 1) * stride
    name = ".".join(path)
    if (count and (tensor.offset + last + 1) * item > size) or tensor.offset * item > size:
        raise Fault(f"tensor {shown(name)} goes beyond its storage")
    if count * item > max(file_size, SPREAD) or counted * item > LARGEST:
        raise Fault(f"tensor {shown(name)} of shape {shown(list(tensor.shape))} is larger than its file")
    strides = None if not count or _row_major(tensor) else tensor.strides
    return TensorInfo(name, tensor.dtype.name, tensor.shape, 0, start + tensor.offset * item, strides)


def _row_major(tensor: Tensor) -> bool:
    expected = 1
    for extent, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if extent != 1 and stride != expected:
            return False
        expected *= extent
    return True
