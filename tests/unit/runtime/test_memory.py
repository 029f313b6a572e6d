"""Every case runs three times: in memory with numpy, in memory with torch, and on files. All three give the same bytes, and
those that the case asks for; or all three refuse it by the same name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import tensormap
from tensormap import externs
from tensormap.diagnostics import CheckpointError, MappingError
from tensormap.runtime import memory
from tests.stored import Stored, differences, read_safetensors

BF16 = np.dtype(ml_dtypes.bfloat16)
FP8 = np.dtype(ml_dtypes.float8_e4m3fn)
F32, F16, F64, I64 = (np.dtype(each) for each in ("float32", "float16", "float64", "int64"))
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    label: str
    text: str
    source: Tensors
    want: Tensors | str | None = None  # tensors, the name of what is refused, or None: whatever all three give
    to: str = "right"
    set: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    dtype: str | None = None
    ulps: bool = False  # torch's functions may differ in the last place


def rnd(*shape, dtype=F32, seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(dtype)


def ints(*shape, start=0):
    return np.arange(start, start + int(np.prod(shape))).reshape(shape)


def stored(array):
    return Stored(str(array.dtype), array.shape, array.tobytes())


def in_numpy(case):
    mapping = tensormap.loads(case.text)
    out = mapping.convert(case.source, to=case.to, set=case.set, config=case.config, dtype=case.dtype)
    assert all(isinstance(each, np.ndarray) and each.flags.c_contiguous for each in out.values())
    return {name: stored(each) for name, each in out.items()}


def in_torch(case):
    mapping = tensormap.loads(case.text)
    tensors = {name: stored(each).tensor() for name, each in case.source.items()}
    out = mapping.convert(tensors, to=case.to, set=case.set, config=case.config, dtype=case.dtype)
    assert all(isinstance(each, torch.Tensor) and each.is_contiguous() for each in out.values())
    return {name: Stored.of(each) for name, each in out.items()}


def on_files(case, folder):
    (folder / "in").mkdir()
    save_file(
        {name: np.array(each, order="C") for name, each in case.source.items()}, folder / "in" / "model.safetensors"
    )
    if case.config is not None:
        (folder / "in" / "config.json").write_text(json.dumps(case.config))
    mapping = tensormap.loads(case.text)
    tensormap.apply(mapping, folder / "in", folder / "out", to=case.to, set=case.set, dtype=case.dtype)
    return read_safetensors(folder / "out")


def check(case, tmp_path):
    runs = {"numpy": in_numpy, "torch": in_torch, "files": lambda case: on_files(case, tmp_path)}
    if isinstance(case.want, str):
        for run in runs.values():
            with pytest.raises((CheckpointError, MappingError)) as caught:
                run(case)
            assert case.want in {each.slug for each in caught.value.diagnostics}, str(caught.value)
        return
    found = {name: run(case) for name, run in runs.items()}
    wanted = found["files"] if case.want is None else {name: stored(each) for name, each in case.want.items()}
    for name, tensors in found.items():
        if name == "torch" and case.ulps:
            for key, tensor in tensors.items():
                torch.testing.assert_close(tensor.tensor(), wanted[key].tensor())
        else:
            assert not differences(tensors, wanted), (name, differences(tensors, wanted))


def cases(*found):
    return pytest.mark.parametrize("case", found, ids=[each.label for each in found])


# --- replicas ----------------------------------------------------------------------------------------------------------------

A, B, C = rnd(3), rnd(3, seed=1), rnd(3, seed=2)
ODD = np.array([0x7F800001, 0xFF8ABCDE, 0x00000003], np.uint32).view(F32)  # NaNs with payloads, the least of numbers
RANKS = "{r}.n [e] <-> n [e] replicated r"


@cases(
    Case("equal", RANKS, {"0.n": A, "1.n": A}, {"n": A}),
    Case("unequal", RANKS, {"0.n": A, "1.n": A, "2.n": B}, "not-equal"),
    Case("copied", RANKS, {"n": A}, {"0.n": A, "1.n": A}, to="left", set={"r": 2}),
    Case("mean of equal", RANKS + " by mean", {"0.n": A, "1.n": A}, {"n": A}),
    Case("mean", RANKS + " by mean", {"0.n": A, "1.n": B}, {"n": (A + B) / np.float32(2)}),
    Case("mean in float32", RANKS + " by mean", {f"{k}.n": rnd(99, dtype=BF16, seed=k) for k in range(3)}),
    Case("sum", RANKS + " by sum", {"0.n": A, "1.n": B, "2.n": C}, {"n": A + B + C}),
    Case("shares", RANKS + " by sum", {"n": A}, {"0.n": A / 3, "1.n": A / 3, "2.n": A / 3}, to="left", set={"r": 3}),
    Case("share of one", RANKS + " by sum", {"n": ODD}, {"0.n": ODD}, to="left", set={"r": 1}),
    Case("whole shares", RANKS + " by sum", {"n": ints(4)}, "integer-shares", to="left", set={"r": 2}),
    Case(
        "whole shares of others",
        RANKS.replace(" <->", " as int32 <->") + " by sum",
        {"n": A},
        "integer-shares",
        to="left",
        set={"r": 2},
    ),
    Case("whole sums", RANKS + " by sum", {"0.n": ints(4), "1.n": ints(4)}, {"n": ints(4) * 2}),
    Case("first", RANKS + " by first", {"0.n": A, "1.n": B}, {"n": A}),
    Case("axis", "w [r e] <-> n [e] replicated r", {"w": np.stack([A, A])}, {"n": A}),
    Case("axis unequal", "w [r e] <-> n [e] replicated r", {"w": np.stack([A, B])}, "not-equal"),
    Case("axis copied", "w [r e] <-> n [e] replicated r", {"n": A}, {"w": np.stack([A, A])}, to="left", set={"r": 2}),
    Case(
        "axis shares",
        "w [r e] <-> n [e] replicated r by sum",
        {"n": A},
        {"w": np.stack([A / 2, A / 2])},
        to="left",
        set={"r": 2},
    ),
    Case(
        "equal along one index, summed along the other",
        "{q}.{r}.n [e] <-> n [e] replicated q replicated r by sum",
        {"0.0.n": A, "0.1.n": B, "1.0.n": A, "1.1.n": B},
        {"n": A + B},
    ),
    Case(
        "unequal along one index, averaged along the other",
        "{q}.{r}.n [e] <-> n [e] replicated q replicated r by mean",
        {"0.0.n": A, "0.1.n": B, "1.0.n": A, "1.1.n": A},
        "not-equal",
    ),
    Case(
        "split along one index",
        "{q}.{r}.n [e] <-> n [(q e)] replicated r",
        {"0.0.n": A, "0.1.n": A, "1.0.n": B, "1.1.n": B},
        {"n": np.concatenate([A, B])},
    ),
    Case("arithmetic before the mean", "{r}.n [e] + 1 <-> n [e] replicated r by mean", {"0.n": A, "1.n": B}),
)
def test_replicas(case, tmp_path):
    check(case, tmp_path)


def test_difference_is_named_with_its_place():
    left = {"0.n": ints(2, 3), "1.n": ints(2, 3)}
    left["1.n"][1, 2] = 9
    with pytest.raises(CheckpointError) as caught:
        tensormap.loads("{r}.n [(a 2) e] <-> n [e (2 a)] replicated r").convert(left, to="right")
    assert caught.value.diagnostics[0].message == "`1.n` and `0.n` must be equal, and differ at [1, 2]: 9 and 5"


# --- constants and generated tensors -----------------------------------------------------------------------------------------

PAD = "w [(v + pad) e] <-> e [v e], 0 [pad e]"
KEPT = "w [v e] <-> w [v e]\n"
PADDED = np.concatenate([rnd(3, 2), np.zeros((2, 2), F32)])
INV = (np.float32(1) / np.float32(100.0) ** (np.arange(0, 8, 2).astype(F32) / np.float32(8))).astype(F32)
MASK = np.tril(np.ones((3, 3), bool))[None, None]


@cases(
    Case("zeros are verified", PAD, {"w": PADDED}, {"e": PADDED[:3]}, set={"v": 3}),
    Case(
        "zeros over uneven stages",
        KEPT + "index p < pp\nindex l < stages[p]\nlet pp = len(stages)\nz [(p l) x] <-> 0",
        {"w": rnd(2, 2), "z": np.zeros((3, 2), F32)},
        {"w": rnd(2, 2)},
        set={"stages": [2, 1]},
    ),
    Case("zeros are written", PAD, {"e": PADDED[:3]}, {"w": PADDED}, to="left", set={"pad": 2}),
    Case("other than zero", PAD, {"w": PADDED + 1}, "not-equal", set={"v": 3}),
    Case("not a number", PAD, {"w": np.where(PADDED == 0, F32.type("nan"), PADDED)}, "not-equal", set={"v": 3}),
    Case("negative zero", PAD, {"w": -PADDED}, {"e": -PADDED[:3]}, set={"v": 3}),
    Case("don't care", PAD.replace("0 [", "_ ["), {"w": rnd(5, 2)}, {"e": rnd(5, 2)[:3]}, set={"v": 3}),
    Case("don't care, written", PAD.replace("0 [", "_ ["), {"e": PADDED[:3]}, {"w": PADDED}, to="left", set={"pad": 2}),
    *(
        Case(
            f"{number} as {dtype}",
            f"{KEPT}c [n] <-> {number}",
            {"w": rnd(2, 2), "c": np.full(2, number, dtype)},
            {"w": rnd(2, 2)},
        )
        for number, dtype in ((0.1, F64), (0.1, BF16), (2**24 + 1, I64), (-1e4, F16))
    ),
    Case("has the main dtype", f"{KEPT}c [n] <-> 0.1", {"w": rnd(2, 2, dtype=BF16)}, to="left", set={"n": 3}),
    Case("optional, not written", f"{KEPT}c [n] <-> 0.1 optional", {"w": rnd(2, 2)}, {"w": rnd(2, 2)}, to="left"),
    Case("through arithmetic", f"{KEPT}c [n] + 1 <-> 3", {"w": rnd(2, 2), "c": np.full(2, 2, F32)}, {"w": rnd(2, 2)}),
    Case("generated", f"{KEPT}i [p] <-> rope_inv_freq(2 * p, 100)", {"w": rnd(2, 2), "i": INV}, {"w": rnd(2, 2)}),
    Case(
        "one ulp off",
        f"{KEPT}i [p] <-> rope_inv_freq(2 * p, 100)",
        {"w": rnd(2, 2), "i": np.nextafter(INV, F32.type(1))},
        {"w": rnd(2, 2)},
    ),
    Case(
        "generated otherwise", f"{KEPT}i [p] <-> rope_inv_freq(2 * p, 100)", {"w": rnd(2, 2), "i": INV * 2}, "not-equal"
    ),
    Case(
        "float written",
        f"{KEPT}i [p] <-> rope_inv_freq(2 * p, 100)",
        {"w": rnd(2, 2)},
        {"w": rnd(2, 2), "i": INV},
        to="left",
        set={"p": 4},
    ),
    Case("mask", f"{KEPT}m [1 1 n n'] <-> causal_mask(n)", {"w": rnd(2, 2), "m": MASK}, {"w": rnd(2, 2)}),
    Case("mask of bytes", f"{KEPT}m <-> causal_mask(3)", {"w": rnd(2, 2), "m": MASK.astype("uint8")}, {"w": rnd(2, 2)}),
    Case(
        "mask the other way", f"{KEPT}m <-> causal_mask(3)", {"w": rnd(2, 2), "m": MASK.mT.astype("uint8")}, "not-equal"
    ),
    Case(
        "mask written",
        f"{KEPT}m [1 1 n n'] <-> causal_mask(n)",
        {"w": rnd(2, 2)},
        {"w": rnd(2, 2), "m": MASK},
        to="left",
        set={"n": 3},
    ),
    Case("mask of any shape", f"{KEPT}m <-> causal_mask(3)", {"w": rnd(2, 2)}, {"w": rnd(2, 2), "m": MASK}, to="left"),
    Case(
        "positions off by one", f"{KEPT}i [1 n] <-> arange(n)", {"w": rnd(2, 2), "i": ints(1, 4, start=1)}, "not-equal"
    ),
    Case(
        "positions",
        f"{KEPT}i [1 n] as int32 <-> arange(n)",
        {"w": rnd(2, 2)},
        {"w": rnd(2, 2), "i": ints(1, 4).astype("int32")},
        to="left",
        set={"n": 4},
    ),
    Case("sinusoids", f"{KEPT}p [a c] <-> sinusoids(a, c)", {"w": rnd(2, 2)}, to="left", set={"a": 5, "c": 4}),
    Case(
        "one for each layer",
        "w [i p] <-> w [i p]\n{i}.inv [p] <-> rope_inv_freq(2 * p, 100) replicated i",
        {"w": rnd(2, 4)},
        {"w": rnd(2, 4), "0.inv": INV, "1.inv": INV},
        to="left",
    ),
)
def test_constants_and_generators(case, tmp_path):
    check(case, tmp_path)


# --- arithmetic --------------------------------------------------------------------------------------------------------------


def scaled(weight, scale, block, dtype):
    wide = scale.astype(F32)
    for axis in range(weight.ndim):
        wide = np.repeat(wide, block, axis)
    return (weight.astype(F32) * wide[tuple(slice(0, size) for size in weight.shape)]).astype(dtype)


W8, S = rnd(10, 7, dtype=FP8), rnd(3, 2)
BLOCKS = "w [o i] * s [o/4 i/4] -> w [o i]"


@cases(
    Case("plus one", "n [e] + 1 <-> m [e]", {"n": rnd(99, dtype=BF16)}),
    Case("minus one", "n [e] + 1 <-> m [e]", {"m": rnd(99, dtype=BF16)}, to="left"),
    Case(
        "as float32",
        "n [e] + 1 <-> m [e] as float32",
        {"n": rnd(9, dtype=BF16)},
        {"m": rnd(9, dtype=BF16).astype(F32) + np.float32(1)},
    ),
    Case("decay", "-exp(A_log [h]) <-> A [h]", {"A_log": rnd(99)}, ulps=True),
    Case("decay back", "-exp(A_log [h]) <-> A [h]", {"A": -np.abs(rnd(99))}, to="left", ulps=True),
    Case("scalar of a let", "let q = s ** -0.5\nw [s x] * q <-> v [x s]", {"w": rnd(3, 4, dtype=BF16)}),
    Case("from one", "1 - w [x] <-> v [x]", {"v": rnd(9)}, {"w": np.float32(1) - rnd(9)}, to="left"),
    Case("under two", "2 / w [x] <-> v [x]", {"v": rnd(9)}, {"w": np.float32(2) / rnd(9)}, to="left"),
    Case("integers stay exact", "w [x] * 2 <-> v [x]", {"w": ints(9, start=2**60)}, {"v": ints(9, start=2**60) * 2}),
    Case("does not fit", "w [x] + 100 <-> v [x]", {"w": np.array([100, 200], "uint8")}, "value-out-of-range"),
    *(
        Case(name, f"{name}(w [x]) -> v [x]", {"w": np.abs(rnd(9))}, ulps=True)
        for name in ("sqrt", "log1p", "tanh", "sigmoid", "rsqrt", "softplus", "round")
    ),
    Case("block scales", BLOCKS + " as bfloat16", {"w": W8, "s": S}, {"w": scaled(W8, S, 4, BF16)}),
    Case(
        "block scales in float64",
        BLOCKS,
        {"w": rnd(10, 7, dtype=F64), "s": S},
        {"w": rnd(10, 7, dtype=F64) * np.repeat(np.repeat(S, 4, 0), 4, 1)[:10, :7]},
    ),
    Case("whole blocks", BLOCKS, {"w": rnd(8, 8), "s": rnd(2, 2)}, {"w": scaled(rnd(8, 8), rnd(2, 2), 4, F32)}),
    Case(
        "experts with block scales",
        "{x}.w [o i] * {x}.s [o/4 i/4] -> w [x i o] as bfloat16",
        {f"{k}.{n}": each for k in range(3) for n, each in (("w", rnd(10, 7, dtype=FP8, seed=k)), ("s", S + k))},
        {"w": np.stack([scaled(rnd(10, 7, dtype=FP8, seed=k), S + np.float32(k), 4, BF16).T for k in range(3)])},
    ),
    Case(
        "ranks with block scales",
        "{r}.w [o] * {r}.s [o/4] -> w [(r o)]",
        {f"{k}.{n}": rnd(m, seed=k) for k in range(2) for n, m in (("w", 10), ("s", 3))},
    ),
    Case(
        "scales that move",
        "w [o i] <-> v [i o]\ns [o/4 i/4] <-> t [i/4 o/4]",
        {"w": rnd(10, 7), "s": S},
        {"v": rnd(10, 7).T, "t": S.T},
    ),
    Case("of three tensors", "w [o i] + u [o] * s [i] -> v [i o]", {"w": rnd(4, 3), "u": rnd(4), "s": rnd(3)}),
    Case("one-way, backwards", BLOCKS, {"w": rnd(10, 7)}, "one-way", to="left"),
)
def test_arithmetic(case, tmp_path):
    check(case, tmp_path)


# --- dtypes ------------------------------------------------------------------------------------------------------------------


@cases(
    *(
        Case(f"{a} as {b}", f"w [x] <-> v [x] as {b}", {"w": np.abs(rnd(999, dtype=a)) * a.type(30)})
        for a, b in (
            (F32, BF16),
            (F64, BF16),
            (F64, F16),
            (F32, FP8),
            (BF16, F16),
            (F64, FP8),
            (F32, I64),
            (F32, np.dtype(bool)),
            (F16, F32),
        )
    ),
    Case(
        "wide integers", "w [x] <-> v [x] as bfloat16", {"w": np.random.default_rng(0).integers(-(2**62), 2**62, 999)}
    ),
    Case("too large an integer", "w [x] <-> v [x] as int8", {"w": rnd(99) * 1000}, "value-out-of-range"),
    Case(
        "asked for",
        "a [x], b <-> v [x], b",
        {"a": rnd(3), "b": ints(3)},
        {"v": rnd(3).astype(BF16), "b": ints(3)},
        dtype="bf16",
    ),
    Case("asked for, but said", "a [x] <-> v [x] as float16", {"a": rnd(3)}, {"v": rnd(3).astype(F16)}, dtype="bf16"),
    Case("mixed", "a [x], b [x] <-> v [(x + x)]", {"a": rnd(3), "b": rnd(3, dtype=BF16)}, "mixed-dtypes"),
    Case("mixed, but said", "a [x], b [x] <-> v [(x + x)] as float32", {"a": rnd(3), "b": rnd(3, dtype=BF16)}),
)
def test_casts(case, tmp_path):
    check(case, tmp_path)


@pytest.mark.parametrize(
    "dtype",
    ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "uint16", "uint64", "float16", "complex64", "bool"],
)
def test_torch_moves_bits(dtype):
    count = 2 ** (8 * min(2, getattr(torch, dtype).itemsize)) if dtype != "bool" else 2
    raw = np.random.default_rng(0).integers(0, 256, count * getattr(torch, dtype).itemsize, dtype=np.uint8)
    if dtype == "bool":
        raw &= 1
    tensor = torch.from_numpy(raw.copy()).view(getattr(torch, dtype)).reshape(2, -1)
    out = tensormap.loads("w [(1 + 1) x] <-> a [x], b [x]").convert({"w": tensor}, to="right")
    back = tensormap.loads("w [(1 + 1) x] <-> a [x], b [x]").convert(out, to="left")
    assert out["b"].dtype == tensor.dtype
    assert back["w"].view(torch.uint8).numpy().tobytes() == raw.tobytes()


# --- names, layouts and conditions -------------------------------------------------------------------------------------------

TIED = "a = b? [v e] <-> c [v e]"
UNTIED = "config {\n untied = untie <-> not (tie ?? true)\n}\n" + TIED
STAGES = "index p < pp\nindex l < stages[p]\nlet pp = len(stages)\n"
RAGGED = "index r < tp\nlet tp = len(v)\n"
Q, K, V = (rnd(2, 3, seed=k) for k in range(3))


@cases(
    Case("tied, one there", TIED, {"b": Q}, {"c": Q}),
    Case("tied, both there", TIED, {"a": Q, "b": Q}, {"c": Q}),
    Case("tied, but unequal", TIED, {"a": Q, "b": K}, "not-equal"),
    Case("tied, of two dtypes", TIED, {"a": Q, "b": Q.astype(BF16)}, "tied-differ"),
    Case("tied, written once", TIED, {"c": Q}, {"a": Q}, to="left"),
    Case("untied by the config", UNTIED, {"c": Q}, {"a": Q, "b": Q}, to="left", config={"tie": False}),
    Case("tied by the config", UNTIED, {"c": Q}, {"a": Q}, to="left", config={"tie": True}),
    Case(
        "stages counted",
        STAGES + "{p}.{l}.w <-> {(p l)}.w",
        {"0.0.w": Q, "0.1.w": K, "1.0.w": V},
        {"0.w": Q, "1.w": K, "2.w": V},
        set={"stages": [2, 1]},
    ),
    Case(
        "stages numbered",
        STAGES + "{p}.{l}.w <-> {(p l)}.w",
        {"0.w": Q, "1.w": K, "2.w": V},
        {"0.0.w": Q, "1.0.w": K, "1.1.w": V},
        to="left",
        set={"stages": [1, 2]},
    ),
    Case(
        "stages stacked",
        STAGES + "{p}.{l}.w [x y] <-> w [x (p l) y]",
        {"0.0.w": Q, "0.1.w": K, "1.0.w": V},
        {"w": np.stack([Q, K, V], 1)},
        set={"stages": [2, 1]},
    ),
    Case(
        "stages taken apart",
        STAGES + "{p}.w [l x] <-> w [(p l) x]",
        {"w": rnd(3, 2)},
        {"0.w": rnd(3, 2)[:2], "1.w": rnd(3, 2)[2:]},
        to="left",
        set={"stages": [2, 1]},
    ),
    Case(
        "stages on both sides",
        STAGES + "w [(p l) x] <-> v [x (p l)]",
        {"w": rnd(3, 2)},
        {"v": rnd(3, 2).T},
        set={"stages": [2, 1]},
    ),
    Case("empty stage", STAGES + "{p}.w [l x] <-> w [(p l) x]", {"w": rnd(3, 2)}, to="left", set={"stages": [2, 0, 1]}),
    Case(
        "ragged ranks",
        RAGGED + "{r}.w [v[r] e] <-> w [(r v[r]) e]",
        {"0.w": rnd(2, 3), "1.w": rnd(1, 3)},
        {"w": np.concatenate([rnd(2, 3), rnd(1, 3)])},
        set={"v": [2, 1]},
    ),
    Case(
        "ragged halves",
        RAGGED + "{r}.w [(v[r] + v[r])] <-> a [(r v[r])], b [(r v[r])]",
        {"a": ints(5), "b": ints(5, start=9)},
        {"0.w": np.array([0, 1, 9, 10]), "1.w": np.array([2, 3, 4, 11, 12, 13])},
        to="left",
        set={"v": [2, 3]},
    ),
    Case("any axes", "{i}.a <-> c [i ...]", {"0.a": Q, "1.a": K}, {"c": np.stack([Q, K])}),
    Case("no axes", "{i}.a <-> c [i ...]", {"0.a": np.array(1.5), "1.a": np.array(2.5)}, {"c": np.array([1.5, 2.5])}),
    Case(
        "any axes in the middle",
        "a [x ... y] <-> b [y ... x]",
        {"a": rnd(2, 3, 4, 5)},
        {"b": rnd(2, 3, 4, 5).transpose(3, 1, 2, 0)},
    ),
    Case("any axes, but two kinds", "a, b <-> c [(1 + 1) ...]", {"a": rnd(2), "b": rnd(3)}, "shape-mismatch"),
    Case(
        "not empty axes, but two kinds",
        "a [x ...], b [y ...] <-> c [(x + y) ...]",
        {"a": rnd(2, 3), "b": rnd(1, 4)},
        "shape-mismatch",
    ),
    Case("empty part", "a [(x + y) e] <-> b [x e], c [y e]", {"a": Q}, {"b": Q, "c": Q[:0]}, set={"x": 2, "y": 0}),
    Case("empty tensors", "a [x y] <-> b [y x]", {"a": rnd(0, 2)}, {"b": rnd(2, 0)}),
    Case(
        "transposed in its name",
        "{e}.a [e'] <-> b [e' e]",
        {"0.a": ints(2), "1.a": ints(2, start=5)},
        {"b": np.array([[0, 5], [1, 6]])},
    ),
    Case("missing layer", "{i}.w [x] <-> {i}.v [x]", {"0.w": rnd(2), "2.w": rnd(2)}, "missing-tensor"),
    Case("half of an optional rule", "a [x], b [x] <-> c [(x + x)] optional", {"a": rnd(2)}, "missing-tensor"),
    Case(
        "optional layers",
        "{i}.a <-> {i}.b\n{i}.c <-> {i}.d optional",
        {"0.a": Q, "1.a": K, "1.c": V},
        {"0.b": Q, "1.b": K, "1.d": V},
    ),
    Case("unmentioned", "a <-> b", {"a": Q, "z": Q}, "unclaimed-tensor"),
    Case("dropped", 'a <-> b\nc -> _\n{i}.d -> _\n"e.*" -> _', {"a": Q, "c": Q, "0.d": Q, "e.f.g": Q}, {"b": Q}),
    Case("backwards", "a -> b", {"b": Q}, "one-way", to="left"),
    Case(
        "read twice",
        "index i < n\nwhen i < 1 {\n {i}.a [x] <-> c [i x]\n}\nwhen i >= 1 {\n {i}.a [x] -> _\n}",
        {"0.a": rnd(2), "1.a": rnd(2)},
        "incomplete",
    ),
    Case("in a circle", "a <-> b\n$u [x] <-> $v [x]\n$v [x] <-> $u [x]", {"a": Q}, "virtual-cycle", set={"x": 2}),
    Case(
        "virtual, written twice",
        "a [x] -> $v [x]\nc [x] -> $v [x]\n$v [x] -> d [x]",
        {"a": rnd(2), "c": rnd(2)},
        "written-twice",
    ),
    Case("virtual, never written", "a <-> b\n$v [x] -> d [x]", {"a": Q}, "virtual-alone", set={"x": 2}),
)
def test_names_and_layouts(case, tmp_path):
    check(case, tmp_path)


# --- larger ones: both ways --------------------------------------------------------------------------------------------------

EMBED = "{r}.e [vr e] <-> $embed [(r vr) e]\n$embed [(v + pad) e] <-> e [v e], 0 [pad e]"
MLA = """b.{i}.kv_b.weight [a b] * b.{i}.kv_b.scale [a/4 b/4] -> $kv_b.{i} [a b] as bfloat16
$kv_b.{i} [(h (nope + vd)) rank] <-> l.{i}.k_b [h rank nope], l.{i}.v_b [h vd rank]"""
GATES = """linear_attn.in_proj_qkvz.weight [(K (dk + dk + (gv dv) + (gv dv))) e]
    <-> attn_qkv.weight [((K dk) + (K dk) + (K gv dv)) e], attn_gate.weight [(K gv dv) e]
