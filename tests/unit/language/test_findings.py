"""What a mapping is refused for: the finding, its sentence, and the text it points at. Nothing else is found beside it."""

from __future__ import annotations

import pytest

import tensormap
from tensormap.diagnostics import MappingError

REFUSED = [
    (
        "mapping a <-> b\nmapping c <-> d\nx [e] <-> y [e]",
        ("duplicate-declaration", "a mapping has one header", "mapping c <-> d"),
    ),
    (
        "mapping a <-> a\nx [e] <-> y [e]",
        ("duplicate-declaration", "the two sides need different names", "mapping a <-> a"),
    ),
    (
        'mapping a <-> b\nside b { path "/" }\nside b { path "." }\nx [e] <-> y [e]',
        ("duplicate-declaration", "side `b` is declared twice", 'side b { path "." }'),
    ),
    (
        "let none = 3\nx [e] <-> y [e]",
        ("reserved-name", "`none` has a meaning of its own and cannot be declared", "let none = 3"),
    ),
    (
        "index s in a, b, a\nw.{s} [e] <-> w [s e]",
        ("duplicate-declaration", "index `s` lists `a` twice", "index s in a, b, a"),
    ),
    (
        "param stages\nindex l < stages[p]\nw.{l} [e] <-> v.{l} [e]",
        ("unknown-index", "`p` is not an index", "stages[p]"),
    ),
    (
        "let h = 2 * h\nw [h e] <-> v [e h]",
        ("let-cycle", "`h` is defined through itself", "h"),
    ),
    (
        "let n = n + 1\nindex i < n\nw.{i} [e] <-> v [i e]",
        ("let-cycle", "`n` is defined through itself", "n"),
    ),
    ("w [... e ...] <-> v [... e ...]", ("bad-layout", "`...` can stand once in a layout", "...")),
    ("w [0 e] <-> v [e]", ("bad-layout", "an axis has at least one position", "0")),
    (
        "w [(a ...) e] <-> v [a e]",
        ("bad-layout", "`...` stands only as an axis of its own, not inside parentheses", "..."),
    ),
    (
        "index i < n\nindex j < m\nw.{i * j} [e] <-> v [i j e]",
        ("not-affine", "a hole may not multiply two indices", "i * j"),
    ),
    (
        "param stages\nindex p < len(stages)\nw.{p}.{stages[p]} [e] <-> v [p e]",
        ("not-affine", "`stages[p]` cannot stand in a name by itself", "stages[p]"),
    ),
    (
        "index i < n\nw.{(i i)} [e] <-> v [i e]",
        ("not-affine", "`i` stands twice in one hole", "i"),
    ),
    (
        "config {\n    _ <-> _\n}\nx [e] <-> y [e]",
        ("empty-rule", "both sides of this config line are absent", "_ <-> _"),
    ),
    (
        "config {\n    _ -> n\n}\nx [e] <-> y [e]",
        ("empty-rule", "nothing says what `n` is written with", "_ -> n"),
    ),
    (
        "config {\n    n <-> _\n}\nx [e] <-> y [e]",
        ("empty-rule", "nothing says what `n` is written with", "n <-> _"),
    ),
    ("_ <-> _\nx [e] <-> y [e]", ("empty-rule", "both sides of this rule are `_`", "_ <-> _")),
    (
        "optional {\n    x [e] <-> y [e]\n} else {\n    z [e] <-> t [e]\n}",
        ("stray-else", "`else` belongs to a `when`", "{\n    z [e] <-> t [e]\n}"),
    ),
    (
        'param a in u, v\nparam b in u, v\nwhen a == "u" when b == "u" {\n    x [e] <-> y [e]\n} else {\n    z [e] <-> t [e]\n}',
        (
            "stray-else",
            "`else` behind two `when`s is ambiguous; join them with `and`",
            "{\n    z [e] <-> t [e]\n}",
        ),
    ),
    (
        "x [e] <-> y [r e] replicated r by max",
        ("unknown-clause", "replicas are not made or merged `by max`", "replicated r by max"),
    ),
    (
        "extern f([a]) -> [a]\nf(x, z) -> y [a]",
        ("wrong-arguments", "`f` takes 1 tensors, here are 2", "f(x, z)"),
    ),
    (
        "extern f([a]) -> [a], [a]\nf(x) -> y [a]",
        ("wrong-arguments", "`f` must return one tensor to stand in a rule", "extern f([a]) -> [a], [a]"),
    ),
    (
        "extern f([a]) -> [a]\nf(2 * x) -> y [a]",
        ("wrong-arguments", "`f` takes tensors, not arithmetic", "2 * x"),
    ),
    (
        "sqr(x [a]) -> y [a]",
        ("unknown-function", "there is no function `sqr`", "sqr(x [a])"),
    ),
    (
        '"a.*" <-> y [e]',
        ("wild-name", "`*` in a name stands only in rules that drop", '"a.*"'),
    ),
]


