"""The other side of the recurrent models' mappings, read by its own library."""

from __future__ import annotations

from pathlib import Path

import torch

import tensormap
from tests.parity.cases import state_space
from tests.parity.harness import assert_close, logits, random_tokens, save
from tests.parity.optional import peer

CASES = {str(case): case for case in state_space.CASES}


def test_griffin(tmp_path: Path) -> None:
    common, griffin = peer("recurrentgemma.common"), peer("recurrentgemma.torch.griffin")
    case = CASES["recurrent_gemma-griffin-griffin"]
    model = save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to="griffin")
    (stored,) = (tmp_path / "there").glob("*.pt")
    recurrent, attention = common.TemporalBlockType.RECURRENT, common.TemporalBlockType.ATTENTION
    config = common.GriffinConfig(
        vocab_size=99,
        width=24,
        mlp_expanded_width=52,
        num_heads=3,
        block_types=(recurrent, recurrent, attention, recurrent),
        embeddings_scale_by_sqrt_dim=True,
        attention_window_size=4,  # it counts those before the present one, transformers all
        logits_soft_cap=30.0,
        lru_width=36,
    )
    twin = griffin.Griffin(config, gradient_checkpointing=False).eval()
    twin.load_state_dict(torch.load(stored, weights_only=True))
    inputs = random_tokens(model)
    tokens = inputs["input_ids"]
    with torch.no_grad():
        found, _ = twin(tokens, torch.arange(tokens.shape[1]).expand(tokens.shape))
    assert_close(found, logits(model, inputs), 2e-5)
