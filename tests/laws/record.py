"""Writes `headers.json`: names, dtypes, shapes and configs of the parity tests' models, as their own libraries save them.

`python -m tests.laws.record` in the peers' environment; needed after a change of `tests/parity/cases`. With the record, the laws
and the mutants run on exactly the models of the parity tests, and need none of the libraries.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.laws import makers
from tests.laws.headers import RECORD, Header, headers, text_of
from tests.parity.cases import all_cases
from tests.parity.harness import Case, save

LLAMA = {
    "hidden_size": 60,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 52,
    "num_hidden_layers": 3,
    "vocab_size": 132,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
GROUPS = {"num_attention_heads": 12, "num_key_value_heads": 4, "hidden_size": 72}  # several of each on every rank
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
META = tuple(  # held against Meta's own files in `tests/acceptance`
    Case(
        f"llama-{release}-{mp}-ranks",
        "meta/llama",
        "LlamaForCausalLM",
        LLAMA | changes,
        "meta",
        set={"llama": release, "mp": mp},
        back={"llama": release},
    )
    for release, mp, changes in (
        ("1", 1, {"num_key_value_heads": 6, "max_position_embeddings": 2048}),
        ("2", 2, {"num_hidden_layers": 11, "max_position_embeddings": 4096} | GROUPS),
        ("3", 2, {"max_position_embeddings": 8192} | GROUPS),
        ("3.1", 2, {"max_position_embeddings": 131072, "rope_parameters": SCALED | {"factor": 8.0}}),
        ("3.2", 2, {"tie_word_embeddings": True, "max_position_embeddings": 131072, "rope_parameters": SCALED}),
    )
)
"""Models of a mapping that no parity case has."""


def main() -> None:
    """Rewrite the record, or the part of it whose names begin as the arguments do."""
    parser = argparse.ArgumentParser(description="write tests/laws/headers.json")
    parser.add_argument("names", nargs="*")
    names = tuple(parser.parse_args().names)
    held = {each.name: each for each in headers() if not each.name.startswith(names)} if names else {}
    held |= {each.name: each for each in recorded(names)}
    RECORD.write_text(text_of([held[name] for name in sorted(held)]), "utf-8")


def recorded(names: tuple[str, ...] = ()) -> Iterator[Header]:
    """Save every model, or those whose names begin so, and yield what its files say."""
    for case in (*all_cases(), *META):
        if names and not str(case).startswith(names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            save(case, Path(folder))
            yield makers.header(str(case), case.mapping, case.here, case.to, case.set, case.back, Path(folder))
    for family, make in makers.MAKERS.items():
        if not names or family.startswith(names) or any(name.startswith(family) for name in names):
            yield from make()


if __name__ == "__main__":
    main()
