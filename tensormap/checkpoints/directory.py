"""Which files of a directory make up its checkpoint, where no mapping says so: what its usual readers would load."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tensormap.checkpoints.links import stays
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import listed, refusal, shown
from tensormap.checkpoints.shard_index import read_index

_TORCH = (".bin", ".pt", ".pth")
_NO_WEIGHTS = (
    *(
        "*optim_states.pt",
        "optimizer.*",
        "optim.*",
        "scheduler.*",
        "scaler.*",
        "training_args.bin",
        "rng_state*",
        "random_states_*",
    ),
)
_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})(?P<suffix>\.\w+)", re.ASCII)
_ITERATION = "latest_checkpointed_iteration.txt"


@dataclass(frozen=True, slots=True)
class Selection:
    """Files relative to a directory; with an index, the file that it gives every tensor."""

    files: tuple[str, ...]
    index: str | None = None
    where: dict[str, str] | None = None


def select(root: Path) -> Selection:
    """Choose the files of a directory; CheckpointError where there are none, or no one choice."""
    names = sorted(each for each in os.listdir(root) if not each.startswith("."))
    for suffix, single in ((".safetensors", "model.safetensors"), (".bin", "pytorch_model.bin")):
        indexes = [each for each in names if each.endswith(f"{suffix}.index.json")]
        if indexes:
            preferred = f"{single}.index.json"
            if len(indexes) > 1 and preferred not in indexes:
                raise refusal(
                    "several-indexes",
                    f"the directory has several indexes: {listed(indexes)}",
                    help=["give one of them"],
                )
            return by_index(root, preferred if preferred in indexes else indexes[0])
        candidates = [each for each in names if each.endswith(suffix) and not _skipped(each)]
        if candidates and (suffix == ".safetensors" or single in candidates):
            return Selection(
                _whole(root, [single] if single in candidates and not _shards(single, candidates) else candidates)
            )
    candidates = [each for each in names if each.endswith(_TORCH) and not _skipped(each)]
    if candidates:
        return Selection(_whole(root, candidates))
    for pointer in ("latest", _ITERATION):
        if pointer in names:
            below = _pointed(root, pointer)
            inner = select(root / below)
            if inner.index is None:
                return Selection(tuple(f"{below}/{each}" for each in inner.files))
    ranks = [each for each in names if fnmatchcase(each, "mp_rank_*") and (root / each).is_dir()]
    megatron = [
        f"{rank}/{file}"
        for rank in ranks
        for file in ("model_optim_rng.pt", "model_rng.pt")
        if (root / rank / file).is_file()
    ]
    if megatron:
        return Selection(_whole(root, megatron))
    candidates = [each for each in names if each.endswith(".gguf")]
    if candidates:
        return Selection(_whole(root, candidates))
    if any(each.endswith(".distcp") for each in names):
        raise refusal("format-unknown", "the directory is a distributed torch checkpoint, which is not supported")
    raise refusal(
        "no-checkpoint", f"the directory {shown(root.name)} {'has no file with tensors' if names else 'is empty'}"
    )


def by_index(root: Path, index: str) -> Selection:
    """Take the files that an index names; no other file may look as if it belonged to them."""
    if (root / index).exists():
        stays(root, index)
    where = read_index(root, index)
    files = tuple(dict.fromkeys(where.values()))
    stem, suffix = os.path.splitext(index.removesuffix(".index.json"))
    single = f"{stem}{suffix}"
    if single not in files and (root / single).exists():
        raise refusal(
            "single-and-sharded",
            f"both {shown(single)} and {shown(index)} are there, and readers disagree about which counts",
            help=["remove the one that is out of date, or give the file you mean"],
        )
    stray = [each for each in _shards(single, sorted(os.listdir(root))) if each not in files]
    if stray:
        raise refusal(
            "shard-not-in-index", f"{shown(index)} does not name {listed(stray)}", help=["remove what is out of date"]
        )
    return Selection(_whole(root, list(files), numbered=False), index, where)


def _skipped(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _NO_WEIGHTS)


def _shards(single: str, names: list[str]) -> list[str]:
    """Return the names that are numbered parts of `single`."""
    matches = ((each, _NUMBERED.fullmatch(each)) for each in names)
    return [each for each, match in matches if match and f"{match['stem']}{match['suffix']}" == single]


def _whole(root: Path, names: list[str], *, numbered: bool = True) -> tuple[str, ...]:
    """Check that numbered files are all there, and that no link leads out of the directory."""
    counts: dict[str, dict[int, list[int]]] = {}
    for name in names:
        if numbered and (match := _NUMBERED.fullmatch(name)):
            single = f"{match['stem']}{match['suffix']}"
            counts.setdefault(single, {}).setdefault(int(match["count"]), []).append(int(match["number"]))
    for single, found in counts.items():
        if single in names:
            raise refusal(
                "single-and-sharded",
                f"both {shown(single)} and numbered parts of it are there",
                help=["remove one of them"],
            )
        if len(found) > 1:
            raise refusal(
                "shard-missing", f"parts of {shown(single)} are there from checkpoints of {listed(sorted(found))} files"
            )
        for count, numbers in found.items():
            missing = sorted(set(range(1, min(count, 100_000) + 1)) - set(numbers))
            if missing or len(numbers) > count:
                raise refusal(
                    "shard-missing", f"of the {count} files of {shown(single)}, these are missing: {listed(missing)}"
                )
    for name in names:
        stays(root, name)
    return tuple(names)


def _pointed(root: Path, pointer: str) -> str:
    """Return the directory that `latest` (DeepSpeed) or Megatron's iteration file names."""
    stays(root, pointer)
    with Reader(root / pointer, pointer) as file:
        tag = file.head(256).decode("utf-8", "replace").strip()
    if pointer == _ITERATION and tag.isdigit() and tag.isascii():
        tag = f"iter_{int(tag):07d}"
    if not tag or "/" in tag or "\\" in tag or "\0" in tag or tag in (".", "..") or not (root / tag).is_dir():
        raise refusal("pointer-invalid", f"{shown(pointer)} names {shown(tag)}, which is no directory here")
    stays(root, tag)
    return tag
