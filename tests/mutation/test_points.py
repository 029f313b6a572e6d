"""The measure itself: which changes there are, that they are made where they are said to be, and that all can be told apart."""

from __future__ import annotations

import ast

import pytest

from tests.mutation import points as p


@pytest.fixture
def changes(monkeypatch):
    """Return a function that lists the changes of a text as `old -> new`."""

    def listed(text):
        monkeypatch.setattr(p, "tree_of", lambda _file: tree)
        tree = ast.parse(text)
        p.points.cache_clear()
        found = p.points("tensormap/language/made_up.py")
        p.points.cache_clear()
        return found

    return listed


def _said(found):
    return [f"{each.mutant.old} -> {each.mutant.new}" for each in found]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a < b", ["a < b -> a <= b"]),
        ("a is b", ["a is b -> a is not b"]),
        ("a * b", ["a * b -> a // b"]),
        ("a and b", ["a and b -> a or b"]),
        ("not a", ["not a -> a"]),
        ("f(1)", ["f(1) -> pass", "f(1) -> f(2)", "f(1) -> f(0)"]),
        ("x = f(True)", ["f(True) -> f(False)"]),
        ("x += y", ["x += y -> pass", "x += y -> x -= y"]),
        ("a[:b]", ["a[:b] -> a[:b + 1]"]),
        ("x = b if a else c", ["a -> True", "a -> False"]),
        ("while a:\n break", ["a -> False", "break -> continue"]),
        ("[a for a in b if a]", ["a -> True", "a -> False"]),
        ("def f(x: int, y: int):\n g(x, y)", ["g(x, y) -> pass", "g(x, y) -> g(y, x)"]),
        ("def f(x: int, y: str):\n x = g(x, y)", []),
        ("def f() -> bool:\n return x", ["return x -> return not x"]),
        ("def f() -> str:\n return x", ["return x -> return None"]),
    ],
)
def test_changes(changes, text, said):
    assert _said(changes(text)) == said


@pytest.mark.parametrize(
    "text",
    [
        "assert a == b",
        "raise E(1, f'{a + 1}')",
        "if TYPE_CHECKING:\n import a",
        "if key not in self.cache:\n f(1)",
        "x = zip(a, b, strict=True)",
        "x = f'{a + b}'",
        "@f(1)\ndef g(x: A | B = 1) -> C | D:\n pass",
        "x: A | B = y",
        "x = isinstance(a, b.C | D)",
        "x = 'a' + b",
    ],
)
def test_what_is_left_alone(changes, text):
    assert _said(changes(text)) == []


def test_a_change_is_made_and_taken_back(changes):
    text = "def f(a):\n    return a + 1 if a < 2 else a"
    found = changes(text)
    for each in found:
        with p.changed(each) as tree:
            assert ast.unparse(tree) != text, each.mutant
        assert ast.unparse(p.tree_of("")) == text
    assert len({_changed(each) for each in found}) == len(found)


def _changed(point):
    with p.changed(point) as tree:
        return ast.unparse(tree)


def test_every_change_has_a_name_of_its_own():
    names = [each.mutant.key for file in p.files() for each in p.points(file)]
    assert len(set(names)) == len(names) > 5000
