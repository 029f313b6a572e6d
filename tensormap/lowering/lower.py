"""From bound equations to steps: every tensor that is written, and the boxes and formulas that fill it.

Claims every source tensor, and reports in one go what is missing, claimed twice, left over, or of the wrong shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping as Map, Sequence
from dataclasses import dataclass, field
from itertools import product

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.language.inverse import invertible
from tensormap.language.layout import REST, Block, Layout, Rest, size as axis_size
from tensormap.language.names import Template, formatter
from tensormap.language.pairing import Pair, TermBlock, block_atoms, pair
from tensormap.language.polynomial import Polynomial
from tensormap.lowering import coverage, formulas, generator_shapes, plan
from tensormap.lowering.bind import Bound
from tensormap.lowering.state import position_names
from tensormap.lowering.boxes import Boxed, Form, Placed, box, row_major
from tensormap.lowering.compose import Axis, Box, intersect

ULPS = 2
"""How far a stored generated tensor may be from ours: both round a power and a division once each."""


@dataclass(slots=True)
class Draft:
    """A tensor that will be written: `steps` have targets whose tensor number is not settled yet (0)."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    explicit: bool
    steps: list[plan.Step]
    rule: m.Rule
    first: int  # the first source tensor it needs, for order on disk
    covered: int = 0


