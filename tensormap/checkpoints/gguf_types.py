"""What a GGUF file may hold: the types of its values and of its tensors, by the numbers that files have for them.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; sizes of blocks as ggml/src/ggml-common.h of
llama.cpp has them, as vendored in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from typing import NamedTuple

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 3 allows big-endian files, which are not read; for others the two are the same
ALIGNMENT = 32  # where `general.alignment` says nothing else
RANK_CAP = 4  # GGML_MAX_DIMS
NAME_CAP = 63  # GGML_MAX_NAME, less its final zero


class Stored(NamedTuple):
    """A type of tensors: elements of `dtype`; or, where `block` is not 1, blocks of so many along the last axis, each of `size`
    bytes, that decode to `dtype`.
    """

    name: str
    dtype: str
    block: int
    size: int


TENSORS: dict[int, Stored] = {
    0: Stored("F32", "float32", 1, 4),
    1: Stored("F16", "float16", 1, 2),
    2: Stored("Q4_0", "float32", 32, 18),
    3: Stored("Q4_1", "float32", 32, 20),
    6: Stored("Q5_0", "float32", 32, 22),
    7: Stored("Q5_1", "float32", 32, 24),
    8: Stored("Q8_0", "float32", 32, 34),
    9: Stored("Q8_1", "float32", 32, 36),
    10: Stored("Q2_K", "float32", 256, 84),
    11: Stored("Q3_K", "float32", 256, 110),
    12: Stored("Q4_K", "float32", 256, 144),
    13: Stored("Q5_K", "float32", 256, 176),
    14: Stored("Q6_K", "float32", 256, 210),
    15: Stored("Q8_K", "float32", 256, 292),
    16: Stored("IQ2_XXS", "float32", 256, 66),
    17: Stored("IQ2_XS", "float32", 256, 74),
    18: Stored("IQ3_XXS", "float32", 256, 98),
    19: Stored("IQ1_S", "float32", 256, 50),
    20: Stored("IQ4_NL", "float32", 32, 18),
    21: Stored("IQ3_S", "float32", 256, 110),
    22: Stored("IQ2_S", "float32", 256, 82),
    23: Stored("IQ4_XS", "float32", 256, 136),
    24: Stored("I8", "int8", 1, 1),
    25: Stored("I16", "int16", 1, 2),
    26: Stored("I32", "int32", 1, 4),
    27: Stored("I64", "int64", 1, 8),
    28: Stored("F64", "float64", 1, 8),
    29: Stored("IQ1_M", "float32", 256, 56),
    30: Stored("BF16", "bfloat16", 1, 2),
    34: Stored("TQ1_0", "float32", 256, 54),
    35: Stored("TQ2_0", "float32", 256, 66),
    39: Stored("MXFP4", "float32", 32, 17),
    40: Stored("NVFP4", "float32", 64, 36),
    41: Stored("Q1_0", "float32", 128, 18),
    42: Stored("Q2_0", "float32", 64, 18),
}

PAIRS = Stored("E2M1", "float32", 2, 1)
"""Two numbers of four bits in a byte, the first in its lower half: `as float4_e2m1fn_x2`. It is no type of GGUF."""

ENCODINGS: dict[str, Stored] = {each.name: each for each in (*TENSORS.values(), PAIRS) if each.block > 1}
"""The types whose elements are packed in blocks, by name."""

PLAIN: dict[str, int] = {each.dtype: number for number, each in TENSORS.items() if each.block == 1}
"""The numbers of the types whose elements lie side by side, by their dtype."""

NUMBERS: dict[int, str] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""The types of metadata values that are numbers, as `struct` formats."""

LARGEST_FLOAT = 3.4028235e38  # that a float32 can be, less than half a step below the next

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64 = 4, 5, 6, 7, 8, 9, 10, 11
