"""llama.cpp as a reader of GGUF files: the library inside the package xllamacpp, called through its C interface.

Structures are taken as bytes of which the library says the defaults; the few fields that are set are held against those
defaults first, so that another version than the one meant is skipped, not misread. (llama.cpp b11549, include/llama.h)
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
from functools import cache
from pathlib import Path

import pytest
import torch

F32, F16 = 0, 1
SIZE = 1024  # bytes, more than any of its structures has: what lies behind their ends is not looked at


class _Opaque(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char * SIZE)]

    def number(self, offset: int, form: str = "<i") -> int:
        return int(struct.unpack_from(form, bytes(ctypes.string_at(ctypes.addressof(self), SIZE)), offset)[0])

    def put(self, offset: int, value: int, form: str = "<i") -> None:
        data = struct.pack(form, value)
        ctypes.memmove(ctypes.addressof(self) + offset, data, len(data))


class _Batch(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("sequences", ctypes.POINTER(ctypes.c_int32)),
        ("sequence", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("output", ctypes.POINTER(ctypes.c_int8)),
    ]


# offsets in llama_context_params
CONTEXT, THREADS, BATCH_THREADS, FLASH, TYPE_K, TYPE_V = 0, 28, 32, 52, 104, 108

_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_said: list[str] = []


@_LOG
def _log(_level: int, text: bytes, _data: object) -> None:
    _said.append(text.decode("utf-8", "replace"))


@cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        pytest.skip("the package xllamacpp, which has llama.cpp in it, is not installed")
    (path,) = Path(spec.origin).parent.glob("xllamacpp*.so")
    library = ctypes.CDLL(str(path))
    library.llama_log_set.argtypes = [_LOG, ctypes.c_void_p]
    library.llama_log_set(_log, None)
    library.llama_backend_init()
    for name in ("llama_model_default_params", "llama_context_default_params"):
        getattr(library, name).restype = _Opaque
    library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Opaque]
    library.llama_model_load_from_file.restype = ctypes.c_void_p
    library.llama_init_from_model.argtypes = [ctypes.c_void_p, _Opaque]
    library.llama_init_from_model.restype = ctypes.c_void_p
    library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    library.llama_model_get_vocab.restype = ctypes.c_void_p
    library.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
    library.llama_batch_init.argtypes = [ctypes.c_int32] * 3
    library.llama_batch_init.restype = _Batch
    library.llama_decode.argtypes = [ctypes.c_void_p, _Batch]
    library.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
    library.llama_free.argtypes = [ctypes.c_void_p]
    library.llama_model_free.argtypes = [ctypes.c_void_p]
    return library


def logits(file: Path, tokens: list[int]) -> torch.Tensor:
    """Load a file and run tokens through it; return the logits of each, [token vocabulary]."""
    library = _library()
    _said.clear()
    model = library.llama_model_load_from_file(str(file).encode(), library.llama_model_default_params())
    assert model, "llama.cpp does not load it:\n" + "".join(_said[-12:])
    try:
        settings = library.llama_context_default_params()
        if settings.number(TYPE_K) != F16 or settings.number(TYPE_V) != F16 or settings.number(FLASH) != -1:
            pytest.skip("this xllamacpp has another version of llama.cpp")
        for place, value in ((CONTEXT, 64), (THREADS, 1), (BATCH_THREADS, 1), (FLASH, 0), (TYPE_K, F32), (TYPE_V, F32)):
            settings.put(place, value)
        context = library.llama_init_from_model(model, settings)
        assert context, "llama.cpp does not run it:\n" + "".join(_said[-12:])
        batch = library.llama_batch_init(len(tokens), 0, 1)
        batch.count = len(tokens)
        for k, token in enumerate(tokens):
            batch.token[k], batch.pos[k], batch.sequences[k], batch.output[k] = token, k, 1, 1
            batch.sequence[k][0] = 0
        assert library.llama_decode(context, batch) == 0, "".join(_said[-12:])
        size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
        rows = [library.llama_get_logits_ith(context, k)[:size] for k in range(len(tokens))]
        library.llama_free(context)
        return torch.tensor(rows)
    finally:
        library.llama_model_free(model)
