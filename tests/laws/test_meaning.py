"""What a config says of the computation is carried over or refused: a model whose config differs is not written as the same one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tensormap import library
from tensormap.diagnostics import CheckpointError, MappingError
from tests.laws.cases import cases, recorded
from tests.laws.headers import Header
from tests.laws.legs import loaded, plan_leg

ENDS = (
    "rope_type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "beta_fast",
    "hidden_act",
    "hidden_activation",
    "activation_function",
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "norm_topk_prob",
    "routed_scaling_factor",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "logit_scale",
    "alibi",
    "clip_qkv",
)
"""Keys of transformers' configs that change what is computed from the same tensors, and that no tensor's name tells."""

SET = "the other side does not record it: `--set` says it on the way back"

GELU = "published Gemmas say gelu, and compute its approximation by tanh"

DROPPED: dict[str, dict[str, str]] = {
    "gemma/flax": {"factor": SET, "hidden_act": GELU},
    "gemma/pytorch": {"hidden_act": GELU},
    "gpt2/nanogpt": {
        "activation_function": "nanoGPT computes the exact GELU of models with either, as its `from_pretrained` does"
    },
    "litgpt/phi3": {"partial_rotary_factor": "one config says it twice; the first counts"},
    "persimmon/adept": {"rope_theta": SET},
    "vit/timm": {"layer_norm_eps": "timm computes with 1e-6, whatever published models say"},
}
"""What is dropped nevertheless, and why."""


def _places(config: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _places(value, (*prefix, key))
        elif key in ENDS:
            yield (*prefix, key)


def _changed(config: Mapping[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    """Return the config with another value of the same kind at one place."""
    key, *rest = place
    value = config[key]
    if rest:
        return {**config, key: _changed(value, tuple(rest))}
    match value:
        case bool():
            return {**config, key: not value}
        case str():
            return {**config, key: "unheard-of"}
        case None:
            return {**config, key: 3.5}
    return {**config, key: value * 1.5 + 0.25}


def _dropped(header: Header) -> Iterator[str]:
    mapping = loaded(header.mapping)
    before = plan_leg(mapping, header.to, header.tensors, header.config, header.set)
    for place in _places(header.config):
        try:
            after = plan_leg(mapping, header.to, header.tensors, _changed(header.config, place), header.set)
        except (CheckpointError, MappingError):
            continue
        if after.config == before.config and after.tensors == before.tensors:
            yield place[-1]


@pytest.mark.parametrize("name", library.bundled())
def test_what_changes_the_computation_is_not_dropped(name: str) -> None:
    headers = [header for header in cases().get(name, ()) if recorded(header)]
    kinds = {frozenset(_places(header.config)): header for header in headers}
    found = {key for header in kinds.values() for key in _dropped(header)}
    assert found == set(DROPPED.get(name, {}))
