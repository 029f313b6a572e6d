"""From written tensors to output files: which tensor goes where, each file's header, and the order of the steps.

The result is a whole plan: after this nothing is decided any more.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import groupby, product
from operator import attrgetter
from pathlib import Path
from typing import Any

from tensormap.checkpoints import safetensors, shards
from tensormap.checkpoints.catalog import FileLayout, Opaque
from tensormap.checkpoints.config import nested_set
from tensormap.checkpoints.links import stays
from tensormap.diagnostics import Diagnostic, Label, MappingError
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing
from tensormap.lowering import plan
from tensormap.lowering.bind import Bound
from tensormap.lowering.configwrite import config_texts, written_config
from tensormap.lowering.draft import Draft
from tensormap.lowering.lower import Lowered
from tensormap.lowering.sources import Opened, Pattern

GIGABYTE = 1000**3
DEFAULT_SHARD = 5 * GIGABYTE

COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
)
"""Files that go with a model whatever the layout of its weights (names as transformers 5.23 saves them)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the output is to look."""

    dtype: str | None = None
    max_shard_size: int = DEFAULT_SHARD
    version: str = ""


def schedule(bound: Bound, lowered: Lowered, opened: Opened, options: Options) -> plan.Plan:
    """Return the plan that writes `lowered` as the right side of the mapping stores it."""
    main = _main_dtype(lowered.drafts)
    drafts = [_settled(draft, main, options.dtype) for draft in lowered.drafts]
    drafts = _in_order(drafts)
    side = bound.mapping.sides[1]
    metadata = _metadata(bound, opened, options)
    extra = {"dtype": _main_dtype(drafts)}
    config, config_notes = written_config(bound, extra)
    texts: list[tuple[str, bytes]] = []
    if side.files:
        outputs = _by_pattern(bound, drafts, metadata, config)
    else:
        if side.separator != ".":
            for draft in drafts:
                draft.name = draft.name.replace(".", side.separator)
        outputs, index = _by_size(drafts, metadata, options.max_shard_size)
        texts.extend(index)
    texts.extend(config_texts(side, config))
    if side.tag is not None:
        directory = side.tag.directory
        outputs = [replace(each, path=f"{directory}/{each.path}") for each in outputs]
        texts.append((side.tag.file, directory.encode()))
    companions, companion_notes = _companions(opened, {name for name, _ in texts})
    if any(each.format == "gguf" for each in outputs):
        companion_notes += ("the tokenizer is not converted: the written GGUF file says that it has none",)
    if opened.catalog.format == "gguf":
        companion_notes += ("the tokenizer in the GGUF file is not converted: take the model's own files",)
    notes = (
        *_config_notes(opened),
        *bound.notes,
        *(f"dropped by {where}: {len(names)} tensors, `{names[0]}` first" for where, names in lowered.dropped),
        *config_notes,
        *companion_notes,
    )
    return plan.Plan(
        root=str(opened.catalog.root),
        mapping=bound.mapping.name,
        digest=_digest(bound, options),
        side=side.name,
        sources=opened.catalog.files,
        inputs=lowered.inputs,
        outputs=tuple(outputs),
        verifications=lowered.verifications,
        texts=tuple(plan.TextFile(name, data) for name, data in texts),
        companions=companions,
        notes=notes,
    )


def _config_notes(opened: Opened) -> tuple[str, ...]:
    root = opened.catalog.root
    shown = [
        path.relative_to(root).as_posix() if path.is_relative_to(root) else f"{path} (beside the source)"
        for path in opened.config_files
    ]
    return (f"config read from {', '.join(shown)}",) if shown else ("no config found beside the source",)


def _settled(draft: Draft, main: str, dtype: str | None) -> Draft:
    """Give a draft its final dtype; what no source tensor decides has the dtype of most of the weights."""
    own = draft.dtype or main
    if dtype is not None and not draft.explicit and BY_NAME[own].kind == "float":
        own = dtype
    draft.dtype = own
    return draft


def _main_dtype(drafts: Sequence[Draft]) -> str:
    """Return the dtype that most elements of floating point have."""
    counts: Counter[str | None] = Counter()
    for draft in drafts:
        counts[draft.dtype] += draft.covered or 1
    floats = {name: count for name, count in counts.items() if name is not None and BY_NAME[name].kind == "float"}
    return max(floats, key=floats.__getitem__, default="float32")


def _in_order(drafts: list[Draft]) -> list[Draft]:
    """Order by the first source tensor that is read, and where that is the same, by name."""
    drafts = sorted(drafts, key=attrgetter("first"))
    if len({draft.first for draft in drafts}) == len(drafts):
        return drafts
    ordered: list[Draft] = []
    for _, group in groupby(drafts, key=lambda draft: draft.first):
        same = list(group)
        ordered += sorted(same, key=lambda draft: _natural(draft.name)) if len(same) > 1 else same
    return ordered


_DIGITS = re.compile("([0-9]+)")


def _natural(name: str) -> tuple[str | int, ...]:
    """Order names so that 2 comes before 10: text and numbers in turn."""
    parts: list[str | int] = list(_DIGITS.split(name))
    parts[1::2] = map(int, parts[1::2])
    return tuple(parts)


def _digest(bound: Bound, options: Options) -> str:
    hashed = hashlib.sha256(bound.mapping.canonical.encode())
    settings = sorted((name, repr(value)) for name, value in bound.known.values.items())
    hashed.update(repr((bound.mapping.sides[1].name, settings, options)).encode())
    return hashed.hexdigest()


def _metadata(bound: Bound, opened: Opened, options: Options) -> dict[str, str]:
    """Say in the file where it comes from; a function of the inputs alone."""
    source = hashlib.sha256()
    for file in opened.catalog.files:
        source.update(f"{file.size} {file.header}\n".encode())
    return {
        "format": "pt",
        "tensormap.mapping": bound.mapping.name,
        "tensormap.mapping_sha256": hashlib.sha256(bound.mapping.canonical.encode()).hexdigest(),
        "tensormap.side": bound.mapping.sides[1].name,
        "tensormap.source_sha256": source.hexdigest(),
        "tensormap.version": options.version,
    }


# --- as Hugging Face stores it --------------------------------------------------------------------------------------------


def _by_size(
    drafts: Sequence[Draft], metadata: Map[str, str], limit: int
) -> tuple[list[plan.OutputFile], list[tuple[str, bytes]]]:
    described = [(draft.name, draft.dtype or "float32", draft.shape) for draft in drafts]
    sizes = safetensors.byte_sizes(described)
    groups = shards.split(sizes, limit) if drafts else []
    names = shards.shard_names("model", len(groups), ".safetensors")
    outputs = []
    for name, group in zip(names, groups, strict=True):
        layout = safetensors.layout([described[k] for k in group], metadata)
        outputs.append(_file(name, "safetensors", [drafts[k] for k in group], layout))
    if len(groups) <= 1:
        return outputs, []
    listing = [(name, [described[k] for k in group]) for name, group in zip(names, groups, strict=True)]
    return outputs, [("model.safetensors.index.json", shards.index(listing).encode())]


def _file(path: str, format_name: str, drafts: Sequence[Draft], layout: FileLayout) -> plan.OutputFile:
    tensors = tuple(
        plan.Output(draft.name, draft.dtype or "float32", draft.shape, offset)
        for draft, offset in zip(drafts, layout.offsets, strict=True)
    )
    steps: list[plan.Step] = []
    for number, draft in enumerate(drafts):
        for step in draft.steps:
            if isinstance(step, (plan.Copy, plan.Fill, plan.Compute)):
                steps.append(_aimed(step, number))
            else:
                sizes, source, offset, strides = step
                steps.append(plan.Copy(sizes, source, plan.Region(number, offset, strides)))
    return plan.OutputFile(path, format_name, tensors, layout, tuple(steps))


def _aimed(step: plan.Step, number: int) -> plan.Step:
    """Return a step whose target is the tensor of this number."""
    target = plan.Region(number, step.target.offset, step.target.strides)
    match step:
        case plan.Copy(sizes=sizes, source=source):
            return plan.Copy(sizes, source, target)
        case plan.Fill(sizes=sizes, value=value):
            return plan.Fill(sizes, value, target)
        case plan.Compute(sizes=sizes, sources=sources, formula=formula):
            return plan.Compute(sizes, sources, formula, target)


# --- as a side's patterns say ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """A `files` line that is in force, with a matcher for the names that it holds."""

    line: syntax.Files
    prefix: Any


@dataclass(slots=True)
class _Group:
    """What lies in one file: the `files` lines that say so, each with the numbers in its name, and tensors by their keys."""

    lines: dict[int, tuple[syntax.Files, dict[str, int]]] = field(default_factory=dict)
    members: list[tuple[tuple[str, ...], Draft]] = field(default_factory=list)


def _by_pattern(
    bound: Bound, drafts: Sequence[Draft], metadata: Map[str, str], config: Map[str, Any]
) -> list[plan.OutputFile]:
    side = bound.mapping.sides[1]
    lines = [_Line(each, _matcher(each)) for each in side.files if _in_force(each, bound)]
    groups: dict[str, _Group] = {}
    placed: dict[tuple[int, tuple[str, ...]], tuple[_Group, tuple[str, ...], str]] = {}
    for draft in drafts:
        for number, each in enumerate(lines):
            if each.line.prefix is None and each.line.entries:
                continue
            match = each.prefix.match(draft.name) if each.prefix is not None else None
            if each.prefix is not None and match is None:
                continue
            key = (number, match.groups() if match else ())
            if key not in placed:
                place = {name: int(value) for name, value in match.groupdict().items()} if match else {}
                pattern = Pattern(each.line.pattern)
                anywhere = dict.fromkeys(pattern.names(), 0)  # a number of no index may be any: `part-{k}`
                group = groups.setdefault(pattern.format(anywhere | place), _Group())
                group.lines.setdefault(id(each), (each.line, place))
                placed[key] = (group, *_within(each.line, place))
            group, at, under = placed[key]
            inner = draft.name[match.end() :] if match else draft.name
            group.members.append(((*at, under + inner.replace(".", side.separator)), draft))
            break
        else:
            raise MappingError(
                Diagnostic(
                    "no-file",
                    f"no `files` line of side `{side.name}` says where `{draft.name}` goes",
                    tuple(Label(each.span, "", k == 0) for k, each in enumerate(side.files[:1])),
                )
            )
    for each in lines:
        if each.line.prefix is None and each.line.entries:
            for place in _ranges(each.line, bound):
                path = Pattern(each.line.pattern).format(place)
                groups.setdefault(path, _Group({id(each): (each.line, place)}))
    return [
        _pattern_file(path, group, bound, metadata, config)
        for path, group in sorted(groups.items(), key=lambda item: _natural(item[0]))
    ]


def _in_force(line: syntax.Files, bound: Bound) -> bool:
    if line.condition is None:
        return True
    value = bound.known.evaluate(line.condition)
    if isinstance(value, Missing):
        raise MappingError(
            Diagnostic(
                "choice-needed",
                f"`{', '.join(value.names)}` must be chosen: the files to write depend on it",
                (Label(line.condition.span, "needed here"),),
            )
        )
    return bool(value)


def _matcher(line: syntax.Files) -> Any:
    return Pattern(line.prefix).expression() if line.prefix is not None else None


def _within(line: syntax.Files, place: Map[str, int]) -> tuple[tuple[str, ...], str]:
    """Return where in its files a line's tensors are: the keys of their dictionary, and how their names begin there."""
    at = tuple(Pattern(line.at).format(place).split(".")) if line.at else ()
    return at, Pattern(line.under).format(place) if line.under else ""


