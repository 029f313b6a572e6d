"""The laws of mappings."""
from __future__ import annotations
from dataclasses import dataclass
from tensormap.diagnostics import Diagnostic
from tensormap.language import mapping as m


@dataclass(frozen=True, slots=True)
class Findings:
    found: tuple[Diagnostic, ...] = ()


def laws(mapping: m.Mapping) -> list[Diagnostic]:
    return []


def check(mapping: m.Mapping) -> Findings:
    return Findings(tuple(laws(mapping)))
