"""A plan: every output file, the bytes of its header, and the steps that fill it. Plain numbers and strings.

A copy step is a box with two regions, so it is closed under inverse and composition. Knows neither the language nor the disk.
What there is one of for every tensor is a named tuple, which is made four times as fast as a frozen class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from tensormap.checkpoints.catalog import FileLayout, SourceFile


@dataclass(frozen=True, slots=True)
class Generator:
    """A tensor that no file holds: `name` of `runtime.generators`, its numeric arguments and the shape it has."""

    name: str
    arguments: tuple[int | float, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Call:
    """A tensor that a registered function returns: `name` of `tensormap.externs`, and the inputs that are its arguments, each a
    whole tensor of this shape.
    """

    name: str
    arguments: tuple[tuple[int, tuple[int, ...]], ...]  # (index into Plan.inputs, shape)


class Input(NamedTuple):
    """A source tensor: in file `file` from byte `offset` on; or, with `generator`, computed (then file is -1). Generated inputs are
    row-major; stored ones have `strides` in elements, None for row-major. With an `encoding` the file has packed blocks, row-major,
    that decode to `dtype`. With a `call` it is computed from other inputs (then file is -1).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: int
    offset: int
    strides: tuple[int, ...] | None = None
    generator: Generator | None = None
    encoding: str | None = None
    call: Call | None = None


class Output(NamedTuple):
    """A target tensor, row-major, at byte `offset` of its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


class Region(NamedTuple):
    """A box in one tensor: element `offset` plus, for each axis of the step, a stride. Counts elements of the tensor's
    storage from the tensor's byte offset (an input's own strides are already worked in). A stride of 0 repeats.
    """

    tensor: int  # index into Plan.inputs, or into OutputFile.tensors for a target
    offset: int
    strides: tuple[int, ...]


# --- formulas: elementwise, over the regions of a compute step ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operand:
    """The k-th source region of the step."""

    index: int


@dataclass(frozen=True, slots=True)
class Scalar:
    value: int | float


@dataclass(frozen=True, slots=True)
class Function:
    """`name` of `runtime.arithmetic` on its arguments: "+" "-" "*" "/" "neg" "exp" "log" "sqrt" ...; "mean" and "sum" take
    any number ("mean" gives the first argument's bits where all are equal); an extern's registered name.
    """

    name: str
    arguments: tuple[Formula, ...]


Formula: TypeAlias = Operand | Scalar | Function


# --- steps --------------------------------------------------------------------------------------------------------------


class Copy(NamedTuple):
    """Copy a box, element by element: bytes where both dtypes are the same, else a cast that rounds to nearest even."""

    sizes: tuple[int, ...]
    source: Region
    target: Region


@dataclass(frozen=True, slots=True)
class Fill:
    """Write one value into a box."""

    sizes: tuple[int, ...]
    value: int | float
    target: Region


@dataclass(frozen=True, slots=True)
class Compute:
    """Evaluate a formula in float32, or in float64 where a region is float64 or an integer wider than 16 bits; round once."""

    sizes: tuple[int, ...]
    sources: tuple[Region, ...]
    formula: Formula
    target: Region


@dataclass(frozen=True, slots=True)
class Verify:
    """Read and compare: the formula, rounded to the dtype of `expected`, must equal it (bitwise where the formula is a bare
    operand of the same dtype; to within `ulps` units in the last place otherwise). `rule` says which rule asks, as "file:line".
    """

    sizes: tuple[int, ...]
    sources: tuple[Region, ...]
    formula: Formula
    expected: Region  # of an input
    rule: str
    ulps: int = 0


Step: TypeAlias = Copy | Fill | Compute


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file with tensors: its layout (`layout.offsets[k]` belongs to `tensors[k]`) and the steps that fill every element."""

    path: str
    format: str
    tensors: tuple[Output, ...]
    layout: FileLayout
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class TextFile:
    """A small file whose whole content is known: a config, an index, `latest`. Written after the files with tensors."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Companion:
    """A file copied as it is, `source` relative to the source root."""

    source: str
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything `apply` does. `root` is where the sources' relative paths start; it is no part of the plan's identity."""

    root: str
    mapping: str  # its name
    digest: str  # sha256 of the mapping's canonical text and the settings
    side: str  # the side that is written
    sources: tuple[SourceFile, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[OutputFile, ...]
    verifications: tuple[Verify, ...]
    texts: tuple[TextFile, ...]
    companions: tuple[Companion, ...]
    notes: tuple[str, ...] = ()  # the report: losses, configs used, dropped tensors, companions that were missing
