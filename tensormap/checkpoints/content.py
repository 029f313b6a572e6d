"""What a file is, by its first bytes and never by its name."""

from __future__ import annotations

from typing import Literal, TypeAlias

from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import refusal, shown
from tensormap.diagnostics import CheckpointError

Kind: TypeAlias = Literal[
    "safetensors",
    "zip",
    "torch-legacy",
    "gguf",
    "empty",
    "lfs",
    "html",
    "tar",
    "compressed",
    "pickle",
    "hdf5",
    "numpy",
    "json",
    "unknown",
]

HEADER_CAP = 100_000_000  # https://github.com/huggingface/safetensors: "header size is capped at 100MB"
HEAD = 512  # bytes that are enough to tell
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py
_MAGIC_BYTES = LEGACY_MAGIC.to_bytes(10, "little")

_PREFIXES: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"GGUF", "gguf"),
    (b"version https://git-lfs", "lfs"),
    (b"\x1f\x8b", "compressed"),
    (b"\xfd7zXZ\x00", "compressed"),
    (b"BZh", "compressed"),
    (b"\x28\xb5\x2f\xfd", "compressed"),
    (b"7z\xbc\xaf\x27\x1c", "compressed"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\x93NUMPY", "numpy"),
    (b"L%d" % LEGACY_MAGIC, "torch-legacy"),
)

_FETCH = "fetch the file again"
_RESAVE = "save it as safetensors where it comes from"

_SAYS: dict[Kind, tuple[str, str, str]] = {
    "empty": ("file-empty", "is empty", f"a download or a save was interrupted: {_FETCH}"),
    "lfs": (
        "lfs-pointer",
        "is a Git LFS pointer, not the file it stands for",
        "run `git lfs pull` where it comes from",
    ),
    "html": ("html-page", "is a web page, not a checkpoint", f"the download saved an error or login page: {_FETCH}"),
    "json": ("format-unknown", "is JSON text, not a checkpoint", "give the file with the tensors, or its directory"),
    "tar": (
        "torch-tar",
        "is a tar archive: torch's format before 2017, or a packed directory",
        "unpack it, or save it anew",
    ),
    "compressed": ("file-compressed", "is a compressed archive", "unpack it first"),
    "pickle": ("pickle-not-torch", "is a pickle that `torch.save` did not write", _RESAVE),
    "hdf5": ("format-unknown", "is an HDF5 file, which is not supported", _RESAVE),
    "numpy": ("format-unknown", "is a numpy file, which is not supported", _RESAVE),
    "unknown": (
        "format-unknown",
        "is no checkpoint of a known format",
        "known: safetensors, GGUF, and what `torch.save` writes",
    ),
}

NAMES: dict[Kind, str] = {
    "safetensors": "a safetensors file",
    "zip": "a torch file",
    "torch-legacy": "a torch file of the old format",
    "gguf": "a GGUF file",
}


def kind(head: bytes, size: int) -> Kind:
    """Tell a file of `size` bytes by its first `HEAD` bytes."""
    if not size:
        return "empty"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= HEADER_CAP:
        return "safetensors"
    for prefix, found in _PREFIXES:
        if head.startswith(prefix):
            return found
    if head[257:262] == b"ustar":
        return "tar"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "torch-legacy" if _MAGIC_BYTES in head[:32] else "pickle"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "html"
    return "json" if text.startswith((b"{", b"[")) else "unknown"


def misfit(file: Reader, found: Kind) -> CheckpointError:
    """Return the error for a file of a kind that no format module reads."""
    slug, says, advice = _SAYS[found]
    return refusal(slug, f"{shown(file.name)} {says}", help=[advice])


def renamed(file: Reader, found: Kind, expected: str) -> CheckpointError:
    """Return the error for a file of another kind than `expected`, what its name or its user says it is."""
    if found not in NAMES:
        return misfit(file, found)
    return refusal(
        "file-renamed",
        f"{shown(file.name)} should be {expected}, but is {NAMES[found]}",
        help=["give it its right name"],
    )
