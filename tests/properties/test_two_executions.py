"""Random equations move the same elements in memory, on files and by the definition of a block; and back is the identity."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise, product
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np
from hypothesis import given, note, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import tensormap
from tensormap import api
from tensormap.checkpoints.lazy import LazyCatalog
from tensormap.diagnostics import CheckpointError, MappingError
from tensormap.lowering.bind import bind
from tensormap.runtime import execute, memory
from tensormap.runtime.casts import numpy_dtype
from tests import stored
from tests.acceptance import conversions
from tests.stored import Stored, read_safetensors

DTYPES = [
    np.dtype(each)
    for each in ("int64", "float32", "bool", "uint8", "float16", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)
]
WORDS = ("x", "why")
ATOMS = ("a", "b", "c", "d", "a'", "s", "2", "3")


@dataclass(frozen=True)
class Group:
    """Parentheses: summands, each a row of nodes; an atom is a plain string."""

    summands: tuple[tuple[str | Group, ...], ...]
    tag: str | None = None


@dataclass(frozen=True)
class Form:
    """What a hole says: `{2*a + 1}`."""

    text: str
    times: int = 1
    plus: int = 0

    def __call__(self, value):
        return value if isinstance(value, str) else str(self.times * value + self.plus)


FORMS = (Form("{%s}"), Form("{%s + 3}", 1, 3), Form("{2*%s + 1}", 2, 1))


@dataclass(frozen=True)
class Term:
    name: str
    hole_atoms: tuple[str, ...]
    holes: tuple[Form, ...]
    axes: tuple[str | Group, ...]
    tag: str | None = None


@dataclass
class Equation:
    dims: dict[str, int]
    sides: tuple[list[Term], list[Term]]
    swapped: list[int] = field(default_factory=list)  # the k-th block on the left is block swapped[k] on the right

    @property
    def text(self) -> str:
        return " <-> ".join(", ".join(show_term(each) for each in side) for side in self.sides)


# --- what a layout means, as the language's second section says ------------------------------------------------------------


def show(node):
    if isinstance(node, str):
        return node
    rows = [" ".join(show(each) for each in row) for row in node.summands]
    return (f"{node.tag}:" if node.tag else "") + f"({' + '.join(rows)})"


def show_term(term):
    layout = f"[{' '.join(show(each) for each in term.axes)}]"
    name = ".".join([term.name, *(form.text % each for each, form in zip(term.hole_atoms, term.holes, strict=True))])
    return (f"{term.tag}: " if term.tag else "") + f"{name} {layout}"


def size(node, dims):
    if isinstance(node, str):
        return dims[node.rstrip("'")] if not node.isdigit() else int(node)
    return sum(prod(size(each, dims) for each in row) for row in node.summands)


def choices(nodes):
    """Yield, for each block, the path of summands, in row-major order."""
    if not nodes:
        yield ()
        return
    head, *tail = nodes
    if isinstance(head, str):
        yield from choices(tail)
        return
    for number, row in enumerate(head.summands):
        yield from ((number, *path) for path in choices([*row, *tail]))


def position(node, path, at, dims):
    """Return where an element stands in an axis; `path` is consumed."""
    if isinstance(node, str):
        return 0 if node == "1" else at[node]
    number = next(path)
    offset = sum(prod(size(each, dims) for each in row) for row in node.summands[:number])
    inner = 0
    for each in node.summands[number]:
        inner = inner * size(each, dims) + position(each, path, at, dims)
    return offset + inner


def atoms_of(nodes, path):
    found = []
    for node in nodes:
        if isinstance(node, str):
            found.append(node)
        else:
            found.extend(atoms_of(node.summands[next(path)], path))
    return [each for each in found if each != "1"]


def names_of(term, at):
    """Return a term's name at a position."""
    shown = [
        form(WORDS[at[each]] if each == "s" else at[each])
        for each, form in zip(term.hole_atoms, term.holes, strict=True)
    ]
    return ".".join([term.name, *shown])


def elements(equation, side):
    """Yield, block by block, each element's place: the tensor's name and its coordinates."""
    for term in equation.sides[side]:
        for path in choices(list(term.axes)):
            atoms = sorted({*atoms_of(term.axes, iter(path)), *term.hole_atoms})
            found = {}
            for values in product(*(range(size(each, equation.dims)) for each in atoms)):
                at = dict(zip(atoms, values, strict=True))
                walk = iter(path)
                where = tuple(position(axis, walk, at, equation.dims) for axis in term.axes)
                found[tuple(at.items())] = (names_of(term, at), where)
            yield found