@dataclass(slots=True)
class Virtual:
    """A tensor between two equations: pieces in its flat row of elements."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    pieces: list[tuple[Box, tuple[int, ...], plan.Formula]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lowered:
    inputs: tuple[plan.Input, ...]
    drafts: tuple[Draft, ...]
    verifications: tuple[plan.Verify, ...]
    dropped: tuple[tuple[str, tuple[str, ...]], ...]  # (rule, names)


def lower(bound: Bound, *, dtype: str | None = None) -> Lowered:
    """Return every written tensor with its steps. CheckpointError lists all that does not fit."""
    run = _Lowering(bound, dtype)
    pending = list(bound.rules)
    while pending:
        ready = [rule for rule in pending if not run.waits(rule, pending)]
        if not ready:
            span = pending[0].span
            raise CheckpointError(
                Diagnostic("virtual-cycle", "virtual tensors depend on each other in a circle", (Label(span),))
            )
        for rule in ready:
            run.rule(rule)
        pending = [rule for rule in pending if rule not in ready]
    return run.finish()


class _Lowering:
    """One run; holds what has been claimed and drafted so far."""

    def __init__(self, bound: Bound, dtype: str | None) -> None:
        self.bound = bound
        self.known = bound.known
        self.dtype = dtype
        self.inputs: list[plan.Input] = []
        self.ids: dict[str, int] = {}
        self.claims: dict[str, int] = {}
        self.drafts: dict[str, Draft] = {}
        self.virtuals: dict[str, Virtual] = {}
        self.verifications: list[plan.Verify] = []
        self.dropped: list[tuple[str, tuple[str, ...]]] = []
        self.findings: list[Diagnostic] = []
        self.missing: dict[int, list[tuple[m.Tensor, str]]] = {}
        self.guard_cache: dict[tuple[int, tuple[int, ...]], bool] = {}
        self.guards: dict[int, tuple[tuple[m.Guard, tuple[str, ...]], ...]] = {}

    # --- order ------------------------------------------------------------------------------------------------------

    def waits(self, rule: m.Rule, pending: Sequence[m.Rule]) -> bool:
        """Say whether a rule reads a virtual tensor that a pending rule still makes."""
        wanted = {_family(tensor.template) for tensor in _stored(rule.left) if tensor.template.virtual}
        if not wanted:
            return False
        made = {_family(t.template) for other in pending for t in _stored(other.right) if t.template.virtual}
        return bool(wanted & made)

    # --- one rule ---------------------------------------------------------------------------------------------------

    def rule(self, rule: m.Rule) -> None:
        if not rule.left and rule.arrow == "<-":
            return  # what the other direction drops is not produced by this one
        if not rule.right:
            self._drop(rule)
            return
        if rule.arrow == "<-":
            self._backwards(rule)
            return
        if not rule.left:
            return
        pairs = pair(rule)
        for position, term in enumerate(rule.right):
            mine = [each for each in pairs if each.right.term == position]
            if isinstance(term.content, m.Stored):
                if rule.optional and not _stored(rule.left):
                    continue  # an optional tensor that nothing asks for is not written
                self._write(rule, term, mine)
            else:
                self._check(rule, term, mine)

    def _drop(self, rule: m.Rule) -> None:
        for tensor in _stored(rule.left):
            if tensor.template.wild:
                continue  # what is left at the end
            names: list[str] = []
            for name, _ in self._family(rule, tensor.template):
                if name in self.bound.catalog.tensors and self._claim(name, rule):
                    names.append(name)
            if names:
                self.dropped.append((self._where(rule), tuple(names)))

    def _backwards(self, rule: m.Rule) -> None:
        present = [
            name
            for tensor in _stored(rule.left)
            if not tensor.template.virtual
            for name, _ in self._family(rule, tensor.template)
            if name in self.bound.catalog.tensors
        ]
        if present:
            self.findings.append(
                Diagnostic(
                    "one-way",
                    f"this rule cannot be read backwards, and the source holds `{present[0]}`",
                    (Label(rule.span, "one-way"),),
                    (f"{len(present)} tensors of the source are its targets",) if len(present) > 1 else (),
                )
            )
            for name in present:
                self._claim(name, rule)

    def _family(self, rule: m.Rule, template: Template) -> Iterator[tuple[str, dict[str, int]]]:
        """Yield every name of a template with its positions, where the rule's conditions hold."""
        write = self._formatter(template)
        for place in self._places(template.indices):
            if self._holds(rule, place):
                yield write(place), place

    def _formatter(self, template: Template) -> Callable[[Map[str, int]], str]:
        known = self.known
        sizes = {index: self._count(index, {}) for index in template.indices if self._flat(index)}
        return formatter(template, _Sizes(sizes), self._number, self._before_number)

    def _flat(self, index: str) -> bool:
        return self.bound.mapping.indices[index].of is None

    def _before_number(self, index: str, inner: Polynomial, position: int) -> int:
        value = self.known.before(index, inner, position)
        assert value is not None
        return value

    def _number(self, polynomial: Polynomial) -> int:
        value = self.known.size(polynomial)
        assert value is not None, str(polynomial)
        return value

    def _count(self, index: str, positions: Map[str, int]) -> int:
        value = self.known.count(index, positions)
        if value is None:
            raise CheckpointError(Diagnostic("underdetermined", f"nothing says how many `{index}` there are"))
        return max(value, 0)

    def _places(self, indices: Sequence[str], fixed: Map[str, int] | None = None) -> Iterator[dict[str, int]]:
        """Yield every combination of positions, an index whose size depends on another behind that one."""
        start = dict(fixed or {})
        wanted = [index for index in indices if index not in start]
        if not wanted:
            yield start
            return
        if all(self._flat(index) for index in wanted):
            ranges = [range(self._count(index, {})) for index in wanted]
            for chosen in product(*ranges):
                place = dict(start)
                place.update(zip(wanted, chosen, strict=True))
                yield place
            return
        ordered = sorted(wanted, key=lambda index: not self._flat(index))

        def grow(k: int, place: dict[str, int]) -> Iterator[dict[str, int]]:
            if k == len(ordered):
                yield dict(place)
                return
            for position in range(self._count(ordered[k], place)):
                place[ordered[k]] = position
                yield from grow(k + 1, place)
            place.pop(ordered[k], None)

        yield from grow(0, start)

    def _guards(self, rule: m.Rule) -> tuple[tuple[m.Guard, tuple[str, ...]], ...]:
        """List the conditions of a rule that depend on positions, with the indices they depend on."""
        if rule.number not in self.guards:
            found = ((guard, position_names(guard, self.bound.mapping)) for guard in rule.guards)
            self.guards[rule.number] = tuple(each for each in found if each[1])
        return self.guards[rule.number]

    def _holds(self, rule: m.Rule, place: Map[str, int]) -> bool:
        """Say whether the conditions of a rule hold at these positions."""
        for guard, needed in self._guards(rule):
            if any(name not in place for name in needed):
                continue
            key = (guard.scope * 2 + guard.negated, tuple(place[name] for name in needed))
            if key not in self.guard_cache:
                value = self.known.evaluate(guard.condition, {name: place[name] for name in needed})
                self.guard_cache[key] = bool(value) != guard.negated
            if not self.guard_cache[key]:
                return False
        return True

    # --- sources ----------------------------------------------------------------------------------------------------

    def _where(self, rule: m.Rule) -> str:
        source = rule.span.source
        return f"{source.name}:{source.text.count(chr(10), 0, rule.span.start) + 1}"

    def _claim(self, name: str, rule: m.Rule) -> bool:
        held = self.claims.setdefault(name, rule.number)
        if held == rule.number:
            return True
        other = next(each for each in self.bound.mapping.rules if each.number == held)
        self.findings.append(
            Diagnostic(
                "claimed-twice",
                f"two rules read `{name}`",
                (Label(rule.span, "this one"), Label(other.span, "and this one", False)),
            )
        )
        return False

    def _input(self, info: TensorInfo) -> int:
        if info.name not in self.ids:
            self.ids[info.name] = len(self.inputs)
            self.inputs.append(
                plan.Input(info.name, info.dtype, info.shape, info.file, info.offset, info.strides)
            )
        return self.ids[info.name]

    def _generator(self, name: str, arguments: tuple[int | float, ...], rule: m.Rule) -> int:
        key = f"{name}{arguments}"
        if key not in self.ids:
            try:
                shape = generator_shapes.shape(name, arguments)
            except (ValueError, KeyError) as error:
                raise CheckpointError(Diagnostic("wrong-arguments", str(error), (Label(rule.span),))) from None
            self.ids[key] = len(self.inputs)
            generator = plan.Generator(name, arguments)
            self.inputs.append(
                plan.Input(key, generator_shapes.dtype(name), shape, -1, 0, None, generator)
            )
        return self.ids[key]

    def _find(self, rule: m.Rule, tensor: m.Tensor, name: str, place: Map[str, int]) -> TensorInfo | None:
        """Return the stored tensor of this name or of one of its aliases; those that are there as well must be equal."""
        tensors = self.bound.catalog.tensors
        info = tensors.get(name)
        if not tensor.aliases:
            return info
        for alias in tensor.aliases:
            other = tensors.get(self._formatter(alias.template)(place))
            if other is None or (info is not None and other.name == info.name):
                continue
            if info is None:
                info = other
                continue
            if self.claims.get(other.name) == rule.number:
                continue
            self._claim(other.name, rule)
            if other.shape != info.shape or other.dtype != info.dtype:
                self.findings.append(
                    Diagnostic(
                        "tied-differ",
                        f"`{info.name}` and `{other.name}` are one tensor here, but have different shapes or dtypes",
                        (Label(tensor.span),),
                        (_describe(info), _describe(other)),
                    )
                )
                continue
            whole = tuple(info.shape)
            sources = (plan.Region(self._input(other), 0, other.strides or row_major(whole)),)
            expected = plan.Region(self._input(info), 0, info.strides or row_major(whole))
            self.verifications.append(
                plan.Verify(whole, sources, plan.Operand(0), expected, self._where(rule))
            )
        return info

    def _shape(self, layout: Layout, rest: tuple[int, ...], place: Map[str, int]) -> tuple[int, ...]:
        shape: list[int] = []
        for axis in layout.axes:
            if isinstance(axis, Rest):
                shape.extend(rest)
                continue
            value = self.known.size(axis_size(axis), place)
            if value is None:
                raise CheckpointError(
                    Diagnostic("underdetermined", "a size is not determined", (Label(layout.span),) if layout.span else ())
                )
            shape.append(value)
        return tuple(shape)

    def _expected(self, rule: m.Rule, tensor: m.Tensor, info: TensorInfo, place: Map[str, int]) -> bool:
        rest = _rest_of(tensor.layout, info.shape)
        if rest is None:
            wanted = f"{len(tensor.layout.axes)} axes"
        else:
            shape = self._shape(tensor.layout, rest, place)
            if shape == info.shape:
                return True
            wanted = str(list(shape))
        self.findings.append(
            Diagnostic(
                "shape-mismatch",
                f"`{info.name}` is {list(info.shape)}, and this layout makes it {wanted}",
                (Label(tensor.layout.span or tensor.span, wanted),),
            )
        )
        return False

    # --- writing ----------------------------------------------------------------------------------------------------

    def _write(self, rule: m.Rule, term: m.Term, pairs: list[Pair]) -> None:
        content = term.content
        assert isinstance(content, m.Stored)
        target = content.tensors[0]
        if len(content.tensors) != 1 or not invertible(content.formula):
            self.findings.append(
                Diagnostic("not-invertible", "this side cannot be solved for one tensor", (Label(term.span),))
            )
            return
        writers = [_Writer(self, rule, target, content, each) for each in pairs]
        write = self._formatter(target.template)
        extra = [
            (self._formatter(alias.template), alias.maybe) for alias in target.aliases
        ]
        untied = self._untied() if extra else False
        for place in self._places(target.template.indices):
            if not self._holds(rule, place):
                continue
            name = write(place)
            draft = self._draft(rule, target, name, place, writers)
            if draft is None:
                continue
            for format_alias, maybe in extra:
                if not maybe or untied:
                    other = format_alias(place)
                    self.drafts[other] = Draft(
                        other, draft.shape, draft.dtype, draft.explicit, list(draft.steps), rule, draft.first, draft.covered
                    )

    def _untied(self) -> bool:
        """Say whether the written side's config says that tied names are stored apart."""
        values = self.known.values
        if "untied" in values:
            return bool(values["untied"])
        return "tied" in values and not values["tied"]

    def _draft(
        self, rule: m.Rule, target: m.Tensor, name: str, place: dict[str, int], writers: Sequence[_Writer]
    ) -> Draft | None:
        virtual = target.template.virtual
        held = self.virtuals.get(name) if virtual else self.drafts.get(name)
        if held is not None and (not virtual or getattr(held, "rule", rule) is not rule):
            other = self.drafts[name].rule if name in self.drafts else rule
            self.findings.append(
                Diagnostic(
                    "written-twice",
                    f"two rules write `{name}`",
                    (Label(rule.span, "this one"), Label(other.span, "and this one", False)),
                )
            )
            return None
        absent: list[tuple[m.Tensor, str]] = []
        found = 0
        ready: list[tuple[_Writer, dict[str, int], list[TensorInfo | Virtual | None]]] = []
        for writer in writers:
            for inner in self._places(writer.inner, place):
                if not self._holds(rule, inner):
                    continue
                sources, lacking = writer.sources(inner)
                absent.extend(lacking)
                found += len(sources) - len(lacking)
                if not lacking:
                    ready.append((writer, inner, sources))
        if absent:
            if not rule.optional or found:
                self.missing.setdefault(rule.number, []).extend(absent)
            return None
        if not ready:
            return None
        draft = Draft(name, (), None, target.dtype is not None, [], rule, 1 << 62)
        for writer, inner, sources in ready:
            if not writer.add(draft, inner, sources):
                return None
        if virtual:
            return None
        total = 1
        for size in draft.shape:
            total *= size
        if draft.covered != total:
            self.findings.append(
                Diagnostic(
                    "incomplete",
                    f"the rules fill {draft.covered} of the {total} elements of `{name}`",
                    (Label(target.span, "written here"),),
                )
            )
            return None
        self.drafts[name] = draft
        return draft

    # --- constants and generators that the source must agree with ---------------------------------------------------

    def _check(self, rule: m.Rule, term: m.Term, pairs: list[Pair]) -> None:
        for each in pairs:
            left = rule.left[each.left.term].content
            if not isinstance(left, m.Stored):
                continue
            writer = _Writer(self, rule, None, term.content, each)
            for inner in self._places(writer.inner):
                if not self._holds(rule, inner):
                    continue
                sources, lacking = writer.sources(inner)
                if lacking:
                    if not rule.optional or len(lacking) < len(sources):
                        self.missing.setdefault(rule.number, []).extend(lacking)
                    continue
                writer.verify(inner, sources)

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> Lowered:
        leftover = [name for name in self.bound.catalog.tensors if name not in self.claims]
        leftover = coverage.drop_wild(self.bound.rules, leftover, self.dropped, self._where, self._family)
        self.findings.extend(coverage.missing(self.missing, self.bound))
        self.findings.extend(coverage.unclaimed(leftover, self.bound))
        if self.findings:
            raise CheckpointError(list(dict.fromkeys(self.findings)))
        return Lowered(tuple(self.inputs), tuple(self.drafts.values()), tuple(self.verifications), tuple(self.dropped))


