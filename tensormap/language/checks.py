"""The laws that a mapping obeys for every admissible size, one function each. No checkpoint is needed.

`laws` gives what is wrong; `check` adds what is proved, what is left for given sizes, and what each direction loses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tensormap.diagnostics import Diagnostic, Label, Span, as_written, unmarked
from tensormap.dtypes import BY_NAME, SHORT
from tensormap.language import mapping as m
from tensormap.language import sense, syntax
from tensormap.language.expressions import names as names_in
from tensormap.language.inverse import invertible
from tensormap.language.layout import ONE, Atom, Block, Leaf, Sum, atoms
from tensormap.language.losses import Loss, losses
from tensormap.language.meeting import Meetings, meetings
from tensormap.language.names import NumberHole, Template
from tensormap.language.pairing import Pair, TermBlock, Unpaired, block_atoms, pair
from tensormap.language.polynomial import Polynomial
from tensormap.suggest import did_you_mean

_HINTS = 20  # unknown names that are worth looking for one by one


@dataclass(frozen=True, slots=True)
class Findings:
    """What `check` says of a mapping. `losses` has one entry for each side: what writing that side loses."""

    errors: tuple[Diagnostic, ...]
    warnings: tuple[Diagnostic, ...]
    proved: tuple[str, ...]
    left: tuple[str, ...]
    losses: dict[str, tuple[Loss, ...]]

    @property
    def lossless(self) -> tuple[str, ...]:
        """The sides that are written without any loss."""
        return tuple(side for side, found in self.losses.items() if not found)


def laws(mapping: m.Mapping) -> list[Diagnostic]:
    """Return everything that is wrong whatever the sizes, in source order."""
    found: list[Diagnostic] = []
    for law in LAWS:
        found.extend(law(mapping))
    found.extend(meetings(mapping).errors)
    return sorted(map(as_written, found), key=lambda each: each.labels[0].span.start if each.labels else -1)


def check(mapping: m.Mapping) -> Findings:
    """Return all findings on a mapping, both lists and the losses of each direction."""
    found = laws(mapping)
    errors = tuple(each for each in found if each.severity == "error")
    warnings = tuple(each for each in found if each.severity == "warning")
    names = [side.name for side in mapping.sides]
    lost = {names[1]: losses(mapping), names[0]: losses(mapping.inverse)}
    if errors:
        return Findings(errors, warnings, (), (), lost)
    met = meetings(mapping)
    return Findings(errors, warnings, _proved(mapping, met), _left(mapping, met), lost)


def _proved(mapping: m.Mapping, met: Meetings) -> tuple[str, ...]:
    pairs = [pair(rule) for rule in mapping.rules if rule.left and rule.right]
    blocks = sum(len(each) for each in pairs)
    sizes = sum(_concatenated(each) for each in pairs)
    said = [
        f"{len(pairs)} equations: their {blocks} blocks pair, and paired blocks have the same axes",
        "every index is an axis of the other side or declared `replicated`",
        "holes give every position a name of its own",
        f"names of different rules do not meet ({met.apart} pairs of alike templates compared)",
    ]
    if sizes:
        said.append(f"{sizes} of the equations take tensors apart or join them; no element is left out or read twice")
    return tuple(said)


def _concatenated(pairs: tuple[Pair, ...]) -> bool:
    return len(pairs) > 1


def _left(mapping: m.Mapping, met: Meetings) -> tuple[str, ...]:
    left = ["sizes: the shapes of the source split as the layouts say, and every dimension has one value"]
    left.append("coverage: every source tensor is read by one rule, and no tensor that a rule reads is missing")
    if mapping.requirements:
        left.append(f"{len(mapping.requirements)} `require`s hold")
    left.extend(map(unmarked, met.open))
    if any(_virtual(rule) for rule in mapping.rules):
        left.append("virtual tensors: both their layouts have the same sizes")
    return tuple(left)


def _virtual(rule: m.Rule) -> bool:
    return any(tensor.template.virtual for tensor in m.stored((*rule.left, *rule.right)))


# --- one law each -----------------------------------------------------------------------------------------------------------


def blocks_pair(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """The blocks of both sides pair, in order, within equal tags."""
    for rule in mapping.rules:
        if not rule.left or not rule.right:
            continue
        try:
            pair(rule)
        except Unpaired as unpaired:
            if any(_collapsed(rule, mapping)):
                continue  # ranges that were meant to be blocks: said of the name
            tags = "".join(f"`{tag}:` " for tag in unpaired.tags)
            message = (
                f"{_blocks(unpaired.left)} {tags}on the left and {_blocks(unpaired.right)} on the right do not pair"
            )
            yield Diagnostic(
                "unpaired-blocks",
                message,
                (
                    Label(_span(rule.left), _blocks(unpaired.left)),
                    Label(_span(rule.right), _blocks(unpaired.right), False),
                ),
                help=(_parts(rule, unpaired),),
            )


def _parts(rule: m.Rule, unpaired: Unpaired) -> str:
    """Say how a side gets more blocks, where a product was probably meant to be parts."""
    fewer, times = (
        (rule.left, unpaired.right / unpaired.left)
        if 0 < unpaired.left < unpaired.right
        else (rule.right, unpaired.left / unpaired.right if unpaired.right else 0)
    )
    for tensor in m.stored(fewer):
        for axis in tensor.layout.axes:
            if not isinstance(axis, Sum) or len(axis.summands) > 1:
                continue
            names = [each.atom.name for each in axis.summands[0].factors if isinstance(each, Leaf)]
            if str(int(times)) in names and times == int(times):
                ones = " + ".join(["1"] * int(times))
                return f"`{int(times)}` is one axis of this size; as many parts are written `({ones})`"
            if len(names) == times and len(set(names)) == 1:
                return f"`({' '.join(names)})` is a product; parts one behind the other are `({' + '.join(names)})`"
    return "choosing one summand in every `( + )` gives a block; each side needs as many"


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"


def _span(terms: tuple[m.Term, ...]) -> Span:
    return terms[0].span.to(terms[-1].span)


def _pairs(mapping: m.Mapping) -> Iterator[tuple[m.Rule, Pair]]:
    for rule in mapping.rules:
        if not rule.left or not rule.right:
            continue
        try:
            found = pair(rule)
        except Unpaired:
            continue
        for each in found:
            yield rule, each


def axes_agree(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """Paired blocks have the same axes; an axis of one side alone is declared `replicated`."""
    seen: set[tuple[int, str]] = set()
    for rule, each in _pairs(mapping):
        if each.left.open or each.right.open:
            continue
        if each.left.has_rest != each.right.has_rest:
            if (rule.number, "...") not in seen:
                seen.add((rule.number, "..."))
                yield Diagnostic(
                    "axes-differ",
                    "`...` stands on one side of this equation only",
                    (Label(rule.span, "an omitted layout means `[...]`"),),
                    help=("give both sides a layout, or neither",),
                )
            continue  # what it stands for is not known: no axis can be missed
        left_content = rule.left[each.left.term].content
        right_content = rule.right[each.right.term].content
        left = block_atoms(each.left, left_content)
        right = block_atoms(each.right, right_content)
        replicated = {name for name, _ in rule.replicated}
        constant = isinstance(left_content, m.Fixed) or isinstance(right_content, m.Fixed)
        for here, there, where, terms in (
            (left, right, "left", rule.left[each.left.term]),
            (right, left, "right", rule.right[each.right.term]),
        ):
            for name, atom in here.items():
                if name in there or name in replicated or (rule.number, name) in seen:
                    continue
                if atom is None and constant:
                    continue  # a constant is the same for every tensor of a family
                seen.add((rule.number, name))
                size = _size_for_index(name, here, there, mapping)
                if size is not None:
                    seen.add((rule.number, size))
                yield _alone(name, where, rule, terms, mapping, size)


def _size_for_index(
    name: str, here: dict[str, Atom | None], there: dict[str, Atom | None], mapping: m.Mapping
) -> str | None:
    """Return the axis without a partner that has the size of an index without a partner: `n` was written for an `i < n`."""
    index = mapping.indices.get(name)
    if index is None:
        return None
    alone = (atom for other, atom in there.items() if other not in here and other not in mapping.indices)
    return next((atom.name for atom in alone if atom is not None and atom.size == index.size), None)


def _alone(name: str, where: str, rule: m.Rule, term: m.Term, mapping: m.Mapping, size: str | None) -> Diagnostic:
    other = "right" if where == "left" else "left"
    opposite = Label(_span(rule.right if where == "left" else rule.left), "", False)
    if size is not None:
        return Diagnostic(
            "index-not-replicated",
            f"`{name}` stands on the {where}, and `{size}`, which is how many there are, on the {other}",
            (Label(term.span, f"`{name}` is an index here"), opposite),
            help=(f"an index is an axis as well: write `{name}` for `{size}`",),
        )
    if name in mapping.indices:
        return Diagnostic(
            "index-not-replicated",
            f"`{name}` stands on the {where} and not on the {other}",
            (Label(term.span, f"`{name}` is an index here"),),
            help=(f"make `{name}` an axis on the {other}, or say `replicated {name}` if its tensors are copies",),
        )
    in_name = any(
        _is_number(tensor.template, name) for tensor in m.stored(rule.right if where == "left" else rule.left)
    )
    help = f"`{name}` has one value, so `{{{name}}}` is one number; an index is a name of its own: `index i < {name}`"
    return Diagnostic(
        "axes-differ",
        f"the axis `{name}` stands on the {where} and not in the block that it pairs with on the {other}",
        (Label(term.span, f"has `{name}`"), opposite),
        help=(help,) if in_name else (_SUMMED,) if _computes(term) else (),
    )


_SUMMED = "arithmetic goes element by element and sums over no axis; a function that does is declared with `extern`"


def _computes(term: m.Term) -> bool:
    return isinstance(term.content, m.Stored) and len(term.content.tensors) > 1 and term.content.call is None


def _is_number(template: Template, name: str) -> bool:
    """Say whether a hole of a name holds just this dimension, and no position."""
    holes = (part for part in template.parts if isinstance(part, NumberHole))
    return any(not hole.parts and hole.offset == Polynomial.dimension(name) for hole in holes)


def no_diagonals(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """An axis stands once in a block of a tensor."""
    seen: set[tuple[int, str]] = set()
    for rule, each in _pairs(mapping):
        for block, terms in ((each.left, rule.left), (each.right, rule.right)):
            for one, tensor in _operands(block, terms):
                names = Counter(atom.name for atom in one.atoms)
                if tensor is not None:
                    names.update(tensor.template.indices)
                for name, count in names.items():
                    if count < 2 or (rule.number, name) in seen:
                        continue
                    seen.add((rule.number, name))
                    span = tensor.span if tensor is not None else rule.span
                    if name.isdigit():
                        yield Diagnostic(
                            "repeated-literal",
                            f"two axes of size {name} in one block cannot be told apart",
                            (Label(span),),
                            help=("name them: `let a = " + name + "`",),
                        )
                    elif tensor is not None and name in tensor.template.indices:
                        yield Diagnostic(
                            "diagonal",
                            f"`{name}` is an index in the name of this tensor, and an axis of it as well",
                            (Label(span, f"each `{name}` has a tensor of its own"),),
                            help=("give the axis another name",),
                        )
                    else:
                        yield Diagnostic(
                            "diagonal",
                            f"`{name}` stands twice in one tensor",
                            (Label(span, "this would be a diagonal"),),
                            help=(f"a second axis of the same size is `{name}'`",),
                        )


def _operands(block: TermBlock, terms: tuple[m.Term, ...]) -> Iterator[tuple[Block, m.Tensor | None]]:
    content = terms[block.term].content
    for k, one in enumerate(block.operands):
        yield one, content.tensors[k] if isinstance(content, m.Stored) and content.call is None else None


def replicas_stand_once(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """What is declared `replicated` is an axis of exactly one side."""
    for rule in mapping.rules:
        if not rule.left or not rule.right:
            continue
        sides = [_all_atoms(rule.left), _all_atoms(rule.right)]
        open_term = any(not isinstance(t.content, m.Stored) for t in (*rule.left, *rule.right))
        for name, _ in rule.replicated:
            present = sum(name in side for side in sides)
            if present == 2:
                yield Diagnostic(
                    "bad-replicated",
                    f"`{name}` is declared `replicated`, and stands on both sides",
                    (Label(rule.span, f"`{name}` pairs with itself here"),),
                )
            elif present == 0 and not open_term:
                yield Diagnostic(
                    "bad-replicated",
                    f"`{name}` is declared `replicated`, and stands on neither side",
                    (Label(rule.span),),
                )


def _all_atoms(terms: tuple[m.Term, ...]) -> set[str]:
    found: set[str] = set()
    for term in terms:
        content = term.content
        layouts = [tensor.layout for tensor in m.stored((term,))]
        if isinstance(content, m.Fixed) and content.layout is not None:
            layouts.append(content.layout)
        for tensor in m.stored((term,)):
            found.update(tensor.template.indices)
        for layout in layouts:
            found.update(atom.name for atom in atoms(layout))
    return found


def formulas_invert(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """A side that is written is one tensor, with only invertible steps around it."""
    for rule in mapping.rules:
        for terms, written, arrow in (
            (rule.right, rule.arrow != "<-", "<-"),
            (rule.left, rule.arrow != "->", "->"),
        ):
            if not written or not rule.left or not rule.right:
                continue
            for term in terms:
                if isinstance(term.content, m.Stored) and not invertible(term.content.formula):
                    yield Diagnostic(
                        "not-invertible",
                        "this side cannot be solved for one tensor, so the rule cannot be read towards it",
                        (Label(term.span, "written when the rule is read this way"),),
                        help=(f"a rule that only reads this side has the arrow `{arrow}`",),
                    )


def holes_are_injective(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """Different positions give different names."""
    for rule in mapping.rules:
        for tensor, hole, indices in _collapsed(rule, mapping):
            first, second = indices[0], indices[-1]
            if all(stride == ONE for _, stride in hole.parts):
                where = "in the name of a tensor that stands alone, and not in a `block` or in arithmetic"
                help = f"`{{{first} + {second}}}` joins ranges {where}"
            else:
                help = f"`{{({first} {second})}}` numbers the pairs of their positions in order"
            yield Diagnostic(
                "not-injective",
                f"different positions of {' and '.join(f'`{each}`' for each in indices)} give the same name",
                (Label(hole.span or tensor.span),),
                help=(help,) if len(indices) > 1 else (),
            )


def _collapsed(rule: m.Rule, mapping: m.Mapping) -> Iterator[tuple[m.Tensor, NumberHole, tuple[str, ...]]]:
    """Yield the holes of a rule in which several positions have one number, with their indices, once for each tensor's name."""
    for tensor in m.stored((*rule.left, *rule.right)):
        for template in (tensor.template, *(alias.template for alias in tensor.aliases)):
            bad = _collapsing(template, mapping)
            if bad is not None:
                yield (tensor, *bad)


