"""What a direction loses, rule by rule: the list that `check` prints, for writing each of the two sides."""

from __future__ import annotations

import pytest

import tensormap

CASES = {
    "x [e] <-> y [e]": ([], []),
    "x [e] -> _": (["dropped: `x` is dropped"], ["not written: `x` is not written"]),
    "_ <- y [e]": (["not written: `y` is not written"], ["dropped: `y` is dropped"]),
    "x [e] -> y [e]": ([], ["one-way: this rule is not read this way"]),
    "x [e] <- y [e]": (["one-way: this rule is not read this way"], []),
    "index r < n\nx.{r} [e] <-> y [e] replicated r": ([], []),
    "index r < n\nx.{r} [e] <-> y [e] replicated r by mean": (
        ["reduced: copies of `x.{r}` over `r` that differ are averaged"],
        [],
    ),
    "index r < n\nx.{r} [e] <-> y [e] replicated r by first": (
        ["reduced: only the first of `x.{r}` over `r` is kept"],
        [],
    ),
    "index r < n\nx.{r} [e] <-> y [e] replicated r by sum": (
        ["reduced: the shares of `x.{r}` over `r` are added up"],
        ["rounded: `x.{r}` is written as equal shares over `r`, exact for a power of two"],
    ),
    "2 * x [e] <-> y [e]": (
        ["rounded: `y` is computed, and rounded once to the dtype that is written"],
        ["rounded: `x` is computed, and rounded once to the dtype that is written"],
    ),
    "-x [e] <-> y [e]": ([], []),
    "x [e] as float32 <-> y [e]": (
        ["rounded: `y` takes the dtype of most tensors: it is cast, exactly where that is the wider one"],
        ["rounded: `x` is cast, exactly where the dtype that is written is the wider one"],
    ),
    "x [e] as float32 <-> y [e] as bfloat16": (
        ["rounded: `y` is cast, exactly where the dtype that is written is the wider one"],
        ["rounded: `x` is cast, exactly where the dtype that is written is the wider one"],
    ),
    "x [(e + p)] <-> y [e], _ [p]": (
        ["zeroed: a part of `x` that nobody cares about is not kept"],
        [
            "padded: where `e` ends is not recorded: on the way back `p` is a part of it, unless `--set e=...` says",
        ],
    ),
    "x [e] <-> 1 optional": (
        ["dropped: `x` is checked and left out; it is not written on the way back"],
        [],
    ),
}


@pytest.mark.parametrize("text", CASES)
def test_losses(text: str) -> None:
    found = tensormap.loads(text).check()
    assert not found.errors
    right, left = CASES[text]
    assert [f"{each.kind}: {each.text}" for each in found.losses["right"]] == right
    assert [f"{each.kind}: {each.text}" for each in found.losses["left"]] == left
    assert found.lossless == tuple(side for side, lost in (("right", right), ("left", left)) if not lost)


PADDED = "x [v e], 0 [p e] <-> y [(v + p) e]"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("config {\n    v = _ <- size\n}\n", ""),
        ("config {\n    v = size -> _\n}\n", "v"),
        ("config {\n    v = size <-> size\n}\n", "said"),
        ("z [v] <-> z [v]\n", "said"),
        ("z [k] <-> z [k]\n", ""),
    ],
)
def test_where_a_padding_ends(before: str, after: str) -> None:
    """A padding is lost on the way back, unless the padded side says how long the rest was."""
    found = tensormap.loads(before + PADDED).check()
    padded = [each.text for each in found.losses["right"] if each.kind == "padded"]
    if after == "said" or "<- size" in before:
        assert padded == []
    else:
        assert len(padded) == 1
        assert padded[0].startswith("where `v` ends is not recorded: on the way back `p` is a part of it")


def test_check_says_what_is_proved_and_what_is_left() -> None:
    text = 'require n > 1 "several"\nindex i < n\nx.{i} [(a + b)] <-> $t.{i} [(a + b)]\n$t.{i} [(a + b)] <-> y.{i} [a], z.{i} [b]\n'
    found = tensormap.loads(text).check()
    assert found.proved[0] == "2 equations: their 4 blocks pair, and paired blocks have the same axes"
    assert found.proved[-1].startswith("2 of the equations take tensors apart or join them")
    assert found.left[2:] == ("1 `require`s hold", "virtual tensors: both their layouts have the same sizes")
    found = tensormap.loads("x [e] <-> y [e]").check()
    assert found.proved[0] == "1 equations: their 1 blocks pair, and paired blocks have the same axes"
    assert len(found.proved) == 4
    assert len(found.left) == 2
