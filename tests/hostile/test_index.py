"""Attacks on the index of a sharded checkpoint, and on the directory around it; each has a name and its own finding."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save_file

from tensormap.checkpoints.open import open_checkpoint
from tensormap.cli import cli
from tensormap.diagnostics import CheckpointError

SECONDS = 15  # on a machine that others use as well
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
WHERE = {"a.weight": SHARDS[0], "b.weight": SHARDS[1]}
Attack = Callable[[Path], None]


def saved(folder: Path) -> Path:
    """Write a sound checkpoint of two shards."""
    folder.mkdir(exist_ok=True)
    for k, (name, file) in enumerate(WHERE.items()):
        save_file({name: np.full((2, 3), k, np.float32)}, folder / file)
    (folder / INDEX).write_text(table())
    return folder


def table(where: Any = WHERE, **more: Any) -> str:
    return json.dumps({"metadata": {"total_size": 48}, "weight_map": where, **more})


def index(text: str | bytes) -> Attack:
    """Put another text into the index."""
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: folder.joinpath(INDEX).write_bytes(data) and None


def names(file: Any) -> Attack:
    """Let the index say that `b.weight` is in `file`."""
    return index(table({"a.weight": SHARDS[0], "b.weight": file}))


def does(*steps: Callable[[Path], Any]) -> Attack:
    def run(folder: Path) -> None:
        for each in steps:
            each(folder)

    return run


def shard(**tensors: int) -> Attack:
    """Write the second shard anew, with these names."""
    return lambda folder: save_file({k: np.zeros(n, np.float32) for k, n in tensors.items()}, folder / SHARDS[1])


def nested(depth: int) -> str:
    return '{"weight_map": ' + '{"a":' * depth + "1" + "}" * depth + "}"


def sparse(folder: Path) -> None:
    with (folder / INDEX).open("r+b") as file:
        file.truncate(1 << 40)


def tops(*names_: str) -> Attack:
    """Rename the index, as often as there are names."""

    def run(folder: Path) -> None:
        text = (folder / INDEX).read_text()
        (folder / INDEX).unlink()
        for each in names_:
            (folder / each).write_text(text)

    return run


def linked(to: str) -> Attack:
    """Make the second shard a link."""

    def run(folder: Path) -> None:
        outside = folder.parent / "outside"
        outside.mkdir()
        (folder / SHARDS[1]).rename(outside / "model.safetensors")
        (folder / SHARDS[1]).symlink_to(to)

    return run


def in_folder(link: str) -> Attack:
    """Let the index name a file in a folder that is a link."""

    def run(folder: Path) -> None:
        outside = folder.parent / "outside"
        outside.mkdir()
        (folder / SHARDS[1]).rename(outside / SHARDS[1])
        (folder / "part").symlink_to(link)
        names(f"part/{SHARDS[1]}")(folder)

    return run


def written(name: str, data: bytes) -> Attack:
    return lambda folder: folder.joinpath(name).write_bytes(data) and None


def also(pairs: str) -> str:
    """Return the index with more written into its map, before what it has."""
    return table().replace('{"a.weight"', "{" + pairs + ', "a.weight"')


def removed(name: str) -> Attack:
    return lambda folder: (folder / name).unlink()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n"
PAGE = b"<!DOCTYPE html>\n<html><body>Access denied</body></html>"

ATTACKS: dict[str, tuple[Attack, str, str]] = {
    # the text: what is done, the finding, and a name that the message or a note holds
    "an empty index": (index(""), "file-empty", INDEX),
    "half an index": (index(table()[:60]), "json-invalid", INDEX),
    "two values": (index(table() + "{}"), "json-invalid", INDEX),
    "a list": (index("[]"), "index-invalid", INDEX),
    "a string": (index('"weight_map"'), "index-invalid", INDEX),
    "null": (index("null"), "index-invalid", INDEX),
    "a million closing brackets": (index("[" * 1_000_000), "json-invalid", INDEX),
    "tables in tables": (index(nested(100_000)), "json-invalid", INDEX),
    "not UTF-8": (index(table().encode().replace(b"b.weight", b"b.\xff\xfeight")), "json-invalid", INDEX),
    "UTF-16": (index(table().encode("utf-16")), "json-invalid", INDEX),
    "a byte order mark": (index(b"\xef\xbb\xbf" + table().encode()), "json-invalid", INDEX),
    "half a surrogate pair": (index(table({**WHERE, "\ud800": SHARDS[0]})), "json-invalid", INDEX),
    "NUL bytes behind the text": (index(table().encode() + bytes(9)), "json-invalid", INDEX),
    "a comment": (index("// made by hand\n" + table()), "json-invalid", INDEX),
    "a comma too many": (index(table().replace("}}", "},}")), "json-invalid", INDEX),
    "single quotes": (index(table().replace('"', "'")), "json-invalid", INDEX),
    "a pickle": (index(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."), "json-invalid", INDEX),
    "a tensor twice": (index(also(f'"a.weight": "{SHARDS[1]}"')), "json-duplicate-key", "a.weight"),
    "two maps": (index(table().replace('"weight_map"', '"weight_map": {}, "weight_map"')), "json-duplicate-key", "weight_map"),
    "a key twice in other letters": (index(also(f'"\\u0061.weight": "{SHARDS[0]}"')), "json-duplicate-key", "a.weight"),
    "no map": (index('{"metadata": {}}'), "index-invalid", INDEX),
    "an empty map": (index(table({})), "index-invalid", INDEX),
    "a map that is a list": (index(table([*WHERE.items()])), "index-invalid", INDEX),
    "a map that is null": (index(table(None)), "index-invalid", INDEX),
    "a file that is a number": (names(1), "index-invalid", INDEX),
    "a file that is a list": (names([SHARDS[1]]), "index-invalid", INDEX),
    "a file that is null": (names(None), "index-invalid", INDEX),
    "a file that is a table": (names({"file": SHARDS[1]}), "index-invalid", INDEX),
    "metadata that are a list": (index(table(metadata=[1])), "index-invalid", INDEX),
    "a size that is text": (index(table(metadata={"total_size": "48"})), "index-invalid", INDEX),
    "a size below zero": (index(table(metadata={"total_size": -1})), "index-invalid", INDEX),
    "a size that is NaN": (index(table(metadata={"total_size": float("nan")})), "json-invalid", INDEX),
    "a size that is Infinity": (index(table(metadata={"total_size": float("inf")})), "json-invalid", INDEX),
    "a size beyond all numbers": (index(table().replace("48", "1e999")), "index-invalid", INDEX),
    "a size that is true": (index(table(metadata={"total_size": True})), "index-invalid", INDEX),
    "a size of 5000 digits": (index(table().replace("48", "9" * 5000)), "json-invalid", INDEX),
    "an LFS pointer": (index(LFS), "lfs-pointer", INDEX),
    "a web page": (index(PAGE), "html-page", INDEX),
    "an index of a terabyte": (sparse, "index-invalid", INDEX),
    "an index that is a directory": (does(removed(INDEX), lambda f: (f / INDEX).mkdir()), "file-not-regular", INDEX),
    "an index that is a pipe": (does(removed(INDEX), lambda f: os.mkfifo(f / INDEX)), "file-not-regular", INDEX),
    "an index that is a link to nothing": (does(removed(INDEX), lambda f: (f / INDEX).symlink_to("gone")), "file-missing", INDEX),
    "an index that is a link to itself": (does(removed(INDEX), lambda f: (f / INDEX).symlink_to(INDEX)), "file-missing", INDEX),
    "an index that is a link out of the directory": (
        does(lambda f: (
        f / INDEX).rename(f.parent / "i.json"), lambda f: (f / INDEX).symlink_to("../i.json")), "link-outside", INDEX),
    # files outside
    "the directory above": (names("../" + SHARDS[1]), "index-outside", SHARDS[1]),
    "the directory above, on the way": (names(f"x/../../{SHARDS[1]}"), "index-outside", SHARDS[1]),
    "the directory itself": (names("."), "index-outside", INDEX),
    "the directory above alone": (names(".."), "index-outside", INDEX),
    "an absolute path": (names("/etc/passwd"), "index-outside", "/etc/passwd"),
    "a home directory": (does(removed(SHARDS[1]), names("~/model.safetensors")), "file-missing", "~/model.safetensors"),
    "a drive": (names("C:\\model.safetensors"), "index-outside", "model.safetensors"),
    "a stream": (names("model.safetensors:x"), "index-outside", "model.safetensors:x"),
    "backslashes": (names("..\\model.safetensors"), "index-outside", "model.safetensors"),
    "a NUL": (names(f"{SHARDS[1]}\0.txt"), "index-outside", SHARDS[1]),
    "an empty name": (names(""), "index-outside", INDEX),
    "two slashes": (names(f".//{SHARDS[1]}"), "index-outside", SHARDS[1]),
    "a slash behind": (names(f"{SHARDS[1]}/"), "index-outside", SHARDS[1]),
    "a web address": (names("https://example.org/model.safetensors"), "index-outside", "example.org"),
    "a device": (names("/dev/zero"), "index-outside", "/dev/zero"),
    "a name of 5000 letters": (does(removed(SHARDS[1]), names("a" * 5000)), "file-missing", "aaaa"),
    "colours in a name": (does(removed(SHARDS[1]), names("\x1b[31mred\x1b[0m.safetensors")), "file-missing", "\\x1b[31mred"),
    "a name from right to left": (does(removed(SHARDS[1]), names("\u202etxt.srosnetefas")), "file-missing", "\\u202etxt"),
    "a link out of the directory": (linked("../outside/model.safetensors"), "link-outside", SHARDS[1]),
    "a link with an absolute path": (linked("/etc/passwd"), "link-outside", SHARDS[1]),
    "a link to nothing": (linked("gone"), "file-missing", SHARDS[1]),
    "a link to itself": (linked(SHARDS[1]), "file-missing", SHARDS[1]),
    "a folder that leads outside": (in_folder("../outside"), "link-outside", SHARDS[1]),
    # files that are not what they should be
    "a shard that is missing": (removed(SHARDS[1]), "file-missing", SHARDS[1]),
    "a shard that is the index": (names(INDEX), "shard-not-in-index", SHARDS[1]),
    "a shard that is a directory": (does(removed(SHARDS[1]), lambda f: (f / SHARDS[1]).mkdir()), "file-not-regular", SHARDS[1]),
    "a shard that is a pipe": (does(removed(SHARDS[1]), lambda f: os.mkfifo(f / SHARDS[1])), "file-not-regular", SHARDS[1]),
    "a shard that is empty": (written(SHARDS[1], b""), "file-empty", SHARDS[1]),
    "a shard that is an LFS pointer": (written(SHARDS[1], LFS), "lfs-pointer", SHARDS[1]),
    "a shard that is a web page": (written(SHARDS[1], PAGE), "html-page", SHARDS[1]),
    "a shard that is a torch file": (lambda f: torch.save({"b.weight": torch.zeros(2)}, f / SHARDS[1]), "file-renamed", SHARDS[1]),
    # index and files disagree
    "a tensor in the index and in no file": (index(table({**WHERE, "c": SHARDS[0]})), "index-tensor-missing", "`c`"),
    "a tensor in a file and not in the index": (shard(**{"b.weight": 1, "c": 1}), "index-tensor-unknown", "`c`"),
    "a tensor in two shards": (shard(**{"b.weight": 1, "a.weight": 1}), "tensor-in-two-shards", "`a.weight`"),
    "tensors in the other file": (index(table({"a.weight": SHARDS[1], "b.weight": SHARDS[0]})), "index-tensor-moved", "`a.weight`"),
    "a tensor under another case": (
        index(table({"A.weight": SHARDS[0], "b.weight": SHARDS[1]})), "index-tensor-missing", "`A.weight`"),
    "a tensor under another composition": (
        does(shard(bé=1), index(table({"a.weight": SHARDS[0], "be\u0301": SHARDS[1]}))), "index-tensor-missing", "be\u0301"),
    "a tensor without a name": (index(table({**WHERE, "": SHARDS[0]})), "index-tensor-missing", "``"),
    "files that differ in case": (index(table({"a.weight": SHARDS[0], "b.weight": SHARDS[0].upper()})), "index-invalid", SHARDS[0]),
    # what lies beside
    "a single file as well": (
        lambda f: save_file({"a.weight": np.zeros(1)}, f / "model.safetensors"), "single-and-sharded", "model.safetensors"),
    "a shard that the index does not name": (
        lambda f: save_file({"c": np.zeros(1)}, f / "model-00003-of-00003.safetensors"), "shard-not-in-index", "00003"),
    "two indexes of other names": (
        tops("one.safetensors.index.json", "two.safetensors.index.json"), "several-indexes", "two.safetensors"),
    "an index of torch files that names safetensors": (
        does(tops("pytorch_model.bin.index.json"), lambda f: (f / SHARDS[1]).unlink()), "shard-missing", "2"),
}  # fmt: skip


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 85


def test_what_the_attacks_start_from_is_accepted(tmp_path: Path) -> None:
    assert list(open_checkpoint(saved(tmp_path / "sound")).tensors) == list(WHERE)


@pytest.mark.parametrize(("attack", "slug", "named"), ATTACKS.values(), ids=ATTACKS)
def test_it_is_refused(tmp_path: Path, attack: Attack, slug: str, named: str) -> None:
    folder = saved(tmp_path / "sharded")
    attack(folder)
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(folder)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < SECONDS
    assert slug in [each.slug for each in error.value.diagnostics]
    said = [text for each in error.value.diagnostics for text in (each.message, *each.notes)]
    assert any(named in each for each in said)
    assert all(each.isprintable() and len(each) < 2000 for each in said)
    result = CliRunner().invoke(cli, ["inspect", str(folder)])
    assert result.exit_code == 3
    assert slug in result.stderr


def test_torch_files_are_held_against_their_index_too(tmp_path: Path) -> None:
    files = [f"pytorch_model-0000{k}-of-00002.bin" for k in (1, 2)]
    for k, file in enumerate(files):
        torch.save({f"t{k}": torch.zeros(2)}, tmp_path / file)
    where = dict(zip(("t0", "t1"), files, strict=True))
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(table(where))
    assert list(open_checkpoint(tmp_path).tensors) == ["t0", "t1"]
    for wrong, slug in (
        ({**where, "t2": files[0]}, "index-tensor-missing"),
        ({"t0": files[0]}, "shard-not-in-index"),
        ({"t0": files[1], "t1": files[0]}, "index-tensor-moved"),
        ({**where, "t1": "../" + files[1]}, "index-outside"),
    ):
        path.write_text(table(wrong))
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(tmp_path)
        assert error.value.diagnostics[0].slug == slug


def test_a_hundred_thousand_wrong_names_make_one_report(tmp_path: Path) -> None:
    folder = saved(tmp_path / "sharded")
    (folder / INDEX).write_text(table({**WHERE, **{f"layers.{k}.weight": SHARDS[0] for k in range(100_000)}}))
    began = time.process_time()
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(folder)
    assert time.process_time() - began < SECONDS
    (found,) = error.value.diagnostics
    assert "100000 tensors" in found.message
    assert len(found.notes[0]) < 2000
