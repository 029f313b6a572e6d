"""Names of mappings that there are not."""

from __future__ import annotations

import pytest

import tensormap


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("neox/lama", ("did you mean `neox/llama`?",)),
        ("neox/pythia", ("of `neox` there are `neox/gpt_neox`, `neox/llama`",)),
        ("nowhere/pythia", ()),
    ],
)
def test_what_is_near_is_named(name: str, help: tuple[str, ...]) -> None:
    with pytest.raises(tensormap.MappingError) as caught:
        tensormap.load(name)
    assert caught.value.diagnostics[0].help == help
