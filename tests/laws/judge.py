"""Judges a mutant: who would notice the mistake? `check`, a plan, or a comparison with what the mapping makes of the cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tensormap.checkpoints import config as configs
from tensormap.diagnostics import CheckpointError, MappingError, Source, Span
from tensormap.language import checks, losses, syntax
from tensormap.language import mapping as m
from tensormap.language import resolve as resolving
from tensormap.language.expressions import Missing, nested
from tensormap.language.expressions import names as names_in
from tensormap.language.parser import parse
from tensormap.lowering.state import active
from tests.laws.cases import cases, lopsided, published, recorded, refused
from tests.laws.headers import Header
from tests.laws.legs import Leg, back_settings, forms, plan_leg
from tests.laws.mutate import Mutant, walk
from tests.laws.trips import with_more
from tests.laws.values import Array, Codes, Unequal, codes, freed, run

ROOT = Path(str(files("tensormap") / "mappings"))
CODES = Codes()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who notices: `check` or `plan` refuses the mutant, `tensors`, `config` or `losses` differ, or nobody does."""

    by: str  # "check", "plan", "data", "tensors", "config", "losses", "same meaning", "unreached", "nobody"
    case: str = ""
    what: str = ""
    way: str = ""  # the side that is written

    @property
    def noticed(self) -> bool:
        return self.by not in ("same meaning", "unreached", "nobody")


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """What the mapping makes of a case on one way: the touchstone."""

    to: str
    leg: Leg
    settings: Mapping[str, Any]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    config: Mapping[str, Any]


def files_of(name: str) -> tuple[str, ...]:
    """Return the files that a mapping is made of, its own first."""
    found: dict[str, None] = {}

    def note(tree: syntax.File, file: str) -> None:
        found[file] = None
        for path in _used(tree):
            note(_parsed(path, _text(path)), path)

    note(_parsed(f"{name}.tmap", _text(f"{name}.tmap")), f"{name}.tmap")
    return tuple(found)


def _used(node: syntax.File) -> Iterator[str]:
    for each in walk(node.statements):
        if isinstance(each, syntax.Use):
            yield each.path


@cache
def _text(file: str) -> str:
    return (ROOT / file).read_text("utf-8")


@cache
def _parsed(name: str, text: str) -> syntax.File:
    return parse(Source(name, text))


def resolved(name: str, mutant: Mutant | None = None) -> m.Mapping:
    """Resolve a mapping, one of its files with a mistake in it. MappingError: it is no lawful mapping."""

    def text(file: str) -> str:
        return _text(file) if mutant is None or mutant.file != file else mutant.text(_text(file))

    def include(path: str, span: Span) -> Source:
        return Source(path, text(path))

    def parsed(source: Source) -> syntax.File:
        changed = mutant is not None and mutant.file == source.name
        return parse(source) if changed else _parsed(source.name, source.text)

    file = f"{name}.tmap"
    with patch.object(resolving, "parse", parsed):
        found = resolving.resolve(Source(file, text(file)), include, name)
    errors = [each for each in checks.laws(found) if each.severity == "error"]
    if errors:
        raise MappingError(errors)
    return found


@cache
def original(name: str) -> m.Mapping:
    return resolved(name)


@lru_cache(maxsize=32)
def ways(header: Header) -> tuple[Way, ...]:
    """Convert a case both ways with the mapping as it is."""
    mapping = original(header.mapping)
    there = plan_leg(mapping, header.to, header.tensors, header.config, header.set)
    first = Way(header.to, there, header.set, header.tensors, header.config)
    settings = back_settings(header.set, header.back)
    try:
        back = plan_leg(mapping, header.here, there.tensors, there.config, settings)
    except CheckpointError:
        return (first,)
    return first, Way(header.here, back, settings, there.tensors, there.config)


@lru_cache(maxsize=64)
def _touchstone(way: Way) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """Return elements that a way takes, and what it makes of them."""
    given = freed(way.leg, codes(way.tensors), CODES)
    return given, run(way.leg, given, CODES)


@cache
def _reached(header: Header) -> frozenset[tuple[str, int, int]]:
    """List the rules of which a case has tensors, by file and place in its text."""
    found: set[tuple[str, int, int]] = set()
    for way in ways(header):
        for draft in way.leg.lowered.drafts:
            found.add(_place(draft.rule))
        lines = {each.rule for each in way.leg.lowered.verifications} | {where for where, _ in way.leg.lowered.dropped}
        for rule in way.leg.bound.rules:
            text = rule.span.source.text
            if f"{rule.span.source.name}:{text.count(chr(10), 0, rule.span.start) + 1}" in lines or any(
                tensor.template.virtual for tensor in m.stored((*rule.left, *rule.right))
            ):
                found.add(_place(rule))
    return frozenset(found)


