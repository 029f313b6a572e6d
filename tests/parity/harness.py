"""Parity with the program that reads the result: a mapping is right when the real consumer computes the same numbers.

A `Case` is a mapping and a tiny model of a real library. The harness builds the model with random weights, saves it with
the library's own function, converts it to the other side and back, and asks three questions:

1. Are the bytes that come back the bytes that went?
2. Does the library load them strictly: nothing missing, nothing unexpected, nothing of another shape?
3. Does the loaded model compute the same logits?

A round trip alone proves nothing, since two mistakes that cancel pass it. Where the other side has a library too, `other`
names its model, and question 2 and 3 are asked of it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

import tensormap
from tests.stored import assert_same, read_safetensors

Inputs = Callable[[Any], dict[str, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Case:
    """A mapping and a tiny model that it converts.

    `config` holds what the model's config class takes; choose odd sizes (heads that are no power of two, a feed-forward
    that is no multiple of the width, more than ten layers once), so that every wrong permutation shows.
    """

    name: str
    mapping: str  # "neox/llama"
    model: str  # a class of transformers: "LlamaForCausalLM"
    config: Mapping[str, Any]
    to: str  # the other side: "neox"
    set: Mapping[str, Any] = field(default_factory=dict)  # what has to be said on the way there
    back: Mapping[str, Any] = field(default_factory=dict)  # and on the way back
    here: str = "hf"  # the model's own side
    dtype: torch.dtype = torch.float32
    lossless: bool = True  # False: the way there rounds or drops, and only `tolerance` is asked for
    tolerance: float = 0.0  # of the logits
    shard_size: str | None = None  # how large the files of the model are at most: "100KB"
    inputs: Inputs | None = None  # None: random tokens
    other: str | None = None  # the class that reads the other side, where transformers has one

    def __str__(self) -> str:
        return f"{self.mapping.replace('/', '-')}-{self.name}"


def build(case: Case) -> transformers.PreTrainedModel:
    """Build the model with a value of its own in every place: norms and biases as well, which start as ones and zeros."""
    model_class = getattr(transformers, case.model)
    config = model_class.config_class(**case.config)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    config.dtype = case.dtype
    model = model_class(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            scale = 0.1 if parameter.dim() > 1 else 0.3
            offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.data = (noise * scale + offset).to(case.dtype)  # buffers stay as the library computes them
    model.tie_weights()
    return model


def save(case: Case, folder: Path) -> transformers.PreTrainedModel:
    """Build the model and save it as its library does."""
    model = build(case)
    model.save_pretrained(folder, **({} if case.shard_size is None else {"max_shard_size": case.shard_size}))
    return model


def load_strictly(
    folder: Path, model_class: str = "AutoModelForCausalLM", **keywords: Any
) -> transformers.PreTrainedModel:
    """Load a folder with transformers; nothing may be missing, unexpected or of another shape."""
    model, info = getattr(transformers, model_class).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", **keywords
    )
    found = {key: sorted(map(str, value)) for key, value in info.items() if value}
    assert not found, found
    return model.eval()


def random_tokens(model: Any, *, rows: int = 2, columns: int = 11) -> dict[str, torch.Tensor]:
    """Random tokens of the model's vocabulary, away from the low numbers that mean padding somewhere."""
    config = model.config.get_text_config()
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(min(3, config.vocab_size - 1), config.vocab_size, (rows, columns), generator=generator)
    if config.is_encoder_decoder:
        return {"input_ids": tokens, "decoder_input_ids": tokens}
    return {"input_ids": tokens}


def logits(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run the forward pass; return the logits (CLIP's: of images), or the last hidden state of a model without a head."""
    with torch.no_grad():
        output = model(**inputs)
    found = (getattr(output, name, None) for name in ("logits", "logits_per_image", "last_hidden_state"))
    result: torch.Tensor = next(tensor for tensor in found if tensor is not None)
    assert torch.isfinite(result).all()
    assert result.float().std() > 1e-3, "the output says nothing about the weights"
    return result


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Compare outputs: to the bit for a tolerance of 0."""
    assert actual.shape == expected.shape
    difference = (actual.float() - expected.float()).abs().max().item()
    assert difference <= tolerance, f"outputs differ by {difference:.3g}, more than {tolerance:.3g}"


def check(case: Case, folder: Path) -> None:
    """Ask the three questions of a case. `folder` is an empty folder to work in."""
    model = save(case, folder / "here")
    inputs = (case.inputs or random_tokens)(model)
    expected = logits(model, inputs)
    mapping = tensormap.load(case.mapping)
    tensormap.apply(mapping, folder / "here", folder / "there", to=case.to, set=dict(case.set))
    tensormap.apply(mapping, folder / "there", folder / "back", to=case.here, set=dict(case.back))
    if case.lossless:
        assert_same(read_safetensors(folder / "back"), read_safetensors(folder / "here"))
    returned = load_strictly(folder / "back", case.model, dtype=case.dtype)
    assert_close(logits(returned, inputs), expected, case.tolerance)
    if case.other is not None:
        consumer = load_strictly(folder / "there", case.other, dtype=case.dtype)
        assert_close(logits(consumer, inputs), expected, max(case.tolerance, 1e-5))