def source(equation, dtype, random):
    tensors = {}
    for term in equation.sides[0]:
        shape = tuple(size(axis, equation.dims) for axis in term.axes)
        for values in product(*(range(size(each, equation.dims)) for each in term.hole_atoms)):
            name = names_of(term, dict(zip(term.hole_atoms, values, strict=True)))
            raw = random.randbytes(prod(shape) * dtype.itemsize)
            array = np.frombuffer(raw, np.uint8).copy()
            if dtype == np.bool_:
                array &= 1
            tensors[name] = array.view(dtype).reshape(shape)
    return tensors


def target(equation, tensors, dtype):
    made = {}
    for term in equation.sides[1]:
        shape = tuple(size(axis, equation.dims) for axis in term.axes)
        for values in product(*(range(size(each, equation.dims)) for each in term.hole_atoms)):
            made[names_of(term, dict(zip(term.hole_atoms, values, strict=True)))] = np.zeros(shape, dtype)
    left, right = list(elements(equation, 0)), list(elements(equation, 1))
    for k, block in enumerate(left):
        for at, (name, where) in block.items():
            other, there = right[equation.swapped[k]][at]
            made[other][there] = tensors[name][where]
    return made


# --- random equations --------------------------------------------------------------------------------------------------------


def shuffled(random, items):
    return random.sample(list(items), len(items))


def nested(random, row):
    """Put parentheses around some of a row."""
    row = list(row)
    while len(row) > 1 and random.random() < 0.3:
        start = random.randrange(len(row) - 1)
        stop = random.randint(start + 2, len(row))
        row[start:stop] = [Group((tuple(row[start:stop]),))]
    if random.random() < 0.15:
        row.insert(random.randint(0, len(row)), "1")
    return tuple(row)


def row_of(random, blocks, tags):
    """Return the nodes of one row that hold these blocks in this order."""
    if len(blocks) == 1:
        row = nested(random, shuffled(random, blocks[0])) or ("1",)
        return (Group((row,), tags[0]),) if tags[0] else row
    common = sorted(set.intersection(*(set(each) for each in blocks)))
    outside = [each for each in common if random.random() < 0.6]
    inside = [[each for each in block if each not in outside] for block in blocks]
    cuts = sorted(random.sample(range(1, len(blocks)), random.randint(1, len(blocks) - 1)))
    edges = [0, *cuts, len(blocks)]
    rows = tuple(row_of(random, inside[a:b], tags[a:b]) for a, b in pairwise(edges))
    return nested(random, shuffled(random, [*outside, Group(rows)]))


def axes_of(random, row):
    """Spread a row over axes."""
    axes = []
    row = list(row)
    while row:
        count = random.randint(1, len(row))
        part, row = row[:count], row[count:]
        axes.append(part[0] if count == 1 and random.random() < 0.8 else Group((tuple(part),)))
    return tuple(axes)


def side_of(random, blocks, tags, prefix):
    """Arrange blocks into terms."""
    terms = []
    at = 0
    while at < len(blocks):
        count = random.randint(1, len(blocks) - at)
        mine, labels = blocks[at : at + count], tags[at : at + count]
        common = sorted(each for each in set.intersection(*(set(one) for one in mine)) if each.isalpha())
        holes = tuple(each for each in common if random.random() < 0.35)
        forms = tuple(random.choice(FORMS[:1] if each == "s" else FORMS) for each in holes)
        inner = [[each for each in one if each not in holes] for one in mine]
        row = row_of(random, inner, labels if count > 1 else [None])
        tag = labels[0] if count == 1 else None
        terms.append(Term(f"{prefix}{len(terms)}", holes, forms, axes_of(random, row), tag))
        at += count
    return terms


def crossing(random):
    """Return a layout where two sums meet, and its blocks."""
    atoms = shuffled(random, ATOMS)
    rows = [[random.sample(part, random.randint(1, 2)) for _ in range(2)] for part in (atoms[:4], atoms[4:])]
    first, second = (Group(tuple(tuple(each) for each in summands)) for summands in rows)
    axes = (first, second) if random.random() < 0.5 else (Group(((first, second),)),)
    return axes, [[*one, *other] for one in rows[0] for other in rows[1]]