def _place(rule: m.Rule) -> tuple[str, int, int]:
    return rule.span.source.name, rule.span.start, rule.span.end


def judge(name: str, mutant: Mutant) -> Verdict:
    """Say who notices a mutant of a mapping or of a file that it includes."""
    try:
        changed = resolved(name, mutant)
    except MappingError as error:
        return Verdict("check", what=error.diagnostics[0].slug)
    before = original(name)
    if _same(changed, before):
        return Verdict("same meaning")
    rules = [
        _place(rule)
        for rule in before.rules
        if rule.span.source.name == mutant.file and rule.span.start < mutant.end and mutant.start < rule.span.end
    ]
    held = _in_order(name)
    reaching = [each for each in held if not rules or _reached(each).intersection(rules)]
    rest = [each for each in held if each not in reaching]
    noticing = (
        partial(_by_cases, changed, (*reaching, *rest)),
        partial(_by_losses, changed, before),
        partial(_by_cases, changed, published().get(name, ()), elements=False),
        partial(_by_refusals, changed, refused().get(name, ())),
        partial(_by_configs, changed, _saying(reaching, mutant), _keys(before, changed, mutant)),
    )
    found = next((verdict for each in noticing if (verdict := each()) is not None), None)
    return found or Verdict("nobody" if reaching else "unreached")


def _by_cases(changed: m.Mapping, held: Sequence[Header], *, elements: bool = True) -> Verdict | None:
    found = (_compared(changed, header, way, elements=elements) for header in held for way in ways(header))
    return next((each for each in found if each is not None), None)


def _by_losses(changed: m.Mapping, before: m.Mapping) -> Verdict | None:
    for one, other in ((changed, before), (changed.inverse, before.inverse)):
        if [(each.kind, each.text) for each in losses.losses(one)] != [
            (each.kind, each.text) for each in losses.losses(other)
        ]:
            return Verdict("losses", way=one.sides[1].name)
    return None


def _by_refusals(changed: m.Mapping, held: Sequence[tuple[Header, str]]) -> Verdict | None:
    for header, slug in held:
        if slug not in _refusal(changed, header):
            return Verdict("plan", header.name, f"no {slug}", header.to)
    return None


def _saying(held: Sequence[Header], mutant: Mutant) -> list[Header]:
    """Return a few cases in which the lines of a config that a mutant changes say something."""
    found = [
        header
        for header in held
        if any(
            line.span.source.name == mutant.file
            and line.span.start < mutant.end
            and mutant.start < line.span.end
            and active(line.guards, way.leg.bound.known) is True
            for way in ways(header)
            for line in way.leg.bound.mapping.config
        )
    ]
    return [*found[:3], *(each for each in found[3:] if not recorded(each))] or list(held[:3])


def _by_configs(changed: m.Mapping, held: Sequence[Header], keys: tuple[str, ...]) -> Verdict | None:
    for header in held if keys else ():
        for way in ways(header):
            for said, expected in _expected(header.mapping, way, keys):
                if _outcome(changed, way, said) != expected:
                    return Verdict("config", header.name, "another config", way.to)
    return None


@cache
def _in_order(name: str) -> tuple[Header, ...]:
    """Return a mapping's cases, small ones first, and before all others those that reach a rule which none before them does."""
    left = sorted(
        (*cases()[name], *lopsided().get(name, ())),
        key=lambda each: sum(_size(shape) for _, shape in each.tensors.values()),
    )
    for header in tuple(left[:2]):
        both = ways(header)
        if len(both) == 2:
            left.extend(with_more(header, both[0].leg, both[1].leg))
    first: list[Header] = []
    seen: set[tuple[str, int, int]] = set()
    while left:
        best = max(left, key=lambda each: len(_reached(each) - seen))
        if not _reached(best) - seen:
            break
        first.append(best)
        seen |= _reached(best)
        left.remove(best)
    return (*first, *left)


