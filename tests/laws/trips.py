"""There and back: what a checkpoint is after both ways of a mapping, and which declared losses account for what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tensormap.diagnostics import CheckpointError, MappingError
from tensormap.language import losses
from tensormap.language import mapping as m
from tensormap.lowering.instances import Instances
from tensormap.lowering.plan import Compute, Copy
from tests.laws.headers import Header
from tests.laws.legs import Leg, back_settings, loaded, plan_leg, there_and_back
from tests.laws.values import Arrays, Elements, elements, freed, run


@dataclass(frozen=True, slots=True)
class Trip:
    """A checkpoint's tensors before and after, and the way there."""

    name: str
    there: Leg
    given: Arrays
    returned: Arrays


@dataclass(frozen=True, slots=True)
class Account:
    """What differs after a trip: differences that no declared loss accounts for; the losses declared of the tensors that are
    there, and those that account for a difference.
    """

    unexplained: tuple[str, ...]
    met: frozenset[losses.Loss]
    used: frozenset[losses.Loss]


def trips(header: Header) -> Iterator[Trip]:
    """Yield the trips of a case: from its own side, from the other, and from its own with all that some rule would drop."""
    there, back = there_and_back(header)
    if back is None:
        return
    again = plan_leg(loaded(header.mapping), header.to, back.tensors, back.config, header.set)
    yield trip(f"{header.name}, from {header.here}", there, back)
    yield trip(f"{header.name}, from {header.to}", back, again)


def extended(header: Header) -> Iterator[Trip]:
    """Yield the trips of a case with every tensor beside its own that a rule drops, or checks and leaves out."""
    mapping = loaded(header.mapping)
    there = plan_leg(mapping, header.to, header.tensors, header.config, header.set)
    settings = back_settings(header.set, header.back)
    try:
        back = plan_leg(mapping, header.here, there.tensors, there.config, settings)
    except CheckpointError:
        return
    for each in with_more(header, there, back):
        one = plan_leg(mapping, each.to, each.tensors, each.config, each.set)
        other = plan_leg(mapping, each.here, one.tensors, one.config, each.back)
        yield trip(f"{each.name}, from {each.here}", one, other)


def with_more(header: Header, there: Leg, back: Leg) -> Iterator[Header]:
    """Yield a case from both sides with every tensor beside its own that a rule drops, or checks and leaves out."""
    settings = back_settings(header.set, header.back)
    for leg, turned in (
        (there, replace(header, back=settings)),
        (
            back,
            replace(header, here=header.to, to=header.here, set=settings, back=header.set, config=back.bound.config),
        ),
    ):
        found = _left_out(leg)
        if found:
            name = f"{header.name}-with-{len(found)}-more"
            yield replace(turned, name=name, tensors={**_tensors(leg), **found})


def cast(header: Header, wanted: str) -> Header:
    """Return a case whose floating-point tensors are all of one dtype: casts to a narrower one show in a wide one, casts to the
    dtype of most tensors in a narrow one.
    """
    tensors = {
        name: (wanted if dtype in ("float32", "bfloat16", "float16") else dtype, shape)
        for name, (dtype, shape) in header.tensors.items()
    }
    return replace(header, name=f"{header.name}-{wanted}", tensors=tensors)


def recast(header: Header, wanted: str) -> Iterator[Trip]:
    """Yield the trip from the other side, with all tensors of one dtype that something is made of."""
    mapping = loaded(header.mapping)
    there = plan_leg(mapping, header.to, header.tensors, header.config, header.set)
    settings = back_settings(header.set, header.back)
    moved = _moved(plan_leg(mapping, header.here, there.tensors, there.config, settings))
    wide = cast(replace(header, tensors=there.tensors), wanted).tensors
    tensors = {name: wide[name] if name in moved else said for name, said in there.tensors.items()}
    back = plan_leg(mapping, header.here, tensors, there.config, settings)
    again = plan_leg(mapping, header.to, back.tensors, back.config, header.set)
    yield trip(f"{header.name}, from {header.to} in {wanted}", back, again)


def trip(name: str, there: Leg, back: Leg) -> Trip:
    """Take a checkpoint of random elements there and back."""
    kind = Elements()
    given = freed(there, elements(_tensors(there), 1, _computed(there) | _recomputed(there, back)), kind)
    return Trip(name, there, given, run(back, run(there, given, kind), kind))


def _tensors(leg: Leg) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (each.dtype, each.shape) for name, each in leg.bound.catalog.tensors.items()}


def _moved(leg: Leg) -> frozenset[str]:
    """List the tensors that something is made of; others are checked, and made anew on the way back."""
    return frozenset(
        leg.lowered.inputs[source.tensor].name
        for draft in leg.lowered.drafts
        for step in draft.steps
        for source in ((step.source,) if isinstance(step, Copy) else getattr(step, "sources", ()))
    )


