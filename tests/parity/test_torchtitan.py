"""torchtitan itself: its adapters write the same tensors, and its models compute the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tensormap
from tests.parity.cases.torchtitan import CASES
from tests.parity.harness import Case, assert_close, logits, random_tokens, save
from tests.parity.optional import peer


def _built(case: Case) -> Any:
    """Return torchtitan's config of a case's model, with attention that runs without being compiled."""
    attention = peer("torchtitan.models.common.attention")
    c = {"head_dim": case.config["hidden_size"] // case.config["num_attention_heads"]} | dict(case.config)
    sizes = {"n_layers": c["num_hidden_layers"], "dim": c["hidden_size"], "n_heads": c["num_attention_heads"]}
    grouped = sizes | {"n_kv_heads": c["num_key_value_heads"], "attn_backend": "flex", "fuse_qkv": "tied" in case.name}
    rope: dict[str, Any] = {"dim": c["head_dim"], "max_seq_len": 64, "theta": 10000.0}
    match case.model.removesuffix("ForCausalLM"):
        case "Llama":
            module = peer("torchtitan.models.llama3")
            rotary = module.ComplexRoPE.Config(**rope)
            layers = module._build_llama3_layers(**grouped, hidden_dim=c["intermediate_size"], rope=rotary)
            model = module.Llama3Model
        case "Qwen3":
            module = peer("torchtitan.models.qwen3")
            more = {"head_dim": c["head_dim"], "rope": module.CosSinRoPE.Config(**rope)}
            layers = module._build_qwen3_layers(**grouped, **more, hidden_dim=c["intermediate_size"])
            model = module.Qwen3Model
        case "Qwen3Moe":
            module = peer("torchtitan.models.qwen3")
            more = {"head_dim": c["head_dim"], "rope": module.CosSinRoPE.Config(**rope)}
            layers = module._build_qwen3_moe_layers(
                **grouped,
                **more,
                moe_hidden_dim=c["moe_intermediate_size"],
                num_experts=c["num_experts"],
                top_k=c["num_experts_per_tok"],
                moe_comm_backend="standard",
            )
            model = module.Qwen3Model
        case _:
            module = peer("torchtitan.models.deepseek_v3")
            rope["dim"] = c["qk_rope_head_dim"]
            layers = module._build_dsv3_layers(
                **sizes,
                **{key: c[key] for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")},
                attn_backend="flex",
                q_lora_rank=c["q_lora_rank"] or 0,
                n_dense_layers=c["first_k_dense_replace"],
                mscale=1.0,
                dense_hidden_dim=c["intermediate_size"],
                moe_hidden_dim=c["moe_intermediate_size"],
                num_experts=c["n_routed_experts"],
                num_shared_experts=c["n_shared_experts"],
                router_top_k=c["num_experts_per_tok"],
                router_score_func="sigmoid",
                moe_comm_backend="standard",
                non_blocking_capacity_factor=None,
                rope=module.ComplexRoPE.Config(**rope),
            )
            model = module.DeepSeekV3Model
    for layer in layers:
        layer.attention.inner_attention = attention.ScaledDotProductAttention.Config()
        for norm in (layer.attention_norm, layer.ffn_norm, getattr(layer.attention, "qk_norm", None)):
            if norm is not None:
                norm.eps = c["rms_norm_eps"]
    width, vocabulary = c["hidden_size"], c["vocab_size"]
    return model.Config(
        dim=width,
        vocab_size=vocabulary,
        tok_embeddings=module.Embedding.Config(num_embeddings=vocabulary, embedding_dim=width),
        norm=module.RMSNorm.Config(normalized_shape=width, eps=c["rms_norm_eps"]),
        lm_head=module.Linear.Config(in_features=width, out_features=vocabulary),
        layers=layers,
        enable_weight_tying=c.get("tie_word_embeddings", False),
    )


def _adapter(case: Case, config: Any) -> Any:
    family = {"Llama": "llama3", "Qwen3": "qwen3", "Qwen3Moe": "qwen3"}.get(
        case.model.removesuffix("ForCausalLM"), "deepseek_v3"
    )
    module = peer(f"torchtitan.models.{family}.state_dict_adapter")
    (name,) = (each for each in vars(module) if each.endswith("StateDictAdapter") and family[:4] in each.lower())
    return getattr(module, name)(config, None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_torchtitan_reads_what_its_adapter_makes(case: Case, tmp_path: Path) -> None:
    config = _built(case)
    model = save(case, tmp_path / "hf")
    tensormap.apply(case.mapping, tmp_path / "hf", tmp_path / "titan", to="torchtitan")
    written = torch.load(tmp_path / "titan" / "checkpoint.pt", weights_only=True)

    adapted = _adapter(case, config).from_hf(load_file(tmp_path / "hf" / "model.safetensors"))
    assert sorted(adapted) == sorted(written)
    for name, tensor in adapted.items():
        assert torch.equal(tensor, written[name]), name

    twin = config.build()
    missing, unexpected = twin.load_state_dict(written, strict=False)
    assert not unexpected
    assert all(name.endswith("expert_bias_E") for name in missing), missing
    if hasattr(model.config, "num_experts_per_tok") or case.dtype != torch.float32:
        return  # its experts are multiplied in groups, in bfloat16, on GPUs
    inputs = random_tokens(model)["input_ids"]
    with torch.no_grad():
        found = twin.eval()(inputs, positions=torch.arange(inputs.shape[1]).expand(inputs.shape))
    assert_close(found, logits(model, {"input_ids": inputs}), 2e-5)