def _compared(changed: m.Mapping, header: Header, way: Way, *, elements: bool = True) -> Verdict | None:
    try:
        leg = plan_leg(changed, way.to, way.tensors, way.config, way.settings)
    except (CheckpointError, MappingError) as error:
        return Verdict("plan", header.name, error.diagnostics[0].slug, way.to)
    wrong = _different(way.leg.tensors, leg.tensors)
    if wrong:
        return Verdict("tensors", header.name, wrong, way.to)
    if elements and not _same_steps(leg, way.leg):
        given, expected = _touchstone(way)
        try:
            made = run(leg, given, CODES)
        except Unequal as unequal:
            return Verdict("data", header.name, str(unequal), way.to)
        wrong = next((each for each in made if (made[each] != expected[each]).any()), "")
        if wrong:
            return Verdict("tensors", header.name, wrong, way.to)
    wrong = _different(way.leg.config, leg.config) or _different(forms(way.leg), forms(leg))
    if wrong:
        return Verdict("config", header.name, wrong, way.to)
    if _names(leg) != _names(way.leg):
        return Verdict("tensors", header.name, "what is dropped", way.to)
    return None


def _different(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the first name whose values differ; 0 and false do."""
    return next((each for each in {**one, **other} if repr(one.get(each, ...)) != repr(other.get(each, ...))), "")


def _keys(before: m.Mapping, changed: m.Mapping, mutant: Mutant) -> tuple[str, ...]:
    """List the config keys of the lines that a mutant changes."""
    lines = [
        line
        for line in before.config
        if line.span.source.name == mutant.file and line.span.start < mutant.end and mutant.start < line.span.end
    ]
    sides = [each for line in lines for each in (line.left, line.right) if each is not None]
    return tuple(dict.fromkeys(key for each in sides for key in names_in(each)))


def _other_configs(way: Way, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield a way's config without these keys, one by one and all, and with other values for them."""
    flat = {key: nested(way.config)(key) for key in keys}
    there = {key: value for key, value in flat.items() if not isinstance(value, Missing)}
    gone = deepcopy(dict(way.config))
    for key, value in there.items():
        without = deepcopy(dict(way.config))
        configs.nested_remove(without, key)
        yield without
        configs.nested_remove(gone, key)
        for other in _others(value):
            changed = deepcopy(dict(way.config))
            configs.nested_set(changed, key, other)
            yield changed
    yield gone
    for key in keys:
        if key not in there:
            for value in (1, 2, True, False, "none"):
                more = deepcopy(dict(way.config))
                try:
                    configs.nested_set(more, key, value)
                except TypeError:
                    continue
                yield more


@lru_cache(maxsize=64)
def _expected(name: str, way: Way, keys: tuple[str, ...]) -> tuple[tuple[Mapping[str, Any], object], ...]:
    """Return other configs of a way, and what the mapping makes of them."""
    return tuple((said, _outcome(original(name), way, said)) for said in _other_configs(way, keys))


def _others(value: Any) -> tuple[Any, ...]:
    match value:
        case bool():
            return (not value,)
        case int():
            return value + 1, [value], [0, value], [value, value + 1]
        case float():
            return (value + 1,)
        case str():
            return (f"{value}x",)
        case list() | tuple():
            return ([*value, *value],)
        case _:
            return (1,)


def _refusal(mapping: m.Mapping, header: Header) -> set[str]:
    """Return the findings that a model is refused with, none if it is taken."""
    try:
        plan_leg(mapping, header.to, header.tensors, header.config, header.set)
    except (CheckpointError, MappingError) as error:
        return {each.slug for each in error.diagnostics}
    return set()


def _outcome(mapping: m.Mapping, way: Way, said: Mapping[str, Any]) -> object:
    """Return what becomes of a way with this config: what is written, or what is wrong."""
    try:
        leg = plan_leg(mapping, way.to, way.tensors, said, way.settings)
    except (CheckpointError, MappingError) as error:
        return sorted({each.slug for each in error.diagnostics})
    steps = [(each.name, each.steps) for each in leg.lowered.drafts]
    return sorted(leg.tensors.items()), steps, sorted((key, repr(value)) for key, value in leg.config.items())


def _names(leg: Leg) -> list[str]:
    return sorted(name for _, names in leg.lowered.dropped for name in names)


def _same_steps(leg: Leg, other: Leg) -> bool:
    return (
        leg.lowered.inputs == other.lowered.inputs
        and [(each.name, each.steps) for each in leg.lowered.drafts]
        == [(each.name, each.steps) for each in other.lowered.drafts]
        and [(each.sizes, each.sources, each.formula, each.expected) for each in leg.lowered.verifications]
        == [(each.sizes, each.sources, each.formula, each.expected) for each in other.lowered.verifications]
    )


def _same(one: m.Mapping, other: m.Mapping) -> bool:
    fields = ("params", "indices", "lets", "derived", "sums", "requirements", "config", "rules", "sides")
    return all(getattr(one, field) == getattr(other, field) for field in fields)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size
