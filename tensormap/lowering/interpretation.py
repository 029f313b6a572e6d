"""What bytes of a source mean, where a mapping says so: `blocks [x o k] as float4_e2m1fn_x2` behind a tensor stored as uint8.

Formats and frameworks without a dtype for them keep numbers of four bits, and powers of two of eight, as plain bytes. A tensor
that is stored as anything else than bytes means what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tensormap.checkpoints.catalog import Catalog, TensorInfo
from tensormap.checkpoints.gguf_types import PAIRS
from tensormap.language import mapping as m
from tensormap.language.names import numbers, shapes
from tensormap.lowering.matching import Names, fits


def _numbers_of_four_bits(info: TensorInfo) -> TensorInfo:
    if not info.shape or info.strides is not None:
        return info
    shape = (*info.shape[:-1], info.shape[-1] * PAIRS.block)
    return info._replace(dtype=PAIRS.dtype, shape=shape, encoding=PAIRS.name)


def _powers_of_two(info: TensorInfo) -> TensorInfo:
    return info._replace(dtype="float8_e8m0fnu")


MEANINGS: Mapping[str, Callable[[TensorInfo], TensorInfo]] = {
    "float4_e2m1fn_x2": _numbers_of_four_bits,
    "float8_e8m0fnu": _powers_of_two,
}


def interpret(mapping: m.Mapping, catalog: Catalog) -> Catalog:
    """Return the catalog with those tensors of uint8 as what the mapping's left side says that their bytes mean."""
    said = [
        (tensor.template, MEANINGS[tensor.dtype])
        for rule in mapping.rules
        for tensor in m.stored(rule.left)
        if tensor.dtype is not None and tensor.dtype in MEANINGS
    ]
    if not said:
        return catalog
    names = Names.of(catalog.tensors.values())
    tensors = dict(catalog.tensors)
    for template, meaning in said:
        for shape in shapes(template):
            for info in names.groups.get(shape.text, ()):
                if info.dtype == "uint8" and info.encoding is None and fits(shape, numbers(info.name), lambda _: None):
                    tensors[info.name] = meaning(info)
    return replace(catalog, tensors=tensors)
