"""From bound equations to steps: every tensor that is written, and the boxes and formulas that fill it.

Claims every source tensor, and reports in one go what is missing, claimed twice, left over, or of the wrong shape.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass

from tensormap import externs
from tensormap.checkpoints import gguf_blocks
from tensormap.checkpoints.catalog import TensorInfo
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.language.inverse import invertible
from tensormap.language.pairing import Pair, pair
from tensormap.lowering import generator_shapes, plan
from tensormap.lowering.agreement import verify
from tensormap.lowering.bind import Bound
from tensormap.lowering.boxes import row_major
from tensormap.lowering.draft import Draft, Virtual, count_of, describe
from tensormap.lowering.instances import Account, Instances, in_order, rest_of, where
from tensormap.lowering.writer import Writer


@dataclass(frozen=True, slots=True)
class Lowered:
    inputs: tuple[plan.Input, ...]
    drafts: tuple[Draft, ...]
    verifications: tuple[plan.Verify, ...]
    dropped: tuple[tuple[str, tuple[str, ...]], ...]  # (rule, names)


def lower(bound: Bound, *, dtype: str | None = None) -> Lowered:
    """Return every written tensor with its steps. CheckpointError lists all that does not fit."""
    run = Lowering(bound, dtype)
    for rule in in_order(bound):
        run.rule(rule)
    return run.finish()


class Lowering:
    """One run; holds what has been claimed and drafted so far."""

    def __init__(self, bound: Bound, dtype: str | None) -> None:
        self.bound = bound
        self.known = bound.known
        self.at = Instances(bound)
        self.account = Account(bound)
        self.dtype = dtype
        self.inputs: list[plan.Input] = []
        self.ids: dict[str, int] = {}
        self.drafts: dict[str, Draft] = {}
        self.virtuals: dict[str, Virtual] = {}
        self.verifications: list[plan.Verify] = []
        self.dropped: list[tuple[str, tuple[str, ...]]] = []

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
                if rule.optional and not m.stored(rule.left):
                    continue  # an optional tensor that nothing asks for is not written
                self._write(rule, term, mine)
            else:
                self._check(rule, term, mine)

    def _drop(self, rule: m.Rule) -> None:
        for tensor in m.stored(rule.left):
            if tensor.template.wild:
                continue  # what is left at the end
            names: list[str] = []
            for name, _ in self.at.family(rule, tensor.template):
                if name in self.bound.catalog.tensors and self.account.claim(name, rule):
                    names.append(name)
            if names:
                self.dropped.append((where(rule), tuple(names)))

    def _backwards(self, rule: m.Rule) -> None:
        present = [
            name
            for tensor in m.stored(rule.left)
            if not tensor.template.virtual
            for name, _ in self.at.family(rule, tensor.template)
            if name in self.bound.catalog.tensors
        ]
        if present:
            self.account.findings.append(
                Diagnostic(
                    "one-way",
                    f"this rule cannot be read backwards, and the source holds `{present[0]}`",
                    (Label(rule.span, "one-way"),),
                    (f"{len(present)} tensors of the source are its targets",) if len(present) > 1 else (),
                )
            )
            for name in present:
                self.account.claim(name, rule)

    # --- sources ----------------------------------------------------------------------------------------------------

    def input_of(self, info: TensorInfo) -> int:
        name, dtype, shape, file, offset, strides, encoding = info
        number = self.ids.get(name)
        if number is None:
            if encoding is not None:
                gguf_blocks.require(encoding)
            number = self.ids[name] = len(self.inputs)
            self.inputs.append(plan.Input(name, dtype, shape, file, offset, strides, None, encoding))
        return number

    def generator(self, name: str, arguments: tuple[int | float, ...], rule: m.Rule) -> int:
        generator = plan.Generator(name, arguments)
        key = str(generator)
        if key not in self.ids:
            try:
                shape = generator_shapes.shape(name, arguments)
            except (ValueError, KeyError) as error:
                raise CheckpointError(Diagnostic("wrong-arguments", str(error), (Label(rule.span),))) from None
            self.ids[key] = len(self.inputs)
            self.inputs.append(plan.Input(key, generator_shapes.dtype(name), shape, -1, 0, None, generator))
        return self.ids[key]

    def called(self, name: str, arguments: tuple[TensorInfo, ...], shape: tuple[int, ...]) -> TensorInfo:
        """Return the tensor that an extern makes of these; it is an input like any other."""
        key = f"{name}({', '.join(each.name for each in arguments)})"
        dtype = externs.registered(name).dtype or arguments[0].dtype
        if key not in self.ids:
            numbers = tuple((self.input_of(each), each.shape) for each in arguments)
            self.ids[key] = len(self.inputs)
            self.inputs.append(plan.Input(key, dtype, shape, -1, 0, call=plan.Call(name, numbers)))
        return TensorInfo(key, dtype, shape, -1, 0)

    def find(self, rule: m.Rule, tensor: m.Tensor, name: str, place: Map[str, int]) -> TensorInfo | None:
        """Return the stored tensor of this name or of one of its aliases; those that are there as well must be equal."""
        tensors = self.bound.catalog.tensors
        info = tensors.get(name)
        if not tensor.aliases:
            return info
        for alias in tensor.aliases:
            other = tensors.get(self.at.name(alias.template, place))
            if other is None or (info is not None and other.name == info.name):
                continue
            if info is None:
                info = other
                continue
            if self.account.claimed_by(other.name, rule):
                continue
            self.account.claim(other.name, rule)
            if other.shape != info.shape or other.dtype != info.dtype:
                self.account.findings.append(
                    Diagnostic(
                        "tied-differ",
                        f"`{info.name}` and `{other.name}` are one tensor here, but have different shapes or dtypes",
                        (Label(tensor.span),),
                        (describe(info), describe(other)),
                    )
                )
                continue
            whole = tuple(info.shape)
            sources = (plan.Region(self.input_of(other), 0, other.strides or row_major(whole)),)
            expected = plan.Region(self.input_of(info), 0, info.strides or row_major(whole))
            self.verifications.append(plan.Verify(whole, sources, plan.Operand(0), expected, where(rule)))
        return info

    def expected(self, tensor: m.Tensor, info: TensorInfo | Virtual, place: Map[str, int]) -> bool:
        rest = rest_of(tensor.layout, info.shape)
        if rest is None:
            wanted = f"{len(tensor.layout.axes)} axes"
        else:
            shape = self.at.shape(tensor.layout, rest, place)
            if shape == info.shape:
                return True
            wanted = str(list(shape))
        self.account.findings.append(
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
            self.account.findings.append(
                Diagnostic("not-invertible", "this side cannot be solved for one tensor", (Label(term.span),))
            )
            return
        writers = [Writer(self, rule, target, content, each) for each in pairs]
        write = self.at.formatter(target.template)
        extra = [(self.at.formatter(alias.template), alias.maybe) for alias in target.aliases]
        untied = self._untied() if extra else False
        only = writers[0] if len(writers) == 1 and writers[0].lone else None
        for place in self.at.places(target.template.indices):
            if not self.at.holds(rule, place):
                continue
            name = write(place)
            draft = self._like(rule, name, place, only) if only is not None else None
            draft = draft or self._draft(rule, target, name, place, writers)
            if draft is None:
                continue
            for format_alias, maybe in extra:
                if not maybe or untied:
                    other = format_alias(place)
                    self.drafts[other] = Draft(
                        other,
                        draft.shape,
                        draft.dtype,
                        draft.explicit,
                        list(draft.steps),
                        rule,
                        draft.first,
                        draft.covered,
                    )

    def _untied(self) -> bool:
        """Say whether the written side's config says that tied names are stored apart."""
        values = self.known.values
        if "untied" in values:
            return bool(values["untied"])
        return "tied" in values and not values["tied"]

    def _like(self, rule: m.Rule, name: str, place: dict[str, int], writer: Writer) -> Draft | None:
        """Draft a tensor that is made as one before it was. None where none was, or where something does not fit."""
        sources = writer.reads.there(place)
        if sources is None or name in self.drafts:
            return None
        draft = Draft(name, (), None, writer.explicit, [], rule, 1 << 62)
        if not writer.again(draft, place, sources) or draft.covered != count_of(draft.shape):
            return None
        self.drafts[name] = draft
        return draft

    def _draft(
        self, rule: m.Rule, target: m.Tensor, name: str, place: dict[str, int], writers: Sequence[Writer]
    ) -> Draft | None:
        virtual = target.template.virtual
        absent: list[tuple[m.Tensor, str]] = []
        found = 0
        ready: list[tuple[Writer, dict[str, int], list[TensorInfo | Virtual | None]]] = []
        for writer in writers:
            for inner in self.at.places(writer.inner, place) if writer.inner else (place,):
                if writer.inner and not self.at.holds(rule, inner):
                    continue
                sources, lacking = writer.reads.sources(inner)
                found += len(sources) - len(lacking)
                if lacking:
                    absent.extend(lacking)
                else:
                    ready.append((writer, inner, sources))
        if absent:
            if not rule.optional or found:
                self.account.lack(rule, absent)
            return None
        if not ready:
            return None
        held = self.virtuals.get(name) if virtual else self.drafts.get(name)
        if held is not None:
            self.account.findings.append(
                Diagnostic(
                    "written-twice",
                    f"two rules write `{name}`",
                    (Label(rule.span, "this one"), Label(held.rule.span, "and this one", False)),
                )
            )
            return None
        draft = Draft(name, (), None, target.dtype is not None, [], rule, 1 << 62)
        for writer, inner, sources in ready:
            if not writer.add(draft, inner, sources):
                return None
        if virtual:
            return None
        total = count_of(draft.shape)
        if draft.covered != total:
            self.account.findings.append(
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
            writer = Writer(self, rule, None, term.content, each)
            for inner in self.at.places(writer.inner):
                if not self.at.holds(rule, inner):
                    continue
                sources, lacking = writer.reads.sources(inner)
                if lacking:
                    if not rule.optional or len(lacking) < len(sources):
                        self.account.lack(rule, lacking)
                    continue
                verify(writer, inner, sources)

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> Lowered:
        self.account.close(self.dropped)
        return Lowered(tuple(self.inputs), tuple(self.drafts.values()), tuple(self.verifications), tuple(self.dropped))
