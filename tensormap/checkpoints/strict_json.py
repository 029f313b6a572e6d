"""JSON as it may come from outside: a key twice, a name that is not UTF-8, or endless nesting is an error."""

from __future__ import annotations

import json
from typing import Any

from tensormap.checkpoints.refusal import refusal, shown


class _Twice(Exception):
    """A key that an object has twice."""


class _Constant(Exception):
    """A number of JavaScript's that JSON does not have."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)
    return table


def _pairs(value: Any) -> int:
    """Count the pairs of an object and of the objects in it: never more than the text has, fewer where a key is twice."""
    if not isinstance(value, dict):
        return 0
    return len(value) + sum(len(each) for each in value.values() if type(each) is dict)


def _constant(text: str) -> float:
    raise _Constant(text)


def parse(data: bytes, file: str, what: str) -> Any:
    """Return the value that `data` spells; `file` and `what` ("its header") are for the message."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=_constant)
        if _pairs(value) != text.count(":"):  # a colon in a name, deeper nesting, or a key twice: look closely
            value = json.loads(text, object_pairs_hook=_unique)
        if "\\u" in text:
            _whole(value)
    except _Twice as error:
        raise refusal("json-duplicate-key", f"{shown(file)}: {what} has the key {shown(error)} twice") from None
    except UnicodeError:
        raise refusal("json-invalid", f"{shown(file)}: {what} is not UTF-8 text") from None
    except RecursionError:
        raise refusal("json-invalid", f"{shown(file)}: {what} is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise refusal("json-invalid", f"{shown(file)}: {what} is not JSON: {shown(str(error))[1:-1]}") from None
    except _Constant as error:
        raise refusal("json-invalid", f"{shown(file)}: {what} is not JSON: {error} is none of its numbers") from None
    except ValueError:  # which Python says of a number that would take it too long
        raise refusal("json-invalid", f"{shown(file)}: {what} has a number with too many digits") from None
    return value


def _whole(value: Any) -> None:
    """Raise UnicodeError for a lone surrogate: only an escape can spell one."""
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        for key, each in value.items():
            _whole(key)
            _whole(each)
    elif isinstance(value, list):
        for each in value:
            _whole(each)
