"""Training configs in YAML: read as the programs that own them mean it, written so that they read the same.

What a plain scalar is differs between YAML 1.1 (which PyYAML, and so GPT-NeoX, reads) and 1.2. Decided here:

* `yes`, `no`, `on`, `off` are true and false, as 1.1 has it and as people who write them mean it.
* `1e-05` and `1e3` are numbers, as 1.2 has it; PyYAML reads them as strings, which is never meant.
* `010` is a string: 1.1 reads 8, 1.2 reads 10. So are `1:30` (1.1: 90) and dates.
* `1_000`, `0x1f`, `0b11` and `0o17` are integers: whoever reads them as a number reads the same one.

Dashes equal underscores in top-level keys; they come out with underscores. Keys are strings, always. `<<` merges, as in 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tensormap.checkpoints.config_text import DEEPEST, place, plain, read_text, refused, same
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Label, Source, Span

_MOST = 1_000_000  # scalars, lists and tables of a config, aliases counted as what they stand for
_MOST_DIGITS = 1000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"


def read_yaml(paths: Sequence[Path]) -> dict[str, Any]:
    """Read one config out of several files; a key may stand in two of them if both say the same.

    CheckpointError: `bad-config`; `duplicate-key` where a table has a key twice; `config-conflict` where two files, or two
    spellings of a key, disagree.
    """
    merged: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    for path in paths:
        table = _Builder(read_text(path, mark=True)).table()
        for key, value in table.value.items():
            span, plain_key = table.keys[key], key.replace("-", "_")
            if plain_key in merged and not same(merged[plain_key], value):
                raise _conflict(plain_key, (merged[plain_key], spans[plain_key]), (value, span))
            merged.setdefault(plain_key, value)
            spans.setdefault(plain_key, span)
    return merged


def _conflict(key: str, first: tuple[Any, Span], second: tuple[Any, Span]) -> CheckpointError:
    (old, before), (new, after) = first, second
    message = f"{shown(key)} is {_brief(old)} in {place(before)} and {_brief(new)} in {place(after)}"
    return refused("config-conflict", message, Label(after, _brief(new)), Label(before, _brief(old), primary=False))


def _brief(value: Any) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=_MOST, allow_unicode=True)
    text = text.removesuffix("\n...\n").strip()
    return text if len(text) <= 60 else f"{text[:60]}..."


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Table:
    """A table that is being read: its keys with their places, and the one whose value comes next."""

    span: Span
    anchor: str | None
    value: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Span] = field(default_factory=dict)
    merged: list[dict[str, Any]] = field(default_factory=list)
    key: tuple[str, Span, bool] | None = None  # the last: it is `<<`
    size: int = 1


@dataclass(slots=True)
class _List:
    span: Span
    anchor: str | None
    value: list[Any] = field(default_factory=list)
    size: int = 1


class _Builder:
    """Builds values from YAML's events, without recursion, and stops at the first thing that is wrong."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stack: list[_Table | _List] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.top: _Table | None = None

    def table(self) -> _Table:
        """Read the only document of the file, which has to be a table."""
        documents = 0
        for event in self._events():
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise self._error(event, "a second document begins here; a config has one")
            self._event(event)
        if self.top is None:
            raise refused("bad-config", f"{self.source.name} is no config: it does not hold a table of keys and values")
        return self.top

    def _events(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self.source.text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = min(mark.index if mark else 0, len(self.source.text))
            span = Span(self.source, at, at)
            raise refused("bad-config", f"{place(span)}: {error.problem}", Label(span)) from None
        except yaml.YAMLError as error:
            raise refused("bad-config", f"{self.source.name}: {str(error).splitlines()[0]}") from None

    def _event(self, event: Any) -> None:
        match event:
            case yaml.MappingStartEvent():
                self._open(_Table(self._span(event), event.anchor), event, "map")
            case yaml.SequenceStartEvent():
                self._open(_List(self._span(event), event.anchor), event, "seq")
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(event)
            case yaml.ScalarEvent():
                if self._takes_key():
                    self._key(event)
                else:
                    value = self._scalar(event)
                    if event.anchor is not None:
                        self.anchors[event.anchor] = (value, 1)
                    self._put(value, 1, event)
            case yaml.AliasEvent():
                if event.anchor not in self.anchors:
                    raise self._error(
                        event, f"the alias {shown(event.anchor)} stands for nothing that is complete here"
                    )
                if self._takes_key():
                    raise self._error(event, "a key has to be written out")
                self._put(*self.anchors[event.anchor], event)
            case _:
                pass  # the stream and its documents begin and end

    def _open(self, node: _Table | _List, event: Any, kind: str) -> None:
        if event.tag not in {None, "!", _TAG + kind}:
            raise self._error(event, f"the tag {shown(event.tag)} is not allowed")
        if self._takes_key():
            raise self._error(event, "a key has to be a word or a number")
        if len(self.stack) >= DEEPEST:
            raise self._error(event, f"lists and tables are nested more than {DEEPEST} deep")
        self.stack.append(node)

    def _close(self, event: Any) -> None:
        node = self.stack.pop()
        if isinstance(node, _Table):
            for table in node.merged:
                for key, value in table.items():
                    node.value.setdefault(key, value)
                    node.keys.setdefault(key, node.span)
            if not self.stack:
                self.top = node
        if node.anchor is not None:
            self.anchors[node.anchor] = (node.value, node.size)
        if self.stack:
            self._put(node.value, node.size, event)

    def _takes_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1], _Table) and self.stack[-1].key is None

    def _key(self, event: Any) -> None:
        table, key, span = self.stack[-1], event.value, self._span(event)
        assert isinstance(table, _Table)
        if event.tag is not None and not event.tag.startswith(_TAG):
            raise self._error(event, f"the tag {shown(event.tag)} is not allowed")
        if key in table.keys:
            first = table.keys[key]
            message = (
                f"{place(span)}: the key {shown(key)} is there twice, first in line {place(first).rpartition(':')[2]}"
            )
            raise refused("duplicate-key", message, Label(span, "again"), Label(first, "first", primary=False))
        merges = key == "<<" and event.implicit[0]
        if not merges:
            table.keys[key] = span
        table.key = (key, span, merges)

    def _put(self, value: Any, size: int, event: Any) -> None:
        """Hand a complete value to the list or table that it stands in."""
        if not self.stack:
            return  # a document that is not a table
        node = self.stack[-1]
        node.size += size
        if node.size > _MOST:
            raise self._error(
                event, f"the config holds more than {_MOST} values, aliases counted as what they stand for"
            )
        if isinstance(node, _List):
            node.value.append(value)
            return
        assert node.key is not None
        key, _, merges = node.key
        node.key = None
        if not merges:
            node.value[key] = value
            return
        tables = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in tables):
            raise self._error(event, "`<<` merges tables, and this is none")
        node.merged.extend(tables)

    def _scalar(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        try:
            value = resolve(text) if event.implicit[0] or tag not in {None, "!", _TAG + "str"} else text
        except ValueError:
            raise self._error(event, "the number has too many digits") from None
        if tag in {None, "!", _TAG + "str"}:
            return value
        kinds = {"int": int, "float": float, "bool": bool, "null": type(None)}
        kind = kinds.get(tag.removeprefix(_TAG))
        if kind is float and type(value) is int:
            return float(value)
        if kind is None or type(value) is not kind:
            raise self._error(event, f"the tag {shown(tag)} is not allowed here")
        return value

    def _span(self, event: Any) -> Span:
        return Span(self.source, event.start_mark.index, event.end_mark.index)

    def _error(self, event: Any, message: str) -> CheckpointError:
        span = self._span(event)
        return refused("bad-config", f"{place(span)}: {message}", Label(span))


# --- scalars ----------------------------------------------------------------------------------------------------------

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **{cased: True for word in ("true", "yes", "on") for cased in (word, word.title(), word.upper())},
    **{cased: False for word in ("false", "no", "off") for cased in (word, word.title(), word.upper())},
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]*[0-9a-fA-F][0-9a-fA-F_]*|0o[0-7]+|0b[01_]*[01][01_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> bool | int | float | str | None:
    """Return what a plain scalar stands for, as decided above. ValueError for an integer of thousands of digits."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        digits = text.replace("_", "")
        if len(digits) > _MOST_DIGITS:  # Python has a limit for decimals alone
            raise ValueError(text)
        return int(digits, 0)
    if _FLOAT.fullmatch(text) and not text.lstrip("+-").replace("_", "").isdigit():
        number = float(text.replace("_", ""))
        return text if number in {float("inf"), float("-inf")} else number  # `12e4567` is a word, such as a commit's
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


# --- writing ----------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Quotes every string that any reader might take for something else; never writes an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TAG + "str", text, style='"' if _is_other(text) else None)


def _is_other(text: str) -> bool:
    """Say whether a string would be read as another thing, or would have its line breaks folded."""
    special = text in _WORDS or text == "<<" or not text.isprintable()
    return special or any(pattern.fullmatch(text) for pattern in (_INTEGER, _FLOAT, _SPECIAL))


_Dumper.add_representer(str, _string)


def write_yaml(config: Mapping[str, Any]) -> bytes:
    """Return the config as YAML in the order of its keys, so that PyYAML reads every value as what it is (`1.0e-05`)."""
    text: str = yaml.dump(plain(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_MOST)
    return text.encode()
