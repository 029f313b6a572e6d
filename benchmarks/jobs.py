"""The jobs that are measured: what each converts, with which mapping, and whose script does the same."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MAPPINGS = Path(__file__).parent / "mappings"
TINY = 200_000


@dataclass(frozen=True, slots=True)
class Job:
    """`source` names a checkpoint of `Sources`; `limit` is what is aimed at: (seconds, times `cp`). What `grows` writes more than
    it reads.
    """

    name: str
    source: str
    mapping: str
    options: tuple[str, ...] = ()
    limit: tuple[float, float] | None = (0.35, 1.1)
    note: str = ""
    grows: bool = False

    def command(self, source: Path, target: Path) -> list[str]:
        """Return the command line of tensormap for this job."""
        path = MAPPINGS / f"{self.mapping}.tmap"
        mapping = str(path) if path.exists() else self.mapping
        return [sys.executable, "-m", "tensormap", "apply", mapping, str(source), str(target), *self.options, "--quiet"]

    def naive(self, source: Path, target: Path) -> list[str]:
        """Return the command line of the script that everybody writes."""
        return [sys.executable, "-m", "benchmarks.naive", self.name, str(source), str(target)]


JOBS = {
    job.name: job
    for job in (
        Job("rename", "llama", "rename", note="every tensor under another name"),
        Job("fuse", "llama", "fuse", note="GQA-interleaved QKV, gate and up in one"),
        Job("unfuse", "fused", "fuse", note="the inverse of `fuse`"),
        Job(
            "neox",
            "neox",
            "neox/llama",
            ("--set", "gqa=flat"),
            note="GPT-NeoX `.pt`, tensor-parallel 2, to Hugging Face",
        ),
        Job(
            "experts",
            "experts",
            "qwen3_moe/fused",
            ("--to", "fused"),
            note="64 experts to a layer stacked, gate and up fused",
        ),
        Job("transpose", "llama", "transpose", limit=(0.35, 1.3), note="every matrix transposed"),
        Job("to-bfloat16", "llama-float32", "rename", ("--dtype", "bfloat16"), note="float32 rounded to bfloat16"),
        Job(
            "to-float32",
            "llama",
            "rename",
            ("--dtype", "float32"),
            (0.35, 1.5),
            "bfloat16 widened: twice the bytes out",
            grows=True,
        ),
        Job("to-float16", "llama", "rename", ("--dtype", "float16"), (0.35, 3.0), "bfloat16 rounded to float16"),
        Job("tiny", "tiny", "tiny", limit=None, note=f"{TINY:,} tensors of 16 numbers"),
    )
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Checkpoints of about `size` bytes in `folder`, each made when it is first asked for and not there, in a process of its own:
    what this one holds would count as the commands' memory.
    """

    folder: Path
    size: int

    def get(self, name: str) -> Path:
        """Return the checkpoint of this name."""
        path = self.folder / name
        if path.exists():
            return path
        match name:
            case "fused":
                _run([*_apply(str(MAPPINGS / "fuse.tmap"), self.get("llama"), path), "--to", "fused"])
            case "neox":
                _run([*_apply("neox/llama", self.get("llama"), path), "--set", "tp=2", "--set", "gqa=flat"])
            case "tiny":
                _make("tiny", path, TINY)
            case "experts" | "single":
                _make(name, path, self.size)
            case _:
                _make("llama", path, self.size, name.partition("-")[2] or "bfloat16")
        return path


def _apply(mapping: str, source: Path, target: Path) -> list[str]:
    return [sys.executable, "-m", "tensormap", "apply", mapping, str(source), str(target), "--quiet"]


def _make(kind: str, path: Path, number: int, *more: str) -> None:
    _run([sys.executable, "-m", "benchmarks.checkpoint", kind, str(path), str(number), *more])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)
