"""Encoders that make embeddings: fused projections as published <-> apart, as transformers 5 holds them."""

from __future__ import annotations

from tests.parity.harness import Case

BODY = {
    "hidden_size": 40,
    "num_attention_heads": 4,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "vocab_size": 99,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}

CASES = (
    Case(
        "eleven-layers",
        "nomic_bert/apart",
        "NomicBertModel",
        BODY | {"num_hidden_layers": 11},
        "apart",
        here="published",
    ),
    Case(
        "without-prefix",
        "gte/apart",
        "GteModel",
        BODY,
        "apart",
        here="published",
        back={"prefix": "none"},
        other="GteModel",
    ),
)
