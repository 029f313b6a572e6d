"""The command line: what is printed where, and with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from tensormap import externs, library
from tensormap.cli import cli
from tensormap.commands import mappings
from tensormap.language.parser import parse
from tensormap.language.syntax import Header
from tensormap.runtime.lock import Lock
from tensormap.version import VERSION

MAPPING = """\
# A small model, its queries and keys in one <-> apart
mapping fused <-> apart

index i < layers

block layers.{i}. <-> h.{i}. {
    qk.weight [(q + k) e] <-> q.weight [q e], k.weight [k e]
}
norm.weight <-> ln.weight
"""
LAYERS = 3


def fused() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    tensors = {
        f"layers.{i}.qk.weight": random.standard_normal((6, 5), dtype=np.float32).astype(np.float16)
        for i in range(LAYERS)
    }
    return tensors | {"norm.weight": random.standard_normal(5, dtype=np.float32).astype(np.float16)}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a mapping and a checkpoint `src`, which is where the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.tmap").write_text(MAPPING)
    (tmp_path / "src").mkdir()
    save_file(fused(), tmp_path / "src" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "src" / "tokenizer.json").write_text("{}")
    return tmp_path


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=stdin)


ROOT = str(Path(mappings.__file__).parents[2])
CONVERT = ("small.tmap", "src", "out", "--set", "q=4")


# --- what costs nothing


def test_help_shows_the_commands_and_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.stdout.split("Commands:\n")[1].splitlines() if line.startswith("  ")]
    assert names[:4] == ["apply", "plan", "verify", "finalize"]
    assert names[4:10] == ["inspect", "diff", "list", "check", "fmt", "explain"]
    assert "5    locked by another run" in result.stdout


@pytest.mark.parametrize("command", cli.commands)
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_version() -> None:
    assert run("--version").stdout == f"tensormap, version {VERSION}\n"


def python(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": ROOT}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120, env=environment, **more
    )


HEAVY = {"torch", "numpy", "lark", "rich", "yaml", "einops", "safetensors", "ml_dtypes"}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["list"], set()),
        (["explain", "claimed-twice"], set()),
        (["inspect", "src"], {"ml_dtypes", "numpy"}),
        (["check", "small.tmap"], {"lark"}),
        (["fmt", "--check", "small.tmap"], {"lark"}),
        (["plan", *CONVERT[:2], *CONVERT[3:]], {"lark", "numpy", "yaml", "ml_dtypes"}),
        (["apply", *CONVERT, "--quiet"], {"lark", "numpy", "yaml", "ml_dtypes"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_a_command_imports(place: Path, arguments: list[str], allowed: set[str]) -> None:
    program = (
        "import sys\nfrom tensormap.cli import cli\n"
        f"code = cli({arguments!r}, standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    result = python("-c", program, cwd=place)
    assert result.returncode == 0, result.stderr
    assert HEAVY & set(result.stderr.split()) <= allowed


# --- plan, apply, verify, diff


def test_plan(place: Path) -> None:
    result = run("plan", *CONVERT[:2], *CONVERT[3:])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    size = (place / "src" / "model.safetensors").stat().st_size
    lines = result.stdout.splitlines()
    assert lines[0] == "small: writes side `apart`"
    assert lines[1] == f"reads   1 file, {size} bytes, in {place / 'src'}"
    assert "  h.{0..2}.q.weight  float16 [4, 5]  x3  120 bytes  <- layers.{0..2}.qk.weight" in lines
    assert "  h.{0..2}.k.weight  float16 [2, 5]  x3  60 bytes   <- layers.{0..2}.qk.weight" in lines
    assert not (place / "out").exists()


def test_apply(place: Path) -> None:
    result = run("apply", *CONVERT)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("wrote out: 2 files, ")
    assert "\nnote: copied along: tokenizer.json" in result.stdout
    assert result.stderr == ""  # no terminal, no progress
    written = load_file(place / "out" / "model.safetensors")
    assert set(written) == {f"h.{i}.{x}.weight" for i in range(LAYERS) for x in "qk"} | {"ln.weight"}
    assert written["h.1.k.weight"].tobytes() == fused()["layers.1.qk.weight"][4:].tobytes()
    assert (place / "out" / "tokenizer.json").read_text() == "{}"


def test_apply_json(place: Path) -> None:
    result = run("apply", *CONVERT, "--json", "--checksum")
    report = json.loads(result.stdout)
    assert report["files"] == ["model.safetensors", "tokenizer.json", "SHA256SUMS"]
    assert report["target"] == "out"
    assert report["bytes_written"] > 0
    assert report["resumed"] == []


def test_apply_quiet(place: Path) -> None:
    result = run("apply", *CONVERT, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_there_and_back(place: Path) -> None:
    assert run("apply", *CONVERT, "--quiet").exit_code == 0
    assert run("apply", "small.tmap", "out", "back", "--quiet").exit_code == 0
    result = run("diff", "src", "back")
    assert (result.exit_code, result.stdout) == (0, "equal: 4 tensors, every element\n")


def test_a_plan_is_not_saved_in_place_of_what_it_reads(place: Path) -> None:
    [source] = (place / "src").glob("*.safetensors")
    before = source.read_bytes()
    (place / "link").symlink_to(source)
    for path in (f"src/{source.name}", "link"):
        result = run("plan", *CONVERT[:2], *CONVERT[3:], "--save", path)
        assert result.exit_code == 2
        assert f"`{path}` is a file that the plan reads" in result.stderr
    assert source.read_bytes() == before


def test_a_saved_plan(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("plan", *CONVERT[:2], *CONVERT[3:], "--save", "plan.json")
    assert result.stderr == "saved; `tensormap apply --plan plan.json DST` runs it\n"
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert run("apply", "--plan", "../plan.json", "../out", "--quiet").exit_code == 0
    monkeypatch.chdir(place)
    assert run("apply", "small.tmap", "src", "other", "--set", "q=4", "--quiet").exit_code == 0
    assert (place / "out" / "model.safetensors").read_bytes() == (place / "other" / "model.safetensors").read_bytes()


def test_a_plan_through_a_pipe(place: Path) -> None:
    made = run("plan", *CONVERT[:2], *CONVERT[3:], "--full")
    assert json.loads(made.stdout)["tensormap_plan"] == 1
    assert run("apply", "--plan", "-", "out", stdin=made.stdout).exit_code == 0
    assert run("verify", *CONVERT).stdout == "equal: 7 tensors, every element, and 2 files, every byte\n"


def test_a_plan_for_a_program_to_read(place: Path) -> None:
    said = json.loads(run("plan", *CONVERT[:2], *CONVERT[3:], "--json").stdout)
    assert said["writes"]["tensors"] == sum(each["count"] for file in said["files"] for each in file["tensors"]) == 7
    assert [each["path"] for each in said["files"]] == ["model.safetensors"]
    given = json.dumps(said).encode()
    result = run("apply", "--plan", "-", "out", stdin=given)
    assert result.exit_code == 3
    assert result.stderr.startswith("error[bad-plan]: this is no plan of tensormap")


@pytest.mark.parametrize("stdin", [False, True])
def test_a_plan_without_end_is_refused(place: Path, stdin: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    monkeypatch.setattr("tensormap.commands.convert.LONGEST_PLAN", 1 << 20)
    given = bytes((1 << 20) + 1) if stdin else None
    result = run("apply", "--plan", "-" if stdin else "/dev/zero", "out", stdin=given)
    assert result.exit_code == 3
    assert "is longer than 1 MiB, which no plan is" in result.stderr


def test_a_stale_plan_is_refused(place: Path) -> None:
    run("plan", *CONVERT[:2], *CONVERT[3:], "--save", "plan.json")
    path = place / "src" / "model.safetensors"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    result = run("apply", "--plan", "plan.json", "out")
    assert result.exit_code == 3
    assert result.stderr.startswith("error[stale-plan]: ")
    assert not (place / "out").exists()


def test_a_plan_that_writes_elsewhere_is_refused(place: Path) -> None:
    plan = json.loads(run("plan", *CONVERT[:2], *CONVERT[3:], "--full").stdout)
    plan["texts"].append(["../escaped", "!"])
    (place / "plan.json").write_text(json.dumps(plan))
    result = run("apply", "--plan", "plan.json", "inside/out")
    assert result.exit_code == 3
    assert result.stderr.startswith("error[bad-plan]: this is no plan of tensormap: a path leads out of its directory")
    assert not list(place.rglob("escaped"))


def test_verify_finds_what_differs(place: Path) -> None:
    run("apply", *CONVERT, "--quiet")
    path = place / "out" / "model.safetensors"
    tensors = load_file(path)
    tensors["h.2.q.weight"] = tensors["h.2.q.weight"].copy()
    tensors["h.2.q.weight"][1, 3] = 7.0
    tensors["stray"] = tensors.pop("ln.weight")
    save_file(tensors, path)
    expected = fused()["layers.2.qk.weight"][1, 3]
    result = run("verify", *CONVERT)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("h.2.q.weight: 1 of 20 elements differ, by at most ")
    assert f"; first at [1, 3]: {expected}" in lines[0]
    assert sorted(lines[1:3]) == ["ln.weight: only in what would be written", "stray: only in out"]
    assert lines[3].startswith("model.safetensors: ")
    assert lines[4] == "3 of 8 tensors and 1 of 2 files differ"
    assert run("verify", *CONVERT, "--tensors").stdout.splitlines()[-1] == "3 of 8 tensors differ"
    assert json.loads(run("verify", *CONVERT, "--json").stdout)["equal"] is False
    assert run("verify", *CONVERT, "-q").output == ""


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda place: (place / "tokenizer.json").unlink(), "tokenizer.json: missing"),
        (lambda place: (place / "tokenizer.json").write_text("{}\n"), "2 bytes would be written, and there are 3"),
        (lambda place: (place / "tokenizer.json").write_text("{]"), "byte 1 differs, and is no tensor's"),
    ],
)
def test_verify_looks_at_what_is_no_tensor(place: Path, damage: Callable[[Path], object], says: str) -> None:
    run("apply", *CONVERT, "--quiet")
    damage(place / "out")
    result = run("verify", *CONVERT)
    assert result.exit_code == 1
    assert says in result.stdout
    assert result.stdout.splitlines()[-1] == "1 of 2 files differ"
    assert json.loads(run("verify", *CONVERT, "--json").stdout)["file_differences"][0]["path"] == "tokenizer.json"
    assert run("verify", *CONVERT, "--tensors").exit_code == 0


def test_verify_of_one_file_looks_at_its_tensors(place: Path) -> None:
    run("apply", *CONVERT, "--quiet")
    arguments = [*CONVERT[:2], "out/model.safetensors", *CONVERT[3:]]
    assert run("verify", *arguments).stdout == "equal: 7 tensors, every element\n"


def test_diff_gathers_what_differs_in_the_same_way(place: Path) -> None:
    tensors = {f"layers.{i}.qk.weight": np.zeros((6, 5), np.float32) for i in range(2)}
    save_file(tensors, place / "other.safetensors")
    result = run("diff", "src", "other.safetensors")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "layers.{0..1}.qk.weight  x2: dtype float16 in src, float32 in other.safetensors",
        "layers.2.qk.weight: only in src",
        "norm.weight: only in src",
        "4 of 4 tensors differ",
    ]
    data = json.loads(run("diff", "src", "other.safetensors", "--json").stdout)
    assert data["differences"][0] == {
        "name": "layers.0.qk.weight",
        "reason": "dtype",
        "left": "float16",
        "right": "float32",
    }


def test_like(place: Path) -> None:
    run("apply", *CONVERT, "--quiet")
    command = ("plan", *CONVERT[:2], *CONVERT[3:])
    assert run(*command, "--like", "out").exit_code == 0
    result = run(*command, "--like", "src")
    assert result.exit_code == 3
    assert "error[not-written]: the reference has `norm.weight`, and it would not be written" in result.stderr


def test_extern(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(externs, "_registered", {})
    (place / "double.tmap").write_text(
        "mapping fused <-> apart\n\nextern f([x]) -> [x]\n\nindex i < layers\n\n"
        "layers.{i}.qk.weight <-> h.{i}.qk.weight\nf(norm.weight [x]) -> ln.weight [x]\n"
    )
    command = ("apply", "double.tmap", "src", "out")
    result = run(*command)
    assert result.exit_code == 2
    assert "unregistered-extern" in result.stderr
    (place / "double.py").write_text("from tensormap import externs\nexterns.register('f', lambda x: x + x)\n")
    result = run(*command, "--extern", "double.py")
    assert result.exit_code == 0, result.output
    written = load_file(place / "out" / "model.safetensors")["ln.weight"]
    assert written.tobytes() == (2 * fused()["norm.weight"]).tobytes()
    (place / "broken.py").write_text("\n1 / 0\n")
    result = run(*command, "--extern", "broken.py")
    assert result.exit_code == 2
    assert result.stderr == (
        "error[extern-failed]: `broken.py` fails: ZeroDivisionError: division by zero\n  = note: at broken.py:2\n"
    )


# --- exit codes


def no_mapping(place: Path) -> tuple[str, ...]:
    return "apply", "smal.tmap", "src", "out"


def no_source(place: Path) -> tuple[str, ...]:
    return "apply", "small.tmap", "sr", "out"


def no_choice(place: Path) -> tuple[str, ...]:
    return "apply", "small.tmap", "src", "out"


def full_target(place: Path) -> tuple[str, ...]:
    (place / "out").mkdir()
    (place / "out" / "x").touch()
    return "apply", *CONVERT


def a_file_for_a_folder(place: Path) -> tuple[str, ...]:
    (place / "file").touch()
    return "apply", "small.tmap", "src", "file/out", "--set", "q=4"


def an_unreadable_mapping(place: Path) -> tuple[str, ...]:
    (place / "small.tmap").write_text("a [x <-> b")
    return "plan", "small.tmap", "src"


def a_damaged_source(place: Path) -> tuple[str, ...]:
    path = place / "src" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    return "plan", "small.tmap", "src"


def an_unwritable_file(place: Path) -> tuple[str, ...]:
    return "plan", "small.tmap", "src", "--set", "q=4", "--save", "nowhere/plan.json"


@pytest.mark.parametrize(
    ("prepare", "code", "slug"),
    [
        (no_mapping, 2, "unknown-mapping"),
        (an_unreadable_mapping, 2, "unclosed"),
        (full_target, 2, "target-not-empty"),
        (no_source, 3, "no-checkpoint"),
        (no_choice, 3, "underdetermined"),
        (a_damaged_source, 3, "file-truncated"),
        (a_file_for_a_folder, 4, "disk"),
        (an_unwritable_file, 4, "disk"),
    ],
)
def test_exit_codes(place: Path, prepare: Callable[[Path], tuple[str, ...]], code: int, slug: str) -> None:
    arguments = prepare(place)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(f"error[{slug}]: ")
    assert not result.stderr.endswith("\n\n")
    result = run(*arguments, "--json")
    said = json.loads(result.stdout)
    assert (said["exit"], said["diagnostics"][0]["slug"]) == (code, slug)
    assert result.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", "small.tmap", "src", "", "--set", "q=4", "--overwrite"),
        ("apply", "--plan", "plan.json", "", "--overwrite"),
        ("finalize", ""),
        ("finalize", "", "--discard"),
    ],
)
def test_an_unset_variable_is_not_the_current_directory(place: Path, arguments: tuple[str, ...]) -> None:
    assert run("plan", "small.tmap", "src", "--set", "q=4", "--save", "plan.json").exit_code == 0
    before = sorted(os.listdir(place))
    result = run(*arguments)
    assert result.exit_code == 2
    assert "DST is empty" in result.stderr
    assert sorted(os.listdir(place)) == before


def test_a_disk_error_names_the_file(place: Path) -> None:
    result = run(*an_unwritable_file(place))
    assert "nowhere" in result.stderr
    assert result.stderr.endswith(": no such file or directory\n")


def test_a_locked_target(place: Path) -> None:
    with Lock(place / ".out.tensormap-lock", place / "out"):
        result = run("apply", *CONVERT)
    assert result.exit_code == 5
    assert f"is being written by process {os.getpid()}" in result.stderr


def test_a_bug(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, Path]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(library, "bundled", broken)
    result = run("list")
    assert result.exit_code == 70
    assert "ZeroDivisionError: oh" in result.stderr
    assert "this is a bug in tensormap" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'."),
        (["apply", "small.tmap", "src"], "give MAPPING, SRC and DST; or --plan FILE and DST"),
        (["apply", "--plan", "small.tmap", "small.tmap", "src", "out"], "a plan knows its mapping and source"),
        (["apply", "--plan", "small.tmap", "out", "--to", "x"], "--to was decided when the plan was made"),
        (["apply", "--plan", "small.tmap", "out", "--set", "x=1"], "--set was decided when the plan was made"),
        (["apply", *CONVERT, "--set", "q"], "`q` is not `NAME=VALUE`"),
        (["apply", *CONVERT, "--set", "q=5"], "`q` is set to two values"),
        (["apply", *CONVERT, "--resume", "--discard"], "--resume goes on with what --discard removes"),
        (["apply", *CONVERT, "--config", "none.json"], "'none.json' does not exist"),
        (["apply", *CONVERT, "--workers", "0"], "0 is not in the range x>=1"),
        (["explain", "clamed-twice"], "did you mean `claimed-twice`?"),
    ],
)
def test_usage(place: Path, arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (place / "out").exists()


def big(place: Path) -> None:
    """Make the checkpoint so large that a run can be interrupted."""
    tensors = {f"layers.{i}.qk.weight": np.zeros((3000, 5000), np.float32) for i in range(4)}
    save_file({**tensors, "norm.weight": np.zeros(5000, np.float32)}, place / "src" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(place: Path, number: signal.Signals, code: int) -> None:
    big(place)
    arguments = [*CONVERT[:3], "--set", "q=2000", "--max-shard-size", "50MB", "--workers", "1", "--memory", "1MB"]
    environment = os.environ | {"PYTHONPATH": ROOT}
    process = subprocess.Popen(
        [sys.executable, "-m", "tensormap", "apply", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    journal = place / ".out.tensormap" / "journal"
    deadline = time.monotonic() + 60
    while not (journal.exists() and b'"done"' in journal.read_bytes()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    resume = f"  tensormap apply {' '.join(arguments)} --resume"
    assert stderr.splitlines()[-2:] == ["the target is as it was; to go on from here:", resume]
    assert not (place / "out").exists()
    assert run("apply", *arguments).exit_code == 5
    assert run("apply", *arguments, "--resume", "--quiet").exit_code == 0
    assert run("verify", *arguments).exit_code == 0
    other = run("verify", *arguments[:5])  # without the size of shards, other files would be written
    assert other.exit_code == 1
    assert other.stdout.splitlines()[0] == "model.safetensors: missing"
    assert "`--tensors` compares tensors only" in other.stderr
    assert run("verify", *arguments[:5], "--tensors").exit_code == 0


def test_an_interruption_when_all_is_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("tensormap.runtime.staging.shutil.rmtree", interrupt)
        result = run("apply", *CONVERT)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("the target is complete; ")
    assert run("verify", *CONVERT).exit_code == 0
    again = run("apply", *CONVERT)
    assert again.exit_code == 2
    assert again.stderr.startswith("error[target-not-empty]")
    assert not (place / ".out.tensormap").exists()


@pytest.mark.parametrize("arguments", [["inspect", "src"], ["diff", "src", "none.safetensors"], ["list"]])
def test_a_pipe_that_nobody_reads(place: Path, arguments: list[str]) -> None:
    save_file({}, place / "none.safetensors")
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONPATH": ROOT}
    command = [sys.executable, "-m", "tensormap", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_behind_stdout(place: Path) -> None:
    environment = os.environ | {"PYTHONPATH": ROOT}
    command = [sys.executable, "-m", "tensormap", "inspect", "src"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (4, b"error[disk]: no space left on device\n")


# --- inspect


def test_inspect(place: Path) -> None:
    size = (place / "src" / "model.safetensors").stat().st_size
    assert run("inspect", "src").stdout == (
        f"src: safetensors, 1 file, {size} bytes, 4 tensors\n"
        "\n"
        "  layers.{0..2}.qk.weight  float16  [6, 5]  x3  180 bytes\n"
        "  norm.weight              float16  [5]         10 bytes\n"
        "\n"
        "95 elements: 190 bytes of float16\n"
        "\n"
        "files\n"
        f"  model.safetensors  {size} bytes\n"
        "\n"
        "metadata\n"
        "  format  pt\n"
    )


def test_inspect_all(place: Path) -> None:
    result = run("inspect", "src", "--all")
    assert "  layers.1.qk.weight  float16  [6, 5]    60 bytes\n" in result.stdout


def test_inspect_json(place: Path) -> None:
    data = json.loads(run("inspect", "src", "--json").stdout)
    assert data["format"] == "safetensors"
    one = data["tensors"][1]
    assert (one["name"], one["dtype"], one["shape"], one["bytes"]) == ("layers.1.qk.weight", "float16", [6, 5], 60)
    assert (one["file"], data["metadata"]) == ("model.safetensors", {"format": "pt"})


def test_inspect_several_files_with_the_same_names(place: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = place / "ranks"
    folder.mkdir()
    for rank in range(2):
        state = {"w": torch.zeros(2, 3), "b": torch.zeros(3), "args": {"tp": 2, "words": ["x"] * 9}, "step": 7}
        torch.save(state, folder / f"rank_{rank:02}.pt")
    lines = run("inspect", "ranks").stdout.splitlines()
    at = lines.index("  rank_{00..01}.pt")
    assert lines[at + 1 : at + 3] == ["    w  float32  [2, 3]  x2  48 bytes", "    b  float32  [3]     x2  24 bytes"]
    beside = lines.index("beside the tensors")
    assert lines[beside + 1 :] == ["  rank_{00..01}.pt", "    args  a dictionary of 2 entries", "    step  7"]
    lines = run("inspect", "ranks", "--all").stdout.splitlines()
    beside = lines.index("beside the tensors")
    assert lines[beside + 1 : beside + 5] == [
        "  rank_00.pt",
        "    args.tp     2",
        "    args.words  a list of 9 values",
        "    step        7",
    ]
    objects = json.loads(run("inspect", "ranks", "--json").stdout)["objects"]
    assert objects["rank_01.pt:args"] == {"tp": 2, "words": ["x"] * 9}


# --- check, fmt, list, explain


def test_check(place: Path) -> None:
    result = run("check", "small.tmap")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "proved for every size that meets the `require`s:"
    assert "left to be checked for these sizes:" in lines
    assert "fused -> apart: lossless" in lines
    assert "apart -> fused: lossless" in lines
    assert lines[-1] == "small: ok"


def test_check_says_what_is_lost(place: Path) -> None:
    (place / "lossy.tmap").write_text("mapping a <-> b\n\nx <-> y\nbuffer -> _\n")
    result = run("check", "lossy.tmap")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    at = lines.index("a -> b loses:")
    assert lines[at + 1].startswith("  dropped: `buffer`")
    assert lines[at + 1].endswith("(lossy.tmap:4)")
    (said,) = json.loads(run("check", "lossy.tmap", "--json").stdout)
    assert said["losses"]["b"][0]["kind"] == "dropped"
    assert said["diagnostics"] == []


def test_check_finds(place: Path) -> None:
    (place / "bad.tmap").write_text("a [x y] <-> b [y z]\n")
    (place / "worse.tmap").write_text("a [x <-> b\n")
    result = run("check", "small.tmap", "bad.tmap", "worse.tmap")
    assert result.exit_code == 1
    assert "small: ok\n" in result.stdout
    assert "bad: 2 findings\n" in result.stdout
    assert "worse: 1 finding\n" in result.stdout
    assert "error[axes-differ]: " in result.stderr
    assert " --> worse.tmap:1:" in result.stderr
    said = json.loads(run("check", "bad.tmap", "--json").stdout)
    assert {each["slug"] for each in said[0]["diagnostics"]} == {"axes-differ"}
    assert run("check", "none.tmap").exit_code == 2


def test_check_reads_stdin() -> None:
    assert run("check", "-", stdin="a [x y] <-> b [y x]\n").exit_code == 0
    assert run("check", "-", stdin="a [x y] <-> b [y z]\n").exit_code == 1


UGLY = "a   [x y]<->b [y x]\n"


def test_fmt(place: Path) -> None:
    path = place / "ugly.tmap"
    path.write_text(UGLY)
    path.chmod(0o640)
    result = run("fmt", "--check", "ugly.tmap", "small.tmap")
    assert (result.exit_code, result.stdout) == (1, "ugly.tmap is not formatted\n")
    assert path.read_text() == UGLY
    result = run("fmt", "ugly.tmap")
    assert (result.exit_code, result.stderr) == (0, "formatted ugly.tmap\n")
    assert path.read_text() == "a [x y] <-> b [y x]\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert run("fmt", "--check", "ugly.tmap").exit_code == 0
    assert sorted(each.name for each in place.iterdir()) == ["small.tmap", "src", "ugly.tmap"]


def test_fmt_follows_links(place: Path) -> None:
    (place / "ugly.tmap").write_text(UGLY)
    (place / "link.tmap").symlink_to("ugly.tmap")
    assert run("fmt", "link.tmap").exit_code == 0
    assert (place / "link.tmap").is_symlink()
    assert (place / "ugly.tmap").read_text() != UGLY


def test_fmt_reads_stdin() -> None:
    result = run("fmt", "-", stdin=UGLY)
    assert (result.exit_code, result.stdout) == (0, "a [x y] <-> b [y x]\n")
    assert run("fmt", "-", "--check", stdin=UGLY).exit_code == 1
    assert run("fmt", "-", stdin=b"\xff").exit_code == 2


def test_fmt_leaves_what_it_cannot_read(place: Path) -> None:
    (place / "bad.tmap").write_text("a [x <-> b\n")
    (place / "ugly.tmap").write_text(UGLY)
    result = run("fmt", "bad.tmap", "ugly.tmap")
    assert result.exit_code == 2
    assert "bad.tmap:1:" in result.stderr
    assert (place / "bad.tmap").read_text() == "a [x <-> b\n"
    assert (place / "ugly.tmap").read_text() != UGLY


def test_list_says_what_the_files_say() -> None:
    rows = json.loads(run("list", "--json").stdout)
    assert [each["name"] for each in rows] == list(library.bundled())
    assert rows
    for each in rows:
        _, source = library.find(each["name"])
        (header,) = (one for one in parse(source).statements if isinstance(one, Header))
        assert each["sides"] == [header.left, header.right]
        assert each["about"]
    text = run("list").stdout
    assert all(f"{each['sides'][0]} <-> {each['sides'][1]}" in text for each in rows)


def test_explain() -> None:
    text = run("explain", "claimed-twice").stdout
    assert text.startswith("Two rules read the same tensor of the source")
    assert "##" not in text
    slugs = run("explain").stdout.split()
    assert slugs == sorted(slugs)
    assert "claimed-twice" in slugs
    assert json.loads(run("explain", "claimed-twice", "--json").stdout) == {"claimed-twice": text.rstrip("\n")}


# --- colour and terminals


def test_no_escape_codes_where_there_is_no_terminal(place: Path) -> None:
    result = python("-m", "tensormap", "apply", "nothing", "src", "out", cwd=place)
    assert result.returncode == 2
    assert "\x1b" not in result.stderr


@pytest.mark.skipif(shutil.which("script") is None, reason="needs script(1)")
@pytest.mark.parametrize(
    ("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_on_a_terminal(place: Path, environment: dict[str, str], colored: bool) -> None:  # noqa: FBT001
    everything = os.environ | {"PYTHONPATH": ROOT, "TERM": "xterm"} | environment
    if "NO_COLOR" not in environment:
        everything.pop("NO_COLOR", None)
    command = f"{sys.executable} -m tensormap plan nothing src"
    result = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=everything,
    )
    assert result.returncode == 2
    assert "unknown-mapping" in result.stdout
    assert ("\x1b[1;31m" in result.stdout) == colored
