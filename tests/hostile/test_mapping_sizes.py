"""Mapping files of up to 1 MiB that grow in every direction at once: done or refused, in a time and a memory that are bounded."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable
from itertools import count

import pytest
from click.testing import CliRunner

import tensormap
from tensormap import library
from tensormap.cli import cli
from tensormap.diagnostics import MappingError, Source
from tensormap.language.scan import words

SECONDS = 15  # on a machine that others use as well; alone it is less than 5
MEGABYTE = 1 << 20
FULL = 38_000  # words: about what a mapping may have
TENS = "(1 + 1) " * 10


def repeated(line: str, words: int, before: str = "", after: str = "") -> str:
    """Return a text of as many lines as have that many words, numbered by `@` and, from one on, by `^`."""
    lines = max(1, FULL // words)
    return before + "".join(line.replace("@", str(k)).replace("^", str(k + 1)) for k in range(lines)) + after


def wide(line: str, before: str = "", after: str = "") -> str:
    """Return a text of nearly 1 MiB."""
    out: list[str] = [before]
    length = len(before) + len(after)
    for k in count():
        piece = line.replace("@", str(k)).replace("^", str(k + 1))
        length += len(piece)
        if length > MEGABYTE:
            return "".join([*out, after])
        out.append(piece)
    raise AssertionError


TEXTS: dict[str, Callable[[], str]] = {
    "rules": lambda: repeated("a@ <-> b@\n", 3),
    "rules with layouts": lambda: repeated(
        "a@ [(k@ (g+1+1) d) e] <-> q@ [(k@ g d) e], k@ [(k@ d) e], v@ [(k@ d) e]\n", 46
    ),
    "the same rule again and again": lambda: repeated("a <-> b\n", 3),
    "names that hold an index": lambda: repeated("l.{i}.a@ [x] <-> m.{i}.b@ [x]\n", 17),
    "names that differ by a number in a hole": lambda: repeated("a.{i + @}.b <-> c.{i + @}.d\n", 17),
    "an index for each rule": lambda: repeated("a@.{i@} [x] <-> b@ [i@ x]\n", 13),
    "words for each other in names": lambda: (
        "".join(f"index {i} in " + ",".join(f"w{k}" for k in range(500)) + "\n" for i in "ijk")
        + "a.{i}.{j}.{k} [x] <-> b [i j k x]\n"
    ),
    "axes of one tensor": lambda: repeated("x@ ", 1, "a [", "] <-> b [y]\n"),
    "factors of one axis": lambda: repeated("x@ ", 1, "a [(", ")] <-> b [y]\n"),
    "summands of one axis": lambda: repeated("x@ + ", 2, "a [(", "z)] <-> b [y]\n"),
    "blocks": lambda: repeated("(1+1) ", 5, "a [(", ")] <-> b [y]\n"),
    "blocks in few axes": lambda: f"a [({TENS})({TENS})({TENS})] <-> b [({TENS})({TENS})({TENS})]\n",
    "blocks of many rules": lambda: repeated("a@ [((k@+1)(1+1)(1+1))] <-> b@ [((k@+1)(1+1)(1+1))]\n", 39),
    "replicas and blocks": lambda: repeated("x@, ", 2, f"a [({TENS})] <-> b [({TENS})] replicated ", "y\n"),
    "tags": lambda: repeated("t@:x@ + ", 4, "a [(", "z)] <-> b [y]\n"),
    "terms": lambda: repeated("a@ [x], ", 5, "", "z [x] <-> b\n"),
    "aliases": lambda: repeated("a@ = ", 2, "", "z [x] <-> b [x]\n"),
    "lets": lambda: repeated("let p^ = p@ + 1\n", 6, "param p0\n", "a [p3000] <-> b [p3000]\n"),
    "lets that double": lambda: repeated("let p^ = p@ + p@\n", 6, "param p0\n", "a [p60] <-> b [p60]\n"),
    "lets that square": lambda: repeated(
        "let p^ = p@ ** 8\n", 7, "let p0 = x + y\n", "index i < p60\na.{i} <-> b.{i}\n"
    ),
    "lets with long numbers": lambda: (
        "let a = 9223372036854775807\nlet b = a ** 8\nlet c = b ** 8\nindex i < c ** 8\na.{i} <-> b.{i}\n"
    ),
    "lets in numbers": lambda: repeated(
        "index i@ < p60 + @\n", 6, "".join(f"let p{k + 1} = p{k} + p{k}\n" for k in range(60))
    ),
    "conditions of one rule": lambda: repeated("when x == @ ", 5, "param x\na <-> b ", "\n"),
    "conditions of all rules": lambda: repeated("a@ <-> b@\n", 4, "param x\n" + "when x == 1 " * 800 + "{\n", "}\n"),
    "conditions inside one another": lambda: repeated(
        "a@ <-> b@\n", 3, "param x\n" + "when x == 1 {\n" * 60, "}\n" * 60
    ),
    "long prefixes": lambda: repeated("a@ <-> b@\n", 3, f"block {'p' * 4000}. <-> {'q' * 4000}. {{\n" * 60, "}\n" * 60),
    "requirements of unknown names": lambda: repeated("let aaaa@ = 1\nrequire aaab@ == 1\n", 9),
    "an index with words": lambda: repeated("v@, ", 2, "index i in ", "z\na.{i} <-> b.{i}\n"),
    "config lines": lambda: repeated("x@ = k@ <-> l@\n", 5, "config {\n", "}\n"),
    "files": lambda: repeated('files "a@.pt" as x@.\n', 5, "side left {\n", "}\n"),
    "params": lambda: repeated("param p@ = @\n", 4),
    "externs": lambda: repeated("extern f@([a]) -> [a]\n", 13),
    "an extern with many tensors": lambda: repeated("[a], ", 4, "extern f(", f"[a]) -> [{'(1+1)' * 8}]\nf(x) -> y\n"),
    "included files": lambda: repeated('use "common/experts.tmap" with left = "a@.", right = "b@.", experts = 2\n', 24),
    "virtual tensors": lambda: repeated("$a@ [x] <-> b@ [x]\n", 10),
    "drops": lambda: repeated('"a@.*" -> _\n', 5),
    "a list": lambda: repeated("@, ", 2, "let x = [", "0]\n"),
    "a chain of elses": lambda: repeated(" else when x == @ {\na@ <-> b@\n}", 11, "param x\nwhen x == 1 {\n}", "\n"),
    "statements beyond the cap": lambda: wide("a@<->b@\n"),
    "words beyond the cap": lambda: wide("x "),
    "words in quotes": lambda: wide('"x x x x x x"\n'),
    "quotes that hide a comment": lambda: wide('"#" -> _ when a b c d e f\n'),
    "closing brackets": lambda: wide(") "),
    "minus signs": lambda: wide("-", "let x = ", "1\n"),
    "comments": lambda: wide("# a comment\n"),
    "comments before a comma": lambda: wide("\n # c", "a [x] <-> b [x]", "\n, c\n"),
    "empty lines": lambda: wide("\n", "a", "<-> b\n"),
    "spaces": lambda: wide(" ", "a", "<-> b\n"),
    "a name": lambda: wide("a", "", " <-> b\n"),
    "a string": lambda: wide("a", 'require 1 == 1 "', '"\n'),
    "an integer": lambda: wide("1", "let x = ", "\n"),
    "a constant": lambda: wide("1", "a [] <-> ", "\n"),
    "a decimal": lambda: wide("1", "let x = 1.", "\n"),
    "primes": lambda: wide("'", "a [x", "] <-> b [x]\n"),
    "arrows": lambda: wide("a <-> "),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_is_bounded(text: Callable[[], str]) -> None:
    written = text()
    assert len(written) <= MEGABYTE
    began = time.process_time()
    try:
        tensormap.loads(written).check()
    except MappingError as error:
        assert all(each.labels for each in error.diagnostics)  # noqa: PT017
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    "name", ["blocks in few axes", "lets that square", "words for each other in names", "long prefixes"]
)
def test_its_memory_is_bounded(name: str) -> None:
    written = TEXTS[name]()
    tracemalloc.start()
    try:
        with pytest.raises(MappingError) as error:
            tensormap.loads(written)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.value.diagnostics[-1].slug == "too-large"
    assert peak < 256 << 20


@pytest.mark.parametrize("name", [name for name in TEXTS if "beyond" not in name])
def test_it_is_as_large_as_it_may_be(name: str) -> None:
    beyond = {"words in quotes", "quotes that hide a comment", "closing brackets", "minus signs", "primes", "arrows"}
    source = Source(name, TEXTS[name]())
    if name in beyond:
        with pytest.raises(MappingError):
            words(source)
    else:
        assert words(source) < 40_000


def test_what_is_one_word_too_long_is_refused() -> None:
    fits = "# and a comment\n" + "index i in " + "a,\n" * 19_998 + "b\n"
    with pytest.raises(MappingError) as error:
        tensormap.loads(fits)
    assert error.value.diagnostics[0].slug == "duplicate-declaration"
    with pytest.raises(MappingError) as error:
        tensormap.loads(fits + "a <-> b\n")
    assert error.value.diagnostics[0].slug == "too-long"


class Endless(io.RawIOBase):
    """A file that has no end, as `/dev/zero` has none."""

    def read(self, size: int = -1, /) -> bytes:
        assert 0 < size < 1 << 21, "it would be read for ever"
        return b" " * size


def test_a_file_without_end() -> None:
    with pytest.raises(MappingError) as caught:
        library.read_from(Endless(), "zero")  # type: ignore[arg-type]
    assert caught.value.diagnostics[0].slug == "too-long"


def test_a_device_and_stdin_are_read_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def read_from(_file: object, name: str) -> Source:
        opened.append(name)
        return Source(name, "a <-> b\n")

    monkeypatch.setattr(library, "read_from", read_from)
    for each in ("/dev/null", "-"):
        assert CliRunner().invoke(cli, ["fmt", "--check", each]).exit_code == 0
    assert CliRunner().invoke(cli, ["check", "-"]).exit_code == 0
    assert opened == ["/dev/null", "<stdin>", "<stdin>"]
