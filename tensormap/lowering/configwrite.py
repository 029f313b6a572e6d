"""Write the config of the side that is written, from what is known: every size as solved, nothing left to a consumer's default."""

from __future__ import annotations

from collections.abc import Mapping as Map
from copy import deepcopy
from typing import Any

from tensormap.checkpoints import config as configs
from tensormap.diagnostics import Diagnostic, Label, MappingError, unmarked
from tensormap.language import mapping as m
from tensormap.language.expressions import Missing, evaluate, invert, keys, nested
from tensormap.language.printer import print_expression
from tensormap.lowering.bind import Bound
from tensormap.lowering.sources import config_files
from tensormap.lowering.state import says


def written_config(bound: Bound, extra: Map[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the written side's config, and notes on lines that could not be written. `extra` gives values that only the written
    tensors decide, such as `dtype`.
    """
    config: dict[str, Any] = {}
    notes: list[str] = []
    held = dict(bound.known.values)
    bound.known.values.update({key: value for key, value in extra.items() if key not in held})
    try:
        for line in bound.mapping.config:
            if line.right is None or line.arrow == "<-" or says(line, bound.known) is not True:
                continue
            value = _value(line, bound)
            if isinstance(value, Missing):
                wanted = keys(line.right)
                if wanted:
                    notes.append(f"`{wanted[0]}` is not written: {_why(line, value)}")
                continue
            written = invert(line.right, value)
            if written is not None:
                key, plain = written
                if key in config and config[key] != plain:
                    raise MappingError(
                        Diagnostic(
                            "written-twice",
                            f"two lines write `{key}`: {config[key]} and {plain}",
                            (Label(line.span),),
                        )
                    )
                configs.nested_set(config, key, plain)
        if any(line.rest and line.arrow != "<-" and says(line, bound.known) is True for line in bound.mapping.config):
            config = _with_rest(config, bound)
    finally:
        bound.known.values.clear()
        bound.known.values.update(held)
    return config, tuple(map(unmarked, notes))


def _with_rest(written: Map[str, Any], bound: Bound) -> dict[str, Any]:
    """Return the source's config without the keys that some line reads, with what was written put in."""
    kept = deepcopy(dict(bound.config))
    for line in bound.mapping.config:
        if line.left is not None and line.arrow != "<-" and says(line, bound.known) is True:
            for key in keys(line.left):
                if isinstance(nested(written)(key), Missing):
                    configs.nested_remove(kept, key)
    return _merged(kept, written)


def _merged(kept: dict[str, Any], written: Map[str, Any]) -> dict[str, Any]:
    for key, value in written.items():
        inner = kept.get(key)
        kept[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return kept


def _value(line: m.ConfigRule, bound: Bound) -> Any:
    if line.value is not None:
        return bound.known.evaluate(line.value)
    assert line.left is not None
    return evaluate(line.left, nested(bound.config))


def _why(line: m.ConfigRule, value: Any) -> str:
    if line.value is None and line.left is not None:
        return f"the source's config has no `{print_expression(line.left)}`"
    names = ", ".join(value.names) if isinstance(value, Missing) else ""
    return f"`{names}` is not known" if names else "it has no value"


def config_texts(side: m.Side, config: Map[str, Any]) -> tuple[tuple[str, bytes], ...]:
    """Return the config as a file of its side: its path, and its content."""
    if not config:
        return ()
    pattern = config_files(side)[0] if config_files(side) else None
    if pattern is None:
        return ()
    name = pattern.replace("*", "config")
    data = configs.write_json(config) if name.endswith(".json") else configs.write_yaml(config)
    return ((name, data),)
