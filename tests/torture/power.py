"""What a disk may hold when the power fails: a record of a run's calls, and the states that any prefix of it may leave.

The model is more pessimistic than journalling file systems are. Until a file is synced, each of its writes, whole or in part, and
each change of its size may be there or not. Until a directory is synced, each name that was made, moved or removed in it may be
there or not, one independently of the other; a name's second change is only there if its first one is, and a rename or an
exchange happens at both its places or at none. Syncing a file makes its bytes durable and not its name.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.torture.shim import Call, hooked

Policy = Literal["lost", "kept", "some"]
Name = tuple[int, str]  # a directory's inode, and a name in it


@dataclass(frozen=True)
class Bytes:
    """`data` at `offset` of a file; None: the file gets the size `offset`, at least or exactly."""

    inode: int
    offset: int
    data: bytes | None
    exact: bool = False


@dataclass(frozen=True)
class Names:
    """Names that change at once: what each is then, or None."""

    changes: tuple[tuple[Name, int | None], ...]


@dataclass(frozen=True)
class Sync:
    """A file or a directory became durable."""

    inode: int


Event = Bytes | Names | Sync


@dataclass
class Disk:
    """Files and directories by inode, all durable."""

    root: int
    folders: dict[int, dict[str, int]] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)

    @staticmethod
    def read(place: Path) -> Disk:
        disk = Disk(place.stat().st_ino)
        for folder, folders, names in os.walk(place):
            inside = Path(folder)
            disk.folders[inside.stat().st_ino] = {name: (inside / name).stat().st_ino for name in [*folders, *names]}
            for name in names:
                disk.files[(inside / name).stat().st_ino] = (inside / name).read_bytes()
        return disk


@dataclass
class Recording:
    """A disk as it was, and what was done to it since."""

    before: Disk
    events: list[Event]
    made: set[int]  # directories


def record(place: Path, run: Callable[[], None]) -> Recording:
    """Run, and record what happens below `place`."""
    recorder = _Recorder(place)
    with hooked(recorder.hook):
        run()
    return recorder.recording


class _Recorder:
    def __init__(self, place: Path) -> None:
        self.recording = Recording(Disk.read(place), [], set())
        self._place = str(place)
        self._turn = threading.RLock()
        self._unknown = {"fdatasync", "replace", "remove", "pwritev", "writev", "sendfile", "link"}

    def hook(self, call: Call) -> Any:
        inside = call.path == self._place or call.path.startswith(self._place + "/")
        if not inside or not (call.writes or call.name == "fsync"):
            return call.do()
        assert call.name not in self._unknown, call.name
        with self._turn:
            return getattr(self, f"_{call.name.lstrip('_')}")(call)

    def _add(self, event: Event) -> None:
        self.recording.events.append(event)

    def _name(self, path: str) -> Name:
        folder, name = os.path.split(path)
        return os.stat(folder).st_ino, name

    def _open(self, call: Call) -> Any:
        new = not os.path.exists(call.path)
        descriptor = call.do()
        inode = os.fstat(descriptor).st_ino
        if new:
            self._add(Names(((self._name(call.path), inode),)))
            self._add(Bytes(inode, 0, None, exact=True))
        elif call.arguments[1] & os.O_TRUNC:
            self._add(Bytes(inode, 0, None, exact=True))
        return descriptor

    def _mkdir(self, call: Call) -> None:
        call.do()
        inode = os.stat(call.path).st_ino
        self.recording.made.add(inode)
        self._add(Names(((self._name(call.path), inode),)))

    def _pwrite(self, call: Call) -> Any:
        descriptor, data, offset = call.arguments
        done = call.do()
        self._add(Bytes(os.fstat(descriptor).st_ino, offset, bytes(data[:done])))
        return done

    def _copy_file_range(self, call: Call) -> Any:
        source, descriptor, _, start, offset = call.arguments
        done = call.do()
        self._add(Bytes(os.fstat(descriptor).st_ino, offset, os.pread(source, done, start)))
        return done

    def _write(self, call: Call) -> Any:
        descriptor, data = call.arguments
        status = os.fstat(descriptor)
        offset = status.st_size if _appends(descriptor) else os.lseek(descriptor, 0, os.SEEK_CUR)
        done = call.do()
        self._add(Bytes(status.st_ino, offset, bytes(data[:done])))
        return done

    def _posix_fallocate(self, call: Call) -> None:
        call.do()
        descriptor, start, length = call.arguments
        self._add(Bytes(os.fstat(descriptor).st_ino, start + length, None))

    def _ftruncate(self, call: Call) -> None:
        call.do()
        self._add(Bytes(os.fstat(call.arguments[0]).st_ino, call.arguments[1], None, exact=True))

    def _truncate(self, call: Call) -> None:
        call.do()
        self._add(Bytes(os.stat(call.path).st_ino, call.arguments[1], None, exact=True))

    def _fsync(self, call: Call) -> None:
        call.do()
        self._add(Sync(os.fstat(call.arguments[0]).st_ino))

    def _rename(self, call: Call) -> None:
        source, target = (os.fspath(each) for each in call.arguments)
        names = self._name(source), self._name(target)
        inode = os.lstat(source).st_ino
        call.do()
        self._add(Names(((names[0], None), (names[1], inode))))

    def _exchange(self, call: Call) -> Any:
        left, right = (os.fspath(each) for each in call.arguments)
        names = self._name(left), self._name(right)
        inodes = os.stat(left).st_ino, os.stat(right).st_ino
        done = call.do()
        if done:
            self._add(Names(((names[0], inodes[1]), (names[1], inodes[0]))))
        return done

    def _unlink(self, call: Call) -> None:
        name = self._name(call.path)
        call.do()
        self._add(Names(((name, None),)))

    _rmdir = _unlink

    def _chmod(self, call: Call) -> Any:
        return call.do()


def _appends(descriptor: int) -> bool:
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        if line.startswith("flags:"):
            return bool(int(line.split()[1], 8) & os.O_APPEND)
    return False


def crash(recording: Recording, after: int, policy: Policy, seed: int) -> Disk:
    """Return what the disk may hold when the power fails after so many events."""
    events = recording.events[:after]
    durable = _durable(events)
    choose = random.Random(f"{after} {seed}")
    share = choose.choice((0.2, 0.5, 0.8))
    folders = {inode: dict(names) for inode, names in recording.before.folders.items()}
    folders |= {inode: {} for inode in recording.made}
    files = {inode: bytearray(data) for inode, data in recording.before.files.items()}
    lost: set[Name] = set()
    for number, event in enumerate(events):
        if isinstance(event, Sync):
            continue
        stays = number in durable or policy == "kept" or (policy == "some" and choose.random() < share)
        if isinstance(event, Names):
            names = {name for name, _ in event.changes}
            if not stays or (names & lost and number not in durable):
                lost |= names
                continue
            for (folder, name), inode in event.changes:
                if inode is None:
                    folders[folder].pop(name, None)
                else:
                    folders[folder][name] = inode
        elif stays:
            torn = policy == "some" and number not in durable and choose.random() < 0.3
            _write(files.setdefault(event.inode, bytearray()), event, choose.random() if torn else 1.0)
    return Disk(recording.before.root, folders, {inode: bytes(data) for inode, data in files.items()})


def _write(file: bytearray, event: Bytes, share: float) -> None:
    if event.data is None:
        if len(file) < event.offset:
            file.extend(bytes(event.offset - len(file)))
        elif event.exact:
            del file[event.offset :]
        return
    data = event.data[: int(len(event.data) * share)]
    if data:
        file.extend(bytes(max(0, event.offset - len(file))))
        file[event.offset : event.offset + len(data)] = data


def _durable(events: list[Event]) -> set[int]:
    """Return the numbers of the events that a later sync made durable."""
    durable: set[int] = set()
    for place, event in enumerate(events):
        if not isinstance(event, Sync):
            continue
        wanted: set[Name] = set()
        for number in range(place - 1, -1, -1):
            earlier = events[number]
            match earlier:
                case Bytes():
                    found = earlier.inode == event.inode
                case Names():
                    names = {name for name, _ in earlier.changes}
                    found = any(folder == event.inode for folder, _ in names) or bool(names & wanted)
                    wanted |= names if found else set()
                case _:
                    found = False
            if found:
                durable.add(number)
    return durable


def restore(disk: Disk, place: Path) -> None:
    """Write a disk to the empty directory `place`. Journals name inodes, which become those of the files written here; and a file
    has the time that its journal says, as if its metadata had come to the disk in any case.
    """
    inodes: dict[int, int] = {}
    paths: dict[int, Path] = {}
    journals: list[Path] = []

    def put(folder: int, path: Path) -> None:
        inodes[folder] = path.stat().st_ino
        for name, inode in sorted(disk.folders[folder].items()):
            here = path / name
            if inode in disk.folders:
                here.mkdir()
                put(inode, here)
                continue
            here.write_bytes(disk.files.get(inode, b""))
            inodes[inode] = here.stat().st_ino
            paths[inode] = here
            if name.endswith("journal"):  # a divided run has one for each part
                journals.append(here)

    put(disk.root, place)
    for journal in journals:
        _translate(journal, inodes, paths)


def _translate(journal: Path, inodes: dict[int, int], paths: dict[int, Path]) -> None:
    lines = journal.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1]):
        with suppress(ValueError):
            value = json.loads(line)
            if "status" in value:
                size, time, inode = value["status"]
                if inode in paths:
                    os.utime(paths[inode], ns=(time, time))
                value["status"] = [size, time, inodes.get(inode, -1)]
            elif "publishing" in value:
                value["publishing"] = inodes.get(value["publishing"], -1)
            else:
                continue
            lines[number] = json.dumps(value, separators=(",", ":")).encode()
    journal.write_bytes(b"\n".join(lines))
