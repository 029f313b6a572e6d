"""LitGPT itself: its converter writes the same tensors, and its model computes the same logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import tensormap
from tests.parity.cases.litgpt import CASES
from tests.parity.harness import Case, assert_close, logits, random_tokens, save

litgpt = pytest.importorskip("litgpt")


def _copied(config: litgpt.Config, case: Case, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Run LitGPT's own copy function for a case."""
    from litgpt.scripts import convert_hf_checkpoint as converter

    found: dict[str, torch.Tensor] = {}
    model = case.model.removesuffix("ForCausalLM")
    if model == "Falcon":
        config.name = "falcon-40b" if case.config.get("new_decoder_architecture") else "falcon-7b"
        converter.copy_weights_falcon(config, found, weights)
    elif model == "GPTNeoX":
        converter.copy_weights_gpt_neox(config, found, weights)
    elif model == "Gemma2":
        converter.copy_weights_gemma_2({}, found, weights)
    elif model in ("Phi", "Phi3"):
        config.name = "phi-2" if model == "Phi" else "Phi-3"
        converter.copy_weights_phi(config, {}, found, weights)
    else:
        functions = {
            "Qwen2": converter.copy_weights_qwen_2_5,
            "Qwen3": converter.copy_weights_qwen_3,
            "Qwen3Moe": converter.copy_weights_qwen_3,
            "Olmo2": converter.copy_weights_olmo2,
        }
        functions.get(model, converter.copy_weights_hf_llama)(config, {}, found, weights)
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_litgpt_reads_what_its_converter_writes(case: Case, tmp_path: Path) -> None:
    from litgpt.model import GPT
    from safetensors.torch import load_file

    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "lit", to="litgpt", set=dict(case.set))
    written = torch.load(tmp_path / "lit" / "lit_model.pth", weights_only=True)
    settings = yaml.safe_load((tmp_path / "lit" / "model_config.yaml").read_text())
    config = litgpt.Config.from_checkpoint(tmp_path / "lit")
    reader = GPT(config).to(case.dtype).eval()
    reader.load_state_dict(written, strict=True)

    weights = {
        name: each for file in sorted((tmp_path / "hf").glob("*.safetensors")) for name, each in load_file(file).items()
    }
    copied = _copied(litgpt.Config(**settings), case, weights)
    copied.setdefault("lm_head.weight", copied["transformer.wte.weight"])  # not every copy function ties the head
    assert copied.keys() == written.keys()
    for name, each in copied.items():
        assert torch.equal(each, written[name]), name

    inputs = random_tokens(model)
    with torch.no_grad():
        actual = reader(inputs["input_ids"])
    if case.dtype == torch.float32:
        assert_close(actual, logits(model, inputs), 2e-5)