@pytest.mark.parametrize(("text", "finding"), REFUSED, ids=[each[1][1][:50] for each in REFUSED])
def test_refused(text: str, finding: tuple[str, str, str]) -> None:
    assert list(dict.fromkeys(_found(text))) == [finding]  # once for each place


def _found(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(MappingError) as caught:
        tensormap.loads(text)
    seen = []
    for each in caught.value.diagnostics:
        span = each.labels[0].span
        seen.append((each.slug, each.message, span.source.text[span.start : span.end]))
    return seen


AXES = [f"a{k}" for k in range(65)]


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (AXES, AXES, "a tensor has at most 64 axes"),
        (["(", *AXES, ")"], ["(", *AXES, ")"], "a product has at most 64 axes"),
    ],
)
def test_sixty_four_axes(left: list[str], right: list[str], message: str) -> None:
    refused = f"w [{' '.join(left)}] <-> v [{' '.join(right)}]"
    assert ("too-large", message, "a64") in _found(refused)
    accepted = refused.replace(" a64", "")
    assert not tensormap.loads(accepted).check().errors


@pytest.mark.parametrize(
    "text",
    [
        "x [e] -> _",
        "config {\n    _ <- n\n}\nx [e] <-> y [e]",
        "config {\n    n -> _\n    _ <- k\n}\nx [e] <-> y [e]",
        "config {\n    ... <-> ...\n}\nx [e] <-> y [e]",
        'param a in u, v\nwhen a == "u" {\n    x [e] <-> y [e]\n} else {\n    z [e] <-> t [e]\n}',
        'mapping a <-> b\nside a { path "/" }\nside b { path "/" }\nx [e] <-> y [e]',
    ],
)
def test_accepted(text: str) -> None:
    assert not tensormap.loads(text).check().errors


def test_a_name_of_a_side_is_suggested() -> None:
    with pytest.raises(MappingError) as caught:
        tensormap.loads('mapping trained <-> published\nside publishd { path "/" }\nx [e] <-> y [e]')
    (finding,) = caught.value.diagnostics
    assert finding.slug == "unknown-side"
    assert finding.labels[0].text == "its sides are `trained` and `published`"
    assert finding.help == ("did you mean `published`?",)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("mapping a <-> b\nmapping c <-> d\nx [e] <-> y [e]", [("mapping c <-> d", True), ("mapping a <-> b", False)]),
        ("let n = 2\nlet n = 3\nx [e] <-> y [e]", [("let n = 3", True), ("let n = 2", False)]),
    ],
)
def test_where_two_places_disagree_both_are_shown(text: str, seen: list[tuple[str, bool]]) -> None:
    with pytest.raises(MappingError) as caught:
        tensormap.loads(text)
    (finding,) = caught.value.diagnostics
    assert [(text[each.span.start : each.span.end], each.primary) for each in finding.labels] == seen
    assert [each.text for each in finding.labels] == ["the second", "the first"]


