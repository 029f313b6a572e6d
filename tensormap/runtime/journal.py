"""What an interrupted run leaves behind so that it can be resumed: which plan on which files, and which outputs are finished.

One JSON value a line, appended; a line that was cut off by a crash counts for nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tensormap.checkpoints.descriptors import close, named
from tensormap.lowering import plan_json
from tensormap.lowering.plan import OutputFile, Plan

VERSION = 1
NAME = "journal"
MOST_PARTS = 100_000
_SUM = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What must be the same for a run to be resumed."""

    mapping: str
    digest: str
    side: str
    sources: dict[str, list[Any]]
    outputs: dict[str, list[Any]]
    version: int = VERSION
    exact: str = ""  # sha256 of the whole plan, where runs of several processes have to agree on it

    def differences(self, other: Identity) -> list[str]:
        """Say in words how `other`, that of an interrupted run, differs."""
        found: list[str] = []
        if other.version != self.version:
            found.append("it was made by another version of tensormap")
        if other.mapping != self.mapping:
            found.append(f"the mapping was `{other.mapping}`, and is `{self.mapping}`")
        elif other.digest != self.digest:
            found.append(f"the text or the settings of the mapping `{self.mapping}` changed")
        if other.side != self.side:
            found.append(f"the side to write was `{other.side}`, and is `{self.side}`")
        found += _differences("source file", other.sources, self.sources)
        if not found:
            found += _differences("output file", other.outputs, self.outputs)
        if not found and other.exact and other.exact != self.exact:
            found.append("the plan writes the same files in another way")
        return found


@dataclass(slots=True)
class Record:
    """A journal as it was read back."""

    identity: Identity
    done: dict[str, list[int]] = field(default_factory=dict)  # path -> size, mtime_ns, inode
    sums: dict[str, str] = field(default_factory=dict)  # path -> sha256, where it was wanted
    overwrite: bool = False  # whether the target may be replaced
    parts: int = 0  # how many parts the run is divided into; 0: it is not
    verified: set[int] = field(default_factory=set)  # the parts whose comparisons were made
    published: int | None = None  # inode of what was about to get its final name
    size: int = 0  # bytes of the journal that could be read

    @property
    def is_worth_keeping(self) -> bool:
        """Whether a file was finished, or all of them; or others may be at work on their part."""
        return bool(self.done) or self.published is not None or bool(self.parts)


def identify(plan: Plan, *, exact: bool = False) -> Identity:
    """Return a plan's identity, `exact` to the last step."""
    return Identity(
        plan.mapping,
        plan.digest,
        plan.side,
        {each.path: [each.size, each.mtime_ns, each.header] for each in plan.sources},
        {each.path: _fingerprint(each) for each in plan.outputs}
        | {each.path: [hashlib.sha256(each.data).hexdigest()] for each in plan.texts}
        | {each.path: [each.source, each.size] for each in plan.companions},
        exact=plan_json.digest(replace(plan, root="", notes=())) if exact else "",
    )


def _fingerprint(output: OutputFile) -> list[Any]:
    known = hashlib.sha256()
    for piece in output.layout.pieces:
        known.update(piece.offset.to_bytes(8, "little"))
        known.update(piece.data)
    return [output.layout.size, len(output.tensors), len(output.steps), known.hexdigest()]


def _differences(what: str, before: dict[str, list[Any]], now: dict[str, list[Any]]) -> list[str]:
    found = [f"{what} `{path}` is new" for path in now if path not in before]
    found += [f"{what} `{path}` is gone" for path in before if path not in now]
    found += [f"{what} `{path}` changed" for path, value in now.items() if path in before and before[path] != value]
    return found


