"""What a source must agree with: the right side is a constant or a generator, and the left side has tensors for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensormap.checkpoints.catalog import TensorInfo
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.language.inverse import invertible
from tensormap.language.layout import Block
from tensormap.lowering import formulas, plan
from tensormap.lowering.boxes import Form, box, row_major
from tensormap.lowering.draft import Virtual, count_of, offset_at
from tensormap.lowering.instances import where
from tensormap.lowering.operands import compared

if TYPE_CHECKING:
    from tensormap.lowering.writer import Writer

ULPS = 2
"""How far a stored generated tensor may be from ours: both round a power and a division once each."""


def verify(writer: Writer, place: dict[str, int], sources: list[TensorInfo | Virtual | None]) -> None:
    """Have the tensors of a pair compared with its right side."""
    run, content, left, span = writer.run, writer.content, writer.left, writer.rule.span
    if isinstance(content, m.Fixed) and content.value is None:
        return
    assert isinstance(left, m.Stored)
    rest = writer.rest(sources, [place])
    if rest is None:
        return
    if len(sources) != 1 or not invertible(left.formula):
        raise CheckpointError(
            Diagnostic("not-invertible", "this cannot be verified against a constant", (Label(span),))
        )
    info = sources[0]
    assert info is not None
    ulps = 0
    if isinstance(content, m.Generated):
        arguments = tuple(formulas.number(each, run.known, place) for each in content.arguments)
        number = run.generator(content.name, arguments, writer.rule)
        value: plan.Formula = plan.Operand(0)
        if info.dtype is not None and BY_NAME[info.dtype].kind == "float":
            ulps = ULPS
    else:
        assert isinstance(content, m.Fixed)
        assert content.value is not None
        number = -1
        value = plan.Scalar(formulas.number(content.value, run.known, place))
    own = info.strides if isinstance(info, TensorInfo) and info.strides else row_major(info.shape)
    block = writer.pair.left.operands[0]
    constant = isinstance(content, m.Fixed)
    blocks: list[Block | None] = [block] if constant else [block, None]
    forms: list[Form | None] = [Form(info.shape, own)] if constant else [Form(info.shape, own), None]
    for boxed in box(blocks, forms, block, rest, writer.fixed, run.known, place):
        formula = formulas.backward(left.formula, value, run.known, place)
        stored = boxed.parts[0]
        sources_of: tuple[plan.Region, ...] = ()
        if not constant:
            if count_of(boxed.sizes) != count_of(run.inputs[number].shape):
                run.account.findings.append(
                    Diagnostic(
                        "shape-mismatch",
                        f"`{info.name}` has {count_of(boxed.sizes)} elements here, and "
                        f"`{run.inputs[number].name}` makes {count_of(run.inputs[number].shape)}",
                        (Label(span),),
                    )
                )
                return
            sources_of = (plan.Region(number, boxed.parts[1].offset, boxed.parts[1].strides),)
        if isinstance(info, Virtual):
            run.verifications += compared(writer.rule, info, boxed, place, sources_of, formula, ulps)
            continue
        expected = plan.Region(run.input_of(info), offset_at(stored, place), stored.strides)
        run.verifications.append(plan.Verify(boxed.sizes, sources_of, formula, expected, where(writer.rule), ulps))
