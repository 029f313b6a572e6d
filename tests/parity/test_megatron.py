"""Megatron-Core itself loads what is written for it, strictly and rank by rank, and computes what transformers computes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import tensormap
from tests.parity.cases.megatron import CASES
from tests.parity.harness import Case, assert_close, logits, random_tokens, save

if importlib.util.find_spec("megatron") is None:
    pytest.skip("megatron-core is not installed", allow_module_level=True)

RUN = tuple(each for each in CASES if each.dtype == torch.float32 and each.shard_size is None)

Megatron = Callable[[Path, torch.Tensor, int], torch.Tensor]


@pytest.fixture(scope="module")
def megatron(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Megatron]:
    """One process that has imported Megatron, and forks the ranks of each model."""
    folder = tmp_path_factory.mktemp("megatron")
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.parity.megatron_ranks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

        def run(checkpoint: Path, tokens: torch.Tensor, world: int) -> torch.Tensor:
            assert process.stdin is not None
            assert process.stdout is not None
            torch.save(tokens, folder / "tokens.pt")
            job = {"folder": str(checkpoint), "tokens": str(folder / "tokens.pt"), "world": world}
            print(json.dumps(job | {"logits": str(folder / "logits.pt")}), file=process.stdin, flush=True)
            answer = process.stdout.readline().strip()
            assert answer == "ok", f"{answer}\n{(folder / 'errors').read_text()[-3000:]}"
            found: torch.Tensor = torch.load(folder / "logits.pt", weights_only=True)
            return found

        yield run
        process.communicate()


@pytest.mark.parametrize("case", RUN, ids=str)
def test_megatron_computes_the_same(case: Case, megatron: Megatron, tmp_path: Path) -> None:
    model = save(case, tmp_path / "hf")
    inputs = random_tokens(model)
    tensormap.apply(
        tensormap.load(case.mapping), tmp_path / "hf", tmp_path / "megatron", to="megatron", set=dict(case.set)
    )
    world = len(list(tmp_path.glob("megatron/*/*/*.pt")))
    found = megatron(tmp_path / "megatron", inputs["input_ids"], world)
    assert_close(found[..., : model.config.vocab_size], logits(model, inputs), 2e-5)