def _collapsing(template: Template, mapping: m.Mapping) -> tuple[NumberHole, tuple[str, ...]] | None:
    """Return a hole whose sum is ambiguous and the indices in it, if no other hole tells them apart."""
    alone = {
        part.parts[0][0] if isinstance(part, NumberHole) else part.index
        for part in template.parts
        if not isinstance(part, str) and (not isinstance(part, NumberHole) or len(part.parts) == 1)
    }
    for part in template.parts:
        if not isinstance(part, NumberHole) or len(part.parts) < 2:
            continue
        for k in range(len(part.parts) - 1, 0, -1):
            index, stride = part.parts[k]
            outer = part.parts[k - 1]
            expected = stride * mapping.indices[index].size
            if outer[0] in part.ragged:
                continue
            if outer[1] != expected and not {outer[0], index} & alone:
                return part, (outer[0], index)
    for part in template.parts:
        if isinstance(part, NumberHole):
            for index, stride in part.parts:
                if not stride.terms:
                    return part, (index,)
    return None


def names_are_known(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """Every name in a condition, a requirement or a number is something that can have a value."""
    known = _known_names(mapping)
    checked: list[tuple[syntax.Expression, Span]] = []
    for rule in mapping.rules:
        checked.extend((guard.condition, guard.condition.span) for guard in rule.guards)
        for term in (*rule.left, *rule.right):
            if isinstance(term.content, m.Generated):
                checked.extend((each, term.span) for each in term.content.arguments)
            if isinstance(term.content, m.Stored):
                checked.extend((each, term.span) for each in _scalars(term.content.formula))
    checked.extend((each.condition, each.span) for each in mapping.requirements)
    said: set[str] = set()
    for expression, span in checked:
        for name in names_in(expression):
            if name in known or name in said:
                continue
            said.add(name)
            hint = did_you_mean(name, tuple(sorted(known))) if len(said) <= _HINTS else None
            yield Diagnostic(
                "unknown-name",
                f"nothing gives `{name}` a value",
                (Label(span, f"`{name}` is used here"),),
                help=(f"did you mean `{hint}`?",) if hint else _declaring(name, expression, mapping),
            )


def _declaring(name: str, expression: syntax.Expression, mapping: m.Mapping) -> tuple[str, ...]:
    """Say how a name gets a value, or that it was meant as a word or as the key that a line reads."""
    if _compared(name, expression):
        return (f'a word stands in quotes: `"{name}"`',)
    for line in mapping.config:
        for side in (line.left, line.right):
            if side is not None and name in names_in(side):
                return (f"so far it is a key: begin the config line that reads it with `{name} =`",)
    return (f"declare it: a `param`, a `let`, or a config line that reads it: `{name} = KEY <-> KEY`",)


def _compared(name: str, expression: syntax.Expression) -> bool:
    """Say whether a bare name stands behind `==` or `!=`, or in the list behind `in`, as a word would."""
    match expression:
        case syntax.Binary(operator="==" | "!=", right=syntax.Name(text=text)):
            return text == name
        case syntax.Binary(operator="in", right=syntax.List(items=items)):
            return any(isinstance(each, syntax.Name) and each.text == name for each in items)
        case syntax.Binary(operator="and" | "or", left=left, right=right):
            return _compared(name, left) or _compared(name, right)
        case syntax.Unary(operand=operand):
            return _compared(name, operand)
        case _:
            return False


def _scalars(formula: m.Formula) -> Iterator[syntax.Expression]:
    match formula:
        case m.Scalar(expression=expression):
            yield expression
        case m.Function(arguments=arguments):
            for each in arguments:
                yield from _scalars(each)
        case _:
            pass


def _known_names(mapping: m.Mapping) -> set[str]:
    known = {"true", "false", "none", *mapping.params, *mapping.lets, *mapping.indices}
    for line in mapping.config:
        if line.value is not None:
            known.update(names_in(line.value))
    for index in mapping.indices.values():
        known.update(name.partition("[")[0] for name in index.size.dimensions)
    for rule in mapping.rules:
        for term in (*rule.left, *rule.right):
            layouts = [tensor.layout for tensor in m.stored((term,))]
            if isinstance(term.content, m.Fixed) and term.content.layout is not None:
                layouts.append(term.content.layout)
            for layout in layouts:
                for atom in atoms(layout):
                    known.update(name.partition("[")[0] for name in atom.size.dimensions)
    return known


def dtypes_are_known(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """`as` names a dtype."""
    for rule in mapping.rules:
        for tensor in m.stored((*rule.left, *rule.right)):
            if tensor.dtype is not None and tensor.dtype not in BY_NAME:
                hint = SHORT.get(tensor.dtype) or did_you_mean(tensor.dtype, tuple(BY_NAME))
                yield Diagnostic(
                    "unknown-dtype",
                    f"there is no dtype `{tensor.dtype}`",
                    (Label(tensor.span),),
                    help=(f"did you mean `{hint}`?",) if hint else (),
                )


def sizes_depend_on_indices(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """An axis such as `v[r]` stands where `r` has a position."""
    for rule, each in _pairs(mapping):
        for block, terms in ((each.left, rule.left), (each.right, rule.right)):
            content = terms[block.term].content
            present = set(block_atoms(block, content))
            for atom in _ragged(block):
                if atom.of is not None and atom.of not in present:
                    yield Diagnostic(
                        "ragged-alone",
                        f"`{atom.name}` needs a position of `{atom.of}`, which is no axis or index of this tensor",
                        (Label(terms[block.term].span),),
                    )


def _ragged(block: TermBlock) -> list[Atom]:
    return [atom for one in block.operands for atom in one.atoms if atom.of is not None]


def virtual_tensors_join(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """A virtual tensor stands on the left of one rule and on the right of another."""
    sides: dict[str, tuple[list[m.Tensor], list[m.Tensor]]] = {}
    for rule in mapping.rules:
        for side, terms in ((0, rule.left), (1, rule.right)):
            for tensor in m.stored(terms):
                if tensor.template.virtual:
                    family = "".join(part if isinstance(part, str) else "#" for part in tensor.template.parts)
                    sides.setdefault(family, ([], []))[side].append(tensor)
    for left, right in sides.values():
        if not left or not right:
            only, where = (left, "left") if left else (right, "right")
            yield Diagnostic(
                "virtual-alone",
                f"`{only[0].template}` stands on the {where} side only",
                (Label(only[0].span, "joined with nothing"),),
                help=("a virtual tensor joins two rules: the left side of one, the right side of the other",),
            )


def defaults_are_variants(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """The default of a param with variants is one of them."""
    known = _known_names(mapping)
    for param in mapping.params.values():
        match param.default:
            case syntax.Name(text=text) | syntax.String(value=text) if param.variants and text not in (
                *param.variants,
                *known,
            ):
                yield Diagnostic(
                    "unknown-variant",
                    f"the default of `{param.name}` is none of its variants",
                    (Label(param.span, f"its variants are {', '.join(param.variants)}"),),
                )
            case _:
                pass


LAWS: tuple[Callable[[m.Mapping], Iterator[Diagnostic]], ...] = (
    blocks_pair,
    axes_agree,
    no_diagonals,
    replicas_stand_once,
    formulas_invert,
    holes_are_injective,
    names_are_known,
    dtypes_are_known,
    sizes_depend_on_indices,
    virtual_tensors_join,
    defaults_are_variants,
    sense.says_something,
    sense.requirements_can_hold,
    sense.config_gives_values,
)