def _ranges(line: syntax.Files, bound: Bound) -> Iterator[dict[str, int]]:
    names = tuple(dict.fromkeys(Pattern(line.pattern).names()))
    ranges = []
    for name in names:
        count = bound.known.count(name) if name in bound.mapping.indices else None
        if count is None:
            raise MappingError(
                Diagnostic("unknown-index", f"`{name}` in this pattern is no index of known size", (Label(line.span),))
            )
        ranges.append(range(count))
    for chosen in product(*ranges):
        yield dict(zip(names, chosen, strict=True))


def _pattern_file(
    path: str, group: _Group, bound: Bound, metadata: Map[str, str], config: Map[str, Any]
) -> plan.OutputFile:
    drafts = [draft for _, draft in group.members]
    described = [(keys, draft.dtype or "float32", draft.shape) for keys, draft in group.members]
    if Path(path).suffix == ".safetensors":
        layout = safetensors.layout([(".".join(keys), dtype, shape) for keys, dtype, shape in described], metadata)
        return _file(path, "safetensors", drafts, layout)
    origin = {key: value for key, value in metadata.items() if key.startswith("tensormap.")}
    if Path(path).suffix == ".gguf":
        from tensormap.checkpoints import gguf_layout

        layout = gguf_layout.layout(
            [(".".join(keys), dtype, shape) for keys, dtype, shape in described], {**config, **origin}
        )
        return _file(path, "gguf", drafts, layout)
    tree: dict[str, Any] = {}
    for entry, place in [(entry, place) for line, place in group.lines.values() for entry in line.entries]:
        value = bound.known.evaluate(entry.value, place)
        if isinstance(value, Missing):
            raise MappingError(
                Diagnostic("unknown-value", f"`{', '.join(value.names)}` is not known", (Label(entry.span),))
            )
        tree[entry.key] = list(value) if isinstance(value, tuple) else value
    for key, state in _embedded(path, bound.mapping.sides[1], config).items():
        nested_set(tree, key, state)
    for line, place in group.lines.values():
        if line.at is not None and not group.members:
            tree.setdefault(Pattern(line.at).format(place), None)
    from tensormap.checkpoints import torch_layout

    return _file(path, "torch", drafts, torch_layout.layout(tree, described, origin))


