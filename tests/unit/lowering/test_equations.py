"""Movements of elements that real converters make, each against numpy's own words for it, both ways and both executions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import tensormap

Tensors = dict[str, NDArray[np.int64]]


def _fresh(*shape: int, start: int = 0) -> NDArray[np.int64]:
    return np.arange(start + 1, start + 1 + int(np.prod(shape)), dtype=np.int64).reshape(shape)


def _partition() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """Ernie 4.5 VL: the first experts are for text, the others for images."""
    experts = [_fresh(2, 3, start=100 * k) for k in range(5)]
    left = {f"E.{k}.w": each for k, each in enumerate(experts)}
    right = {"text": np.stack(experts[:3]), "vision": np.stack(experts[3:])}
    return "E.{(t + s)}.w [f e] <-> text [t f e], vision [s f e]", {"t": 3, "s": 2, "f": 2, "e": 3}, left, right


def _cycle_with_rest() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """Gemma 3 in flax: layers are scanned by cycles of three; two layers are left over."""
    layers = [_fresh(4, start=10 * k) for k in range(8)]
    left = {f"layers.{k}": each for k, each in enumerate(layers)}
    right = {f"blk.{b}": np.stack([layers[3 * c + b] for c in range(2)]) for b in range(3)}
    right |= {f"rest.{t}": layers[6 + t] for t in range(2)}
    text = "layers.{((c b) + t)} [e] <-> blk.{b} [c e], rest.{t} [e]"
    return text, {"c": 2, "b": 3, "t": 2, "e": 4}, left, right


def _interior_padding() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """A head size padded for a kernel, inside every head."""
    w = _fresh(3 * 4, 5)
    padded = np.zeros((3, 6, 5), np.int64)
    padded[:, :4] = w.reshape(3, 4, 5)
    text = "w [(h d) e], 0 [h p e] <-> W [(h (d + p)) e]"
    return text, {"h": 3, "d": 4, "p": 2, "e": 5}, {"w": w}, {"W": padded.reshape(18, 5)}


def _block_diagonal() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """Two low-rank factors of a fused layer."""
    q, k = _fresh(3, 2), _fresh(4, 5, start=50)
    both = np.zeros((7, 7), np.int64)
    both[:3, :2], both[3:, 2:] = q, k
    text = "qB [a r], 0 [a s], 0 [b r], kB [b s] <-> B [(a + b) (r + s)]"
    return text, {"a": 3, "b": 4, "r": 2, "s": 5}, {"qB": q, "kB": k}, {"B": both}


def _flat_shards() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """ZeRO: tensors laid end to end, padded, and cut where no tensor ends."""
    a, b = _fresh(3, 4), _fresh(5, start=40)
    flat = np.concatenate([a.reshape(-1), b, np.zeros(1, np.int64)])
    text = "A [u v], B [w], 0 [pad] <-> $flat [((u v) + w + pad)]\n$flat [(r n)] <-> rank{r} [n]"
    right = {f"rank{r}": flat[6 * r : 6 * r + 6] for r in range(3)}
    return text, {"u": 3, "v": 4, "w": 5, "pad": 1, "r": 3, "n": 6}, {"A": a, "B": b}, right


def _gated_attention() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """Qwen3-Next to Megatron: each head has its query and its gate; a group has all queries, then all gates, a key, a value."""
    kv, g, d, e = 2, 3, 4, 5
    q, k, v = _fresh(kv * g * 2 * d, e), _fresh(kv * d, e, start=1000), _fresh(kv * d, e, start=2000)
    heads = q.reshape(kv, g, 2, d, e)
    fused = np.concatenate(
        [
            heads[:, :, 0].reshape(kv, g * d, e),
            heads[:, :, 1].reshape(kv, g * d, e),
            k.reshape(kv, d, e),
            v.reshape(kv, d, e),
        ],
        axis=1,
    )
    text = "q [(kv g (q:d + z:d)) e], k: k [(kv d) e], v: v [(kv d) e] <-> w [(kv (q:(g d) + z:(g d) + k:d + v:d)) e]"
    return text, {"kv": kv, "g": g, "d": d, "e": e}, {"q": q, "k": k, "v": v}, {"w": fused.reshape(-1, e)}


def _uneven_stages() -> tuple[str, dict[str, Any], Tensors, Tensors]:
    """Pipeline stages with different numbers of layers."""
    layers = [_fresh(3, start=10 * k) for k in range(7)]
    stages = (3, 2, 2)
    left = {}
    at = 0
    for p, count in enumerate(stages):
        for j in range(count):
            left[f"pp{p}.layers.{j}"] = layers[at]
            at += 1
    right = {f"layers.{k}": each for k, each in enumerate(layers)}
    text = "param stages = [1]\nindex p < len(stages)\nindex l < stages[p]\npp{p}.layers.{l} [e] <-> layers.{(p l)} [e]"
    return text, {"stages": stages, "e": 3}, left, right


def _mamba_ranks() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """Mamba 2's in_proj under tensor parallelism: every rank has its share of each of five parts."""
    r, z, b, h, e = 2, 3, 2, 4, 3
    parts = [_fresh(r * n, e, start=1000 * k) for k, n in enumerate((z, z, b, b, h))]
    left = {f"ip.{k}": np.concatenate([each.reshape(r, -1, e)[k] for each in parts]) for k in range(r)}
    text = "ip.{r} [(z + z + b + b + h) e] <-> w [((r z) + (r z) + (r b) + (r b) + (r h)) e]"
    return text, {"r": r, "z": z, "b": b, "h": h, "e": e}, left, {"w": np.concatenate(parts)}


