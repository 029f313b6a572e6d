"""Mutants that nobody notices, and why: kept in `survivors.txt`, a line for each edit of a file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.laws.mutate import Mutant

KEPT = Path(__file__).parent / "survivors.txt"

REASONS = {
    "equivalent": "another way to write the same thing",
    "words": "says something to people, or what a file is called, and nothing to a conversion",
    "fallback": "stands for a key that is missing; a small model contradicts the number of a published one either way",
    "redundant": "another line says the same of every case",
    "weaker": "lets pass what the mapping refuses: only a damaged checkpoint would show it",
    "unreached": "no case has such a model: not proved by anything here",
    "open": "a case is missing",
}
"""Why a mutant may survive. The last two are debts."""

Edit = tuple[str, str, str, str]


def edit(mutant: Mutant) -> Edit:
    """Return what a mutant is but for its place, which moves."""
    return mutant.file, mutant.kind, " ".join(mutant.old.split()), " ".join(mutant.new.split())


@cache
def kept() -> dict[Edit, str]:
    """Return the reasons of all survivors that are known."""
    found: dict[Edit, str] = {}
    for line in KEPT.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            file, kind, old, new, reason = line.split("\t")
            assert reason.split(":")[0] in REASONS, line
            found[file, kind, old, new] = reason
    return found


def reason(mutant: Mutant) -> str | None:
    """Return why a mutant survives, None if nobody has said it yet."""
    if mutant.kind == "axes" and re.search(r"(^|[ ,>-])(-?[0-9][0-9.e]*|_) \[$", mutant.before):
        return "equivalent: the axes of a constant have no order"
    if mutant.kind in ("config", "number") and mutant.before.endswith("?? "):
        return "fallback: of a key that no case lacks, or whose number no small model has"
    if mutant.kind == "roles" and _together(mutant):
        return "equivalent: both sides have the two axes, and what is between them, in the same order"
    if mutant.kind == "drop" and mutant.old == "optional" and re.search(r"^\s*_\s*<-|->\s*_\s*$", mutant.before):
        return "equivalent: a rule that drops takes what is there"
    return kept().get(edit(mutant))


def _together(mutant: Mutant) -> bool:
    """Say whether two axes that change roles have the same between them in the products of both sides."""
    word = re.compile(r"[A-Za-z_][\w.]*'*|[0-9]+")
    pairs = zip(word.findall(mutant.old), word.findall(mutant.new), strict=True)
    changed = {one for one, other in pairs if one != other}
    sides: list[set[tuple[str, ...]]] = []
    for side in re.split("<->|->|<-", mutant.old):
        found: set[tuple[str, ...]] = set()
        for product in (part for layout in re.findall(r"\[[^\]]*\]", side) for part in layout.split("+")):
            names = word.findall(product)
            places = [k for k, name in enumerate(names) if name in changed]
            if {names[k] for k in places} == changed:
                found.add(tuple(names[places[0] : places[-1] + 1]))
        sides.append(found)
    return bool(sides[0]) and all(side == sides[0] for side in sides)