linear_attn.in_proj_ba.weight [(K (b:gv + a:gv)) e] <-> ssm_ba.weight [(a:(K gv) + b:(K gv)) e]
self_attn.q_proj.weight [(kv g (query:d + gate:d)) e] <-> gate: gate.weight [(kv g d) e], query: q.weight [(kv g d) e]"""
MOE = """param dense = 1
index i < layers
index s in up, down
when i < dense {
    l.{i}.{s} [a b] <-> m.{i}.{s} [b a]
} else {
    l.{i}.gate [x e] <-> m.{i}.gate [x e]
    l.{i}.e.{x}.{s} [a b] <-> m.{i}.e.{s} [x a b]
}"""


def test_vocabulary_padding_under_tensor_parallelism(tmp_path):
    table = rnd(6, 2, dtype=BF16)
    padded = np.concatenate([table, np.zeros((2, 2), BF16)])
    ranks = {"0.e": padded[:4], "1.e": padded[4:]}
    check(Case("merge", EMBED, ranks, {"e": table}, set={"v": 6}), tmp_path)
    (tmp_path / "back").mkdir()
    check(Case("split", EMBED, {"e": table}, ranks, to="left", set={"r": 2, "vr": 4}), tmp_path / "back")


def test_padding_on_more_ranks_than_rows(tmp_path):
    check(Case("split", EMBED, {"e": rnd(3, 2)}, to="left", set={"r": 4, "vr": 2}), tmp_path)


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_mla_is_dequantised_split_and_transposed(dtype, tmp_path):
    weights = {f"b.{i}.kv_b.weight": rnd(2 * 5, 7, dtype=FP8, seed=i) for i in range(2)}
    scales = {f"b.{i}.kv_b.scale": rnd(3, 2, seed=i) for i in range(2)}
    want = {}
    for i in range(2):
        whole = scaled(weights[f"b.{i}.kv_b.weight"], scales[f"b.{i}.kv_b.scale"], 4, F16 if dtype else BF16)
        heads = whole.reshape(2, 5, 7)
        want |= {f"l.{i}.k_b": heads[:, :3].transpose(0, 2, 1), f"l.{i}.v_b": heads[:, 3:]}
    check(Case("mla", MLA, weights | scales, want, set={"nope": 3, "vd": 2}, dtype=dtype), tmp_path)


def test_what_goes_through_a_virtual_tensor_is_rounded_once(tmp_path):
    text = "w [x] + 1 <-> $v [x]\n$v [x] * 0.3 <-> k [x]"
    weights = rnd(999, dtype=BF16)
    want = ((weights.astype(F32) + np.float32(1)) * np.float32(0.3)).astype(BF16)
    check(Case("twice", text, {"w": weights}, {"k": want}), tmp_path)


def test_gated_attention_and_delta_net(tmp_path):
    names = ("attn_qkv.weight", "attn_gate.weight", "ssm_ba.weight", "gate.weight", "q.weight")
    dims = {"K": 2, "gv": 2, "dk": 3, "dv": 5, "kv": 2, "g": 2, "d": 3, "e": 4}
    right = {
        name: ints(rows, 4, start=1000 * k)
        for k, (name, rows) in enumerate(zip(names, (32, 20, 8, 12, 12), strict=True))
    }
    qkv = right["attn_qkv.weight"]
    by_head = [
        qkv[:6].reshape(2, 3, 4),
        qkv[6:12].reshape(2, 3, 4),
        qkv[12:].reshape(2, 10, 4),
        right["attn_gate.weight"].reshape(2, 10, 4),
    ]
    both = right["ssm_ba.weight"].reshape(2, 2, 2, 4)
    left = {
        "linear_attn.in_proj_qkvz.weight": np.concatenate(by_head, 1).reshape(-1, 4),
        "linear_attn.in_proj_ba.weight": np.concatenate([both[1], both[0]], 1).reshape(-1, 4),
        "self_attn.q_proj.weight": np.stack(
            [right["q.weight"].reshape(4, 3, 4), right["gate.weight"].reshape(4, 3, 4)], 1
        ).reshape(-1, 4),
    }
    check(Case("to the right", GATES, left, right, set=dims), tmp_path)
    (tmp_path / "back").mkdir()
    check(Case("to the left", GATES, right, left, to="left", set=dims), tmp_path / "back")


def test_dense_layers_before_layers_with_experts(tmp_path):
    source = {f"l.0.{s}": rnd(2, 3, seed=k) for k, s in enumerate(("up", "down"))}
    want = {name.replace("l.", "m."): each.T for name, each in source.items()}
    for i in (1, 2):
        source[f"l.{i}.gate"] = want[f"m.{i}.gate"] = rnd(4, 5, seed=i)
        for k, s in enumerate(("up", "down")):
            experts = [rnd(2, 3, seed=100 * i + 10 * k + x) for x in range(4)]
            source |= {f"l.{i}.e.{x}.{s}": each for x, each in enumerate(experts)}
            want[f"m.{i}.e.{s}"] = np.stack(experts)
    check(Case("moe", MOE, source, want, set={"dense": 1}), tmp_path)
    (tmp_path / "back").mkdir()
    check(Case("back", MOE, want, source, to="left", set={"dense": 1}), tmp_path / "back")


# --- externs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _halves():
    externs.register("halves", lambda weight, scale: (weight * scale[:, None])[:, ::2], dtype="float32")
    yield
    externs._registered.pop("halves")


@pytest.mark.usefixtures("_halves")
def test_extern_gets_whole_tensors_and_its_result_is_moved(tmp_path):
    text = "extern halves([o (i 2)], [o]) -> [o i]\nhalves({x}.w, {x}.s) -> w [x i o]"
    tensors = {f"{x}.{n}": rnd(*shape, seed=x) for x in range(2) for n, shape in (("w", (3, 4)), ("s", (3,)))}
    want = [(tensors[f"{x}.w"] * tensors[f"{x}.s"][:, None])[:, ::2].T for x in range(2)]
    check(Case("extern", text, tensors, {"w": np.stack(want)}, set={"i": 2}), tmp_path)


@pytest.mark.usefixtures("_halves")
def test_extern_must_return_what_its_signature_says(tmp_path):
    text = "extern halves([o (i 2)], [o]) -> [i o]\nhalves(w, s) -> v [i o]"
    check(Case("extern", text, {"w": rnd(3, 4), "s": rnd(3)}, "extern-result", set={"i": 2}), tmp_path)


# --- frameworks --------------------------------------------------------------------------------------------------------------

QKV = "w [(kv (g + 1 + 1) d) e] <-> q [(kv g d) e], k [(kv d) e], v [(kv d) e]"


def test_gradients_flow():
    weight = torch.arange(2 * 4 * 3 * 5, dtype=torch.float32).reshape(24, 5).requires_grad_()
    out = tensormap.loads(QKV).convert({"w": weight}, to="right", set={"kv": 2, "g": 2})
    (out["k"] * 3 + out["v"]).sum().backward()
    want = torch.tensor([0.0, 0, 3, 1]).reshape(1, 4, 1, 1).expand(2, 4, 3, 5).reshape(24, 5)
    torch.testing.assert_close(weight.grad, want)


def test_gradients_flow_through_arithmetic_casts_and_replicas():
    log = torch.tensor([0.5, -1.0], requires_grad=True)
    out = tensormap.loads("-exp(a [n]) <-> b [n] as bfloat16").convert({"a": log}, to="right")["b"]
    out.float().sum().backward()
    torch.testing.assert_close(log.grad, -log.detach().exp(), rtol=0.01, atol=0)
    ranks = {f"{r}.b": torch.ones(3, requires_grad=True) for r in range(2)}
    tensormap.loads("{r}.b [e] <-> b [e] replicated r by sum").convert(ranks, to="right")["b"].sum().backward()
    torch.testing.assert_close(ranks["1.b"].grad, torch.ones(3))


def test_gradients_flow_through_float64_rounded_to_bfloat16():
    weight = torch.tensor([1 + 2**-9 + 2**-40, -0.0, float("inf")], dtype=torch.float64, requires_grad=True)
    out = tensormap.loads("a [n] <-> b [n] as bfloat16").convert({"a": weight}, to="right")["b"]
    assert out.tolist() == [1.0, -0.0, float("inf")]
    out.float().sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones(3, dtype=torch.float64))


def test_meta_tensors_move():
    out = tensormap.loads(QKV).convert({"w": torch.empty(24, 5, device="meta")}, to="right", set={"kv": 2, "g": 2})
    assert {name: (each.device.type, tuple(each.shape)) for name, each in out.items()} == {
        "q": ("meta", (12, 5)),
        "k": ("meta", (6, 5)),
        "v": ("meta", (6, 5)),
    }


def test_meta_tensors_have_nothing_to_compare():
    ranks = {name: torch.empty(3, device="meta") for name in ("0.n", "1.n")} | {"w": torch.empty(2, device="meta")}
    text = f"{RANKS}\nw [(a + pad)] <-> a [a], 0 [pad]"
    out = tensormap.loads(text).convert(ranks, to="right", set={"a": 1})
    assert {name: tuple(each.shape) for name, each in out.items()} == {"n": (3,), "a": (1,)}


def test_arrays_of_any_strides_and_byte_order():
    weights = rnd(4, 6).T[::2]
    out = tensormap.loads("a [x y] <-> b [y x]").convert({"a": weights.astype(">f4")}, to="right")
    np.testing.assert_array_equal(out["b"], weights.T, strict=True)
    transposed = torch.arange(6).reshape(2, 3).T
    assert tensormap.loads("a <-> b").convert({"a": transposed}, to="right")["b"].tolist() == transposed.tolist()


def test_jax_arrays():
    numpy = pytest.importorskip("jax.numpy")
    jax = pytest.importorskip("jax")
    weight = rnd(24, 5, dtype=BF16)
    mapping = tensormap.loads(QKV)
    out = mapping.convert({"w": numpy.asarray(weight)}, to="right", set={"kv": 2, "g": 2})
    want = mapping.convert({"w": weight}, to="right", set={"kv": 2, "g": 2})
    assert all(isinstance(each, jax.Array) for each in out.values())
    assert {name: np.asarray(each).tobytes() for name, each in out.items()} == {
        n: each.tobytes() for n, each in want.items()
    }
    padded = tensormap.loads(PAD).convert({"e": numpy.ones((2, 2), "bfloat16")}, to="left", set={"pad": 1})["w"]
    assert np.asarray(padded).tolist() == [[1, 1], [1, 1], [0, 0]]

    def loss(log):
        return tensormap.loads("-exp(a [n]) <-> b [n]").convert({"a": log}, to="right")["b"].sum()

    np.testing.assert_allclose(jax.grad(loss)(numpy.zeros(3)), [-1, -1, -1])


def test_tensors_of_two_frameworks_make_no_tensor():
    with pytest.raises(CheckpointError) as caught:
        tensormap.loads("a [x], b [x] <-> c [(x + x)]").convert({"a": rnd(2), "b": torch.zeros(2)}, to="right")
    assert [each.slug for each in caught.value.diagnostics] == ["mixed-places"]
    assert caught.value.diagnostics[0].notes == ("`a` is a numpy array and `b` is a torch tensor on cpu",)


def test_catalog_says_names_dtypes_and_shapes():
    tensors = {
        "a": np.zeros((2, 3), BF16),
        "b": torch.zeros(4, dtype=torch.float8_e5m2),
        "c": torch.nn.Parameter(torch.zeros(())),
        "d": np.float64(1),
    }
    found = memory.catalog(tensors).tensors
    assert {name: (each.dtype, each.shape, each.file) for name, each in found.items()} == {
        "a": ("bfloat16", (2, 3), -1),
        "b": ("float8_e5m2", (4,), -1),
        "c": ("float32", (), -1),
        "d": ("float64", (), -1),
    }


@pytest.mark.parametrize(
    ("tensor", "slug"), [([1, 2], "not-a-tensor"), (np.array(["x"]), "unknown-dtype"), (None, "not-a-tensor")]
)
def test_what_is_no_tensor_is_refused(tensor, slug):
    with pytest.raises(CheckpointError) as caught:
        memory.catalog({"a": tensor})
    assert [each.slug for each in caught.value.diagnostics] == [slug]


def test_an_opened_checkpoint_is_read_as_it_is_asked_for(tmp_path):
    save_file({"a": rnd(2, 3)}, tmp_path / "model.safetensors")
    out = tensormap.loads("a [x y] <-> b [y x]").convert(tensormap.open(tmp_path), to="right")
    np.testing.assert_array_equal(out["b"], rnd(2, 3).T)


@pytest.mark.parametrize("text", ["a [] <-> b []", "a <-> b", "a * 2 <-> b"])
def test_a_number_of_numpy_is_a_tensor_without_axes(text: str) -> None:
    found = tensormap.loads(text).convert({"a": np.float32(3)}, "right")["b"]
    assert (found.shape, found.dtype, float(found)) == ((), np.float32, 6.0 if "*" in text else 3.0)