MEETING = [
    ("a.{i} [e] <-> b.{i} [e]\na.{j + n} [e] <-> c.{j} [e]", "index i < n\nindex j < m\n", True),
    ("a.{i} [e] <-> b.{i} [e]\na.{j + 3} [e] <-> c.{j} [e]", "index i < n\nindex j < m\n", None),
    ("a.{i} [e] <-> b.{i} [e]\na.{j} [e] <-> c.{j} [e]", "index i < n\nindex j < m\n", False),
    ("a.{i + 1} [e] <-> b.{i} [e]\na.0 [e] <-> c [e]", "index i < n\n", True),
    ("a.{i + 1} [e] <-> b.{i} [e]\na.1 [e] <-> c [e]", "index i < n\n", None),
    ("a.{2 * i} [e] <-> b.{i} [e]\na.{3 * j} [e] <-> c.{j} [e]", "index i < n\nindex j < m\n", None),
    ("a.{2 * i} [e] <-> b.{i} [e]\na.{2 * n + j} [e] <-> c.{j} [e]", "index i < n\nindex j < m\n", True),
    ("a.1 [e] <-> b [e]\na.2 [e] <-> c [e]", "", True),
    ("a.1 [e] <-> b [e]\na.1 [e] <-> c [e]", "", False),
    ("a [e] <-> b [e] when k == 1\na [e] <-> c [e] when k == 2", "param k\n", True),
    ("a [e] <-> b [e] when k == 1\na [e] <-> c [e] when not k == 1", "param k\n", True),
    ("a [e] <-> b [e] when k == 1\na [e] <-> c [e] when k != 1", "param k\n", True),
    ("a [e] <-> b [e] when k == 1\na [e] <-> c [e] when k in [1, 2]", "param k\n", None),
    ("a [e] <-> b [e] when k == 3\na [e] <-> c [e] when k in [1, 2]", "param k\n", True),
    ("a [e] <-> b [e] when k == 1 and h > 2\na [e] <-> c [e] when k == 2", "param k\nparam h\n", True),
    ("a [e] <-> b [e] when h > 2 and k == 1\na [e] <-> c [e] when k == 2", "param k\nparam h\n", True),
    ("a [e] <-> b [e] when k == 1 or h > 2\na [e] <-> c [e] when k == 2", "param k\nparam h\n", None),
    ("a [e] <-> b [e] when k == 1\na [e] <-> c [e] when k == 1", "param k\n", False),
    ("a [e] <-> b [e] when k > 1\na [e] <-> c [e]", "param k\n", None),
    ("a [e] <-> b [e] when k != 1\na [e] <-> c [e] when k != 2", "param k\n", None),
    ("when k > 1 {\n a [e] <-> b [e]\n} else {\n a [e] <-> c [e]\n}", "param k\n", True),
]


@pytest.mark.parametrize(("rules", "declared", "apart"), MEETING, ids=[each[0].replace("\n", "; ") for each in MEETING])
def test_names_that_meet(rules: str, declared: str, apart: bool | None) -> None:  # noqa: FBT001
    """Names of two rules are proved apart, proved the same, or left open. `b` and `c` are never the same."""
    if apart is False:
        with pytest.raises(MappingError) as caught:
            tensormap.loads(declared + rules)
        assert [each.slug for each in caught.value.diagnostics] == ["names-meet"]
        return
    found = tensormap.loads(declared + rules).check()
    assert any(each.startswith("names: ") for each in found.left) is (apart is None)


def test_a_way_to_merge_replicas_is_suggested() -> None:
    with pytest.raises(MappingError) as caught:
        tensormap.loads("index r < n\nx.{r} [e] <-> y [e] replicated r by meen")
    assert caught.value.diagnostics[0].help == ("did you mean `mean`?",)


def test_a_rule_that_does_not_pair_hides_no_other() -> None:
    text = "w [(a + b)] <-> x [a]\nindex r < n\nv.{r} [e] <-> u [e]\n"
    assert [slug for slug, _, _ in _found(text)] == ["unpaired-blocks", "index-not-replicated"]


def test_a_bracket_that_closes_nothing_in_a_body() -> None:
    text = "when a == 1 {\n    x [e] <-> y [e]\n)\n}\n"
    assert _found(text)[0] == ("unclosed", "this `)` closes nothing", ")")