def _ragged_shards() -> tuple[str, dict[str, Any], Tensors, Tensors]:
    """A table cut into pieces of different sizes."""
    w = _fresh(9, 2)
    text = "param v = [1]\nindex r < len(v)\nemb.{r} [v[r] e] <-> w [(r v[r]) e]"
    left = {"emb.0": w[:4], "emb.1": w[4:6], "emb.2": w[6:]}
    return text, {"v": (4, 2, 3), "e": 2}, left, {"w": w}


def _an_index_of_one() -> tuple[str, dict[str, Any], Tensors, Tensors]:
    """An index with one position is an axis like any other."""
    w = _fresh(3)
    return "index i < 1\na.{i} [e] <-> b [i e]", {"e": 3}, {"a.0": w}, {"b": w[None]}


def _a_word_of_one() -> tuple[str, dict[str, Any], Tensors, Tensors]:
    """An enumerated index with one word; the axis stands inside of a product."""
    w = _fresh(2, 3)
    return "index s in only\nx.{s} [a e] <-> y [(e s a)]", {"a": 2, "e": 3}, {"x.only": w}, {"y": w.T.reshape(-1)}


def _an_uneven_split_of_one() -> tuple[str, dict[str, Any], Tensors, Tensors]:
    """A size that depends on an index, where the index has one position."""
    w = _fresh(4, 2)
    text = "param v\nindex r < 1\nemb.{r} [v[r] e] <-> w [(r v[r]) e]"
    return text, {"v": (4,), "e": 2}, {"emb.0": w}, {"w": w}


def _counted_down() -> tuple[str, dict[str, Any], Tensors, Tensors]:
    """Levels that one side counts from the other end; how many there are is read off the names of either."""
    levels = [_fresh(2, start=10 * k) for k in range(4)]
    left = {f"up.{3 - k}.w": each for k, each in enumerate(levels)}
    right = {f"blocks.{k}.w": each for k, each in enumerate(levels)}
    return "index i < n\nup.{n - 1 - i}.w [e] <-> blocks.{i}.w [e]", {"e": 2}, left, right