def _embedded(path: str, side: m.Side, config: Map[str, Any]) -> dict[str, Any]:
    """Return the config where a side keeps it in its torch files."""
    found: dict[str, Any] = {}
    for line in side.configs:
        if line.at is not None and config and fnmatchcase(path, line.pattern):
            state = {key: _plain(value) for key, value in config.items()}
            found[line.at] = Opaque("argparse.Namespace", state) if line.kind == "namespace" else state
    return found


def _plain(value: Any) -> Any:
    """Return lists where the language has tuples, as JSON and YAML do."""
    if isinstance(value, Map):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


# --- what goes along ------------------------------------------------------------------------------------------------------


def _companions(opened: Opened, taken: set[str]) -> tuple[tuple[plan.Companion, ...], tuple[str, ...]]:
    root = opened.catalog.root
    if not root.is_dir():
        return (), ()
    found = [
        plan.Companion(name, name, (root / name).stat().st_size)
        for name in COMPANIONS
        if name not in taken and (root / name).is_file()
    ]
    for each in found:
        stays(root, each.source)
    names = ", ".join(each.path for each in found)
    notes = [f"copied along: {names}"] if found else []
    if not any(each.path in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt") for each in found):
        notes.append("no tokenizer found beside the source: none copied")
    return tuple(found), tuple(notes)