@st.composite
def equations(draw):
    random = draw(st.randoms(use_true_random=False))
    dims = {each: random.randint(1, 3) for each in "abcd"} | {"s": len(WORDS)}
    crossed = None
    if random.random() < 0.2:
        crossed, blocks = crossing(random)
    else:
        blocks = [random.sample(ATOMS, random.randint(1, 4)) for _ in range(random.randint(1, 4))]
    tagged = crossed is None and random.random() < 0.4 and len(blocks) > 1
    tags = [f"t{k}" if tagged else None for k in range(len(blocks))]
    order = shuffled(random, range(len(blocks))) if tagged else list(range(len(blocks)))
    left = side_of(random, blocks, tags, "left") if crossed is None else [Term("left", (), (), crossed)]
    right = side_of(random, [blocks[k] for k in order], [tags[k] for k in order], "right")
    return Equation(dims, (left, right), [order.index(k) for k in range(len(blocks))])


def on_files(mapping, tensors, to, dims):
    """Convert as users do, and once more in the smallest of tiles: the files are the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        save_file(tensors, folder / "in" / "model.safetensors")
        plan = tensormap.plan(mapping, folder / "in", to=to, set=dims)
        tensormap.apply(plan, folder / "out")
        execute.run(plan.steps, folder / "tiles", tile=1, workers=3, sync=False)
        files, others = ({each.name: each.read_bytes() for each in (folder / at).iterdir()} for at in ("out", "tiles"))
        assert files == others
        return read_safetensors(folder / "out")


def assert_same(actual, expected):
    found = {name: each if isinstance(each, Stored) else of(each) for name, each in actual.items()}
    stored.assert_same(found, {name: of(each) for name, each in expected.items()})


def array(held):
    return np.frombuffer(held.data, numpy_dtype(held.dtype)).reshape(held.shape)


def of(array):
    return Stored(str(array.dtype), array.shape, array.tobytes())


def check_both_ways(text, dims, tensors, expected):
    mapping = tensormap.loads(text)
    used = set(re.findall(r"[a-z]+", text)) - {"s"}
    chosen = {name: number for name, number in dims.items() if name in used}
    assert_same(mapping.convert(tensors, to="right", set=chosen), expected)
    assert_same(on_files(mapping, tensors, "right", chosen), expected)
    assert_same(mapping.convert(expected, to="left", set=chosen), tensors)
    assert_same(on_files(mapping, expected, "left", chosen), tensors)


@given(equations(), st.sampled_from(DTYPES), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_random_equations(equation, dtype, random):
    text = f"index s in {', '.join(WORDS)}\n{equation.text}"
    note(text)
    tensors = source(equation, dtype, random)
    check_both_ways(text, equation.dims, tensors, target(equation, tensors, dtype))


# --- two equations with a virtual tensor between them --------------------------------------------------------------------------


def divided(random, total, names):
    """Divide an axis into factors or into parts; return it with the sizes of its atoms."""
    factors = [each for each in range(2, total) if total % each == 0]
    if factors and random.random() < 0.5:
        first = random.choice(factors)
        return Group((tuple(names[:2]),)), dict(zip(names, (first, total // first), strict=False))
    count = random.randint(1, min(3, total))
    cuts = [0, *sorted(random.sample(range(1, total), count - 1)), total]
    sizes = [b - a for a, b in pairwise(cuts)]
    return Group(tuple((each,) for each in names[:count])), dict(zip(names, sizes, strict=False))


@st.composite
def chains(draw):
    random = draw(st.randoms(use_true_random=False))
    totals = [random.choice((2, 3, 4, 6, 8, 12)) for _ in range(random.randint(1, 2))]
    dims = {}
    halves = []
    for prefix in ("left", "right"):
        layout = []
        for k, total in enumerate(totals):
            axis, sizes = divided(random, total, [f"{prefix[0]}{'abcdef'[3 * k + j]}" for j in range(3)])
            layout.append(axis)
            dims |= sizes
        blocks = [atoms_of(layout, iter(path)) for path in choices(layout)]
        halves.append((Term("$v", (), (), tuple(layout)), side_of(random, blocks, [None] * len(blocks), prefix)))
    (virtual, left), (other, right) = halves
    order = list(range(64))
    return Equation(dims, (left, [virtual]), order), Equation(dims, ([other], right), order)


@given(chains(), st.sampled_from(DTYPES), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_random_virtual_tensors(equation, dtype, random):
    first, second = equation
    text = f"{first.text}\n{second.text}"
    note(text)
    tensors = source(first, dtype, random)
    check_both_ways(text, first.dims, tensors, target(second, target(first, tensors, dtype), dtype))


# --- replicas, arithmetic and casts --------------------------------------------------------------------------------------------

HOWS = ("", " by mean", " by sum", " by first")
FORMULAS = ("{}", "{} + 1", "{} * 0.3", "-{}", "2 - {}", "{} / 4")
STATED = ("", " as float32", " as bfloat16", " as float64")


@st.composite
def merges(draw):
    """Draw an equation between replicated tensors and one tensor, and which replicas are alike."""
    holes = draw(st.permutations(["q", "r"]))
    held = draw(st.integers(0, 2))
    name = ".".join(["left", *(f"{{{each}}}" for each in holes[:held])])
    axes = " ".join(draw(st.permutations([*holes[held:], "a", "b"])))
    formula, back = draw(st.sampled_from(FORMULAS)), draw(st.sampled_from(FORMULAS))
    left = formula.format(f"{name} [{axes}]") + draw(st.sampled_from(STATED)) * (formula == "{}")
    right = back.format(f"right [{draw(st.sampled_from(['a b', 'b a', '(a b)', '(b a)']))}]")
    clauses = "".join(f" replicated {each}{draw(st.sampled_from(HOWS))}" for each in "qr")
    return f"{left} <-> {right}{clauses}", (name, axes, holes[:held])


def outcome(run):
    try:
        return {name: each if isinstance(each, Stored) else of(each) for name, each in run().items()}
    except (CheckpointError, MappingError) as error:
        return sorted({each.slug for each in error.diagnostics})


@given(merges(), st.sampled_from(["int64", "float32", "float64", ml_dtypes.bfloat16]), st.booleans(), st.randoms())
@settings(max_examples=60)
def test_random_merges(equation, dtype, alike, random):
    text, (name, axes, holes) = equation
    note(text)
    dims = {"q": 2, "r": 3, "a": 2, "b": 2}
    values = np.random.default_rng(random.randrange(1000)).normal(size=(2, 3, 2, 2)) * 10
    if alike:
        values = np.broadcast_to(values[0, 0], values.shape)
    order = "".join([*holes, *axes.split()])
    values = values.transpose(["qrab".index(each) for each in order]).astype(dtype)
    tensors = {}
    for place in product(*(range(dims[each]) for each in holes)):
        full = name
        for hole, position in zip(holes, place, strict=True):
            full = full.replace(f"{{{hole}}}", str(position))
        tensors[full] = np.ascontiguousarray(values[place])
    mapping = tensormap.loads(text)
    in_memory = outcome(lambda: mapping.convert(tensors, to="right", set=dims))
    assert in_memory == outcome(lambda: on_files(mapping, tensors, "right", dims))
    if isinstance(in_memory, dict):
        merged = {each: array(held) for each, held in in_memory.items()}
        back = outcome(lambda: mapping.convert(merged, to="left", set=dims))
        assert back == outcome(lambda: on_files(mapping, merged, "left", dims))


# --- the shipped mappings, on checkpoints that the real programs wrote -----------------------------------------------------------


@conversions.each(conversions.ALL)
def test_checkpoints_of_real_programs(conversion):
    mapping = tensormap.load(conversion.mapping)
    files = {name: Path(each) for name, each in conversion.configs.items()}
    plan = tensormap.plan(mapping, conversion.source, to=conversion.to, set=dict(conversion.set), **files)
    turned, opened = api._open(
        mapping.resolved, conversion.source, conversion.to, dict(conversion.set), tuple(files.values())
    )
    bound = bind(
        turned,
        opened.catalog,
        config=opened.config,
        config_name=opened.config_name,
        settings=conversion.set,
        preset=opened.preset,
    )
    found = memory.convert(bound, LazyCatalog(opened.catalog))
    assert_same(found, dict(plan.iter_tensors()))