CASES = {
    made.__name__.strip("_"): made()
    for made in (
        _partition,
        _cycle_with_rest,
        _interior_padding,
        _block_diagonal,
        _flat_shards,
        _gated_attention,
        _uneven_stages,
        _mamba_ranks,
        _ragged_shards,
        _an_index_of_one,
        _a_word_of_one,
        _an_uneven_split_of_one,
        _counted_down,
    )
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("to", ["right", "left"])
def test_in_memory(name: str, to: str) -> None:
    text, dims, left, right = CASES[name]
    source, wanted = (left, right) if to == "right" else (right, left)
    _same(tensormap.loads(text).convert(source, to=to, set=dims), wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("to", ["right", "left"])
def test_on_files(name: str, to: str, tmp_path: Path) -> None:
    text, dims, left, right = CASES[name]
    source, wanted = (left, right) if to == "right" else (right, left)
    (tmp_path / "in").mkdir()
    save_file({key: np.ascontiguousarray(each) for key, each in source.items()}, tmp_path / "in" / "model.safetensors")
    tensormap.apply(tensormap.loads(text), tmp_path / "in", tmp_path / "out", to=to, set=dims)
    _same(load_file(tmp_path / "out" / "model.safetensors"), wanted)


def _same(got: dict[str, Any], wanted: Tensors) -> None:
    assert sorted(got) == sorted(wanted)
    for name, each in wanted.items():
        np.testing.assert_array_equal(np.asarray(got[name]), each, err_msg=name, strict=True)


def _scaled_virtual() -> tuple[str, dict[str, int], Tensors, Tensors]:
    """A virtual tensor in a formula with a stored one, and repeated along an axis."""
    a, s = _fresh(2, 3), _fresh(6, start=10)
    text = "a.{r} [n] <-> $t [(r n)]\n$t [(p q)] * s [(p q)] -> k [p c q]   replicated c"
    product = (a.reshape(-1) * s).reshape(3, 2)
    return (
        text,
        {"r": 2, "n": 3, "p": 3, "q": 2, "c": 4},
        {"a.0": a[0], "a.1": a[1], "s": s},
        {"k": np.repeat(product[:, None], 4, axis=1)},
    )


def test_a_virtual_tensor_in_a_formula(tmp_path: Path) -> None:
    text, dims, left, right = _scaled_virtual()
    _same(tensormap.loads(text).convert(left, to="right", set=dims), right)
    (tmp_path / "in").mkdir()
    save_file(left, tmp_path / "in" / "model.safetensors")
    tensormap.apply(tensormap.loads(text), tmp_path / "in", tmp_path / "out", to="right", set=dims)
    _same(load_file(tmp_path / "out" / "model.safetensors"), right)


def test_a_list_of_sizes_is_read_off_the_shapes(tmp_path: Path) -> None:
    w = _fresh(9, 2)
    pieces = {"0.w": w[:4], "1.w": w[4:6], "2.w": w[6:]}
    mapping = tensormap.loads("{r}.w [v[r] e] <-> w [(r v[r]) e]")
    _same(mapping.convert(pieces, to="right"), {"w": w})
    (tmp_path / "in").mkdir()
    save_file({name: each.copy() for name, each in pieces.items()}, tmp_path / "in" / "model.safetensors")
    tensormap.apply(mapping, tmp_path / "in", tmp_path / "out", to="right")
    _same(load_file(tmp_path / "out" / "model.safetensors"), {"w": w})


def test_a_side_with_its_own_separator(tmp_path: Path) -> None:
    text = 'mapping a <-> b\nside b {\n    path "/"\n}\nindex i < n\nx.{i}.w [p q] <-> y.{i}.w [q p]'
    left = {"x.0.w": _fresh(2, 3), "x.1.w": _fresh(2, 3, start=9)}
    right = {name.replace("x", "y").replace(".", "/"): each.T for name, each in left.items()}
    mapping = tensormap.loads(text)
    _same(mapping.convert(left, to="b"), right)
    _same(mapping.convert(right, to="a"), left)
    (tmp_path / "in").mkdir()
    save_file(left, tmp_path / "in" / "model.safetensors")
    tensormap.apply(mapping, tmp_path / "in", tmp_path / "there")
    _same(load_file(tmp_path / "there" / "model.safetensors"), right)
    tensormap.apply(mapping, tmp_path / "there", tmp_path / "back")
    _same(load_file(tmp_path / "back" / "model.safetensors"), left)


@pytest.mark.parametrize("text", ["a [e] * b [e] - 2 * b [e] -> c [e]", "a * b - (b + b) -> c"])
def test_a_tensor_that_a_formula_names_twice(text: str, tmp_path: Path) -> None:
    source = {"a": _fresh(3), "b": _fresh(3, start=7)}
    wanted = {"c": source["a"] * source["b"] - 2 * source["b"]}
    _same(tensormap.loads(text).convert(source, to="right"), wanted)
    (tmp_path / "in").mkdir()
    save_file(source, tmp_path / "in" / "model.safetensors")
    tensormap.apply(tensormap.loads(text), tmp_path / "in", tmp_path / "out", to="right")
    _same(load_file(tmp_path / "out" / "model.safetensors"), wanted)
