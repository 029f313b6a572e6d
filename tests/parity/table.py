"""Writes `mappings/README.md`: what every mapping relates, what it loses, and what verified it.

`python -m tests.parity.table` in the peers' environment rewrites it, and the record of the cases in `tests/laws/headers.json`;
`test_table.py` says when that is due.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import tensormap
from tensormap import library
from tests.laws import record
from tests.parity.cases import all_cases

README = Path(__file__).parents[2] / "mappings" / "README.md"

LLAMA_CPP = "llama.cpp's own converter, the same bytes, and its forward pass (`test_gguf.py`)"
MEGATRON = "Megatron-Core's forward pass on CPUs; Transformer Engine's names restated (`test_megatron.py`)"
DIFFUSERS = "diffusers' own converter, tensor for tensor"
DECODERS = "what the published converter makes of it, restated (`test_decoders.py`)"
RELEASED = "restated (`test_released.py`)"
TITAN = "torchtitan's own adapter, tensor for tensor"

# what the other side was held against, by patterns of names: the first that fits
OTHER_SIDE = {
    "*/fused": "both of transformers' own writers, the same bytes (`test_fused_experts.py`)",
    "*/apart": "both of transformers' own writers, the same bytes (`test_embedders.py`)",
    "albert/*": "ElectraForMaskedLM reads it and computes the same; a published model (`test_encoders.py`)",
    "baichuan/*": DECODERS,
    "bamba/*": "names and cuts of transformers' own converter, restated (`test_state_space.py`)",
    "bert/*": "torch.nn.TransformerEncoder; a published model (`test_encoders.py`)",
    "bloom/*": DECODERS,
    "clip/*": "OpenCLIP's model (`test_encoders.py`)",
    "codegen/*": "GPTJForCausalLM reads it and computes the same",
    "dbrx/*": "mlx-lm, which loads it strictly and computes the same (`test_mlx.py`)",
    "deepseek_v3/fp8": "DeepSeek's own formula, restated, bit for bit; transformers' dequantised logits (`test_fp8.py`)",
    "dinov2/*": "timm's own converter and model (`test_encoders.py`)",
    "flux/*": f"{DIFFUSERS} (`test_diffusion.py`)",
    "gemma/flax": "the einsums of Google DeepMind's modules, restated (`test_gemma.py`)",
    "gemma/pytorch": DECODERS,
    "gemma/stacked": "the order of gemma's own `stack_params`, restated (`test_gemma.py`)",
    "gguf/baichuan": "llama.cpp's forward pass (`test_gguf.py`); its converter fails here",
    "gguf/mamba*": f"{LLAMA_CPP}; its exponentials differ in their last bits",
    "gguf/stablelm": f"{LLAMA_CPP}; its converter fails where heads have norms",
    "gguf/*": LLAMA_CPP,
    "glm/*": f"{DECODERS}, and llama.cpp's own, which reads it (`test_gguf.py`)",
    "gpt2/*": DECODERS,
    "gpt_bigcode/*": f"what BigCode's converter makes of it, {RELEASED}",
    "gpt_oss/mxfp4": "transformers' own dequantiser, tensor for tensor, and its logits (`test_gpt_oss.py`)",
    "gpt_oss/openai": "transformers' own loader of MXFP4, and its converter's slices, restated (`test_gpt_oss.py`)",
    "internlm2/*": "mlx-lm (`test_mlx.py`); llama.cpp's own converter, which reads it (`test_gguf.py`)",
    "litgpt/*": "LitGPT's own converter and forward pass (`test_litgpt.py`)",
    "mamba/*": "transformers' class, which reads the authors' names (`test_state_space.py`)",
    "mamba2/*": "transformers' class, which reads the authors' names (`test_state_space.py`)",
    "megatron/*": MEGATRON,
    "meta/*": "transformers' own converter and Meta's forward pass (`tests/acceptance`)",
    "mlx/*": "mlx-lm, which loads it strictly and computes the same (`test_mlx.py`)",
    "mpt/*": f"what llm-foundry's converter makes of it, {RELEASED}",
    "neox/*": "files of the real GPT-NeoX modules and its forward pass (`tests/acceptance`)",
    "olmo/core": "OLMo-core's own converter, tensor for tensor; OLMo 2 computes the same (`test_olmo_core.py`)",
    "olmo/original": f"mlx-lm's model of it (`test_mlx.py`); {DECODERS}",
    "opt/*": DECODERS,
    "persimmon/*": f"what transformers' converter makes of it, {RELEASED}",
    "phi3/*": "LlamaForCausalLM reads it and computes the same",
    "recurrent_gemma/*": "the recurrentgemma library's model (`test_state_space.py`)",
    "rwkv/blinkdl": "the authors' package, which computes the same (`test_state_space.py`)",
    "rwkv/rwkv7": "the authors' package on one side, mlx-lm on the other (`test_state_space.py`)",
    "swin/*": "timm's model (`test_encoders.py`)",
    "t5/*": "products as T5X's layers have them, and transformers' converter, restated (`test_encoders.py`)",
    "torchtitan/llama3": f"{TITAN}, and its model (`test_torchtitan.py`)",
    "torchtitan/qwen3": f"{TITAN}, and its dense model: experts want GPUs (`test_torchtitan.py`)",
    "torchtitan/*": f"{TITAN}; its model loads it, but wants GPUs (`test_torchtitan.py`)",
    "torchtune/*": "torchtune's own converter and models (`test_torchtune.py`)",
    "unet/*": f"{DIFFUSERS}, and the model's output (`test_diffusion.py`)",
    "vae/*": f"{DIFFUSERS}, and the decoder's output (`test_diffusion.py`)",
    "vit/*": "timm's model (`test_encoders.py`)",
    "vllm/*": "what vLLM's loaders put on each rank, restated; they themselves where installed (`test_vllm.py`)",
    "wav2vec2/*": "Wav2Vec2ForCTC, which reads either",
    "whisper/*": "openai-whisper's model (`test_encoders.py`)",
}

HEAD = """# The mapping library

