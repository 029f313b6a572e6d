"""The same conversions by other libraries: `python -m benchmarks.peers TOOL SOURCE TARGET`, run with the peers' environment.

* `transformers`: from_pretrained and save_pretrained. For a LLaMA that is a copy, the least it can do; for a mixture it fuses the
  experts on the way in and takes them apart on the way out.
* `transformers-fused`: the same mixture, saved as it is in memory, fused: our `experts`.
* `litgpt`: its convert_hf_checkpoint: our `litgpt/llama`.
* `mergekit`: its passthrough merge of one model: a copy.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path


def transformers(source: Path, target: Path, **options: bool) -> None:
    """Load and save."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    model.save_pretrained(target, **options)


def transformers_fused(source: Path, target: Path) -> None:
    """Load, and save what is in memory."""
    transformers(source, target, save_original_format=False)


def litgpt(source: Path, target: Path) -> None:
    """Convert to LitGPT's one file, in a directory of links, for it writes beside its source."""
    from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint

    target.mkdir()
    for path in source.iterdir():
        (target / path.name).symlink_to(path.resolve())
    convert_hf_checkpoint(target, model_name="Llama-2-7b-hf", dtype=None)


def mergekit(source: Path, target: Path) -> None:
    """Merge one model with nothing."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    config = {
        "merge_method": "passthrough",
        "dtype": "bfloat16",
        "slices": [{"sources": [{"model": str(source), "layer_range": [0, _layers(source)]}]}],
    }
    run_merge(
        MergeConfiguration.model_validate(config), str(target), MergeOptions(lazy_unpickle=True, copy_tokenizer=False)
    )


def _layers(source: Path) -> int:
    import json

    return int(json.loads((source / "config.json").read_text())["num_hidden_layers"])


TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "transformers": transformers,
    "transformers-fused": transformers_fused,
    "litgpt": litgpt,
    "mergekit": mergekit,
}


def main() -> None:
    """Run the tool."""
    tool, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    shutil.rmtree(target, ignore_errors=True)
    TOOLS[tool](source, target)


if __name__ == "__main__":
    main()
