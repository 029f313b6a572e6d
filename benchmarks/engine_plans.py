"""Plans made by hand, so that the engine is measured without the language: one for each kind of work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.checkpoint import HEAD, HEADS, KV
from tensormap.checkpoints import safetensors
from tensormap.checkpoints.catalog import Catalog, TensorInfo
from tensormap.checkpoints.open import open_checkpoint
from tensormap.lowering.plan import Copy, Input, Output, OutputFile, Plan, Region, Step
from tensormap.runtime.boxes import row_major


class Maker:
    """A plan that is being made: outputs go to the shard that their first source lies in."""

    def __init__(self, source: Path) -> None:
        self.catalog: Catalog = open_checkpoint(source)
        self.numbers = {name: number for number, name in enumerate(self.catalog.tensors)}
        self.drafts: dict[int, list[tuple[str, str, tuple[int, ...], list[Step]]]] = {}

    def add(self, name: str, dtype: str, shape: tuple[int, ...], steps: list[Step], shard: int) -> None:
        """Add an output tensor; its steps say 0 for it."""
        self.drafts.setdefault(shard, []).append((name, dtype, shape, steps))

    def whole(self, info: TensorInfo) -> Region:
        """Return all of a source tensor."""
        return Region(self.numbers[info.name], 0, row_major(info.shape))

    def plan(self) -> Plan:
        """Return the plan."""
        outputs = []
        for shard, drafts in sorted(self.drafts.items()):
            layout = safetensors.layout([(name, dtype, shape) for name, dtype, shape, _ in drafts], {"format": "pt"})
            tensors = tuple(
                Output(name, dtype, shape, offset)
                for (name, dtype, shape, _), offset in zip(drafts, layout.offsets, strict=True)
            )
            steps = tuple(
                Copy(step.sizes, step.source, Region(number, step.target.offset, step.target.strides))
                for number, (_, _, _, own) in enumerate(drafts)
                for step in own
                if isinstance(step, Copy)
            )
            outputs.append(OutputFile(f"model-{shard}.safetensors", "safetensors", tensors, layout, steps))
        inputs = tuple(
            Input(each.name, each.dtype, each.shape, each.file, each.offset) for each in self.catalog.tensors.values()
        )
        files = self.catalog.files
        return Plan(str(self.catalog.root), "benchmark", "0" * 64, "right", files, inputs, tuple(outputs), (), (), ())


def rename(source: Path) -> Plan:
    """Every tensor under another name, so in another order."""
    maker = Maker(source)
    for name, info in maker.catalog.tensors.items():
        new = f"transformer.{name[::-1]}"
        whole = Region(0, 0, row_major(info.shape))
        maker.add(new, info.dtype, info.shape, [Copy(info.shape, maker.whole(info), whole)], info.file)
    return maker.plan()


def fuse(source: Path) -> Plan:
    """Query, key and value interleaved by key/value head, gate and up one after the other, the rest renamed."""
    maker = Maker(source)
    tensors = maker.catalog.tensors
    for name, info in tensors.items():
        if name.endswith("q_proj.weight"):
            others = [tensors[name.replace("q_proj", other)] for other in ("k_proj", "v_proj")]
            hidden = info.shape[1]
            group = HEADS // KV
            rows = (group + 2) * HEAD * hidden
            steps: list[Step] = []
            offset = 0
            for each, heads in zip((info, *others), (group, 1, 1), strict=True):
                sizes = (KV, heads * HEAD, hidden)
                source_region = Region(maker.numbers[each.name], 0, row_major(sizes))
                steps.append(Copy(sizes, source_region, Region(0, offset, (rows, hidden, 1))))
                offset += heads * HEAD * hidden
            maker.add(name.replace("q_proj", "qkv"), info.dtype, (KV * (group + 2) * HEAD, hidden), steps, info.file)
        elif name.endswith("gate_proj.weight"):
            up = tensors[name.replace("gate_proj", "up_proj")]
            inner, hidden = info.shape
            whole = row_major(info.shape)
            steps = [
                Copy(info.shape, maker.whole(each), Region(0, number * inner * hidden, whole))
                for number, each in enumerate((info, up))
            ]
            maker.add(name.replace("gate_proj", "gate_up"), info.dtype, (2 * inner, hidden), steps, info.file)
        elif not name.endswith(("k_proj.weight", "v_proj.weight", "up_proj.weight")):
            whole = row_major(info.shape)
            step = Copy(info.shape, maker.whole(info), Region(0, 0, whole))
            maker.add("fused." + name, info.dtype, info.shape, [step], info.file)
    return maker.plan()


def interleave(source: Path) -> Plan:
    """Gate and up transposed and interleaved element by element, as gpt-oss keeps its experts; the rest renamed."""
    maker = Maker(source)
    tensors = maker.catalog.tensors
    for name, info in tensors.items():
        if name.endswith("gate_proj.weight"):
            up = tensors[name.replace("gate_proj", "up_proj")]
            inner, hidden = info.shape
            steps: list[Step] = [
                Copy(
                    (hidden, inner),
                    Region(maker.numbers[each.name], 0, (1, hidden)),
                    Region(0, number, (2 * inner, 2)),
                )
                for number, each in enumerate((info, up))
            ]
            maker.add(name.replace("gate_proj", "gate_up"), info.dtype, (hidden, 2 * inner), steps, info.file)
        elif not name.endswith("up_proj.weight"):
            step = Copy(info.shape, maker.whole(info), Region(0, 0, row_major(info.shape)))
            maker.add(name, info.dtype, info.shape, [step], info.file)
    return maker.plan()


def transpose(source: Path) -> Plan:
    """Every matrix transposed."""
    maker = Maker(source)
    for name, info in maker.catalog.tensors.items():
        shape = info.shape[::-1]
        source_region = Region(maker.numbers[name], 0, row_major(info.shape)[::-1])
        maker.add(name, info.dtype, shape, [Copy(shape, source_region, Region(0, 0, row_major(shape)))], info.file)
    return maker.plan()


def _cast(dtype: str) -> Callable[[Path], Plan]:
    def make(source: Path) -> Plan:
        maker = Maker(source)
        for name, info in maker.catalog.tensors.items():
            step = Copy(info.shape, maker.whole(info), Region(0, 0, row_major(info.shape)))
            maker.add(name, dtype, info.shape, [step], info.file)
        return maker.plan()

    return make


JOBS: dict[str, Callable[[Path], Plan]] = {
    "rename": rename,
    "fuse": fuse,
    "interleave": interleave,
    "transpose": transpose,
    "to-bfloat16": _cast("bfloat16"),
    "to-float32": _cast("float32"),
    "to-float16": _cast("float16"),
    "tiny": rename,
}
