"""A plan as JSON: nothing is lost, nothing is believed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensormap.checkpoints.catalog import Checksum, FileLayout, Piece, SourceFile
from tensormap.diagnostics import CheckpointError
from tensormap.lowering import plan as plan_module
from tensormap.lowering import plan_json
from tensormap.lowering.plan import (
    Call,
    Companion,
    Compute,
    Copy,
    Fill,
    Function,
    Generator,
    Input,
    Operand,
    Output,
    OutputFile,
    Plan,
    Region,
    Scalar,
    TextFile,
    Verify,
)


def made() -> Plan:
    """One of everything."""
    inputs = (
        Input("a", "float32", (2, 3), 0, 100),
        Input("b\udc80\x00", "bfloat16", (), 0, 7, ()),
        Input("t", "float16", (3, 2), 0, 8, (1, 3)),
        Input("g", "float32", (4,), -1, 0, None, Generator("rope", (8, 1e4, -0.5))),
        Input("f", "float32", (2, 3), -1, 0, call=Call("f", ((0, (2, 3)), (3, (4,))))),
        Input("q", "float32", (2, 32), 0, 0, encoding="Q8_0"),
    )
    formula = Function("+", (Function("operand", (Operand(0),)), Function("*", (Scalar(2), Scalar(0.5)))))
    region = Region(0, 0, (3, 1))
    steps = (
        Copy((2, 3), region, region),
        Copy((), Region(1, 0, ()), Region(1, 0, ())),
        Fill((2, 3), -math.inf, region),
        Fill((2, 3), 1.0, region),
        Fill((2, 3), 2**63 - 1, region),
        Compute((2, 3), (region, Region(2, 0, (1, 3))), formula, region),
    )
    layout = FileLayout(
        1000, (Piece(0, b"head\xff\x00"), Piece(8, "tüxt".encode())), (500, 600), (Checksum(0, 5, (9,)),)
    )
    tensors = (Output("x", "float32", (2, 3), 500), Output("y", "float32", (), 600))
    return Plan(
        "/root",
        "m/n",
        "d" * 64,
        "hf",
        (SourceFile("dir/f.pt", 2000, 1_700_000_000_123_456_789, "e" * 64),),
        inputs,
        (
            OutputFile("out/x.safetensors", "safetensors", tensors, layout, steps),
            OutputFile("e", "torch", (), FileLayout(0, (), ()), ()),
        ),
        (Verify((2, 3), (region,), Operand(0), Region(2, 0, (1, 3)), "m.tmap:3", 2),),
        (TextFile("config.json", b"{}\n"), TextFile("blob", b"\xff")),
        (Companion("tokenizer.json", "tokenizer.json", 12),),
        ("a note",),
    )


def refused(text: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        plan_json.load(text)
    (finding,) = caught.value.diagnostics
    assert finding.slug == "bad-plan"
    return finding.message.removeprefix("this is no plan of tensormap: ")


def test_nothing_is_lost() -> None:
    assert plan_json.load(plan_json.dump(made())) == made()


def test_kinds_of_numbers_stay() -> None:
    plan = plan_json.load(plan_json.dump(made()))
    fills = [step.value for step in plan.outputs[0].steps if isinstance(step, Fill)]
    assert [(type(each), each) for each in fills] == [(float, -math.inf), (float, 1.0), (int, 2**63 - 1)]


def test_a_nan_stays_one() -> None:
    output = made().outputs[0]
    steps = (Fill((2, 3), math.nan, Region(0, 0, (3, 1))),)
    plan = replace(made(), outputs=(replace(output, steps=steps),))
    step = plan_json.load(plan_json.dump(plan)).outputs[0].steps[0]
    assert isinstance(step, Fill)
    assert math.isnan(step.value)


def test_it_is_one_line_of_ascii() -> None:
    text = plan_json.dump(made())
    assert text.isascii()
    assert "\n" not in text
    assert '"tensormap_plan":1' in text


NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False))


@given(st.text(), NUMBERS, st.binary(max_size=20))
def test_any_text_number_and_bytes(name: str, value: float, data: bytes) -> None:
    plan = made()
    steps = (Fill((), value, Region(1, 0, ())),)
    output = replace(plan.outputs[0], steps=steps)
    plan = replace(plan, outputs=(output,), texts=(TextFile("f", data),), notes=(name,), mapping=name)
    assert plan_json.load(plan_json.dump(plan)) == plan


FIELDS = {
    "Plan": "root mapping digest side sources inputs outputs verifications texts companions notes",
    "SourceFile": "path size mtime_ns header",
    "Input": "name dtype shape file offset strides generator encoding call",
    "Generator": "name arguments",
    "Call": "name arguments",
    "OutputFile": "path format tensors layout steps",
    "Output": "name dtype shape offset",
    "FileLayout": "size pieces offsets checksums",
    "Piece": "offset data",
    "Checksum": "start size into",
    "Copy": "sizes source target",
    "Fill": "sizes value target",
    "Compute": "sizes sources formula target",
    "Verify": "sizes sources formula expected rule ulps",
    "Region": "tensor offset strides",
    "Operand": "index",
    "Scalar": "value",
    "Function": "name arguments",
    "TextFile": "path data",
    "Companion": "source path size",
}
"""What is kept. A field that is new has to be written, read, and stand in `made`, before it stands here."""


def test_a_plan_has_no_other_fields() -> None:
    classes = {name: each for name, each in vars(plan_module).items() if is_dataclass(each) or hasattr(each, "_fields")}
    classes |= {each.__name__: each for each in (Piece, Checksum)}
    assert {name: " ".join(one.__match_args__) for name, one in classes.items()} == FIELDS


# --- what is no plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is not JSON: "),
        ("{", "it is not JSON: "),
        ("[]", "it does not begin as one"),
        ("3", "it does not begin as one"),
        ('{"tensormap_plan":2}', "it is of another version than 1"),
        ('{"tensormap_plan":true}', "it is of another version than 1"),
        ('{"tensormap_plan":1}', "the plan has not the entries of one"),
        ('{"tensormap_plan":1,"tensormap_plan":1}', "an object has a key twice"),
        ('{"tensormap_plan":NaN}', "NaN is not JSON"),
        ("[" * 100_000, "it is nested too deeply"),
        (f'{{"tensormap_plan":{"1" * 10_000}}}', "it is not JSON: "),
    ],
)
def test_texts(text: str, says: str) -> None:
    assert refused(text).startswith(says)


def at(*keys: str | int) -> Callable[[dict[str, Any], Any], None]:
    def put(value: dict[str, Any], new: Any) -> None:
        inner: Any = value
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = new

    return put


DEEP: list[Any] = ["operand", 0]
for _ in range(200):
    DEEP = ["function", "neg", DEEP]

CHANGES: dict[str, tuple[Callable[[dict[str, Any], Any], None], Any, str]] = {
    "an entry more": (at("more"), 1, "the plan has not the entries of one"),
    "a root that is no text": (at("root"), 1, "root is no text"),
    "an absolute source": (at("sources", 0, 0), "/etc/passwd", "a path leads out of its directory"),
    "a source above": (at("sources", 0, 0), "../x", "a path leads out of its directory"),
    "a negative size": (at("sources", 0, 1), -1, "a size or an offset is no count"),
    "an output above": (at("outputs", 0, "path"), "a/../../x", "a path leads out of its directory"),
    "an absolute output": (at("outputs", 0, "path"), "/x", "a path leads out of its directory"),
    "a text above": (at("texts", 0, 0), "../x", "a path leads out of its directory"),
    "a text without a name": (at("texts", 0, 0), "", "a path leads out of its directory"),
    "a NUL in a name": (at("texts", 0, 0), "a\0b", "a path leads out of its directory"),
    "a companion from above": (at("companions", 0, 0), "../../etc/shadow", "a path leads out of its directory"),
    "a companion to above": (at("companions", 0, 1), "..", "a path leads out of its directory"),
    "an input in no file": (at("inputs", 0, 3), 1, "an input is in no file of the plan"),
    "an input before the first file": (at("inputs", 0, 3), -1, "an input is in no file of the plan"),
    "a generated input in a file": (at("inputs", 3, 3), 0, "an input is computed, and is in a file or "),
    "a generated input that is a call": (
        at("inputs", 4, 6),
        ["rope", []],
        "an input is computed, and is in a file or ",
    ),
    "a call in a file": (at("inputs", 4, 3), 0, "an input is computed, and is in a file or "),
    "a call of itself": (
        at("inputs", 4, 8),
        ["f", [[4, []]]],
        "an input is computed from one that does not stand before ",
    ),
    "an unknown encoding": (at("inputs", 5, 7), "Q9", "an input is encoded in no known way"),
    "an encoding of another dtype": (at("inputs", 5, 1), "int8", "an input is encoded in no known way"),
    "an encoding that does not fit": (at("inputs", 5, 2), [2, 33], "an input is encoded in no known way"),
    "an unknown dtype": (at("inputs", 0, 1), "float7", "a dtype is unknown"),
    "a fraction of an offset": (at("inputs", 0, 4), 1.5, "a size or an offset is no count"),
    "true as an offset": (at("inputs", 0, 4), True, "a size or an offset is no count"),
    "true as a size": (at("inputs", 0, 2), [True, 3], "sizes, strides or offsets are no list of counts"),
    "fewer strides": (at("inputs", 2, 5), [1], "an input has not as many strides as axes"),
    "fewer offsets": (at("outputs", 0, "offsets"), [1], "an output has not as many offsets as tensors"),
    "a tensor behind the end": (at("outputs", 0, "offsets"), [990, 600], "a tensor leaves its file"),
    "a piece behind the end": (at("outputs", 0, "pieces"), [[999, "xx"]], "a piece leaves its file"),
    "a checksum behind the end": (at("outputs", 0, "checksums"), [[0, 5, [997]]], "a checksum leaves its file"),
    "bytes that are no base64": (at("texts", 0, 1), {"base64": "!"}, "bytes are neither text nor base64"),
    "bytes that are half a character": (at("texts", 0, 1), "\udc80", "bytes are neither text nor base64"),
    "a step of no kind": (at("outputs", 0, "steps", 0, 0), "move", "a step is none"),
    "a step of too few parts": (at("outputs", 0, "steps", 0), ["copy", []], "a step is none"),
    "a region of no input": (at("outputs", 0, "steps", 0, 2, 0), 6, "a region is of no tensor of the plan, "),
    "a region of no output": (at("outputs", 0, "steps", 0, 3, 0), 2, "a region is of no tensor of the plan, "),
    "a negative region": (at("outputs", 0, "steps", 0, 2, 0), -1, "a region is of no tensor of the plan, "),
    "other axes": (at("outputs", 0, "steps", 0, 1), [2], "a region is of no tensor of the plan, "),
    "a value that is no number": (at("outputs", 0, "steps", 2, 2), "zero", "a number is none"),
    "an operand too many": (at("outputs", 0, "steps", 5, 3), ["operand", 2], "a formula names an operand "),
    "a formula of no kind": (at("outputs", 0, "steps", 5, 3), ["call"], "a formula is none"),
    "a formula without end": (at("outputs", 0, "steps", 5, 3), DEEP, "a formula is nested too deeply"),
    "a note that is no text": (at("notes", 0), 1, "a note is no text"),
    "notes that are no list": (at("notes"), "a", "notes are no list"),
}


@pytest.mark.parametrize(("put", "new", "says"), CHANGES.values(), ids=list(CHANGES))
def test_changes(put: Callable[[dict[str, Any], Any], None], new: Any, says: str) -> None:
    value = json.loads(plan_json.dump(made()))
    put(value, new)
    assert refused(json.dumps(value)).startswith(says)


@pytest.mark.parametrize(
    ("put", "new"),
    [
        (at("outputs", 0, "offsets"), [976, 996]),
        (at("outputs", 0, "pieces"), [[996, "xxxx"], [1000, ""]]),
        (at("outputs", 0, "checksums"), [[995, 5, [996, 0]], [1000, 0, []]]),
        (at("inputs", 4, 8), ["f", [[3, []]]]),
        (at("outputs", 0, "steps", 0, 2, 0), 5),
        (at("outputs", 0, "steps", 1, 3, 0), 0),
        (at("outputs", 0, "steps", 1, 3, 1), 0),
        (at("outputs", 0, "steps", 0, 2, 1), 469),
        (at("outputs", 0, "steps", 0, 2, 2), [0, 0]),
        (at("inputs", 4, 8), ["f", [[0, [475]], [1, []], [2, [3, 2]]]]),
        (at("inputs", 1, 4), 1998),
        (at("companions", 0, 2), 2**63 - 1),
        (at("outputs", 0, "steps", 5, 3), ["operand", 1]),
        (at("inputs", 5, 2), [2, 64]),
        (at("sources", 0, 1), 124),
        (at("sources", 0, 0), "a/b..c/.d"),
    ],
)
def test_what_just_fits_is_read(put: Callable[[dict[str, Any], Any], None], new: Any) -> None:
    value = json.loads(plan_json.dump(made()))
    put(value, new)
    del value["sha256"]
    text = plan_json.sealed(json.dumps(value))
    again = json.loads(plan_json.dump(plan_json.load(text)))
    assert {key: each for key, each in again.items() if key != "sha256"} == value


@pytest.mark.parametrize(
    ("put", "new", "says"),
    [
        (at("outputs", 0, "offsets"), [977, 996], "a tensor leaves its file"),
        (at("outputs", 0, "pieces"), [[997, "xxxx"]], "a piece leaves its file"),
        (at("outputs", 0, "checksums"), [[996, 5, []]], "a checksum leaves its file"),
        (at("inputs", 4, 8), ["f", [[5, []]]], "an input is computed from one that does not stand before "),
        (at("outputs", 0, "steps", 5, 3), ["operand", -1], ""),
        (at("verifications", 0, 2), ["operand", 1], "a formula names an operand "),
        (at("verifications", 0, 3, 0), 6, "a region is of no tensor of the plan, "),
        (at("verifications", 0, 3, 1), 2**62, "a region leaves its tensor, "),
        (at("verifications", 0, 1, 0, 2), [2**62, 2**62], "a region leaves its tensor, "),
        (at("sources", 0, 1), 123, "an input leaves its file"),
        (at("sources", 0, 1), 2**63, "a size or an offset is no count"),
        (at("inputs", 1, 4), 1999, "an input leaves its file"),
        (at("inputs", 2, 5), [1, 2**62], "an input leaves its file"),
        (at("inputs", 2, 5), [1, 2**63], "sizes, strides or offsets are no list of counts"),
        (at("inputs", 4, 8), ["f", [[0, [476]]]], "an argument of a call leaves its tensor, "),
        (at("inputs", 4, 8), ["f", [[2, [3]]]], "an argument of a call leaves its tensor, "),
        (at("inputs", 4, 8), ["f", [[3, [5]]]], "an argument of a call leaves its tensor, "),
        (at("outputs", 0, "steps", 0, 2, 1), 470, "a region leaves its tensor, "),
        (at("outputs", 0, "steps", 0, 3, 1), 1, "a region leaves its tensor, "),
        (at("outputs", 0, "steps", 0, 3, 0), 1, "a region leaves its tensor, "),
        (at("outputs", 0, "steps", 2, 3, 2), [0, 1], "a step writes an element more than once"),
    ],
)
def test_what_just_does_not_fit_is_refused(put: Callable[[dict[str, Any], Any], None], new: Any, says: str) -> None:
    value = json.loads(plan_json.dump(made()))
    put(value, new)
    assert refused(json.dumps(value)).startswith(says)


def unsealed(text: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        plan_json.load(text)
    (finding,) = caught.value.diagnostics
    return finding.slug


def test_an_edit_that_makes_sense_is_noticed() -> None:
    text = plan_json.dump(made())
    assert unsealed(text.replace("tokenizer.json", "tokenizer.jsox")) == "plan-changed"
    assert unsealed(text.replace('"m/n"', '"m/o"')) == "plan-changed"
    assert unsealed(text.replace(":", ": ", 1)) == "plan-changed"


def test_a_seal_that_is_not_there_or_another_is_noticed() -> None:
    text = plan_json.dump(made())
    body = text[: text.rindex(',"sha256"')] + "}"
    assert unsealed(body) == "plan-changed"
    assert unsealed(plan_json.sealed(text)) == "bad-plan"  # a key twice
    assert unsealed(text[:-3] + ("0" if text[-3] != "0" else "1") + text[-2:]) == "plan-changed"
    assert plan_json.load(f" {text}\n") == made()


@given(st.data())
def test_whatever_is_changed_it_is_a_plan_or_refused(data: st.DataObject) -> None:
    value = json.loads(plan_json.dump(made()))
    inner, key = value, "root"
    while True:
        keys = sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inner[key], dict | list) or data.draw(st.integers(0, 4)) == 0:
            break
        inner = inner[key]
    if inner:
        inner[key] = data.draw(st.sampled_from([None, True, -1, 0, 1e300, "", "..", [], {}, [[]], 2**70, "NaN"]))
    value.pop("sha256", None)
    try:
        plan_json.load(plan_json.sealed(json.dumps(value)))  # whoever means harm makes a new seal
    except CheckpointError as error:
        assert [each.slug for each in error.diagnostics] == ["bad-plan"]  # noqa: PT017 - or no error at all
