from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tensormap.checkpoints import safetensors, shard_index, torch_legacy, torch_zip
from tensormap.checkpoints.open import open_checkpoint, open_file
from tensormap.checkpoints.read import load_tensor
from tensormap.diagnostics import CheckpointError
from tests.unit.checkpoints.values import FIXTURES


def refused(path: Path) -> list[str]:
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(path)
    return [each.slug for each in error.value.diagnostics]


def shard(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.full(2, len(name), np.float32) for name in names}, path)


def index(path: Path, where: Mapping[str, str]) -> None:
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    shard(root / "model-00001-of-00002.safetensors", "a", "b")
    shard(root / "model-00002-of-00002.safetensors", "c")
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index(root / "model.safetensors.index.json", {"a": one, "b": one, "c": two})
    return root


def test_a_single_file_opens(tmp_path: Path) -> None:
    shard(tmp_path / "x.safetensors", "a", "b")
    catalog = open_checkpoint(tmp_path / "x.safetensors")
    assert catalog.root == tmp_path
    assert [file.path for file in catalog.files] == ["x.safetensors"]
    assert (catalog.format, list(catalog.tensors)) == ("safetensors", ["a", "b"])


def test_an_indexed_checkpoint_opens(sharded: Path) -> None:
    for path in (sharded, sharded / "model.safetensors.index.json"):
        catalog = open_checkpoint(path)
        assert catalog.root == sharded
        assert [file.path for file in catalog.files] == [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
        assert [(each.name, each.file) for each in catalog.tensors.values()] == [("a", 0), ("b", 0), ("c", 1)]
        assert load_tensor(catalog, "c").tolist() == [1, 1]


def test_numbered_files_without_an_index_open(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    assert list(open_checkpoint(sharded).tensors) == ["a", "b", "c"]


def test_other_files_beside_a_checkpoint_do_not_matter(sharded: Path) -> None:
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "config.json",
        "pytorch_model.bin",
        "tokenizer.model",
        ".hidden.safetensors",
    ):
        (sharded / name).write_bytes(b"{}")
    shard(sharded / "consolidated.safetensors", "z")
    shard(sharded / "sub" / "model.safetensors", "z")
    assert list(open_checkpoint(sharded).tensors) == ["a", "b", "c"]


def test_the_single_model_file_is_what_counts(tmp_path: Path) -> None:
    shard(tmp_path / "model.safetensors", "a")
    shard(tmp_path / "consolidated.safetensors", "b")
    assert list(open_checkpoint(tmp_path).tensors) == ["a"]


def test_torch_shards_with_an_index_open(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save(
        {"b": torch.ones(1)}, tmp_path / "pytorch_model-00002-of-00002.bin", _use_new_zipfile_serialization=False
    )
    index(
        tmp_path / "pytorch_model.bin.index.json",
        {k: f"pytorch_model-0000{n}-of-00002.bin" for k, n in (("a", 1), ("b", 2))},
    )
    catalog = open_checkpoint(tmp_path)
    assert (catalog.format, list(catalog.tensors)) == ("mixed", ["a", "b"])


def test_the_same_names_in_several_files_are_prefixed(tmp_path: Path) -> None:
    for k in range(2):
        torch.save({"a": torch.full((1,), k), "step": k}, tmp_path / f"consolidated.0{k}.pth")
    catalog = open_checkpoint(tmp_path)
    assert list(catalog.tensors) == ["consolidated.00.pth:a", "consolidated.01.pth:a"]
    assert catalog.objects == {"consolidated.00.pth:step": 0, "consolidated.01.pth:step": 1}
    assert [load_tensor(catalog, name).tolist() for name in catalog.tensors] == [[0], [1]]
    assert [(each.name, each.file) for each in catalog.tensors.values()] == [
        (name, k) for k, name in enumerate(catalog.tensors)
    ]


def test_different_names_in_several_files_are_not_prefixed(tmp_path: Path) -> None:
    torch.save({"a": {"x": torch.ones(1)}}, tmp_path / "1.pt")
    torch.save({"b": torch.ones(1)}, tmp_path / "2.pt")
    assert list(open_checkpoint(tmp_path).tensors) == ["a.x", "b"]


def test_deepspeeds_latest_is_followed() -> None:
    source = FIXTURES / "neox_mha_tp2_pp" / "source"
    catalog = open_checkpoint(source)
    names = {file.path for file in catalog.files}
    assert "global_step10/layer_00-model_00-model_states.pt" in names
    assert "global_step10/mp_rank_00_model_states.pt" in names
    assert catalog.root == source
    assert "global_step10/layer_00-model_01-model_states.pt:word_embeddings.weight" in catalog.tensors
    inner = open_checkpoint(source / "global_step10")
    assert "layer_00-model_01-model_states.pt:word_embeddings.weight" in inner.tensors
    assert inner.objects["mp_rank_00_model_states.pt:args"]["num_layers"] == 2


def test_optimizer_states_are_left_alone(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "mp_rank_00_model_states.pt")
    (tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"not looked at")
    assert len(open_checkpoint(tmp_path).files) == 1


@pytest.mark.parametrize(("text", "folder"), [("release", "release"), ("25", "iter_0000025")])
def test_megatrons_iteration_is_followed(tmp_path: Path, text: str, folder: str) -> None:
    (tmp_path / "latest_checkpointed_iteration.txt").write_text(text)
    for rank in range(2):
        path = tmp_path / folder / f"mp_rank_0{rank}" / "model_optim_rng.pt"
        path.parent.mkdir(parents=True)
        torch.save({"model": {"w": torch.ones(1)}}, path)
    prefix = f"{folder}/mp_rank_0"
    assert list(open_checkpoint(tmp_path).tensors) == [f"{prefix}{k}/model_optim_rng.pt:model.w" for k in range(2)]


def test_files_may_be_chosen(sharded: Path) -> None:
    catalog = open_checkpoint(sharded, files=[Path("model-00002-of-00002.safetensors")])
    assert list(catalog.tensors) == ["c"]


@pytest.mark.parametrize("tag", ["../x", "", "/tmp", "..", ".", "missing", "a\0b"])
def test_a_pointer_to_elsewhere_is_refused(tmp_path: Path, tag: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "latest").write_text(tag)
    assert refused(tmp_path / "in") == ["pointer-invalid"]


# --- indexes and files that disagree ---


def change(root: Path, **where: str | None) -> None:
    path = root / "model.safetensors.index.json"
    table = json.loads(path.read_text())
    for name, file in where.items():
        if file is None:
            del table["weight_map"][name]
        else:
            table["weight_map"][name] = file
    path.write_text(json.dumps(table))


def test_a_tensor_in_two_shards_is_refused(sharded: Path) -> None:
    shard(sharded / "model-00002-of-00002.safetensors", "b", "c")
    assert refused(sharded) == ["tensor-in-two-shards"]


def test_a_tensor_that_is_only_in_the_index_is_refused(sharded: Path) -> None:
    change(sharded, z="model-00001-of-00002.safetensors")
    assert refused(sharded) == ["index-tensor-missing"]


def test_a_tensor_that_is_only_in_a_file_is_refused(sharded: Path) -> None:
    change(sharded, b=None)
    assert refused(sharded) == ["index-tensor-unknown"]


def test_a_tensor_in_another_file_is_refused(sharded: Path) -> None:
    change(sharded, b="model-00002-of-00002.safetensors")
    assert refused(sharded) == ["index-tensor-moved"]


def test_all_disagreements_are_in_one_report(sharded: Path) -> None:
    change(sharded, a=None, b="model-00002-of-00002.safetensors", z="model-00001-of-00002.safetensors")
    assert refused(sharded) == ["index-tensor-missing", "index-tensor-moved", "index-tensor-unknown"]


def test_a_missing_shard_is_refused(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    assert refused(sharded) == ["file-missing"]


def test_a_missing_shard_is_noticed_without_an_index_too(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    (sharded / "model-00002-of-00002.safetensors").unlink()
    assert refused(sharded) == ["shard-missing"]


def test_shards_of_two_checkpoints_are_refused(sharded: Path) -> None:
    shard(sharded / "model-00003-of-00003.safetensors", "z")
    assert refused(sharded) == ["shard-not-in-index"]
    (sharded / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match="from checkpoints of `2`, `3` files"):
        open_checkpoint(sharded)


def test_a_single_file_beside_an_index_is_refused(sharded: Path) -> None:
    shard(sharded / "model.safetensors", "a")
    assert refused(sharded) == ["single-and-sharded"]
    (sharded / "model.safetensors.index.json").unlink()
    assert refused(sharded) == ["single-and-sharded"]


def test_several_indexes_are_refused(tmp_path: Path) -> None:
    for name in "xy":
        index(tmp_path / f"{name}.safetensors.index.json", {"a": "a"})
    assert refused(tmp_path) == ["several-indexes"]


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/x.safetensors",
        "a/../../x.safetensors",
        "a\\x",
        "c:x",
        "",
        ".",
        "a//b",
        "./x.safetensors",
        "x\0",
        "a/",
    ],
)
def test_an_index_may_not_lead_outside(sharded: Path, name: str) -> None:
    shard(sharded.parent / "x.safetensors", "c")
    change(sharded, c=name)
    assert refused(sharded) == ["index-outside"]


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ('{"weight_map": {"a": "x", "a": "x"}}', "json-duplicate-key"),
        ('{"weight_map": {"a": "x"}, "weight_map": {"a": "x"}}', "json-duplicate-key"),
        ('{"weight_map": {}}', "index-invalid"),
        ('{"weight_map": {"a": 1}}', "index-invalid"),
        ('{"weight_map": ["a"]}', "index-invalid"),
        ("[]", "index-invalid"),
        ("{}", "index-invalid"),
        ("", "file-empty"),
        ("{", "json-invalid"),
        ("[" * 100_000, "json-invalid"),
        ('{"weight_map": {"a": "model-00001-of-00002.safetensors"}, "metadata": {"total_size": -1}}', "index-invalid"),
        ('{"weight_map": {"a": "model-00001-of-00002.safetensors"}, "metadata": {"total_size": "1"}}', "index-invalid"),
        ('{"weight_map": {"a": "model-00001-of-00002.safetensors"}, "metadata": 1}', "index-invalid"),
        ("version https://git-lfs.github.com/spec/v1\n", "lfs-pointer"),
    ],
)
def test_an_invalid_index_is_refused(sharded: Path, text: str, slug: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    assert refused(sharded) == [slug]


def test_an_index_beyond_the_cap_is_refused(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_index, "INDEX_CAP", 10)
    assert refused(sharded) == ["index-invalid"]


def test_a_link_out_of_the_directory_is_refused(sharded: Path) -> None:
    path = sharded / "model-00002-of-00002.safetensors"
    path.rename(sharded.parent / "elsewhere")
    path.symlink_to(sharded.parent / "elsewhere")
    assert refused(sharded) == ["link-outside"]


def test_the_hubs_cache_is_made_of_links(tmp_path: Path, sharded: Path) -> None:
    cache = tmp_path / "models--x--y"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots" / "abc").mkdir(parents=True)
    for k, name in enumerate(sorted(os.listdir(sharded))):
        shutil.move(sharded / name, cache / "blobs" / str(k))
        (cache / "snapshots" / "abc" / name).symlink_to(f"../../blobs/{k}")
    assert list(open_checkpoint(cache / "snapshots" / "abc").tensors) == ["a", "b", "c"]
    (tmp_path / "link").symlink_to(cache / "snapshots" / "abc")
    assert list(open_checkpoint(tmp_path / "link").tensors) == ["a", "b", "c"]


def test_a_link_to_a_file_may_be_given(tmp_path: Path) -> None:
    shard(tmp_path / "in" / "a.safetensors", "a")
    (tmp_path / "b.safetensors").symlink_to("in/a.safetensors")
    assert list(open_checkpoint(tmp_path / "b.safetensors").tensors) == ["a"]


# --- what is no checkpoint ---


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing") == ["file-missing"]
    (tmp_path / "link.pt").symlink_to(tmp_path / "nothing")
    assert refused(tmp_path / "link.pt") == ["file-missing"]
    assert refused(tmp_path / "a\0b") == ["file-missing"]


def test_directories_without_tensors_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == ["no-checkpoint"]
    (tmp_path / "config.json").write_text("{}")
    assert refused(tmp_path) == ["no-checkpoint"]
    (tmp_path / "__0_0.distcp").write_text("")
    assert refused(tmp_path) == ["format-unknown"]
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert refused(tmp_path) == ["file-truncated"]
    with pytest.raises(CheckpointError, match="no file"):
        open_checkpoint(tmp_path, files=[])


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt") == ["file-not-regular"]


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.bin", "a"])
@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (b"", "file-empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n", "lfs-pointer"),
        (b"\n <!DOCTYPE html><html></html>", "html-page"),
        (b"<HTML>", "html-page"),
        (b'{"error": "Entry not found"}', "format-unknown"),
        (b"GGUF\x03\0\0\0" + bytes(16), None),
        (b"\x1f\x8b\x08" + bytes(40), "file-compressed"),
        (b"\x80\x04\x95" + bytes(40), "pickle-not-torch"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "format-unknown"),
        (b"\x93NUMPY\x01\0" + bytes(40), "format-unknown"),
    ],
)
def test_what_is_something_else_is_said_to_be_that(tmp_path: Path, name: str, data: bytes, slug: str | None) -> None:
    (tmp_path / name).write_bytes(data)
    if slug is None and name == "a":
        assert not open_checkpoint(tmp_path / name).tensors  # names without a suffix say nothing
    else:
        assert refused(tmp_path / name) == [slug or "file-renamed"]


