"""What every mapping writes of every case of the laws, on record: the config, how many tensors of each dtype, and a digest of all.

`python -m tests.laws.written [FAMILY ...]` rewrites `written.json`. It is made when the parity tests pass, and says from then on,
without the libraries that they need, that the mappings still do what was verified: `test_written.py` compares.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tensormap.lowering import plan
from tests.laws.cases import cases, lopsided, published
from tests.laws.headers import Header
from tests.laws.legs import Leg, forms, there_and_back
from tests.laws.values import Array, Arrays, Codes, codes, freed, run

RECORD = Path(__file__).parent / "written.json"

Written = dict[str, Any]


class Named(Codes):
    """Codes; what is generated counts as the formula that it is, since its last bits are a machine's."""

    def generated(self, generator: plan.Generator, shape: tuple[int, ...]) -> Array:
        start = int.from_bytes(hashlib.sha256(repr(generator).encode()).digest()[:7], "big")
        count = int(np.prod(shape, dtype=np.int64))
        return np.arange(start, start + count, dtype=np.uint64).reshape(shape)


def written(header: Header) -> dict[str, Written]:
    """Say what becomes of a case on both ways, or on the one that there is; of a published model without its elements."""
    elements = header not in published().get(header.mapping, ())
    there, back = there_and_back(header)
    legs = {header.to: there} if back is None else {header.to: there, header.here: back}
    return {f"to {side}": _said(leg, header, elements=elements) for side, leg in legs.items()}


def _said(leg: Leg, header: Header, *, elements: bool) -> Written:
    made: Arrays = {}
    if elements:
        held = {name: (each.dtype, each.shape) for name, each in leg.bound.catalog.tensors.items()}
        made = run(leg, freed(leg, codes(held), Named()), Named(), verify=False)
    digest = hashlib.sha256()
    for name, (dtype, shape) in sorted(leg.tensors.items()):
        digest.update(f"{name} {dtype} {list(shape)}\n".encode())
        if elements:
            digest.update(made[name].tobytes())
    dtypes = Counter(dtype for dtype, _ in leg.tensors.values())
    return {
        **forms(leg),
        "tensors": dict(sorted(dtypes.items())),
        "digest": digest.hexdigest()[:16],
        **_difference(header.config, json.loads(json.dumps(leg.config))),
    }


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Written:
    """Return a config as the case's own with other keys and without some, or as it is where that is shorter."""
    other = {key: value for key, value in after.items() if repr(before.get(key, ...)) != repr(value)}
    gone = [key for key in before if key not in after]
    return {"config": {**after}} if len(other) + len(gone) > len(after) else {"other": other, "without": gone}


def families(names: Sequence[str] = ()) -> dict[str, tuple[Header, ...]]:
    """Return the cases of the mappings whose names begin so, or of all, and the published models."""
    return {
        name: (*held, *lopsided().get(name, ()), *published().get(name, ()))
        for name, held in sorted(cases().items())
        if not names or name.startswith(tuple(names))
    }


@cache
def record() -> dict[str, dict[str, Written]]:
    """Return what is on record, by the names of cases."""
    held: dict[str, dict[str, Written]] = json.loads(RECORD.read_text("utf-8"))
    return held


def main() -> None:
    """Rewrite the record, or a part of it."""
    parser = argparse.ArgumentParser(description="write tests/laws/written.json")
    parser.add_argument("families", nargs="*")
    chosen = parser.parse_args()
    known = record() if chosen.families else {}
    found = {each.name: written(each) for held in families(chosen.families).values() for each in held}
    every = sorted(each.name for held in families().values() for each in held)
    blocks = []
    for name in every:
        said = found.get(name) or known.get(name)
        if said is None:
            continue
        ways = ",\n".join(f"  {json.dumps(way)}: {json.dumps(each, sort_keys=True)}" for way, each in said.items())
        blocks.append(f" {json.dumps(name)}: {{\n{ways}\n }}")
    RECORD.write_text("{\n" + ",\n".join(blocks) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
