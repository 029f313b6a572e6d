"""One pair of blocks at work: its sources at given positions, turned into steps that write, or into verifications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.language.inverse import invertible
from tensormap.language.layout import REST, Block, Place, Rest
from tensormap.language.layout import size as axis_size
from tensormap.language.pairing import Pair, TermBlock, block_atoms
from tensormap.lowering import formulas, plan
from tensormap.lowering.boxes import Boxed, Form, Placed, box, row_major
from tensormap.lowering.compose import Axis, Box, intersect
from tensormap.lowering.draft import Draft, Virtual, count_of, offset_at
from tensormap.lowering.instances import rest_of
from tensormap.lowering.instances import where as place_of

if TYPE_CHECKING:
    from tensormap.lowering.lower import Lowering

ULPS = 2
"""How far a stored generated tensor may be from ours: both round a power and a division once each."""


_Operand: TypeAlias = "plan.Region | tuple[Virtual, Placed, Map[str, int]]"
_Spot: TypeAlias = tuple[int, tuple[int, ...]]


class _Seen(NamedTuple):
    """What a steady pair made of its sources: the target's shape and dtype, the boxes, how many elements they fill, and with which
    formula; None where it only moves them.
    """

    shape: tuple[int, ...]
    dtype: str | None
    boxes: tuple[Boxed, ...]
    covered: int
    formula: plan.Formula | None


class Writer:
    """One pair of blocks of a rule: finds its sources at given positions and turns them into steps.

    `target` None means that the right side is a constant or a generator, against which the left side is verified.
    """

    def __init__(self, run: Lowering, rule: m.Rule, target: m.Tensor | None, content: m.Content, each: Pair) -> None:
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
            self.inner: tuple[str, ...] = tuple(dict.fromkeys((*mine, *_uneven(each))))
            self.reduced = ()
        else:
            uneven = [name for name in _uneven(each) if name not in mine]  # steps differ from one position to the next
            self.inner = tuple(name for name in (*mine, *uneven) if name not in own and name not in reduced)
        spread = [name for name, how in rule.replicated if how == "sum" and name in right_atoms]
        self.spread = tuple(name for name in spread if name not in block_atoms(each.left, left))
        self.formatters = [run.at.formatter(tensor.template) for tensor in self.tensors]
        self.fixed = tuple(dict.fromkeys((*own, *mine, *self.inner, *reduced)))
        self.cache: dict[object, tuple[Boxed, ...]] = {}
        moving = self._moving()
        self.ragged = tuple(name for name in self.fixed if name in moving)
        self.virtual = tuple(tensor.template.virtual for tensor in self.tensors)
        self.to_virtual = target is not None and target.template.virtual
        self.expected: set[tuple[int, tuple[int, ...]]] = set()
        self.shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.seen: dict[object, _Seen] = {}
        self.call = left.call if isinstance(left, m.Stored) else None
        self.width = 1 if self.call is not None else len(self.tensors)
        self.formula: m.Formula = left.formula if isinstance(left, m.Stored) and self.call is None else m.Operand(0)
        self.explicit = target is not None and target.dtype is not None
        self.direct = not self.reduced and not any(self.virtual) and not any(tensor.aliases for tensor in self.tensors)
        self.plain = self.steady = False
        if isinstance(left, m.Stored) and isinstance(content, m.Stored):
            self.plain = isinstance(left.formula, m.Operand) and isinstance(content.formula, m.Operand)
            self.steady = (
                (self.plain or not any(formulas.moving(each.formula, run.bound.mapping) for each in (left, content)))
                and not self.reduced
                and not self.spread
                and not self.to_virtual
                and not any(self.virtual)
                and self.call is None
            )

        self.lone = self.steady and self.direct and not self.inner
        """Whether one tensor is made of these sources and nothing else."""

    # --- sources ----------------------------------------------------------------------------------------------------

    def _replicas(self, place: Map[str, int]) -> list[dict[str, int]]:
        names = [name for name, _ in self.reduced if name in self.run.bound.mapping.indices or name in self._axes()]
        ranges = [range(self._count(name, self.pair.left, self.left)) for name in names]
        return [{**place, **dict(zip(names, chosen, strict=True))} for chosen in product(*ranges)]

    def _axes(self) -> dict[str, object]:
        return dict(block_atoms(self.pair.left, self.left))

    def _count(self, name: str, block: TermBlock, content: m.Content) -> int:
        """Return how many positions an index or an atom of a block has."""
        if name in self.run.bound.mapping.indices:
            return self.run.at.count(name)
        atom = block_atoms(block, content)[name]
        assert atom is not None
        return self.run.at.number(atom.size)

    def sources(self, place: dict[str, int]) -> tuple[list[TensorInfo | Virtual | None], list[tuple[m.Tensor, str]]]:
        """Return the tensors read at these positions, replica by replica, and those that are not there."""
        if self.direct:
            there = self.there(place)
            if there is not None:
                return there, []
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
                    info = self.run.find(self.rule, tensor, name, each)
                    if info is not None:
                        self.run.account.claim(info.name, self.rule)
                if info is None:
                    lacking.append((tensor, name))
                found.append(info)
        return found, lacking

    def there(self, place: Map[str, int]) -> list[TensorInfo | Virtual | None] | None:
        """Return the tensors read at these positions by a direct pair, claimed; None where one is not there."""
        tensors = self.run.bound.catalog.tensors
        found: list[TensorInfo | Virtual | None] = []
        for write in self.formatters:
            info = tensors.get(write(place))
            if info is None:
                return None
            found.append(info)
        for each in found:
            assert each is not None
            self.run.account.claim(each.name, self.rule)
        return found

    # --- steps ------------------------------------------------------------------------------------------------------

    def add(self, draft: Draft, place: dict[str, int], sources: list[TensorInfo | Virtual | None]) -> bool:
        """Add this pair's steps at these positions to a draft; False where shapes do not fit."""
        run, target = self.run, self.target
        assert target is not None
        if self.steady and self.again(draft, place, sources):
            return True
        places = self._replicas(place) if self.reduced else [place]
        per = self.width
        rest = self._rest(sources, places)
        if rest is None:
            return False
        if self.call is not None:
            sources = self._called(self.call, sources, places)
        generated = self._generated(place)
        shape = self._target_shape(target, rest, place)
        if generated is not None and any(isinstance(axis, Rest) for axis in target.layout.axes):
            rest = rest_of(target.layout, run.inputs[generated].shape) or ()
            shape = run.at.shape(target.layout, rest, place)
        if draft.shape != shape and draft.steps:
            message = f"what `{draft.name}` is made of does not fit together: it would be {list(draft.shape)} and {list(shape)}"
            run.account.findings.append(Diagnostic("shape-mismatch", message, (Label(self.rule.span),)))
            return False
        draft.shape = shape
        self._settle_dtype(draft, target, sources, generated)
        if self.to_virtual:
            run.virtuals.setdefault(draft.name, Virtual(draft.name, shape, draft.dtype, self.rule))
        boxes = self._boxes(sources, places, rest, shape, generated)
        if self.steady:
            covered = sum(each.elements for each in boxes)
            self.seen[self._form(draft, place, sources)] = _Seen(
                shape, draft.dtype, boxes, covered, self._steadily(place)
            )
            return self.again(draft, place, sources)
        for boxed in boxes:
            draft.covered += boxed.elements
            self._steps(draft, boxed, place, places, sources, per, generated)
        return True

    def again(self, draft: Draft, place: Map[str, int], sources: Sequence[TensorInfo | Virtual | None]) -> bool:
        """Add the steps of a steady pair that has had sources of this form before, as all but one of many have. False where it has
        not, or where something does not fit, which is said elsewhere.
        """
        seen = self.seen.get(self._form(draft, place, sources))
        if seen is None or (draft.steps and (draft.shape != seen.shape or draft.dtype != seen.dtype)):
            return False
        draft.shape, draft.dtype, boxes, covered, formula = seen
        draft.covered += covered
        ids, first, steps = self.run.ids, draft.first, draft.steps
        numbers: list[int] = []
        for info in sources:
            assert info is not None
            number = ids.get(info.name)
            if number is None:
                assert isinstance(info, TensorInfo)
                number = self.run.input_of(info)
            if number < first:
                first = draft.first = number
            numbers.append(number)
        for sizes, parts, _ in boxes:
            regions: list[plan.Region] = []
            (start, to, moves), *rest = parts
            for name, step in moves:
                start += step * place[name]
            for number, (offset, strides, moves) in zip(numbers, rest, strict=True):
                for name, step in moves:
                    offset += step * place[name]
                regions.append(plan.Region(number, offset, strides))
            if formula is None:
                steps.append((sizes, regions[0], start, to))
            else:
                self._emit(draft, sizes, regions, formula, plan.Region(0, start, to))
        return True

    def _form(self, draft: Draft, place: Map[str, int], sources: Sequence[TensorInfo | Virtual | None]) -> object:
        """Return all that decides what a steady pair makes of its sources, but for where they lie."""
        if len(sources) == 1 and not self.ragged:
            info = sources[0]
            assert isinstance(info, TensorInfo)
            return not draft.steps, info.dtype, info.shape, info.strides
        form: list[object] = [not draft.steps, *(place[name] for name in self.ragged)]
        for info in sources:
            assert isinstance(info, TensorInfo)
            form += info.dtype, info.shape, info.strides
        return tuple(form)

    def _steadily(self, place: Map[str, int]) -> plan.Formula | None:
        """Return the formula of a pair for which it is the same at all positions; None where elements only move."""
        if self.plain:
            return None
        assert isinstance(self.content, m.Stored)
        formula = formulas.forward(self.formula, self.run.known, place)
        return formulas.backward(self.content.formula, formula, self.run.known, place)

    def _called(
        self, name: str, sources: list[TensorInfo | Virtual | None], places: Sequence[Map[str, int]]
    ) -> list[TensorInfo | Virtual | None]:
        """Return, for each replica, the tensor that an extern makes of its arguments."""
        assert isinstance(self.left, m.Stored)
        assert self.left.output is not None
        count = len(self.tensors)
        made: list[TensorInfo | Virtual | None] = []
        for k, place in enumerate(places):
            arguments = [info for info in sources[k * count : (k + 1) * count] if isinstance(info, TensorInfo)]
            if len(arguments) != count:
                raise CheckpointError(
                    Diagnostic("virtual-arithmetic", f"`{name}` cannot take a virtual tensor", (Label(self.rule.span),))
                )
            shape = self.run.at.shape(self.left.output, (), place)
            made.append(self.run.called(name, tuple(arguments), shape))
        return made

    def _target_shape(self, target: m.Tensor, rest: tuple[int, ...], place: Map[str, int]) -> tuple[int, ...]:
        if target.layout is REST:
            return rest
        if self.ragged:
            return self.run.at.shape(target.layout, rest, place)
        if rest not in self.shapes:
            self.shapes[rest] = self.run.at.shape(target.layout, rest, place)
        return self.shapes[rest]

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
            if self.ragged or (k % count, info.shape) not in self.expected:
                if not self.run.expected(tensor, info, places[k // count]):
                    fits = False
                    continue
                self.expected.add((k % count, info.shape))
            if tensor.layout is REST:
                rest = info.shape
            elif any(isinstance(axis, Rest) for axis in tensor.layout.axes):
                rest = rest_of(tensor.layout, info.shape) or ()
        return rest if fits else None

    def _generated(self, place: Map[str, int]) -> int | None:
        if not isinstance(self.left, m.Generated):
            return None
        known = self.run.known
        arguments = tuple(formulas.number(each, known, place) for each in self.left.arguments)
        return self.run.generator(self.left.name, arguments, self.rule)

    def _settle_dtype(
        self, draft: Draft, target: m.Tensor, sources: list[TensorInfo | Virtual | None], generated: int | None
    ) -> None:
        if target.dtype is not None:
            draft.dtype = target.dtype
            return
        for k, info in enumerate(sources):
            if info is None or info.dtype is None or self.tensors[k % self.width].dtype is not None:
                continue  # `as` says how its own side stores it: on this side it has the dtype of most weights
            if draft.dtype is None:
                draft.dtype = info.dtype
            elif draft.dtype != info.dtype and self.width == 1:
                self.run.account.findings.append(
                    Diagnostic(
                        "mixed-dtypes",
                        f"`{draft.name}` is made of tensors of different dtypes: {draft.dtype} and {info.dtype}",
                        (Label(self.rule.span),),
                        (f"`{info.name}` is {info.dtype}",),
                        ("say which it shall be: `as float32` behind the tensor",),
                    )
                )
                return
            if self.width > 1:
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
                blocks.append(self.pair.left.operands[k % self.width])
                forms.append(Form(info.shape, own))
            if generated is not None:
                blocks.append(None)
                forms.append(None)
            self.cache[key] = box(blocks, forms, self.pair.right.operands[0], rest, self.fixed, self.run.known, place)
        return self.cache[key]

    def _moving(self) -> frozenset[str]:
        """Return the indices at whose positions a tensor of this pair has another shape, or its blocks another place."""
        known = self.run.known
        layouts = [tensor.layout for tensor in self.tensors] + ([self.target.layout] if self.target is not None else [])
        axes = [axis for layout in layouts for axis in layout.axes if not isinstance(axis, Rest)]
        sizes = [axis_size(axis) for axis in axes]
        for block in (*self.pair.left.operands, *self.pair.right.operands):
            sizes += [size for axis in block.axes for size in (axis.size, axis.offset)]
        for place in _places(self.pair):
            sizes += [place.stride, place.atom.size]
        return frozenset().union(*map(known.moving, sizes), _uneven(self.pair), _grouped(self.pair))

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
        target = plan.Region(0, offset_at(boxed.parts[0], place), boxed.parts[0].strides)
        content = self.content
        assert isinstance(content, m.Stored)
        if isinstance(self.left, m.Fixed):
            value: int | float = 0
            if self.left.value is not None:
                value = formulas.number(self.left.value, known, place)
            if not isinstance(content.formula, m.Operand):
                raise CheckpointError(
                    Diagnostic("not-invertible", "arithmetic on a constant", (Label(self.rule.span),))
                )
            self._emit(draft, boxed.sizes, [], plan.Scalar(value), target)
            return
        operands: list[_Operand] = []
        for k, info in enumerate(sources):
            part = boxed.parts[1 + k]
            where = places[k // per]
            if isinstance(info, Virtual):
                operands.append((info, part, where))
            else:
                assert info is not None
                number = run.input_of(info)
                draft.first = min(draft.first, number)
                operands.append(plan.Region(number, offset_at(part, where), part.strides))
        if generated is not None:
            operands.append(plan.Region(generated, boxed.parts[-1].offset, boxed.parts[-1].strides))
            formula: plan.Formula = plan.Operand(0)
        else:
            assert isinstance(self.left, m.Stored)
            operands = self._distinct(boxed, operands, places, per)
            formula = self._reduce(self.formula, place, len(operands) // per, per)
        formula = formulas.backward(content.formula, formula, known, place)
        for name in self.spread:
            if (count := self._count(name, self.pair.right, content)) > 1:
                whole_shares(draft.name, draft.dtype, self.rule)
                formula = plan.Function("/", (formula, plan.Scalar(count)))
        if not all(isinstance(each, plan.Region) for each in operands):
            self._compose(draft, boxed, operands, formula, target)
            return
        regions = [each for each in operands if isinstance(each, plan.Region)]
        self._emit(draft, boxed.sizes, regions, formula, target)

    def _distinct(
        self, boxed: Boxed, operands: list[_Operand], places: Sequence[Map[str, int]], per: int
    ) -> list[_Operand]:
        """Leave out the replicas that must be equal to another, which is verified, and those behind the first where it counts."""
        kept: list[_Operand] = []
        seen: dict[tuple[int, ...], int] = {}
        for number, place in enumerate(places):
            if any(how == "first" and place[name] for name, how in self.reduced):
                continue
            key = tuple(place[name] for name, how in self.reduced if how != "equal")
            base = seen.setdefault(key, number)
            mine = operands[number * per : (number + 1) * per]
            if base == number:
                kept.extend(mine)
            else:
                self._verify_replica(boxed, mine, operands[base * per : (base + 1) * per])
        return kept

    def _reduce(self, formula: m.Formula, place: Map[str, int], count: int, per: int) -> plan.Formula:
        one = formulas.forward(formula, self.run.known, place)
        hows = {how for _, how in self.reduced} - {"equal", "first"}
        if count == 1 or not hows:
            return one
        if len(hows) > 1:
            raise CheckpointError(
                Diagnostic("replicated-two-ways", "replicas are merged in two ways at once", (Label(self.rule.span),))
            )
        return plan.Function(hows.pop(), tuple(formulas.shift(one, k * per) for k in range(count)))

    def _verify_replica(self, boxed: Boxed, replica: Sequence[_Operand], base: Sequence[_Operand]) -> None:
        where = place_of(self.rule)
        for one, first in zip(replica, base, strict=True):
            if one == first:
                continue
            for sizes, mine, (there,) in self._stored(boxed.sizes, one, (_spot(first),)):
                moved = plan.Region(first.tensor, *there) if isinstance(first, plan.Region) else first
                for met, expected, (here,) in self._stored(sizes, moved, ((mine.offset, mine.strides),), there):
                    region = plan.Region(mine.tensor, *here)
                    self.run.verifications.append(plan.Verify(met, (region,), plan.Operand(0), expected, where))

    def _stored(
        self, sizes: tuple[int, ...], operand: _Operand, along: tuple[_Spot, ...], spot: _Spot | None = None
    ) -> Iterator[tuple[tuple[int, ...], plan.Region, tuple[_Spot, ...]]]:
        """Yield the pieces of stored tensors that an operand is made of, each with its part of what goes `along` with it. `spot`
        says where to read a virtual operand, if not all of it.
        """
        if isinstance(operand, plan.Region):
            yield sizes, operand, along
            return
        offset, strides = spot or _spot(operand)
        payload = tuple(start for start, _ in along)
        axes = [Axis(size, strides[k], tuple(each[k] for _, each in along)) for k, size in enumerate(sizes)]
        read = Box(offset, payload, tuple(axis for axis in axes if axis.stride))
        for piece, tensors, inner in operand[0].pieces:
            for meeting in intersect(piece, read):
                if not isinstance(inner, plan.Operand) or any(axis.stride == 0 for axis in axes):
                    message = "replicas of a virtual tensor that is computed or repeated cannot be compared"
                    raise CheckpointError(Diagnostic("virtual-arithmetic", message, (Label(self.rule.span),)))
                start, steps = meeting.one
                mine = tuple(step[inner.index] for step in steps)
                origin, moves = meeting.other
                spots = tuple((origin[k], tuple(move[k] for move in moves)) for k in range(len(along)))
                yield meeting.sizes, plan.Region(tensors[inner.index], start[inner.index], mine), spots

    def _emit(
        self,
        draft: Draft,
        sizes: tuple[int, ...],
        regions: Sequence[plan.Region],
        formula: plan.Formula,
        target: plan.Region,
    ) -> None:
        if self.to_virtual:
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
        operands: Sequence[_Operand],
        formula: plan.Formula,
        target: plan.Region,
    ) -> None:
        """Replace a virtual operand by the pieces that it was made of."""
        at = [k for k, each in enumerate(operands) if not isinstance(each, plan.Region)]
        virtual = operands[at[0]]
        if len(at) != 1 or isinstance(virtual, plan.Region):
            raise CheckpointError(
                Diagnostic(
                    "virtual-arithmetic",
                    "two virtual tensors cannot be combined in one formula",
                    (Label(self.rule.span),),
                )
            )
        held, part, where = virtual
        moving = [target, *(each for each in operands if isinstance(each, plan.Region))]
        axes = [
            Axis(size, part.strides[k], tuple(region.strides[k] for region in moving))
            for k, size in enumerate(boxed.sizes)
        ]
        still = [axis for axis in axes if axis.stride == 0]  # the virtual tensor is repeated along these
        origin = tuple(region.offset for region in moving)
        read = Box(offset_at(part, where), origin, tuple(axis for axis in axes if axis.stride))
        filled = 0
        for piece, tensors, inner in held.pieces:
            for meeting in intersect(piece, read):
                sizes = (*(axis.size for axis in still), *meeting.sizes)
                regions = [
                    plan.Region(
                        tensor,
                        meeting.one[0][k],
                        (*(0 for _ in still), *(payload[k] for payload in meeting.one[1])),
                    )
                    for k, tensor in enumerate(tensors)
                ]
                spots = [
                    plan.Region(
                        region.tensor,
                        meeting.other[0][k],
                        (*(axis.payload[k] for axis in still), *(payload[k] for payload in meeting.other[1])),
                    )
                    for k, region in enumerate(moving)
                ]
                numbers = iter(range(len(tensors), len(tensors) + len(operands)))
                values = tuple(inner if k == at[0] else plan.Operand(next(numbers)) for k in range(len(operands)))
                whole = formulas.substitute(formula, values)
                draft.first = min(draft.first, *tensors, draft.first)
                filled += count_of(sizes)
                self._emit(draft, sizes, [*regions, *spots[1:]], whole, spots[0])
        if filled != count_of(boxed.sizes):
            draft.covered += filled - count_of(boxed.sizes)

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
            number = run.generator(content.name, arguments, self.rule)
            value: plan.Formula = plan.Operand(0)
            if info.dtype is not None and BY_NAME[info.dtype].kind == "float":
                ulps = ULPS
        else:
            assert isinstance(content, m.Fixed)
            assert content.value is not None
            number = -1
            value = plan.Scalar(formulas.number(content.value, run.known, place))
        own = info.strides if isinstance(info, TensorInfo) and info.strides else row_major(info.shape)
        block = self.pair.left.operands[0]
        constant = isinstance(content, m.Fixed)
        blocks: list[Block | None] = [block] if constant else [block, None]
        forms: list[Form | None] = [Form(info.shape, own)] if constant else [Form(info.shape, own), None]
        for boxed in box(blocks, forms, block, rest, self.fixed, run.known, place):
            formula = formulas.backward(self.left.formula, value, run.known, place)
            stored = boxed.parts[0]
            sources_of: tuple[plan.Region, ...] = ()
            if not constant:
                if count_of(boxed.sizes) != count_of(run.inputs[number].shape):
                    run.account.findings.append(
                        Diagnostic(
                            "shape-mismatch",
                            f"`{info.name}` has {count_of(boxed.sizes)} elements here, and "
                            f"`{run.inputs[number].name}` makes {count_of(run.inputs[number].shape)}",
                            (Label(self.rule.span),),
                        )
                    )
                    return
                sources_of = (plan.Region(number, boxed.parts[1].offset, boxed.parts[1].strides),)
            where = place_of(self.rule)
            if isinstance(info, Virtual):
                self._verify_virtual(info, boxed, stored, place, sources_of, formula, where, ulps)
                continue
            expected = plan.Region(run.input_of(info), offset_at(stored, place), stored.strides)
            run.verifications.append(plan.Verify(boxed.sizes, sources_of, formula, expected, where, ulps))

    def _verify_virtual(
        self,
        held: Virtual,
        boxed: Boxed,
        stored: Placed,
        place: Map[str, int],
        sources: tuple[plan.Region, ...],
        formula: plan.Formula,
        where: str,
        ulps: int,
    ) -> None:
        read = Box(
            offset_at(stored, place),
            tuple(each.offset for each in sources),
            tuple(
                Axis(size, stored.strides[k], tuple(each.strides[k] for each in sources))
                for k, size in enumerate(boxed.sizes)
            ),
        )
        for piece, tensors, inner in held.pieces:
            for meeting in intersect(piece, read):
                if not isinstance(inner, plan.Operand):
                    if inner == formula:
                        continue  # the same constant on both sides
                    message = "a virtual tensor that is computed cannot be compared with what a rule says it holds"
                    raise CheckpointError(Diagnostic("virtual-arithmetic", message, (Label(self.rule.span),)))
                expected = plan.Region(
                    tensors[inner.index], meeting.one[0][inner.index], tuple(p[inner.index] for p in meeting.one[1])
                )
                spots = tuple(
                    plan.Region(each.tensor, meeting.other[0][k], tuple(p[k] for p in meeting.other[1]))
                    for k, each in enumerate(sources)
                )
                self.run.verifications.append(plan.Verify(meeting.sizes, spots, formula, expected, where, ulps))


def whole_shares(name: str, dtype: str | None, rule: m.Rule) -> None:
    """Refuse to write equal shares as whole numbers, which have none."""
    if dtype is not None and BY_NAME[dtype].kind in ("integer", "unsigned", "bool"):
        message = f"`{name}` would be a share of `{dtype}`, and whole numbers have no equal shares"
        raise CheckpointError(Diagnostic("integer-shares", message, (Label(rule.span, "added up when read"),)))


def _spot(operand: _Operand) -> _Spot:
    """Return where an operand begins in its tensor, and its strides there."""
    if isinstance(operand, plan.Region):
        return operand.offset, operand.strides
    _, part, place = operand
    return offset_at(part, place), part.strides


def _places(each: Pair) -> Iterator[Place]:
    for block in (*each.left.operands, *each.right.operands):
        for axis in block.axes:
            yield from axis.places


def _uneven(each: Pair) -> tuple[str, ...]:
    """List the indices of a pair at whose positions what stands behind them has different sizes."""
    return tuple(dict.fromkeys(place.atom.name for place in _places(each) if place.ragged))


def _grouped(each: Pair) -> tuple[str, ...]:
    """List the atoms of which several positions share one element somewhere."""
    return tuple(dict.fromkeys(place.atom.name for place in _places(each) if place.per > 1))
