"""The text form of headers: what it says is what was put in, and it stays small."""

from __future__ import annotations

import pytest

from tests.headers.header import FOLDER, Header, Tensors, collapse, expand
from tests.headers.table import ROWS


def _tensors(*names: str) -> Tensors:
    return dict.fromkeys(names, ("float32", (2, 3)))


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (("a.weight",), ["a.weight"]),
        (("h.0.w", "h.1.w", "h.2.w"), ["h.{0..2}.w"]),
        (("h.0.w", "h.2.w", "h.3.w"), ["h.{0,2..3}.w"]),
        (("h.7.w",), ["h.7.w"]),
        (("0.w", "1.w"), ["{0..1}.w"]),
        (("h.0.x.0", "h.0.x.1", "h.1.x.0", "h.1.x.1"), ["h.{0..1}.x.{0..1}"]),
        (("h.0.x.0", "h.1.x.0", "h.1.x.1"), ["h.0.x.0", "h.1.x.{0..1}"]),
        (("h.0.x.1", "h.1.x.0"), ["h.0.x.1", "h.1.x.0"]),
        (("layer_0/w", "layer_1/w"), ["layer_{0..1}/w"]),
        (("conv1d.w1", "conv2d.w1"), ["conv1d.w1", "conv2d.w1"]),
    ],
)
def test_what_differs_in_numbers_is_one_line(names: tuple[str, ...], lines: list[str]) -> None:
    assert [template for template, _, _ in collapse(_tensors(*names))] == lines
    assert sorted(name for line in lines for name in expand(line)) == sorted(names)


def test_other_shapes_are_other_lines() -> None:
    tensors = {"h.0.w": ("float32", (2,)), "h.1.w": ("float32", (3,)), "h.2.w": ("float16", (2,))}
    assert [line for line, _, _ in collapse(tensors)] == ["h.0.w", "h.1.w", "h.2.w"]
    assert Header.parse(Header(tensors).text()).tensors == tensors


def test_a_name_on_two_lines_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"two lines mean h\.1"):
        Header.parse("h.{0..2} float32 [2]\nh.1 float32 [2]\n")


def test_the_published_headers_are_small_and_all_are_used() -> None:
    files = {path.stem: path.stat().st_size for path in FOLDER.glob("*.txt")}
    assert sum(files.values()) < 1_000_000
    used = {row.header for row in ROWS} | {row.other for row in ROWS if row.other is not None}
    assert used <= set(files)
    assert not set(files) - used


@pytest.mark.parametrize(
    "name", ["llama-2-7b", "jamba-v0.1", "deepseek-v3.fp8", "moonlight-16b-a3b.megatron", "flux.1-dev"]
)
def test_a_file_is_what_would_be_written_of_it(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text("utf-8")
    assert Header.parse(text).text() == text
