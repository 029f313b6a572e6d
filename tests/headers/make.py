"""Write the headers in `published`: `python -m tests.headers.make [NAME ...]`, where the peers are installed.

Every model is the real class of its library with the published sizes, built on the meta device: no weights exist. Names, dtypes
and shapes are those that the library itself would save.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import gguf
import torch
import transformers
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from tests.headers import others
from tests.headers.header import FOLDER, GGUF_NAMES, Header, size
from tests.headers.meta import described, on_meta
from tests.headers.models import MODELS, Model

LEFT_OUT = {"id2label", "label2id", "transformers_version"}
"""What a config says beside the sizes, and no mapping reads."""


def read_by_mappings(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in LEFT_OUT}


def headers(model: Model) -> Iterator[tuple[str, Header]]:
    """Yield a model of transformers as it is published, and as transformers 5 holds it where that differs."""
    name = model.kind
    kind = getattr(transformers, name, None) or getattr(transformers, f"{name}ForCausalLM")
    if not issubclass(kind, transformers.PreTrainedModel):
        kind = getattr(transformers, f"{name}ForCausalLM")
    config = kind.config_class(**model.values)
    built = on_meta(lambda: kind(config), model.dtype)
    config = built.config
    config.dtype = getattr(torch, model.dtype)
    config.architectures = [kind.__name__]
    state = remove_tied_weights_from_state_dict(built.state_dict(), built)
    said = json.loads(config.to_json_string(), object_hook=read_by_mappings)
    origin = (
        f"{model.published}: {kind.__name__} of transformers {transformers.__version__}",
        f"values: {model.source}",
    )
    published = described(revert_weight_conversion(built, dict(state)), model.keep)
    yield model.name, Header(published, said, (*origin, f"{size(published)} elements in {len(published)} tensors"))
    if model.memory:
        held = described(state, model.keep)
        yield f"{model.name}.fused", Header(held, {}, (f"{origin[0]}, as it is held in memory", origin[1]))


def gguf_names() -> str:
    """Return the tensors of every architecture of llama.cpp, as its `gguf` package lists them."""
    names = {
        gguf.MODEL_ARCH_NAMES[architecture]: sorted(
            gguf.TENSOR_NAMES[each] for each in tensors if each in gguf.TENSOR_NAMES
        )
        for architecture, tensors in gguf.MODEL_TENSORS.items()
    }
    lines = (f"{json.dumps(name)}: {json.dumps(listed)}" for name, listed in sorted(names.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(wanted: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    if not wanted:
        GGUF_NAMES.write_text(gguf_names(), "utf-8")
    for model in MODELS:
        if not wanted or model.name in wanted:
            for name, header in headers(model):
                write(name, header)
    for name, build in others.builders():
        if not wanted or name in wanted:
            write(name, build())


def write(name: str, header: Header) -> None:
    text = header.text()
    assert Header.parse(text) == header, name
    (FOLDER / f"{name}.txt").write_text(text, "utf-8")
    print(f"{name}: {len(header.tensors)} tensors, {size(header.tensors)} elements, {len(text)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