def _computed(leg: Leg) -> frozenset[str]:
    """List the tensors whose numbers count, since they are computed with or cast."""
    found: set[str] = set()
    for draft in leg.lowered.drafts:
        for step in draft.steps:
            sources = (step.source,) if isinstance(step, Copy) else step.sources if isinstance(step, Compute) else ()
            for source in sources:
                read = leg.lowered.inputs[source.tensor]
                if isinstance(step, Compute) or read.dtype != leg.tensors[draft.name][0]:
                    found.add(read.name)
    return frozenset(found)


def _recomputed(there: Leg, back: Leg) -> frozenset[str]:
    """List the tensors of which something is made that the way back computes with."""
    wanted = _computed(back)
    return frozenset(
        there.lowered.inputs[source.tensor].name
        for draft in there.lowered.drafts
        if draft.name in wanted
        for step in draft.steps
        for source in ((step.source,) if isinstance(step, Copy) else getattr(step, "sources", ()))
    )


def _left_out(leg: Leg) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the tensors that the source may hold beside its own, and that rules drop or check and leave out."""
    instances = Instances(leg.bound)
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    held = leg.bound.catalog.tensors
    for rule in leg.bound.rules:
        checked = rule.optional and rule.right and not m.stored(rule.right)
        if (rule.right and not checked) or rule.arrow == "<-":
            continue
        for tensor in m.stored(rule.left):
            for name, place in instances.family(rule, tensor.template):
                shown = name.replace("*", "x")
                if shown not in held:
                    found[shown] = _shape_of(rule, tensor, instances, place)
    return found


def _shape_of(
    rule: m.Rule, tensor: m.Tensor, instances: Instances, place: Mapping[str, int]
) -> tuple[str, tuple[int, ...]]:
    content = rule.right[0].content if rule.right else None
    if isinstance(content, m.Generated):
        from tensormap.lowering import formulas, generator_shapes

        try:
            numbers = tuple(formulas.number(each, instances.known, dict(place)) for each in content.arguments)
        except MappingError:  # its own shape says how large it is
            numbers = (4,) * len(content.arguments)
        return generator_shapes.dtype(content.name), generator_shapes.shape(content.name, numbers)
    try:
        return "float32", instances.shape(tensor.layout, (3,), place)
    except CheckpointError:  # nothing says how long an axis is of what is dropped unseen
        return "float32", tuple(2 for _ in tensor.layout.axes)


def account(each: Trip) -> Account:
    """Compare before and after, and lay every difference at the door of a declared loss of the way there."""
    declared = _declared(each.there)
    unexplained: list[str] = []
    used: set[losses.Loss] = set()
    for name in dict.fromkeys((*each.given, *each.returned)):
        before, after = each.given.get(name), each.returned.get(name)
        if before is None:
            unexplained.append(f"`{name}` is new")
            continue
        if after is None:
            kinds: tuple[str, ...] = ("dropped", "one-way")
        elif (before.dtype, before.shape) == (after.dtype, after.shape) and before.tobytes() == after.tobytes():
            continue
        else:
            kinds = ("padded",) if before.shape != after.shape else ("reduced", "rounded", "zeroed")
        found = [loss for loss in declared.get(name, ()) if loss.kind in kinds]
        used.update(found)
        if not found:
            unexplained.append(f"`{name}` is {'missing' if after is None else 'different'}")
    met = frozenset(loss for name in each.given for loss in declared.get(name, ()))
    return Account(tuple(unexplained), met, frozenset(used))


def _declared(leg: Leg) -> dict[str, tuple[losses.Loss, ...]]:
    """Return the declared losses of every source tensor: of the rule that reads it, and of those that read what that makes."""
    instances = Instances(leg.bound)
    reading: dict[str, list[m.Rule]] = {}
    for rule in leg.bound.rules:
        for tensor in m.stored(rule.left):
            if tensor.template.virtual:
                reading.setdefault(_family(tensor), []).append(rule)
    found: dict[str, tuple[losses.Loss, ...]] = {}
    listed = set(losses.losses(leg.bound.mapping))
    for rule in leg.bound.rules:
        all_of = [rule]
        for each in all_of:
            for tensor in m.stored(each.right):
                if tensor.template.virtual:
                    all_of.extend(more for more in reading.get(_family(tensor), ()) if more not in all_of)
        mine = tuple(loss for each in all_of for loss in losses.of_rule(leg.bound.mapping, each) if loss in listed)
        for tensor in m.stored(rule.left):
            for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
                for name, _ in instances.family(rule, template):
                    found[name.replace("*", "x")] = (*found.get(name, ()), *mine)
    return found


def _family(tensor: m.Tensor) -> str:
    return "".join(part if isinstance(part, str) else "#" for part in tensor.template.parts)
