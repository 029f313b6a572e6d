"""What is given to `convert` and is no dictionary of tensors, and functions of a user's that fail: our errors, with names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tensormap
from tensormap import externs
from tensormap.diagnostics import CheckpointError, MappingError

ONES = np.ones((2, 3), np.float32)

STRANGE: dict[str, Callable[[], Any]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "objects": lambda: np.array([[1, "x"]], object),
    "texts": lambda: np.array([["a", "b"]]),
    "records": lambda: np.zeros((2, 3), [("a", "f4")]),
    "dates": lambda: np.zeros((2, 3), "M8[s]"),
    "untyped bytes": lambda: np.zeros((2, 3), "V4"),
    "long doubles": lambda: np.zeros((2, 3), np.longdouble),
    "a list": lambda: [[1.0]],
    "a number": lambda: 1.0,
    "nothing": lambda: None,
    "a dictionary": lambda: {"a": ONES},
    "a module": lambda: torch.nn.Linear(2, 3),
    "a scalar of numpy's": lambda: np.float32(1),
    "too few axes": lambda: np.ones(3),
}


@pytest.mark.parametrize("text", ["a [x y] <-> b [y x]\n", "a [x y] + 1 <-> b [x y]\n"], ids=["moved", "computed"])
@pytest.mark.parametrize("made", STRANGE.values(), ids=STRANGE)
def test_what_is_no_tensor_is_refused(made: Callable[[], Any], text: str) -> None:
    with pytest.raises(CheckpointError, match="`a`"):
        tensormap.loads(text).convert({"a": made()}, "right")


@pytest.mark.parametrize("key", [1, None, ("a",), b"a", 2.5, True])
@pytest.mark.parametrize("to", ["right", None])
def test_a_key_that_is_no_string_is_refused(key: Any, to: str | None) -> None:
    with pytest.raises(CheckpointError, match="is no name"):
        tensormap.loads("a [x y] <-> b [y x]\n").convert({"a": ONES, key: ONES}, to)


@pytest.mark.parametrize("given", [None, [ONES], "a", 3, ONES])
def test_what_is_no_dictionary_is_refused(given: Any) -> None:
    with pytest.raises(CheckpointError, match="is a dictionary"):
        tensormap.loads("a [x y] <-> b [y x]\n").convert(given, "right")


@pytest.mark.parametrize("given", [{1: 2}, [1], "x", {None: 1}], ids=str)
def test_settings_that_are_no_dictionary_of_names_are_refused(given: Any) -> None:
    with pytest.raises(MappingError, match="settings are a dictionary"):
        tensormap.loads("a [x y] <-> b [y x]\n").convert({"a": ONES}, "right", set=given)


@pytest.fixture
def turned() -> Iterator[Callable[[Callable[..., Any]], Any]]:
    """Return a function that converts with the extern given to it."""
    mapping = tensormap.loads("extern turned([x y]) -> [y x]\nturned(a) -> b [y x]\n")

    def run(function: Callable[..., Any]) -> Any:
        externs.register("turned", function)
        return mapping.convert({"a": ONES}, "right")["b"]

    yield run
    del externs._registered["turned"]


def test_an_extern_that_raises_is_named_and_its_error_is_the_cause(turned: Callable[[Callable[..., Any]], Any]) -> None:
    with pytest.raises(MappingError, match=r"the extern `turned` raised ZeroDivisionError") as error:
        turned(lambda _: 1 / 0)
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    with pytest.raises(MappingError, match=r"raised TypeError: .* takes 0 positional arguments"):
        turned(lambda: 1)


@pytest.mark.parametrize("returned", [None, "x", np.ones(7), [[1], [1, 2]], np.full((3, 2), None)], ids=str)
def test_an_extern_that_returns_something_else_is_named(
    turned: Callable[[Callable[..., Any]], Any], returned: Any
) -> None:
    with pytest.raises(MappingError, match="`turned`"):
        turned(lambda _: returned)


def test_an_error_of_ours_in_an_extern_stays_what_it_is(turned: Callable[[Callable[..., Any]], Any]) -> None:
    with pytest.raises(MappingError, match="no function is registered for the extern `other`"):
        turned(lambda _: externs.registered("other"))


def test_what_an_extern_returns_may_be_of_torch(turned: Callable[[Callable[..., Any]], Any]) -> None:
    np.testing.assert_array_equal(turned(lambda _: torch.full((3, 2), 2.0)), np.full((3, 2), 2.0))