Every mapping reads both ways, but for the two that unpack fp8 and MXFP4: they go to bf16 only. *Losses* says what a direction does
not keep, by kind; `none` means that the way there and back is the identity on bytes. *Verified by* begins with small models of odd
sizes, one a case: they go to the other side and back, come back to the byte (or as near as the losses say), are loaded strictly by
the class that is named, and compute the same. What the other side was held against stands behind it: its own program or converter,
or, where it says *restated*, its formula written down a second time. This page is generated by `python -m tests.parity.table`, and
a test holds it to the files.

| mapping | sides | what it relates | losses | verified by | lines |
|---|---|---|---|---|---|
"""


def table() -> str:
    """Return the text of the page."""
    cases: dict[str, list[str]] = {}
    for case in all_cases():
        cases.setdefault(case.mapping, []).append(case.model)
    rows = []
    for name, path in library.bundled().items():
        text = path.read_text("utf-8")
        mapping = tensormap.load(name)
        models = cases.get(name, [])
        verified = [_counted(model, models.count(model)) for model in dict.fromkeys(models)]
        verified += [said for pattern, said in OTHER_SIDE.items() if fnmatchcase(name, pattern)][:1]
        rows.append(
            f"| [`{name}`]({name}.tmap) | {' ↔ '.join(mapping.sides)} | {_title(text)} | {_losses(mapping)} "
            f"| {'; '.join(verified) or 'nothing yet'} | {len(text.splitlines())} |\n"
        )
    return HEAD + "".join(rows) + f"\n{len(rows)} mappings. Shared parts lie in `common/`.\n"


def _counted(model: str, cases: int) -> str:
    return f"{model}, {cases} case{'s' if cases > 1 else ''}"


def _title(text: str) -> str:
    first = next((line for line in text.splitlines() if line.startswith("#")), "#")
    return first.lstrip("# ").replace("|", "\\|")


def _losses(mapping: tensormap.Mapping) -> str:
    said = []
    for side, losses in mapping.check().losses.items():
        kinds = {
            kind: sum(loss.kind == kind for loss in losses) for kind in dict.fromkeys(loss.kind for loss in losses)
        }
        if kinds:
            said.append(f"to {side}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    return "; ".join(said) or "none"


if __name__ == "__main__":
    README.write_text(table(), "utf-8")
    record.main()
