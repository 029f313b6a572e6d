"""The cases of the laws: the recorded models, and for what those leave out the same models in another form.

A form that no library of the parity tests saves is made of a recorded header: tensors renamed, left out or added, another
setting. Such cases obey the laws like the others, but nothing outside of the mapping says that they are true of a program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tensormap import library
from tensormap.diagnostics import CheckpointError
from tests.headers.header import Header as Published
from tests.headers.table import ROWS
from tests.laws.headers import Header, Tensors, headers
from tests.laws.legs import back_settings, loaded, plan_leg

Change = Callable[[Mapping[str, Any], Tensors], tuple[Mapping[str, Any], Tensors]]


@dataclass(frozen=True, slots=True)
class Form:
    """Another form of a recorded case: `of` names it, `rename` are a pattern and what stands for it, `drop` a pattern."""

    of: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    back: Mapping[str, Any] = field(default_factory=dict)
    rename: tuple[str, str] | None = None
    drop: str | None = None
    copy: tuple[str, str] | None = None  # a tensor, and the name of another one of its kind
    dtype: str | None = None  # of all tensors
    without: tuple[str, ...] = ()  # keys of the config
    sizes: Mapping[int, int] = field(default_factory=dict)  # what dimensions of a size become
    turned: bool = False  # made of what the other side holds, and from there


UNTIED = {"tie_word_embeddings": False}

LLAMA_31 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

FORMS = (
    Form("gguf-gpt2-plain", "bare", back={"naming": "bare"}, rename=(r"^transformer\.", "")),
    Form(
        "gguf-gpt2-plain",
        "untied",
        config=UNTIED,
        copy=("transformer.wte.weight", "lm_head.weight"),
        back={"head": "own"},
    ),
    Form(
        "gguf-gpt2-plain",
        "bare-untied",
        config=UNTIED,
        back={"naming": "bare", "head": "own"},
        rename=(r"^transformer\.", ""),
        copy=("transformer.wte.weight", "lm_head.weight"),
    ),
    Form("gguf-mamba-plain", "untied", config=UNTIED, copy=("backbone.embeddings.weight", "lm_head.weight")),
    Form("gguf-phi3-partial-rotary", "untied", config=UNTIED, copy=("model.embed_tokens.weight", "lm_head.weight")),
    Form("megatron-gpt2-gpt2-tp2-pp2", "bare", back={"naming": "bare"}, rename=(r"^transformer\.", "")),
    Form(
        "megatron-gpt2-gpt2-local-pp3",
        "bare-untied",
        config=UNTIED,
        back={"naming": "bare"},
        rename=(r"^transformer\.", ""),
        copy=("transformer.wte.weight", "lm_head.weight"),
    ),
    Form("megatron-llama-llama", "half", dtype="float16"),
    Form("megatron-llama-llama", "unpadded", set={"divisible": 1}),
    Form("megatron-mixtral-mixtral-pp2-apart", "tied", config={"tie_word_embeddings": True}, drop=r"^lm_head"),
    Form("megatron-deepseek_v3-deepseek-local-tp2-pp2", "tied", config={"tie_word_embeddings": True}, drop=r"^lm_head"),
    Form("meta-llama-llama-2-2-ranks", "saved-frequencies", set={"rope_freqs": "saved"}),
    Form("neox-llama-gqa-tp2", "saved-frequencies", set={"inv_freq": "saved"}),
    Form("neox-llama-mistral", "named", back={"family": "mistral"}),
    Form("neox-gpt_neox-plain", "fast-gelu", config={"hidden_act": "gelu_fast"}),
    Form("neox-gpt_neox-plain", "tanh-gelu", config={"hidden_act": "gelu_pytorch_tanh"}),
    Form("neox-llama-gqa-legacy-names", "two-ranks", set={"tp": 2}),
    Form("neox-llama-attention-bias", "two-ranks", set={"tp": 2}),
    Form("neox-llama-all-biases-mha", "two-ranks", set={"tp": 2}),
    Form("neox-gpt_neox-plain", "new-gelu", {"hidden_act": "gelu_new"}),
    Form(
        "neox-gpt_neox-plain",
        "no-attention-biases",
        {"attention_bias": False},
        drop=r"attention\.(query_key_value|dense)\.bias$",
    ),
    Form("torchtune-gemma2-gemma2", "converted-norms", set={"norms": "converted"}, back={"norms": "converted"}),
    Form("gguf-gpt2-plain", "half", dtype="float16"),
    Form("gguf-bloom-plain", "half", dtype="float16"),
    Form("gguf-gemma3-linear", "narrow", dtype="bfloat16"),
    Form("gguf-starcoder2-plain", "half", dtype="float16"),
    Form("neox-llama-gqa-tp2", "padded", set={"divisible": 32}),
    Form("neox-llama-tied", "padded", set={"divisible": 32}),
    Form("neox-gpt_neox-tp2", "padded", set={"divisible": 32}),
    Form("neox-gpt_neox-tied", "padded", set={"divisible": 32}),
    Form("neox-gpt_neox-tp2", "saved-frequencies", set={"inv_freq": "saved"}),
    Form("neox-gpt_neox-serial-residual-tp2", "legacy-names", set={"naming": "legacy"}),
    Form("neox-gpt_neox-tp3", "legacy-names", set={"naming": "legacy"}),
    Form(
        "vit-timm-classifier",
        "features",
        set={"form": "features"},
        back={"form": "features"},
        rename=(r"^vit\.", ""),
        drop=r"^classifier",
    ),
    Form(
        "deepseek_v32-fused-plain",
        "direct-queries",
        config={"q_lora_rank": None},
        rename=(r"\.q_a_proj\.", ".q_proj."),
        drop="q_a_layernorm|q_b_proj",
    ),
    Form("axk1-fused-plain", "unbiased", drop="e_score_correction_bias"),
    Form("bloom-megatron_deepspeed-tp3", "bare", back={"naming": "bare"}, rename=(r"^transformer\.", "")),
    Form("gguf-bloom-plain", "bare", back={"naming": "bare"}, rename=(r"^transformer\.", "")),
    Form(
        "gguf-bloom-untied-bfloat16-eleven-layers",
        "bare",
        back={"naming": "bare"},
        rename=(r"^transformer\.", ""),
    ),
    Form(
        "gguf-llama-llama3",
        "three-one",
        {"rope_parameters": LLAMA_31},
        back={"factor": None, "context": None},
    ),
    Form("gguf-mamba-plain", "narrow", dtype="bfloat16"),
    Form("megatron-deepseek_v3-deepseek-tp2-ep2", "stages", set={"pp": 3}),
    Form("megatron-gpt2-gpt2-tp2-pp2", "half", dtype="float16"),
    Form("megatron-gpt2-gpt2-tp2-pp2", "narrow", dtype="bfloat16"),
    Form("megatron-gpt2-gpt2-tp2-pp2", "unpadded", set={"tp": 1, "divisible": 1}),
    Form("megatron-mixtral-mixtral-ep2-apart", "two-ranks", set={"tp": 2}),
    Form("megatron-qwen3_moe-qwen3-moe-ep3", "two", set={"ep": 2}),
    Form("minimax-fused-plain", "no-decays", drop="slope_rate|query_decay|key_decay|diagonal_decay"),
    Form("ernie4_5_moe-fused-tied", "to-the-end", {"moe_layer_end_index": -1}),
    Form("gpt_bigcode-megatron-plain", "four-times", {"n_inner": 240}, sizes={52: 240}),
    Form("gpt_oss-mxfp4-published", "wide", dtype="float32"),
    Form("litgpt-gpt_neox-pythia", "four-times", {"intermediate_size": 288}, sizes={84: 288}),
    Form("gte-apart-without-prefix", "published-name", {"model_type": "new"}),
    Form("litgpt-phi-phi-2", "four-times", {"intermediate_size": 288}, sizes={84: 288}),
    Form("megatron-gpt2-gpt2-tp2-pp2", "padded", set={"divisible": 32}),
    Form(
        "neox-llama-gqa-legacy-names",
        "standard-width",
        {"hidden_size": 96, "head_dim": 16, "intermediate_size": 256},
        sizes={72: 96, 24: 32, 88: 256},
    ),
    Form("gguf-phi2-plain", "fused", set={"qkv": "fused"}),
    Form("t5-t5x-relu", "own-head", config=UNTIED, copy=("shared.weight", "lm_head.weight")),
)
KINDS, ATTENTION = "mlp_layer_types", "layer_types"

LOPSIDED = (Form("gpt2-nanogpt-plain", "no-biases", {"bias": False}, drop=r"\.bias$", turned=True),)
"""Forms of which another one comes back."""

SIZED = (
    *(
        Form(
            "vit-timm-classifier",
            name,
            {"hidden_size": width, "num_attention_heads": heads},
            sizes={24: width},
            set={"heads": None},
            back={"heads": None},
        )
        for name, width, heads in (
            ("small", 384, 6),
            ("large", 1024, 16),
            ("huge", 1280, 16),
            ("giant", 1408, 16),
            ("gigantic", 1664, 16),
        )
    ),
    Form("whisper-openai-small", "english", {"vocab_size": 51864}, sizes={51865: 51864}),
    Form("gguf-chatglm-plain", "one-token-more", {"vocab_size": 151330}, sizes={120: 151330}),
    Form("gguf-glm4-wide-heads", "one-token-more", {"vocab_size": 151330}, sizes={120: 151330}),
)
"""Small models with the width or the vocabulary of a published one, that are planned only."""

COUNTED = (
    Form("axk1-fused-plain", "counted", {"first_k_dense_replace": 1, "moe_layer_freq": 1}, without=(KINDS,)),
    Form("axk1-fused-mixed-biases", "counted", {"first_k_dense_replace": 0, "moe_layer_freq": 2}, without=(KINDS,)),
    Form("bailing_hybrid-fused-plain", "counted", without=(KINDS, ATTENTION)),
    Form("bailing_hybrid-fused-mixed-biases", "counted", without=(ATTENTION,)),
    Form("cohere2_moe-fused-tied", "counted", {"first_k_dense_replace": 0}, without=(KINDS,)),
    Form("cohere2_moe-fused-untied-biases", "counted", {"first_k_dense_replace": 1}, without=(KINDS,)),
    Form("deepseek_v32-fused-plain", "counted", without=(KINDS,)),
    Form("exaone_moe-fused-plain", "counted", without=(KINDS,)),
    Form("glm4_moe_lite-fused-plain", "counted", without=(KINDS,)),
    Form("glm_moe_dsa-fused-plain", "counted", without=(KINDS, "indexer_types")),
    Form("glm_moe_dsa-fused-biases-shared-indexers", "counted", without=(KINDS, "indexer_types")),
    Form("hy_v3-fused-plain", "counted", without=(KINDS,)),
    Form("kimi_linear-fused-plain", "counted", {"first_k_dense_replace": 1}, without=(KINDS, ATTENTION)),
    Form(
        "kimi_linear-fused-biases",
        "listed",
        {"linear_attn_config": {"full_attn_layers": [1, 3], "kda_layers": [2]}},
        without=(ATTENTION,),
    ),
    Form("laguna-fused-plain", "counted", without=(KINDS,)),
    Form("mimo_v2_flash-fused-seven-layers-biases", "counted", without=(KINDS, ATTENTION)),
    Form("minimax-fused-plain", "counted", without=(ATTENTION,)),
    Form("minimax-fused-five-layers", "counted", without=(ATTENTION,)),
    Form("qwen3_5_moe-fused-plain", "counted", {"full_attention_interval": 4}, without=(ATTENTION,)),
    Form("qwen3_next-fused-plain", "counted", {"full_attention_interval": 4}, without=(ATTENTION,)),
)
"""Configs that do not list what layers are, as published ones do not: transformers' classes make the same lists of their numbers
(`tests/parity/test_configs.py`).
"""

REFUSED = (
    (Form("baichuan-llama-plain", "second", {"vocab_size": 125696}, sizes={130: 125696}), "requirement"),
    (Form("gguf-baichuan-plain", "second", {"vocab_size": 125696}, sizes={120: 125696}), "requirement"),
    (Form("megatron-qwen3_moe-qwen3-moe-ep3", "a-dense-layer", {"mlp_only_layers": [1]}), "wrong-model"),
    (Form("mlx-qwen_moe-qwen2-moe", "every-second", {"decoder_sparse_step": 2}), "requirement"),
    (Form("mlx-qwen_moe-qwen2-moe", "a-dense-layer", {"mlp_only_layers": [1]}), "requirement"),
    (
        Form("recurrent_gemma-griffin-griffin", "three-key-heads", {"num_key_value_heads": 3}, sizes={8: 24}),
        "requirement",
    ),
)
"""Models that a mapping does not take, each for one reason. Others are the published ones with one layer too many."""

MANY = 4000

ALWAYS = {"gguf/deepseek2": 1, "hy_v3/fused": 1, "megatron/deepseek_v3": 1}
"""How many layers behind the last one are left out, whatever a config says."""

FURTHER = (
    "deepseek_v32-fused-plain",
    "glm4_moe_lite-fused-plain",
    "glm_moe_dsa-fused-plain",
    "deepseek_v3-fused-plain",
)
"""Cases of which one form has a layer that predicts further tokens."""


@cache
def cases() -> Mapping[str, tuple[Header, ...]]:
    """Return the cases of every mapping, recorded ones first."""
    bundled = library.bundled()
    known = {each.name: each for each in headers() if each.mapping in bundled}
    found: dict[str, list[Header]] = {}
    forms = (_formed(known[form.of], form) for form in (*FORMS, *COUNTED))
    for each in (*known.values(), *forms, *_tied(tuple(known.values())), *_further(known)):
        found.setdefault(each.mapping, []).append(each)
    return {name: tuple(each) for name, each in found.items()}


def recorded(header: Header) -> bool:
    """Say whether a case is a model of the parity tests."""
    return header in headers()


@cache
def refused() -> Mapping[str, tuple[tuple[Header, str], ...]]:
    """Return the models that mappings do not take, and the finding that says so."""
    known = {each.name: each for each in headers()}
    found: dict[str, list[tuple[Header, str]]] = {}
    for form, slug in REFUSED:
        found.setdefault(known[form.of].mapping, []).append((_formed(known[form.of], form), slug))
    for header in known.values():
        layers = header.config.get("num_hidden_layers")
        norm = "model.layers.0.input_layernorm.weight"
        if header.here in ("published", "hf") and layers is not None and norm in header.tensors:
            behind = layers + (header.config.get("num_nextn_predict_layers") or ALWAYS.get(header.mapping, 0))
            beyond = Form(header.name, "beyond", copy=(norm, norm.replace("0", str(behind))))
            found.setdefault(header.mapping, []).append((_formed(header, beyond), "unclaimed-tensor"))
    return {name: tuple(each) for name, each in found.items()}


@cache
def published() -> Mapping[str, tuple[Header, ...]]:
    """Return models at full size, as `tests/headers` has them, but for those with very many tensors: they are planned only."""
    found: dict[str, list[Header]] = {}
    for row in ROWS:
        if row.large or row.stored:
            continue
        held = Published.read(row.header)
        if len(held.tensors) <= MANY:
            here = next(side for side in loaded(row.mapping).sides if side.name != row.to).name
            header = Header(
                f"{row}-published", row.mapping, here, row.to, row.set, row.back or {}, held.config, held.tensors
            )
            found.setdefault(row.mapping, []).append(header)
    known = {each.name: each for each in headers()}
    for form in SIZED:
        found.setdefault(known[form.of].mapping, []).append(_formed(known[form.of], form))
    return {name: tuple(each) for name, each in found.items()}


@cache
def lopsided() -> Mapping[str, tuple[Header, ...]]:
    """Return forms of which another one comes back."""
    known = {each.name: each for each in headers()}
    found: dict[str, list[Header]] = {}
    for form in LOPSIDED:
        found.setdefault(known[form.of].mapping, []).append(_formed(known[form.of], form))
    return {name: tuple(each) for name, each in found.items()}


def counted() -> Iterator[tuple[Header, Header]]:
    """Yield models whose configs list what layers are, and the same with configs that count them."""
    known = {each.name: each for each in headers()}
    for form in COUNTED:
        yield known[form.of], _formed(known[form.of], form)


def _turned(header: Header) -> Header:
    there = plan_leg(loaded(header.mapping), header.to, header.tensors, header.config, header.set)
    settings = back_settings(header.set, header.back)
    return replace(
        header,
        here=header.to,
        to=header.here,
        set=settings,
        back=header.set,
        config=there.config,
        tensors=there.tensors,
    )


def _formed(header: Header, form: Form) -> Header:
    header = _turned(header) if form.turned else header
    tensors = dict(header.tensors)
    if form.copy is not None:
        tensors[form.copy[1]] = tensors[form.copy[0]]
    if form.drop is not None:
        tensors = {name: said for name, said in tensors.items() if not re.search(form.drop, name)}
    if form.rename is not None:
        tensors = {re.sub(*form.rename, name): said for name, said in tensors.items()}
    if form.dtype is not None:
        floats = ("float32", "bfloat16", "float16")
        tensors = {name: (form.dtype if each in floats else each, shape) for name, (each, shape) in tensors.items()}
    tensors = {name: (dtype, tuple(form.sizes.get(n, n) for n in shape)) for name, (dtype, shape) in tensors.items()}
    return replace(
        header,
        name=f"{header.name}-{form.name}",
        config={key: value for key, value in {**header.config, **form.config}.items() if key not in form.without},
        set={key: value for key, value in {**header.set, **form.set}.items() if value is not None},
        back={key: value for key, value in {**header.back, **form.back}.items() if value is not None},
        tensors=dict(sorted(tensors.items())),
    )


def _tied(known: tuple[Header, ...]) -> Iterator[Header]:
    """Yield a tied form of one case of every mapping whose models are all untied, where it is for tied ones as well."""
    families: dict[str, list[Header]] = {}
    for each in known:
        families.setdefault(each.mapping, []).append(each)
    for name, members in families.items():
        first = next((each for each in members if "lm_head.bias" not in each.tensors), members[0])
        if "lm_head.weight" in first.tensors and not any(each.config.get("tie_word_embeddings") for each in members):
            back = {"tied": "yes"} if name.startswith("litgpt/") else {}  # which LitGPT does not record
            tied = {"tie_word_embeddings": True}
            made = _formed(first, Form(first.name, "tied", config=tied, back=back, drop=r"^lm_head\."))
            if _accepted(made):
                yield made


def _accepted(header: Header) -> bool:
    """Say whether a mapping is for such models: it may be for untied ones only, and say so."""
    try:
        plan_leg(loaded(header.mapping), header.to, header.tensors, header.config, header.set)
    except CheckpointError as error:
        if {each.slug for each in error.diagnostics} <= {"wrong-model", "missing-tensor"}:
            return False
        raise
    return True


def _further(known: Mapping[str, Header]) -> Iterator[Header]:
    for name in FURTHER:
        yield _formed(known[name], Form(name, "predicting", config={"num_nextn_predict_layers": 1}))
