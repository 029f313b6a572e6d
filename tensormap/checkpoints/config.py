"""The configs beside checkpoints: `config.json`, `params.json`, training ymls. Plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensormap.checkpoints.config_text import refused
from tensormap.checkpoints.json_config import read_json, write_json
from tensormap.checkpoints.refusal import shown

__all__ = ["nested_remove", "nested_set", "read_json", "read_yaml", "write_json", "write_yaml"]


def read_yaml(paths: Sequence[Path]) -> dict[str, Any]:
    """Read training configs as `yaml_config.read_yaml` does; YAML's reader is loaded when a config is in YAML."""
    from tensormap.checkpoints import yaml_config

    return yaml_config.read_yaml(paths)


def write_yaml(config: Mapping[str, Any]) -> bytes:
    """Return a config as YAML, as `yaml_config.write_yaml` does."""
    from tensormap.checkpoints import yaml_config

    return yaml_config.write_yaml(config)


def nested_set(config: dict[str, Any], dotted_key: str, value: Any) -> None:
    """Set `rope_parameters.rope_theta`, making the tables on the way; a key that is there with its dots is set itself.

    CheckpointError `config-conflict` where a part of the way is a value already.

    >>> config = {}
    >>> nested_set(config, "rope_parameters.rope_theta", 10000.0)
    >>> config
    {'rope_parameters': {'rope_theta': 10000.0}}
    """
    if dotted_key in config:
        config[dotted_key] = value
        return
    *way, last = dotted_key.split(".")
    table = config
    for part in way:
        if table.get(part) is None:
            table[part] = {}
        if not isinstance(table[part], dict):
            raise refused(
                "config-conflict", f"{shown(dotted_key)} cannot be set: {shown(part)} is a value, not a table"
            )
        table = table[part]
    table[last] = value


def nested_remove(config: dict[str, Any], dotted_key: str) -> None:
    """Remove `rope_parameters.rope_theta` if it is there, and a table that is left empty by it.

    >>> config = {"rope_parameters": {"rope_theta": 10000.0}, "e": 8}
    >>> nested_remove(config, "rope_parameters.rope_theta")
    >>> config
    {'e': 8}
    """
    first, _, rest = dotted_key.partition(".")
    if dotted_key in config:
        del config[dotted_key]
    elif rest and isinstance(config.get(first), dict):
        nested_remove(config[first], rest)
        if not config[first]:
            del config[first]