class _Sizes(dict[str, int]):
    """Sizes of indices; those that depend on another have none of their own."""


def _stored(terms: Sequence[m.Term]) -> list[m.Tensor]:
    return [tensor for term in terms if isinstance(term.content, m.Stored) for tensor in term.content.tensors]


def _family(template: Template) -> str:
    return "".join(part if isinstance(part, str) else "#" for part in template.parts)


def _describe(info: TensorInfo) -> str:
    return f"{info.name} is {info.dtype} {list(info.shape)}"


def _rest_of(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the sizes that `...` stands for in this shape; None where the ranks do not fit."""
    at = next((k for k, axis in enumerate(layout.axes) if isinstance(axis, Rest)), None)
    if at is None:
        return () if len(shape) == len(layout.axes) else None
    count = len(shape) - (len(layout.axes) - 1)
    return shape[at : at + count] if count >= 0 else None


class _Writer:
    """One pair of blocks of a rule: finds its sources at given positions and turns them into steps.

    `target` None means that the right side is a constant or a generator, against which the left side is verified.
    """

    def __init__(self, run: _Lowering, rule: m.Rule, target: m.Tensor | None, content: m.Content, each: Pair) -> None:
        self.run = run
        self.rule = rule
        self.target = target
        self.content = content
        self.pair = each
        left = rule.left[each.left.term].content
        self.left = left
        self.tensors: tuple[m.Tensor, ...] = left.tensors if isinstance(left, m.Stored) else ()
        own = target.template.indices if target is not None else ()
        mine = list(dict.fromkeys(index for tensor in self.tensors for index in tensor.template.indices))
        right_atoms = block_atoms(each.right, content)
        self.reduced = tuple(
            (name, how)
            for name, how in rule.replicated
            if name not in right_atoms and name in block_atoms(each.left, left)
        )
        reduced = {name for name, _ in self.reduced}
        if target is None:  # everything on the left is looked at, replicas too
            self.inner: tuple[str, ...] = tuple(mine)
            self.reduced = ()
        else:
            self.inner = tuple(name for name in mine if name not in own and name not in reduced)
        spread = [name for name, how in rule.replicated if how == "sum" and name in right_atoms]
        self.spread = tuple(name for name in spread if name not in block_atoms(each.left, left))
        self.formatters = [run._formatter(tensor.template) for tensor in self.tensors]
        self.fixed = tuple(dict.fromkeys((*own, *mine, *reduced)))
        self.cache: dict[object, tuple[Boxed, ...]] = {}
        self.ragged = tuple(name for name in self.fixed if self._is_ragged_parent(name))
        self.virtual = tuple(tensor.template.virtual for tensor in self.tensors)
        self.to_virtual = target is not None and target.template.virtual
        self.expected: set[tuple[int, tuple[int, ...]]] = set()
        self.shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.plain = (
            isinstance(left, m.Stored)
            and isinstance(content, m.Stored)
            and isinstance(left.formula, m.Operand)
            and isinstance(content.formula, m.Operand)
            and not self.reduced
            and not self.spread
            and not self.to_virtual
            and not any(self.virtual)
        )

    # --- sources ----------------------------------------------------------------------------------------------------

    def _replicas(self, place: Map[str, int]) -> list[dict[str, int]]:
        names = [name for name, _ in self.reduced if name in self.run.bound.mapping.indices or name in self._axes()]
        ranges = [range(self._replica_count(name)) for name in names]
        return [{**place, **dict(zip(names, chosen, strict=True))} for chosen in product(*ranges)]

    def _axes(self) -> dict[str, object]:
        return dict(block_atoms(self.pair.left, self.left))

    def _replica_count(self, name: str) -> int:
        if name in self.run.bound.mapping.indices:
            return self.run._count(name, {})
        atom = block_atoms(self.pair.left, self.left)[name]
        assert atom is not None
        return self.run._number(atom.size)

    def sources(self, place: dict[str, int]) -> tuple[list[TensorInfo | Virtual | None], list[tuple[m.Tensor, str]]]:
        """Return the tensors read at these positions, replica by replica, and those that are not there."""
        found: list[TensorInfo | Virtual | None] = []
        lacking: list[tuple[m.Tensor, str]] = []
        places = self._replicas(place) if self.reduced else [place]
        for each in places:
            for tensor, write, virtual in zip(self.tensors, self.formatters, self.virtual, strict=True):
                name = write(each)
                info: TensorInfo | Virtual | None
                if virtual:
                    info = self.run.virtuals.get(name)
                else:
                    info = self.run._find(self.rule, tensor, name, each)
                    if info is not None:
                        self.run._claim(info.name, self.rule)
                if info is None:
                    lacking.append((tensor, name))
                found.append(info)
        return found, lacking

    # --- steps ------------------------------------------------------------------------------------------------------

    def add(self, draft: Draft, place: dict[str, int], sources: list[TensorInfo | Virtual | None]) -> bool:
        """Add this pair's steps at these positions to a draft; False where shapes do not fit."""
        run, target = self.run, self.target
        assert target is not None
        places = self._replicas(place) if self.reduced else [place]
        per = len(self.tensors)
        rest = self._rest(sources, places)
        if rest is None:
            return False
        generated = self._generated(place)
        shape = self._target_shape(target, rest, place)
        if generated is not None and any(isinstance(axis, Rest) for axis in target.layout.axes):
            rest = _rest_of(target.layout, run.inputs[generated].shape) or ()
            shape = run._shape(target.layout, rest, place)
        if draft.shape not in ((), shape) and draft.steps:
            return False
        draft.shape = shape
        self._settle_dtype(draft, target, sources, generated)
        if self.to_virtual:
            run.virtuals.setdefault(draft.name, Virtual(draft.name, shape, draft.dtype))
        for boxed in self._boxes(sources, places, rest, shape, generated):
            draft.covered += boxed.count
            if self.plain:
                info = sources[0]
                assert isinstance(info, TensorInfo)
                self._copy(draft, boxed, place, info)
            else:
                self._steps(draft, boxed, place, places, sources, per, generated)
        return True

    def _target_shape(self, target: m.Tensor, rest: tuple[int, ...], place: Map[str, int]) -> tuple[int, ...]:
        if target.layout is REST:
            return rest
        if self.ragged:
            return self.run._shape(target.layout, rest, place)
        if rest not in self.shapes:
            self.shapes[rest] = self.run._shape(target.layout, rest, place)
        return self.shapes[rest]

    def _copy(self, draft: Draft, boxed: Boxed, place: Map[str, int], info: TensorInfo) -> None:
        """Add the step of a pair that only moves one tensor's elements: most pairs are of this kind."""
        number = self.run._input(info)
        if number < draft.first:
            draft.first = number
        to, source = boxed.parts
        draft.steps.append(
            plan.Copy(
                boxed.sizes,
                plan.Region(number, _offset(source, place), source.strides),
                plan.Region(0, _offset(to, place), to.strides),
            )
        )

    def _rest(
        self, sources: list[TensorInfo | Virtual | None], places: Sequence[Map[str, int]]
    ) -> tuple[int, ...] | None:
        rest: tuple[int, ...] = ()
        count = len(self.tensors)
        fits = True
        for k, info in enumerate(sources):
            tensor = self.tensors[k % count]
            if info is None:
                continue
            if isinstance(info, TensorInfo) and (self.ragged or (k % count, info.shape) not in self.expected):
                if not self.run._expected(self.rule, tensor, info, places[k // count]):
                    fits = False
                    continue
                self.expected.add((k % count, info.shape))
            if tensor.layout is REST:
                rest = info.shape
            elif any(isinstance(axis, Rest) for axis in tensor.layout.axes):
                rest = _rest_of(tensor.layout, info.shape) or ()
        return rest if fits else None

    def _generated(self, place: Map[str, int]) -> int | None:
        if not isinstance(self.left, m.Generated):
            return None
        known = self.run.known
        arguments = tuple(formulas.number(each, known, place) for each in self.left.arguments)
        return self.run._generator(self.left.name, arguments, self.rule)

    def _settle_dtype(
        self, draft: Draft, target: m.Tensor, sources: list[TensorInfo | Virtual | None], generated: int | None
    ) -> None:
        if target.dtype is not None:
            draft.dtype = target.dtype
            return
        for info in sources:
            if info is None or info.dtype is None:
                continue
            if draft.dtype is None:
                draft.dtype = info.dtype
            elif draft.dtype != info.dtype and len(self.tensors) == 1:
                self.run.findings.append(
                    Diagnostic(
                        "mixed-dtypes",
                        f"`{draft.name}` is made of tensors of different dtypes: {draft.dtype} and {info.dtype}",
                        (Label(self.rule.span),),
                        (f"`{info.name}` is {info.dtype}",),
                        ("say which it shall be: `as float32` behind the tensor",),
                    )
                )
                return
            if len(self.tensors) > 1:
                break
        if draft.dtype is None and generated is not None:
            own = self.run.inputs[generated].dtype
            if BY_NAME[own].kind != "float":  # floating ones take the dtype that the model's weights have
                draft.dtype = own

    def _boxes(
        self,
        sources: list[TensorInfo | Virtual | None],
        places: Sequence[Map[str, int]],
        rest: tuple[int, ...],
        shape: tuple[int, ...],
        generated: int | None,
    ) -> tuple[Boxed, ...]:
        """Return the boxes of this pair: the written tensor first, then each tensor of each replica."""
        place = places[0]
        strides = tuple(info.strides if isinstance(info, TensorInfo) else None for info in sources)
        ragged = tuple(place.get(name) for name in self.ragged)
        key = (rest, shape, strides, ragged)
        if key not in self.cache:
            blocks: list[Block | None] = [self.pair.right.operands[0]]
            forms: list[Form | None] = [Form(shape, row_major(shape))]
            for k, info in enumerate(sources):
                assert info is not None
                own = info.strides if isinstance(info, TensorInfo) and info.strides else row_major(info.shape)
                blocks.append(self.pair.left.operands[k % len(self.tensors)])
                forms.append(Form(info.shape, own))
            if generated is not None:
                blocks.append(None)
                forms.append(None)
            self.cache[key] = box(
                blocks, forms, self.pair.right.operands[0], rest, self.fixed, self.run.known, place
            )
        return self.cache[key]

    def _is_ragged_parent(self, name: str) -> bool:
        mapping = self.run.bound.mapping
        return any(index.of == name for index in mapping.indices.values()) or any(
            inner == name for inner, _ in mapping.sums.values()
        ) or any(f"[{name}]" in atom for atom in block_atoms(self.pair.right, self.content))

    def _steps(
        self,
        draft: Draft,
        boxed: Boxed,
        place: Map[str, int],
        places: Sequence[Map[str, int]],
        sources: list[TensorInfo | Virtual | None],
        per: int,
        generated: int | None,
    ) -> None:
        run = self.run
        known = run.known
        target = plan.Region(0, _offset(boxed.parts[0], place), boxed.parts[0].strides)
        virtual = self.to_virtual
        content = self.content
        assert isinstance(content, m.Stored)
        if isinstance(self.left, m.Fixed):
            value: int | float = 0
            if self.left.value is not None:
                value = formulas.number(self.left.value, known, place)
            if not isinstance(content.formula, m.Operand):
                raise CheckpointError(Diagnostic("not-invertible", "arithmetic on a constant", (Label(self.rule.span),)))
            self._emit(draft, boxed.sizes, [], plan.Scalar(value), target, virtual)
            return
        operands: list[plan.Region | tuple[Virtual, Placed, Map[str, int]]] = []
        for k, info in enumerate(sources):
            part = boxed.parts[1 + k]
            where = places[k // per]
            if isinstance(info, Virtual):
                operands.append((info, part, where))
            else:
                assert info is not None
                number = run._input(info)
                draft.first = min(draft.first, number)
                operands.append(plan.Region(number, _offset(part, where), part.strides))
        if generated is not None:
            operands.append(plan.Region(generated, boxed.parts[-1].offset, boxed.parts[-1].strides))
            formula: plan.Formula = plan.Operand(0)
        else:
            assert isinstance(self.left, m.Stored)
            formula = self._reduce(self.left.formula, place, len(places), per)
        formula = formulas.backward(content.formula, formula, known, place)
        for name in self.spread:
            formula = plan.Function("/", (formula, plan.Scalar(run._count(name, {}))))
        if len(places) > 1 and all(how == "equal" for _, how in self.reduced):
            self._verify_replicas(boxed, operands, places, per)
            operands = operands[:per]
        elif self.reduced and all(how == "first" for _, how in self.reduced):
            operands = operands[:per]
        if any(isinstance(each, tuple) for each in operands):
            self._compose(draft, boxed, operands, formula, target, virtual)
            return
        regions = [each for each in operands if isinstance(each, plan.Region)]
        self._emit(draft, boxed.sizes, regions, formula, target, virtual)

    def _reduce(self, formula: m.Formula, place: Map[str, int], count: int, per: int) -> plan.Formula:
        one = formulas.forward(formula, self.run.known, place)
        hows = {how for _, how in self.reduced}
        if count == 1 or hows <= {"equal", "first"}:
            return one
        if len(hows - {"equal", "first"}) > 1:
            raise CheckpointError(
                Diagnostic("replicated-two-ways", "replicas are merged in two ways at once", (Label(self.rule.span),))
            )
        how = "sum" if "sum" in hows else "mean"
        return plan.Function(how, tuple(formulas.shift(one, k * per) for k in range(count)))

    def _verify_replicas(
        self,
        boxed: Boxed,
        operands: Sequence[plan.Region | tuple[Virtual, Placed, Map[str, int]]],
        places: Sequence[Map[str, int]],
        per: int,
    ) -> None:
        for k in range(per, len(operands)):
            one, first = operands[k], operands[k % per]
            if isinstance(one, plan.Region) and isinstance(first, plan.Region):
                if one == first:
                    continue
                self.run.verifications.append(
                    plan.Verify(boxed.sizes, (one,), plan.Operand(0), first, self.run._where(self.rule))
                )

    def _emit(
        self,
        draft: Draft,
        sizes: tuple[int, ...],
        regions: Sequence[plan.Region],
        formula: plan.Formula,
        target: plan.Region,
        virtual: bool,
    ) -> None:
        if virtual:
            held = self.run.virtuals[draft.name]
            axes = tuple(
                Axis(size, target.strides[k], tuple(region.strides[k] for region in regions))
                for k, size in enumerate(sizes)
            )
            piece = Box(target.offset, tuple(region.offset for region in regions), axes)
            held.pieces.append((piece, tuple(region.tensor for region in regions), formula))
            return
        if isinstance(formula, plan.Scalar):
            draft.steps.append(plan.Fill(sizes, formula.value, target))
        elif isinstance(formula, plan.Operand):
            draft.steps.append(plan.Copy(sizes, regions[formula.index], target))
        else:
            draft.steps.append(plan.Compute(sizes, tuple(regions), formula, target))

    def _compose(
        self,
        draft: Draft,
        boxed: Boxed,
        operands: Sequence[plan.Region | tuple[Virtual, Placed, Map[str, int]]],
        formula: plan.Formula,
        target: plan.Region,
        virtual: bool,
    ) -> None:
        """Replace a virtual operand by the pieces that it was made of."""
        if len(operands) != 1 or not isinstance(operands[0], tuple):
            raise CheckpointError(
                Diagnostic(
                    "virtual-arithmetic",
                    "a virtual tensor cannot be combined with another tensor in one formula",
                    (Label(self.rule.span),),
                )
            )
        held, part, where = operands[0]
        read = Box(
            _offset(part, where),
            (target.offset,),
            tuple(Axis(size, part.strides[k], (target.strides[k],)) for k, size in enumerate(boxed.sizes)),
        )
        filled = 0
        for piece, tensors, inner in held.pieces:
            for meeting in intersect(piece, read):
                regions = [
                    plan.Region(
                        tensor,
                        meeting.one[0][k],
                        tuple(payload[k] for payload in meeting.one[1]),
                    )
                    for k, tensor in enumerate(tensors)
                ]
                for tensor in tensors:
                    draft.first = min(draft.first, tensor)
                spot = plan.Region(0, meeting.other[0][0], tuple(payload[0] for payload in meeting.other[1]))
                whole = formulas.substitute(formula, (inner,)) if not isinstance(inner, plan.Scalar) else (
                    inner if isinstance(formula, plan.Operand) else formulas.substitute(formula, (inner,))
                )
                filled += _count(meeting.sizes)
                self._emit(draft, meeting.sizes, regions, whole, spot, virtual)
        if filled != _count(boxed.sizes):
            draft.covered += filled - _count(boxed.sizes)

    # --- verification -----------------------------------------------------------------------------------------------

    def verify(self, place: dict[str, int], sources: list[TensorInfo | Virtual | None]) -> None:
        """The right side is no tensor: what the left holds must agree with it."""
        run = self.run
        content = self.content
        if isinstance(content, m.Fixed) and content.value is None:
            return
        assert isinstance(self.left, m.Stored)
        rest = self._rest(sources, [place])
        if rest is None:
            return
        if len(sources) != 1 or not invertible(self.left.formula):
            raise CheckpointError(
                Diagnostic("not-invertible", "this cannot be verified against a constant", (Label(self.rule.span),))
            )
        info = sources[0]
        assert info is not None
        ulps = 0
        if isinstance(content, m.Generated):
            arguments = tuple(formulas.number(each, run.known, place) for each in content.arguments)
            number = run._generator(content.name, arguments, self.rule)
            ulps = ULPS
        else:
            assert isinstance(content, m.Fixed)
            assert content.value is not None
            value = formulas.number(content.value, run.known, place)
            number = run._generator("full", (value, 1), self.rule)
        own = info.strides if isinstance(info, TensorInfo) and info.strides else row_major(info.shape)
        block = self.pair.left.operands[0]
        constant = isinstance(content, m.Fixed)
        blocks: list[Block | None] = [block] if constant else [block, None]
        forms: list[Form | None] = [Form(info.shape, own)] if constant else [Form(info.shape, own), None]
        for boxed in box(blocks, forms, block, rest, self.fixed, run.known, place):
            formula = formulas.backward(self.left.formula, plan.Operand(0), run.known, place)
            stored = boxed.parts[0]
            if constant:
                source = plan.Region(number, 0, (0,) * len(boxed.sizes))
            else:
                if _count(boxed.sizes) != _count(run.inputs[number].shape):
                    run.findings.append(
                        Diagnostic(
                            "shape-mismatch",
                            f"`{info.name}` has {_count(boxed.sizes)} elements here, and "
                            f"`{run.inputs[number].name}` makes {_count(run.inputs[number].shape)}",
                            (Label(self.rule.span),),
                        )
                    )
                    return
                source = plan.Region(number, boxed.parts[1].offset, boxed.parts[1].strides)
            where = run._where(self.rule)
            if isinstance(info, Virtual):
                self._verify_virtual(info, boxed, stored, place, source, formula, where, ulps)
                continue
            expected = plan.Region(run._input(info), _offset(stored, place), stored.strides)
            run.verifications.append(plan.Verify(boxed.sizes, (source,), formula, expected, where, ulps))

    def _verify_virtual(
        self,
        held: Virtual,
        boxed: Boxed,
        stored: Placed,
        place: Map[str, int],
        source: plan.Region,
        formula: plan.Formula,
        where: str,
        ulps: int,
    ) -> None:
        read = Box(
            _offset(stored, place),
            (source.offset,),
            tuple(Axis(size, stored.strides[k], (source.strides[k],)) for k, size in enumerate(boxed.sizes)),
        )
        for piece, tensors, inner in held.pieces:
            if not isinstance(inner, plan.Operand):
                continue
            for meeting in intersect(piece, read):
                expected = plan.Region(
                    tensors[inner.index], meeting.one[0][inner.index], tuple(p[inner.index] for p in meeting.one[1])
                )
                spot = plan.Region(source.tensor, meeting.other[0][0], tuple(p[0] for p in meeting.other[1]))
                self.run.verifications.append(
                    plan.Verify(meeting.sizes, (spot,), formula, expected, where, ulps)
                )


def _offset(part: Placed, place: Map[str, int]) -> int:
    if not part.coefficients:
        return part.offset
    offset = part.offset
    for name, coefficient in part.coefficients:
        offset += coefficient * place[name]
    return offset


def _count(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


__all__ = ["BY_NAME", "Draft", "Lowered", "TermBlock", "Virtual", "lower"]
