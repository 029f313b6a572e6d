"""A plan as text."""

from __future__ import annotations

from dataclasses import replace

from tensormap.checkpoints.catalog import FileLayout, SourceFile
from tensormap.lowering import plan_text
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


def whole(tensor: int) -> Region:
    return Region(tensor, 0, (4, 1))


def made() -> Plan:
    """Two layers of fused weights from two ranks, in two shards; a cast, a formula, a fill."""
    inputs = tuple(
        Input(f"{layer}.{rank}.{name}", "float32", (4, 4), 0, 0)
        for layer in (2, 3)
        for rank in (0, 1)
        for name in ("qkv.weight", "norm.scale")
    )
    inputs += (Input("rope_inv_freq(8, 1e4)", "float32", (4, 4), -1, 0, None, Generator("rope_inv_freq", (8, 1e4))),)
    outputs = []
    for layer in (0, 1):
        tensors = (
            Output(f"layers.{layer}.q.weight", "float32", (8, 4), 0),
            Output(f"layers.{layer}.k.weight", "bfloat16", (4, 4), 128),
            Output(f"layers.{layer}.norm.weight", "float32", (4, 4), 160),
            Output(f"layers.{layer}.pad.weight", "float32", (8, 4), 224),
            Output(f"layers.{layer}.none.weight", "float32", (0, 4), 352),
        )
        first = 4 * layer
        both = Function("/", (Function("+", (Operand(0), Operand(1))), Scalar(2)))
        steps = (
            Copy((2, 4), whole(first), whole(0)),
            Copy((2, 4), Region(first, 8, (4, 1)), Region(0, 8, (4, 1))),
            Copy((4, 4), whole(first + 2), Region(0, 16, (4, 1))),
            Copy((4, 4), whole(first + 2), whole(1)),
            Compute((4, 4), (whole(first + 1), whole(first + 3)), both, whole(2)),
            Copy((4, 4), whole(8), whole(3)),
            Fill((4, 4), 0, Region(3, 16, (4, 1))),
        )
        offsets = tuple(each.offset for each in tensors)
        layout = FileLayout(352, (), offsets)
        outputs.append(OutputFile(f"model-0000{layer + 1}-of-00002.safetensors", "safetensors", tensors, layout, steps))
    checks = tuple(Verify((4, 4), (whole(k),), Operand(0), whole(k + 2), "a/b.tmap:12") for k in (1, 5))
    return Plan(
        "/run",
        "a/b",
        "0" * 64,
        "hf",
        (SourceFile("x.pt", 1_500_000, 0, "h"),),
        inputs,
        tuple(outputs),
        checks,
        (TextFile("config.json", b'{\n  "a": 1\n}\n'), TextFile("latest", b"step1"), TextFile("blob", b"\xff\x00")),
        (Companion("tokenizer.json", "tokenizer.json", 2000),),
        ("config read from config.yml",),
    )


EXPECTED = """\
a/b: writes side `hf`
reads   1 file, 1.5 MB, in /run
writes  2 files with 10 tensors, 704 bytes; 4 more files
steps   8 boxes copied, 2 cast, 2 computed, 2 filled, before these 2 comparisons of sources

model-{00001..00002}-of-00002.safetensors  x2  704 bytes, safetensors
  layers.{0..1}.q.weight  float32 [8, 4]  x2  256 bytes     <- {2..3}.{0..1}.qkv.weight, 3 boxes
  layers.{0..1}.k.weight  bfloat16 [4, 4]  x2  64 bytes     <- {2..3}.1.qkv.weight, cast from float32
  layers.{0..1}.norm.weight  float32 [4, 4]  x2  128 bytes  <- {2..3}.{0..1}.norm.scale, computed: (x1 + x2) / 2
  layers.{0..1}.pad.weight  float32 [8, 4]  x2  256 bytes   <- rope_inv_freq(8, 10000.0), filled with 0
  layers.{0..1}.none.weight  float32 [0, 4]  x2  0 bytes    <- nothing: it has no elements

config.json  13 bytes
  {
    "a": 1
  }
latest  5 bytes: step1
blob  2 bytes
tokenizer.json  2 KB, copied from the source

compared before anything is written:
  {2..3}.{0..1}.norm.scale  (a/b.tmap:12)

note: config read from config.yml"""


def test_a_plan() -> None:
    assert plan_text.show(made()) == EXPECTED


def test_tensors_that_are_made_in_another_way_stand_apart() -> None:
    plan = made()
    second = plan.outputs[1]
    steps = (Copy((8, 4), Region(4, 0, (4, 1)), Region(0, 0, (4, 1))), *second.steps[3:])
    text = plan_text.show(replace(plan, outputs=(plan.outputs[0], replace(second, steps=steps))))
    assert "  layers.0.q.weight  float32 [8, 4]" in text
    assert "<- 2.{0..1}.qkv.weight, 3 boxes" in text
    assert "  layers.1.q.weight  float32 [8, 4]" in text
    assert "<- 3.0.qkv.weight\n" in text


def test_blocks_are_decoded() -> None:
    plan = made()
    inputs = tuple(each._replace(encoding="Q8_0") if each.name.endswith("qkv.weight") else each for each in plan.inputs)
    text = plan_text.show(replace(plan, inputs=inputs))
    assert "<- {2..3}.1.qkv.weight, decoded from Q8_0, cast from float32\n" in text


def test_functions_of_the_user_name_what_they_are_given() -> None:
    plan = made()
    call = Input("f(...)", "float32", (4, 4), -1, 0, call=Call("f", ((1, (4, 4)), (3, (4, 4)))))
    output = plan.outputs[0]
    steps = (*output.steps[:4], Copy((4, 4), whole(9), whole(2)), *output.steps[5:])
    text = plan_text.show(replace(plan, inputs=(*plan.inputs, call), outputs=(replace(output, steps=steps),)))
    assert "<- 2.{0..1}.norm.scale, computed by `f`\n" in text


def test_long_sources_go_to_lines_of_their_own() -> None:
    plan = made()
    inputs = tuple(each._replace(name=f"{'x' * 70}.{k}.{'pq'[k % 4 > 1]}") for k, each in enumerate(plan.inputs))
    lines = plan_text.show(replace(plan, inputs=inputs)).splitlines()
    at = next(k for k, line in enumerate(lines) if ".norm.weight" in line)
    assert lines[at : at + 4] == [
        "  layers.{0..1}.norm.weight  float32 [4, 4]  x2  128 bytes",
        f"      <- {'x' * 70}.{{1,5}}.p",
        f"         {'x' * 70}.{{3,7}}.q",
        "         computed: (x1 + x2) / 2",
    ]


def test_what_a_terminal_could_obey_is_escaped() -> None:
    plan = made()
    bad = "a\x1b[2Jb\nc\u202e"
    output = plan.outputs[0]
    tensors = (output.tensors[0]._replace(name=bad), *output.tensors[1:])
    hostile = replace(
        plan,
        root=bad,
        outputs=(replace(output, path=bad, tensors=tensors),),
        texts=(TextFile(bad, bad.encode()),),
        companions=(Companion(bad, bad, 1),),
        notes=(bad,),
    )
    text = plan_text.show(hostile)
    assert text.replace("\n", "").isprintable()
    assert "a\\x1b[2Jb\\nc\\u202e" in text


def test_a_plan_of_nothing() -> None:
    plan = Plan("/run", "m", "", "right", (), (), (), (), (), ())
    assert plan_text.show(plan) == (
        "m: writes side `right`\nreads   0 files, 0 bytes, in /run\nwrites  0 files with 0 tensors, 0 bytes\nsteps   none"
    )
