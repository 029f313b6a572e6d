"""What GPT-NeoX and Meta's code compute, transformers computes from the converted checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.acceptance.conversions import TO_HF, Conversion, each
from tests.parity.harness import assert_close, load_strictly, logits

# fp32 cases agree to rounding; the old RMSNorm divides by rms + eps, which no weights can repair; fp16 stores rounded weights
TOLERANCE = {"neox_llama_gqa_tp1_pp_legacy": 4e-3, "neox_mha_tp1_pp_legacy": 1.6e-3}


def _reference(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = [*folder.glob("neox_logits.pt"), *folder.glob("reference_logits.pt")]
    loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return loaded


@each(TO_HF)
def test_logits_of_the_source(conversion: Conversion, tmp_path: Path) -> None:
    reference = _reference(conversion.folder)
    model = load_strictly(conversion.run(tmp_path / "out"), dtype=torch.float32)
    computed = logits(model, {"input_ids": reference["tokens"]})
    assert_close(computed, reference["logits"], TOLERANCE.get(conversion.case, 3e-6))


@pytest.mark.parametrize("conversion", [one for one in TO_HF if one.case == "neox_llama_mha_tp1_pp"], ids=["mha"])
def test_the_measure_sees_a_scrambled_model(conversion: Conversion) -> None:
    """The comparison can fail: the weights that the converter scrambles are far off."""
    reference = _reference(conversion.folder)
    model = load_strictly(conversion.target, dtype=torch.float32)
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        attention.q_proj.weight.copy_(attention.q_proj.weight.roll(1, 0))
    computed = logits(model, {"input_ids": reference["tokens"]})
    assert (computed - reference["logits"]).abs().max() > 0.1
