"""Which known word was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from heapq import nsmallest
from itertools import islice

_MAX_WORD = 256
_MAX_CANDIDATES = 200_000
_MAX_COMPARED = 64
_CUTOFF = 0.7


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `word`, or None where none is near; among equals, the first given.

    Compares letter by letter only the few candidates of nearly the same length and letters, so a hundred thousand cost some
    tenths of a second.
    """
    if not 1 < len(word) <= _MAX_WORD:
        return None
    wanted = word.lower()
    letters = set(wanted)
    slack = max(1, len(word) // 3)
    near = []
    for order, candidate in enumerate(islice(candidates, _MAX_CANDIDATES)):
        if abs(len(candidate) - len(word)) <= slack and candidate != word:
            different = len(letters.symmetric_difference(candidate.lower()))
            if different <= slack + 1:
                near.append((different, order, candidate))
    best, chosen = _CUTOFF, None
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    for _, _, candidate in sorted(nsmallest(_MAX_COMPARED, near), key=lambda each: each[1]):
        matcher.set_seq1(candidate.lower())
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and (ratio := matcher.ratio()) > best:
            best, chosen = ratio, candidate
    return chosen
