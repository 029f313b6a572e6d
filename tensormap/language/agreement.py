"""Laws on the equation of a rule: its blocks pair, paired blocks have the same axes, and what is written can be solved for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tensormap.diagnostics import Diagnostic, Label, Span
from tensormap.language import mapping as m
from tensormap.language.inverse import invertible
from tensormap.language.layout import REST, Atom, Block, Leaf, Sum, atoms, leaves
from tensormap.language.names import NumberHole, Template
from tensormap.language.naming import collapsed
from tensormap.language.pairing import Pair, TermBlock, Unpaired, block_atoms, pair
from tensormap.language.polynomial import Polynomial


def blocks_pair(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """The blocks of both sides pair, in order, within equal tags."""
    for rule in mapping.rules:
        if not rule.left or not rule.right:
            continue
        try:
            pair(rule)
        except Unpaired as unpaired:
            if any(collapsed(rule, mapping)):
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
    other = rule.right if fewer is rule.left else rule.left
    if len(fewer) == 1 < len(other) and len({tensor.layout for tensor in m.stored((*fewer, *other))}) == 1:
        tied = " = ".join(str(tensor.template) for tensor in m.stored(other))
        return f"terms are parts of one whole; one tensor under several names is `{tied}`"
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
                    help=(_size_as_tensor(rule, mapping) or "give both sides a layout, or neither",),
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


def _size_as_tensor(rule: m.Rule, mapping: m.Mapping) -> str | None:
    """Say how to compute with a size, where arithmetic names a tensor as the mapping names a dimension."""
    sizes: set[str] = set()
    for term in (*rule.left, *rule.right):
        for tensor in term.tensors if len(term.tensors) > 1 else ():
            name = str(tensor.template)
            sizes = sizes or {atom for each in mapping.rules for atom in _all_atoms((*each.left, *each.right))}
            if tensor.layout is REST and name in sizes and name not in mapping.indices:
                return f"`{name}` is read as a tensor here: to compute with the size, give it a name, `let n = {name}`"
    return None


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
                        help=(
                            _size_as_tensor(rule, mapping)
                            or f"a rule that only reads this side has the arrow `{arrow}`",
                        ),
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


def quotients_are_read(mapping: m.Mapping) -> Iterator[Diagnostic]:
    """An axis `o/128` is read beside the whole `o`, and written only from `o/128`; no index in a name is taken so."""
    for rule in mapping.rules:
        indices = {index for tensor in m.stored((*rule.left, *rule.right)) for index in tensor.template.indices}
        for here, there, written in (
            (rule.left, rule.right, rule.arrow != "->"),
            (rule.right, rule.left, rule.arrow != "<-"),
        ):
            other = {(leaf.atom.name, leaf.per) for tensor in m.stored(there) for leaf in leaves(tensor.layout)}
            for tensor in m.stored(here):
                for name, per in dict.fromkeys((leaf.atom.name, leaf.per) for leaf in leaves(tensor.layout)):
                    if per == 1:
                        continue
                    help: tuple[str, ...]
                    if name in indices:
                        message = f"`{name}` is an index in a name, and `{name}/{per}` is no part of it"
                        help = ()
                    elif written and there and (name, 1) in other:
                        message = (
                            f"`{name}/{per}` would be written from the whole `{name}`, where {per} numbers become one"
                        )
                        help = ("a rule that only reads it has one arrow: `w [o] * s [o/128] -> v [o]`",)
                    else:
                        continue
                    yield Diagnostic("bad-layout", message, (Label(tensor.layout.span or tensor.span),), help=help)
