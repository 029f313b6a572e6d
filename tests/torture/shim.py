"""Every call to the operating system that a run makes through Python, handed to a hook first.

What Python's own C code calls (`open` of text files, `read_bytes`) is not seen; nothing that a run writes goes that way.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tensormap.runtime import staging, writing

CHANGING = [
    "open",
    "pwrite",
    "copy_file_range",
    "write",
    "fsync",
    "fdatasync",
    "posix_fallocate",
    "ftruncate",
    "truncate",
    "rename",
    "replace",
    "mkdir",
    "rmdir",
    "unlink",
    "remove",
    "chmod",
]
READING = ["preadv", "pread", "read", "stat", "fstat", "lstat", "statvfs", "scandir", "listdir"]
OTHERS = ((fcntl, "flock"), (staging, "_exchange"), (writing, "_start_writing"), (os, "close"))


@dataclass(frozen=True)
class Call:
    """A call that is about to be made. `path` is what it is about, as far as its arguments say."""

    name: str
    arguments: tuple[Any, ...]
    more: dict[str, Any]
    original: Callable[..., Any]

    def do(self) -> Any:
        return self.original(*self.arguments, **self.more)

    @property
    def path(self) -> str:
        first = self.arguments[self.name == "copy_file_range"] if self.arguments else ""
        if not isinstance(first, int):
            folder = self.more.get("dir_fd")
            return os.path.join(_path_of(folder), os.fspath(first)) if folder is not None else os.fspath(first)
        return _path_of(first)

    @property
    def writes(self) -> bool:
        """Whether the call changes what lies on the disk."""
        if self.name == "open":
            return bool(self.arguments[1] & (os.O_CREAT | os.O_TRUNC))
        return self.name in CHANGING or self.name == "_exchange"


Hook = Callable[[Call], Any]


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Hand all calls to `hook` while the block runs."""
    places = [(os, name) for name in (*CHANGING, *READING)] + list(OTHERS)
    originals = [(place, name, getattr(place, name)) for place, name in places]

    def wrapped(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            return hook(Call(name, arguments, more, original))

        return call

    for place, name, original in originals:
        setattr(place, name, wrapped(name, original))
    try:
        yield
    finally:
        for place, name, original in originals:
            setattr(place, name, original)
