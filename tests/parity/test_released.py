"""What the authors' converters do with their checkpoints, restated: from the files that tensormap writes they make the model
that went in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tensormap
from tests.parity.cases.released import CASES
from tests.parity.harness import Case, save
from tests.stored import read_safetensors

Tensors = dict[str, torch.Tensor]


def _flat(tree: dict[str, Any], prefix: str = "") -> Tensors:
    found: Tensors = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _persimmon(stored: dict[str, Any]) -> Tensors:
    renamed = {
        "self_attention": "self_attn",
        "language_model.encoder": "model",
        "word_embeddings_for_head": "lm_head",
        "language_model.embedding.word_embeddings": "model.embed_tokens",
    }
    found: Tensors = {}
    for key, tensor in _flat(stored["model"]).items():
        name = key
        for part, other in renamed.items():
            name = name.replace(part, other)
        found[name] = tensor
    return found


def _bigcode(stored: dict[str, Any]) -> Tensors:
    assert stored["args"].attention_head_type == "multiquery"
    assert stored["checkpoint_version"] >= 2
    model = stored["model"]["language_model"]
    layers = model["transformer"] if "transformer" in model else model["encoder"]
    names = {
        "self_attention.dense": "attn.c_proj",
        "mlp.dense_h_to_4h": "mlp.c_fc",
        "mlp.dense_4h_to_h": "mlp.c_proj",
        "input_layernorm": "ln_1",
        "post_attention_layernorm": "ln_2",
    }
    found = {
        "transformer.wte.weight": model["embedding"]["word_embeddings"]["weight"],
        "transformer.wpe.weight": model["embedding"]["position_embeddings"]["weight"],
    }
    for key, tensor in layers.items():
        if key.startswith("final_layernorm"):
            found[key.replace("final_layernorm", "transformer.ln_f")] = tensor
            continue
        _, number, rest = key.split(".", 2)
        operation, kind = rest.rsplit(".", 1)
        if operation == "self_attention.key_value":
            query = layers[f"layers.{number}.self_attention.query.{kind}"]
            found[f"transformer.h.{number}.attn.c_attn.{kind}"] = torch.cat([query, tensor])
        elif operation != "self_attention.query":
            found[f"transformer.h.{number}.{names[operation]}.{kind}"] = tensor
    return found


def _composer(stored: dict[str, Any]) -> Tensors:
    content = stored["state"]["integrations"]["huggingface"]["model"]["config"]["content"]
    assert content["no_bias"]
    assert content["attn_config"]["alibi"]
    return {name.removeprefix("model."): tensor for name, tensor in stored["state"]["model"].items()}


CONVERTERS = {"persimmon/adept": _persimmon, "gpt_bigcode/megatron": _bigcode, "mpt/composer": _composer}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_published_converter_makes_the_same_model(case: Case, tmp_path: Path) -> None:
    save(case, tmp_path / "here")
    tensormap.apply(case.mapping, tmp_path / "here", tmp_path / "there", to=case.to, set=dict(case.set))
    (file,) = (tmp_path / "there").rglob("*.pt")
    made = CONVERTERS[case.mapping](torch.load(file, weights_only=False))
    expected = {name: each.tensor() for name, each in read_safetensors(tmp_path / "here").items()}
    assert made.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(made[name], tensor), name
