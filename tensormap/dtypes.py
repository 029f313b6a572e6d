"""Element types: one name for each, its size, and what each format calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["float", "integer", "unsigned", "bool", "complex", "packed"]


@dataclass(frozen=True, slots=True)
class DType:
    """`name` as torch and numpy write it; `bits` of one element; `code` in a safetensors header; `storage`: torch's legacy
    storage class, None where there is none; `numpy`: whether numpy itself has it (else ml_dtypes, by the same name).
    """

    name: str
    bits: int
    code: str
    kind: Kind
    storage: str | None
    numpy: bool

    @property
    def size(self) -> int:
        """Bytes of one element; 0 for elements smaller than a byte."""
        return self.bits // 8


# https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs (enum Dtype); torch/storage.py (storage classes)
DTYPES: tuple[DType, ...] = (
    DType("bool", 8, "BOOL", "bool", "BoolStorage", True),
    DType("uint8", 8, "U8", "unsigned", "ByteStorage", True),
    DType("int8", 8, "I8", "integer", "CharStorage", True),
    DType("uint16", 16, "U16", "unsigned", None, True),
    DType("int16", 16, "I16", "integer", "ShortStorage", True),
    DType("uint32", 32, "U32", "unsigned", None, True),
    DType("int32", 32, "I32", "integer", "IntStorage", True),
    DType("uint64", 64, "U64", "unsigned", None, True),
    DType("int64", 64, "I64", "integer", "LongStorage", True),
    DType("float16", 16, "F16", "float", "HalfStorage", True),
    DType("bfloat16", 16, "BF16", "float", "BFloat16Storage", False),
    DType("float32", 32, "F32", "float", "FloatStorage", True),
    DType("float64", 64, "F64", "float", "DoubleStorage", True),
    DType("float8_e4m3fn", 8, "F8_E4M3", "float", None, False),
    DType("float8_e5m2", 8, "F8_E5M2", "float", None, False),
    DType("float8_e4m3fnuz", 8, "F8_E4M3FNUZ", "float", None, False),
    DType("float8_e5m2fnuz", 8, "F8_E5M2FNUZ", "float", None, False),
    DType("float8_e8m0fnu", 8, "F8_E8M0", "float", None, False),
    DType("complex64", 64, "C64", "complex", "ComplexFloatStorage", True),
    DType("complex128", 128, "C128", "complex", "ComplexDoubleStorage", True),
    DType("float4_e2m1fn_x2", 4, "F4", "packed", None, False),
    DType("float6_e2m3fn", 6, "F6_E2M3", "packed", None, False),
    DType("float6_e3m2fn", 6, "F6_E3M2", "packed", None, False),
)

BY_NAME: dict[str, DType] = {each.name: each for each in DTYPES}
BY_CODE: dict[str, DType] = {each.code: each for each in DTYPES}
BY_STORAGE: dict[str, DType] = {each.storage: each for each in DTYPES if each.storage is not None}
SHORT: dict[str, str] = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "half": "float16",
    "float": "float32",
}
"""What people also call some of them."""
