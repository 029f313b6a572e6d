"""What indices, lets and arithmetic in holes mean, by what a conversion in memory does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensormap
from tensormap.diagnostics import TensormapError


def _rows(count: int, first: int = 0) -> dict[str, Any]:
    return {f"w.{k}": np.array([k], np.float32) for k in range(first, first + count)}


def _converted(text: str, tensors: dict[str, Any], to: str = "right", **settings: Any) -> dict[str, list[float]]:
    found = tensormap.loads(text).convert(tensors, to, set=settings)
    return {name: np.asarray(tensor).reshape(-1).tolist() for name, tensor in found.items()}


@pytest.mark.parametrize(
    ("declared", "settings", "count"),
    [
        ("index i < 3", {}, 3),
        ("index i < m", {"m": 4}, 4),
        ("let n = 2 * m\nindex i < n", {"m": 2}, 4),
        ("let n = m - 1\nindex i < n", {"m": 4}, 3),
        ("index i < m ** 2", {"m": 2}, 4),
        ("index i < m ** 1", {"m": 3}, 3),
        ("index i < -m + 5", {"m": 2}, 3),
        ("index i < 2 * (m + 1)", {"m": 1}, 4),
        ("index i < m // 2", {"m": 7}, 3),
        ("index j < m\nindex i < j + 1", {"m": 2}, 3),
        ('param k in a, b\nindex i < select(k == "a", 2, 3)', {"k": "b"}, 3),
        ("param sizes\nindex i < len(sizes)", {"sizes": [5, 5, 5, 5]}, 4),
        ("param sizes\nindex i < sizes[1]", {"sizes": [5, 2, 9]}, 2),
    ],
)
def test_the_size_of_an_index(declared: str, settings: dict[str, Any], count: int) -> None:
    text = f"{declared}\nw.{{i}} [e] <-> v [i e]"
    assert _converted(text, _rows(count), **settings) == {"v": [float(k) for k in range(count)]}
    for wrong in (count - 1, count + 1):
        with pytest.raises(TensormapError):
            _converted(text, _rows(wrong), **settings)


@pytest.mark.parametrize(
    ("hole", "settings", "numbers"),
    [
        ("{i}", {}, [0, 1, 2]),
        ("{i + 2}", {}, [2, 3, 4]),
        ("{2 * i}", {}, [0, 2, 4]),
        ("{i * 2 + 1}", {}, [1, 3, 5]),
        ("{2 * (i + 1)}", {}, [2, 4, 6]),
        ("{m + i}", {"m": 10}, [10, 11, 12]),
        ("{2 * i - i + 1}", {}, [1, 2, 3]),
        ("{m - 1 + i}", {"m": 2}, [1, 2, 3]),
        ("{m * i}", {"m": 3}, [0, 3, 6]),
    ],
)
def test_arithmetic_in_a_hole(hole: str, settings: dict[str, int], numbers: list[int]) -> None:
    text = f"param m = 1\nindex i < 3\nw.{hole} [e] <-> v [i e]"
    tensors = {f"w.{number}": np.array([k], np.float32) for k, number in enumerate(numbers)}
    assert _converted(text, tensors, **settings) == {"v": [0, 1, 2]}
    back = _converted(text, {"v": np.arange(3, dtype=np.float32)[:, None]}, "left", **settings)
    assert back == {f"w.{number}": [k] for k, number in enumerate(numbers)}


def test_a_name_that_the_config_gives_is_a_number_in_a_hole() -> None:
    text = "config {\n    m = first <-> first\n}\nindex i < 3\nw.{m + i} [e] <-> v [i e]"
    assert _converted(text, _rows(3, 10), m=10) == {"v": [10, 11, 12]}


def test_pairs_in_a_hole() -> None:
    text = "index i < 2\nindex j < 3\nw.{1 + (i j)} [e] <-> v.{j} [i e]"
    tensors = {f"w.{1 + 3 * i + j}": np.array([10 * i + j], np.float32) for i in range(2) for j in range(3)}
    assert _converted(text, tensors) == {"v.0": [0, 10], "v.1": [1, 11], "v.2": [2, 12]}


def test_ranges_behind_each_other() -> None:
    text = "index t < 2\nindex s < 3\nw.{1 + t + s} [e] <-> a [t e], b [s e]"
    assert _converted(text, _rows(5, 1)) == {"a": [1, 2], "b": [3, 4, 5]}
    text = "index t < 2\nindex s < 2\nw.{t + 2 + s} [e] <-> a [t e], b [s e]"
    tensors = {name: each for name, each in _rows(6).items() if name not in ("w.2", "w.3")}
    assert _converted(text, tensors) == {"a": [0, 1], "b": [4, 5]}
    text = "index t < 2\nindex s < 2\nindex u < n\nw.{t + s + u} [e] <-> a [t e], b [s e], c [u e]"
    assert _converted(text, _rows(5), n=1) == {"a": [0, 1], "b": [2, 3], "c": [4]}


NUMBERS = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize(
    ("text", "shape", "settings", "expected"),
    [
        ("let h = 2 * d\nw [h e] <-> v [d 2 e]", (6, 2), {}, NUMBERS.reshape(2, 3, 2).transpose(1, 0, 2)),
        ("let h = 2 * d\nw [h e] <-> v [2 e d]", (6, 2), {}, NUMBERS.reshape(2, 3, 2).transpose(0, 2, 1)),
        ("let h = m // 2\nw [h e] <-> v [e h]", (3, 4), {"m": 6}, NUMBERS.reshape(3, 4).T),
        ("let h = m // 2\nw [h e] <-> v [e h]", (3, 4), {"m": 7}, NUMBERS.reshape(3, 4).T),
    ],
)
def test_a_let_in_a_layout(text: str, shape: tuple[int, ...], settings: dict[str, int], expected: Any) -> None:
    found = tensormap.loads(text).convert({"w": NUMBERS.reshape(shape)}, "right", set=settings)
    np.testing.assert_array_equal(found["v"], expected)


def test_a_let_with_a_prime_has_parts_with_primes() -> None:
    text = "let h = a * b\nw [h h'] <-> v [a a' b b']"
    w = np.arange(16, dtype=np.float32).reshape(4, 4)
    found = tensormap.loads(text).convert({"w": w}, "right", set={"a": 2})
    np.testing.assert_array_equal(found["v"], w.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3))


def test_a_let_of_a_sum_takes_a_tensor_apart() -> None:
    text = "let h = a * (b + c)\nw [h] <-> x [a b], y [a c]"
    found = tensormap.loads(text).convert({"w": NUMBERS}, "right", set={"a": 3, "b": 1})
    np.testing.assert_array_equal(found["x"], NUMBERS.reshape(3, 4)[:, :1])
    np.testing.assert_array_equal(found["y"], NUMBERS.reshape(3, 4)[:, 1:])


def test_a_let_that_is_worked_out_is_a_size_that_has_to_fit() -> None:
    with pytest.raises(TensormapError):
        tensormap.loads("let h = m // 2\nw [h e] <-> v [e h]").convert(
            {"w": NUMBERS.reshape(3, 4)}, "right", set={"m": 8}
        )
