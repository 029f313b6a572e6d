from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tensormap.checkpoints import content, torch_legacy
from tensormap.checkpoints.open import open_file, verify_records
from tensormap.diagnostics import CheckpointError
from tests.stored import Stored
from tests.unit.checkpoints.test_safetensors import DTYPES, SHAPES, some
from tests.unit.checkpoints.values import FIXTURE_FILES, flat, values


def saved(path: Path, value: Any, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    return path


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])  # persistent ids that are tuples need a binary protocol
def test_every_dtype_and_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    tensors = {f"{dtype} {shape}": some(dtype, shape) for dtype in (*DTYPES, "complex128") for shape in SHAPES}
    path = saved(tmp_path / "a.pt", {"a": {"b": tensors}, "step": 3}, protocol)
    found = open_file(path, "a.pt")
    assert found.format == "torch-legacy"
    assert values(path, found) == {("a", "b", name): Stored.of(tensor) for name, tensor in tensors.items()}
    assert found.objects == {("step",): 3}


def test_shared_storages_and_views_are_read(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "all": base,
        "row": base[2],
        "turned": base.T,
        "other": torch.ones(2),
        "tied": base,
        "wide": base[:, 2:4],
    }
    path = saved(tmp_path / "a.pt", tensors)
    found = torch_legacy.open_file(path, "a.pt")
    assert values(path, found) == {(name,): Stored.of(tensor) for name, tensor in tensors.items()}
    assert found.tensors["tied",].offset == found.tensors["all",].offset


@pytest.mark.parametrize("path", FIXTURE_FILES[::7], ids=lambda path: "/".join(path.parts[-3:]))
def test_what_real_programs_save_is_read_in_the_old_format_too(tmp_path: Path, path: Path) -> None:
    loaded = torch.load(path, map_location="cpu", weights_only=False)
    old = saved(tmp_path / "a.pt", loaded)
    assert values(old, torch_legacy.open_file(old, "a.pt")) == {
        keys: Stored.of(tensor) for keys, tensor in flat(loaded)
    }


def test_a_pickle_larger_than_what_is_read_first_is_read(tmp_path: Path) -> None:
    tensors = {f"layer {k} " + "x" * 300: torch.full((1,), float(k)) for k in range(4000)}
    path = saved(tmp_path / "a.pt", tensors)
    assert values(path, torch_legacy.open_file(path, "a.pt")) == {(name,): Stored.of(t) for name, t in tensors.items()}


def test_a_pickle_beyond_the_cap_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_legacy, "PICKLE_CAP", 2 << 20)
    path = saved(tmp_path / "a.pt", {"a": "x" * (3 << 20)})
    with pytest.raises(CheckpointError, match="longer than 2097152 bytes"):
        torch_legacy.open_file(path, "a.pt")


def test_the_whole_pickle_is_the_fingerprint(tmp_path: Path) -> None:
    one = torch_legacy.open_file(saved(tmp_path / "a.pt", {"a": 1}), "a.pt").file.header
    two = torch_legacy.open_file(saved(tmp_path / "b.pt", {"a": 2}), "b.pt").file.header
    assert one != two


def test_there_is_nothing_to_check(tmp_path: Path) -> None:
    verify_records(saved(tmp_path / "a.pt", {"a": torch.ones(1)}), "a.pt")


def test_the_oldest_format_is_refused_with_a_reason(tmp_path: Path) -> None:
    import tarfile

    path = tmp_path / "a.pt"
    inner = tmp_path / "storages"
    inner.write_bytes(b"x")
    with tarfile.open(path, "w") as archive:
        archive.add(inner, "storages")
    with pytest.raises(CheckpointError) as error:
        open_file(path, "a.pt")
    assert error.value.diagnostics[0].slug == "torch-tar"


def test_the_magic_number_is_known_in_every_protocol() -> None:
    import pickle

    for protocol in range(6):
        head = pickle.dumps(content.LEGACY_MAGIC, protocol=protocol) + pickle.dumps(1001, protocol=protocol)
        assert content.kind(head, 10_000) == "torch-legacy"