class Journal:
    """The journal of a run that is going on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self, identity: Identity, *, overwrite: bool, parts: int = 0, sync: bool = True) -> None:
        """Begin a new journal; a run that resumes may do what this one may."""
        known: dict[str, Any] = {
            "version": identity.version,
            "mapping": identity.mapping,
            "digest": identity.digest,
            "side": identity.side,
            "sources": identity.sources,
            "outputs": identity.outputs,
            "exact": identity.exact,
        }
        self._append({"identity": known, "overwrite": overwrite, "parts": parts}, sync=sync)

    def resume(self, record: Record) -> None:
        """Go on with a journal, without what a crash left half written at its end: lines behind that would not count."""
        os.truncate(self._path, record.size)

    def done(self, path: str, status: os.stat_result, sha256: str | None) -> None:
        """Note that an output file is whole and on the disk."""
        line: dict[str, Any] = {"done": path, "status": known(status)}
        self._append(line if sha256 is None else {**line, "sha256": sha256})

    def verified(self, part: int) -> None:
        """Note that a part's comparisons found the sources equal."""
        self._append({"verified": part})

    def publishing(self, status: os.stat_result, *, sync: bool) -> None:
        """Note that the next thing to happen is the rename, with `sync` on the disk.

        Devices have other numbers after a restart, inodes do not.
        """
        self._append({"publishing": status.st_ino}, sync=sync)

    def _append(self, value: dict[str, Any], *, sync: bool = True) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            data = memoryview(json.dumps(value, separators=(",", ":")).encode() + b"\n")
            while data:
                data = data[os.write(descriptor, data) :]
            if sync:
                os.fsync(descriptor)
        except OSError as error:
            raise named(error, self._path) from error
        finally:
            close(descriptor)


def read(path: Path) -> Record | None:
    """Return what a journal says, and those of the parts beside it; None where there is none, or none that can be used."""
    lines = _lines(path)
    try:
        record = _first(lines[0])
    except (IndexError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    for part in sorted(path.parent.glob("parts/*.journal")):
        _note(record, _lines(part))
    record.size = len(lines[0]) + 1 + _note(record, lines[1:])
    return record


def _first(line: bytes) -> Record:
    """Read the line that a journal begins with. ValueError and others where it says something else."""
    first = json.loads(line)
    identity = Identity(**first["identity"])
    texts = (identity.mapping, identity.digest, identity.side, identity.exact)
    tables = (identity.sources, identity.outputs)
    overwrite, parts = first["overwrite"], first.get("parts", 0)
    sound = all(isinstance(each, str) for each in texts) and all(isinstance(each, dict) for each in tables)
    if not sound or not isinstance(overwrite, bool) or type(parts) is not int or not 0 <= parts <= MOST_PARTS:
        raise ValueError(line)
    return Record(identity, overwrite=overwrite, parts=parts)


def known(status: os.stat_result) -> list[int]:
    """Return what a finished file is known by."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def mend(path: Path) -> None:
    """Cut off what a crash left half written at the end of a part's journal: lines behind that would not count."""
    if path.exists():
        os.truncate(path, _note(Record(Identity("", "", "", {}, {})), _lines(path)))


def _lines(path: Path) -> list[bytes]:
    """Return the whole lines of a journal; none of what is no plain file, which no run has made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno == errno.ELOOP:
            return []
        raise
    try:
        with open(descriptor, "rb", closefd=False) as file:
            return file.read().split(b"\n")[:-1] if stat.S_ISREG(os.fstat(descriptor).st_mode) else []
    except OSError as error:
        raise named(error, path) from error
    finally:
        close(descriptor)


def _note(record: Record, lines: list[bytes]) -> int:
    """Note what lines say, up to the first that says nothing; return how many bytes could be read."""
    size = 0
    for line in lines:
        try:
            value = json.loads(line)
            if "done" in value:
                _note_done(record, value["done"], value["status"], value.get("sha256"))
            elif "verified" in value:
                record.verified.add(_integer(value["verified"]))
            elif "publishing" in value:
                record.published = _integer(value["publishing"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            break
        size += len(line) + 1
    return size


def _note_done(record: Record, path: Any, status: Any, sha256: Any) -> None:
    if not isinstance(path, str) or not (sha256 is None or _SUM.fullmatch(sha256)):
        raise ValueError(path)
    record.done[path] = [_integer(each) for each in status]
    record.sums.pop(path, None)
    if sha256 is not None:
        record.sums[path] = sha256


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value
