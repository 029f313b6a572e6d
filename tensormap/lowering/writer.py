"""One pair of blocks at work: its sources at given positions, turned into steps that write."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.language.layout import REST, Block, Rest
from tensormap.language.pairing import Pair, block_atoms
from tensormap.lowering import formulas, plan
from tensormap.lowering.boxes import Boxed, Form, box, row_major
from tensormap.lowering.compose import Axis, Box
from tensormap.lowering.draft import Draft, Virtual, count_of, offset_at
from tensormap.lowering.instances import rest_of
from tensormap.lowering.movement import moving, uneven
from tensormap.lowering.operands import Operand, composed
from tensormap.lowering.reads import Reads
from tensormap.lowering.replicas import Reduced, distinct, merge, whole_shares

if TYPE_CHECKING:
    from tensormap.lowering.lower import Lowering


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
        self.reduced: Reduced = tuple(
            (name, how)
            for name, how in rule.replicated
            if name not in right_atoms and name in block_atoms(each.left, left)
        )
        reduced = {name for name, _ in self.reduced}
        if target is None:  # everything on the left is looked at, replicas too
            self.inner: tuple[str, ...] = tuple(dict.fromkeys((*mine, *uneven(each))))
            self.reduced = ()
        else:
            others = [name for name in uneven(each) if name not in mine]  # steps differ from one position to the next
            self.inner = tuple(name for name in (*mine, *others) if name not in own and name not in reduced)
        spread = [name for name, how in rule.replicated if how == "sum" and name in right_atoms]
        self.spread = tuple(name for name in spread if name not in block_atoms(each.left, left))
        self.fixed = tuple(dict.fromkeys((*own, *mine, *self.inner, *reduced)))
        self.cache: dict[object, tuple[Boxed, ...]] = {}
        layouts = [tensor.layout for tensor in (*self.tensors, target) if tensor is not None]
        moved = moving(each, layouts, run.known)
        self.ragged = tuple(name for name in self.fixed if name in moved)
        self.reads = Reads(run, rule, each, self.reduced)
        self.to_virtual = target is not None and target.template.virtual
        self.expected: set[tuple[int, tuple[int, ...]]] = set()
        self.shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.seen: dict[object, _Seen] = {}
        self.call = left.call if isinstance(left, m.Stored) else None
        self.width = 1 if self.call is not None else len(self.tensors)
        self.formula: m.Formula = left.formula if isinstance(left, m.Stored) and self.call is None else m.Operand(0)
        self.explicit = target is not None and target.dtype is not None
        self.plain = self.steady = False  # plain: elements only move; steady: in the same way at all positions
        if isinstance(left, m.Stored) and isinstance(content, m.Stored):
            self.plain = isinstance(left.formula, m.Operand) and isinstance(content.formula, m.Operand)
            self.steady = (
                (self.plain or not any(formulas.moving(each.formula, run.bound.mapping) for each in (left, content)))
                and not self.reduced
                and not self.spread
                and not self.to_virtual
                and not any(self.reads.virtual)
                and self.call is None
            )
        self.lone = self.steady and self.reads.direct and not self.inner  # reads at no positions but the target's

    # --- steps ------------------------------------------------------------------------------------------------------

    def add(self, draft: Draft, place: dict[str, int], sources: list[TensorInfo | Virtual | None]) -> bool:
        """Add this pair's steps at these positions to a draft; False where shapes do not fit."""
        run, target = self.run, self.target
        assert target is not None
        if self.steady and self.again(draft, place, sources):
            return True
        places = self.reads.replicas(place) if self.reduced else [place]
        per = self.width
        rest = self.rest(sources, places)
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
        if formula is None:
            self._move(draft, place, sources[0], boxes)
            return True
        numbers = [self.run.input_of(info) for info in sources if isinstance(info, TensorInfo)]
        draft.first = min(draft.first, *numbers)
        for sizes, parts, _ in boxes:
            regions: list[plan.Region] = []
            (start, to, moves), *rest = parts
            for name, step in moves:
                start += step * place[name]
            for number, (offset, strides, moves) in zip(numbers, rest, strict=True):
                for name, step in moves:
                    offset += step * place[name]
                regions.append(plan.Region(number, offset, strides))
            self._emit(draft, sizes, regions, formula, plan.Region(0, start, to))
        return True

    def _move(
        self, draft: Draft, place: Map[str, int], info: TensorInfo | Virtual | None, boxes: tuple[Boxed, ...]
    ) -> None:
        """Add the copies of one tensor's elements: most steps are of this kind."""
        assert isinstance(info, TensorInfo)
        number = self.run.ids.get(info.name)
        if number is None:
            number = self.run.input_of(info)
        draft.first = min(draft.first, number)
        for sizes, ((start, to, moves), (offset, strides, others)), _ in boxes:
            for name, step in moves:
                start += step * place[name]
            for name, step in others:
                offset += step * place[name]
            draft.steps.append((sizes, plan.Region(number, offset, strides), start, to))

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

    def rest(
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
        operands: list[Operand] = []
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
            operands, checks = distinct(self.rule, self.reduced, boxed.sizes, operands, places)
            run.verifications += checks
            one = formulas.forward(self.formula, known, place)
            formula = merge(self.rule, self.reduced, one, len(operands) // per, per)
        formula = formulas.backward(content.formula, formula, known, place)
        for name in self.spread:
            if (count := self.reads.count(name, self.pair.right, content)) > 1:
                whole_shares(draft.name, draft.dtype, self.rule)
                formula = plan.Function("/", (formula, plan.Scalar(count)))
        if not all(isinstance(each, plan.Region) for each in operands):
            filled = 0
            for sizes, regions, whole, spot in composed(self.rule, boxed, operands, formula, target):
                draft.first = min([draft.first, *(each.tensor for each in regions)])
                filled += count_of(sizes)
                self._emit(draft, sizes, regions, whole, spot)
            draft.covered += filled - count_of(boxed.sizes)
            return
        regions = [each for each in operands if isinstance(each, plan.Region)]
        self._emit(draft, boxed.sizes, regions, formula, target)

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
