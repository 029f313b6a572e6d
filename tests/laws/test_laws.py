"""The laws of every mapping of the library: there and back is the identity, but for the losses that `check` lists; and every loss
that it lists is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from tensormap import library
from tensormap.diagnostics import CheckpointError
from tensormap.language import losses
from tensormap.language import mapping as m
from tensormap.lowering.plan import Copy, Region, Step
from tests.laws.cases import cases, refused
from tests.laws.headers import Header
from tests.laws.legs import loaded, plan_leg
from tests.laws.trips import Trip, account, cast, extended, recast, trips
from tests.laws.values import Arrays, Codes, codes, run

ONE_WAY = ("deepseek_v3/fp8", "gpt_oss/mxfp4")
"""Mappings that are read one way only."""


@pytest.mark.parametrize("name", [name for name in library.bundled() if name not in ONE_WAY])
def test_there_and_back(name: str) -> None:
    """Nothing differs that no declared loss accounts for, and every loss declared of a tensor accounts for a difference."""
    held = cases().get(name, ())
    assert held, "give it a parity case, and run `python -m tests.laws.record` with the peers"
    met: set[tuple[str, losses.Loss]] = set()
    used: set[tuple[str, losses.Loss]] = set()
    for trip in _all_trips(held):
        if trip is None:
            if met == used:
                break
            continue
        found = account(trip)
        assert not found.unexplained, f"{trip.name}: {len(found.unexplained)} differences, {found.unexplained[:5]}"
        side = trip.there.bound.mapping.sides[1].name
        met.update((side, loss) for loss in found.met if loss.kind != "not written")
        used.update((side, loss) for loss in found.used)
    assert not [f"to {side}: {loss.text}" for side, loss in sorted(met - used, key=str)]


def _all_trips(held: tuple[Header, ...]) -> Iterator[Trip | None]:
    """Yield the trips of a mapping, and None between those that are wanted and those that may show what is still unseen."""
    for header in held:
        yield from trips(header)
    yield from _telling(held[0])
    for header in held[1:]:
        yield None
        yield from _telling(header)


def _telling(header: Header) -> Iterator[Trip]:
    """Yield trips on which more losses show: with tensors that are dropped, and with wide and narrow numbers."""
    mapping = loaded(header.mapping)
    kinds = {loss.kind for turned in (mapping, mapping.inverse) for loss in losses.losses(turned)}
    if "dropped" in kinds:
        yield from extended(header)
    if "rounded" in kinds:
        for dtype in ("bfloat16", "float64"):
            yield from trips(cast(header, dtype))
        yield from recast(header, "float64")


@pytest.mark.parametrize("name", [name for name in library.bundled() if name not in ONE_WAY])
def test_what_is_not_written_is_dropped_the_other_way(name: str) -> None:
    mapping = loaded(name)
    for turned in (mapping, mapping.inverse):
        missing = {loss.span for loss in losses.losses(turned) if loss.kind == "not written"}
        assert missing <= {loss.span for loss in losses.losses(turned.inverse) if loss.kind == "dropped"}


@pytest.mark.parametrize("name", ONE_WAY)
def test_one_way(name: str) -> None:
    """A mapping that is not read backwards says so of every rule and is refused there. The way that there is loses nothing but what
    is listed: every other rule writes each element that it reads, and one that is listed as rounded computes.
    """
    mapping = loaded(name)
    told = {loss.span for loss in losses.losses(mapping.inverse)}
    assert told == {rule.span for rule in mapping.rules if rule.right and m.stored(rule.right)}
    assert {loss.kind for loss in losses.losses(mapping.inverse)} == {"one-way"}
    declared = {loss.span: loss.kind for loss in losses.losses(mapping)}
    assert set(declared.values()) == {"rounded"}
    for header in cases()[name]:
        leg = plan_leg(mapping, header.to, header.tensors, header.config, header.set)
        given = codes(header.tensors)
        made = run(leg, given, Codes())
        read = {draft.rule.span: (set[str](), set[str]()) for draft in leg.lowered.drafts}
        for draft in leg.lowered.drafts:
            sources, targets = read[draft.rule.span]
            targets.add(draft.name)
            sources.update(leg.lowered.inputs[each.tensor].name for step in draft.steps for each in _sources(step))
        assert {each for sources, _ in read.values() for each in sources} == set(header.tensors)
        computing = {
            span for span, (sources, targets) in read.items() if _elements(given, sources) != _elements(made, targets)
        }
        assert computing == set(declared)
        with pytest.raises(CheckpointError) as refused:
            plan_leg(mapping, header.here, leg.tensors, leg.config, header.back)
        assert {each.slug for each in refused.value.diagnostics} == {"one-way"}


@pytest.mark.parametrize("name", sorted(refused()))
def test_what_is_refused(name: str) -> None:
    for header, slug in refused()[name]:
        with pytest.raises(CheckpointError) as error:
            plan_leg(loaded(name), header.to, header.tensors, header.config, header.set)
        assert [each.slug for each in error.value.diagnostics] == [slug], header.name


def _sources(step: Step) -> tuple[Region, ...]:
    return (step.source,) if isinstance(step, Copy) else getattr(step, "sources", ())


def _elements(held: Arrays, names: Iterable[str]) -> list[int]:
    return sorted(each for name in names for each in held[name].reshape(-1).tolist())
