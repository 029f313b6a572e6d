"""Configs there and back: what a mapping names comes back as it was, but for what is listed here with its reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tensormap import library
from tensormap.diagnostics import CheckpointError
from tensormap.language.expressions import Missing, evaluate, nested
from tensormap.language.printer import print_expression
from tensormap.lowering.state import active
from tests.laws.cases import cases, recorded
from tests.laws.headers import Header
from tests.laws.legs import back_settings, loaded, plan_leg

SET = "the other side does not record it, and a setting has a default: `--set` says it"
TOKENS = "numbers of tokens are the published models', which the other side does not record"

CHANGED: dict[str, dict[str, str]] = {
    "bloom/megatron_deepspeed": {"pretraining_tp": "how many ranks trained it"},
    "clip/openai": {"text_config.bos_token_id": TOKENS},
    "codegen/gptj": {"n_ctx": "follows the number of positions"},
    "gguf/baichuan": {"architectures": "spelled as transformers' converters do"},
    "gguf/chatglm": {"pad_token_id": TOKENS},
    "gguf/cohere2": {"layer_types ?? []": "the pattern of the layers is written as one number"},
    "gguf/falcon": {
        "num_kv_heads": "one where there is one key head, whatever it said",
        "num_ln_in_parallel_attn": "written out where it was left to a default",
    },
    "gguf/glm4": {"pad_token_id": TOKENS},
    "litgpt/phi3": {"pad_token_id": TOKENS},
    "mamba2/ssm": {"eos_token_id": TOKENS, "pad_token_id": TOKENS},
    "neox/llama": {"architectures": SET, "model_type": SET},
    "olmo/core": {
        "max_position_embeddings": SET,
        "rope_parameters.sliding_attention.rope_theta": "written once, for all layers",
    },
    "whisper/openai": {
        "bos_token_id": TOKENS,
        "eos_token_id": TOKENS,
        "pad_token_id": TOKENS,
        "decoder_start_token_id": TOKENS,
    },
}
"""What comes back with another value, and why."""


def _changed(header: Header) -> Iterator[tuple[str, object, object]]:
    """Yield what a case's config says on its own side by some line, where it says something else when it comes back."""
    mapping = loaded(header.mapping)
    there = plan_leg(mapping, header.to, header.tensors, header.config, header.set)
    settings = back_settings(header.set, header.back)
    try:
        back = plan_leg(mapping, header.here, there.tensors, there.config, settings)
    except CheckpointError:
        return  # read one way only
    before, after = nested(header.config), nested(back.config)
    for line in there.bound.mapping.config:
        if line.left is None or active(line.guards, there.bound.known) is not True:
            continue
        was, came = evaluate(line.left, before), evaluate(line.left, after)
        if not isinstance(was, Missing) and _plain(was) != _plain(came):
            yield print_expression(line.left), was, came


def _plain(value: object) -> object:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", library.bundled())
def test_what_is_named_comes_back(name: str) -> None:
    listed = CHANGED.get(name, {})
    found = {
        key: f"{header.name}: {was} is {came}"
        for header in cases().get(name, ())
        if recorded(header)
        for key, was, came in _changed(header)
    }
    assert not {key: said for key, said in found.items() if key not in listed}
    assert not set(listed) - set(found), "these come back as they were"
