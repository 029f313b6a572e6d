from __future__ import annotations

from pathlib import Path

import pytest

from tensormap.checkpoints.reader import Reader
from tensormap.diagnostics import CheckpointError


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    (tmp_path / "ten").write_bytes(b"0123456789")
    return tmp_path / "ten"


def test_bytes_are_read_by_position(ten: Path) -> None:
    with Reader(ten, "x/ten") as file:
        assert (file.read(3, 4), file.read(10, 0), file.head(3), file.head(99)) == (b"3456", b"", b"012", b"0123456789")
        buffer = bytearray(4)
        file.fill(6, memoryview(buffer))
        assert buffer == b"6789"
        assert file.source("abc").path == "x/ten"


def test_bytes_beyond_the_end_are_an_error(ten: Path) -> None:
    with Reader(ten, "x/ten") as file:
        with pytest.raises(CheckpointError) as error:
            file.read(8, 4)
        assert error.value.diagnostics[0].message == "`x/ten` ends at byte 10, where 2 more were expected"
        with pytest.raises(CheckpointError) as error:
            file.fill(8, memoryview(bytearray(4)))
        assert error.value.diagnostics[0].message == "`x/ten` ends at byte 10, where 2 more were expected"


def test_a_file_that_is_cut_while_it_is_read_is_an_error(ten: Path) -> None:
    with Reader(ten, "x/ten") as file:
        ten.write_bytes(b"0")
        with pytest.raises(CheckpointError) as error:
            file.read(0, 10)
        assert error.value.diagnostics[0].notes == ("it was cut short while it was read",)


def test_short_reads_are_continued(ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: pread(descriptor, min(size, 3), offset))
    monkeypatch.setattr(os, "preadv", lambda descriptor, buffers, offset: preadv(descriptor, [buffers[0][:3]], offset))
    with Reader(ten, "x/ten") as file:
        assert file.read(1, 9) == b"123456789"
        buffer = bytearray(9)
        file.fill(1, memoryview(buffer))
        assert buffer == b"123456789"