def test_renamed_files_are_refused(tmp_path: Path) -> None:
    shard(tmp_path / "a.bin", "a")
    assert refused(tmp_path / "a.bin") == ["file-renamed"]
    for zipped in (True, False):
        torch.save({"a": torch.ones(1)}, tmp_path / "a.safetensors", _use_new_zipfile_serialization=zipped)
        assert refused(tmp_path / "a.safetensors") == ["file-renamed"]


@pytest.mark.parametrize("module", [safetensors, torch_zip, torch_legacy])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "html"])
def test_each_reader_says_what_another_file_is(tmp_path: Path, module: ModuleType, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "safetensors":
        shard(path, "a")
    elif kind == "html":
        path.write_text("<html></html>")
    else:
        torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=kind == "zip")
    if module.__name__.endswith(kind):
        assert list(module.open_file(path, "a").tensors) == [("a",)]
    else:
        with pytest.raises(CheckpointError) as error:
            module.open_file(path, "a")
        assert error.value.diagnostics[0].slug == ("html-page" if kind == "html" else "file-renamed")


def test_names_without_a_suffix_say_nothing(tmp_path: Path) -> None:
    shard(tmp_path / "a", "a")
    assert open_file(tmp_path / "a", "a").format == "safetensors"
    torch.save({"a": torch.ones(1)}, tmp_path / "a")
    assert open_file(tmp_path / "a", "a").format == "torch"


def test_names_that_join_to_the_same_are_refused(tmp_path: Path) -> None:
    torch.save({"a": {"b": torch.ones(1)}, "a.b": torch.ones(1)}, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt") == ["tensor-name-twice"]


# --- reading ---


def test_a_tensor_of_a_changed_file_is_not_read(tmp_path: Path) -> None:
    shard(tmp_path / "a.safetensors", "a")
    catalog = open_checkpoint(tmp_path)
    os.utime(tmp_path / "a.safetensors", ns=(0, 0))
    with pytest.raises(CheckpointError, match="has changed"):
        load_tensor(catalog, "a")


def test_a_tensor_that_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    shard(tmp_path / "a.safetensors", "a")
    with pytest.raises(KeyError):
        load_tensor(open_checkpoint(tmp_path), "b")


def test_packed_elements_are_read_as_bytes(tmp_path: Path) -> None:
    from tests.unit.checkpoints.written import write

    write(tmp_path / "a.safetensors", safetensors.layout([("a", "float4_e2m1fn_x2", (3, 2))], {}), [b"abc"])
    assert load_tensor(open_checkpoint(tmp_path), "a").tobytes() == b"abc"
