"""Run a mapping on tensors in memory: numpy, torch or jax, on any device, and gradients flow.

The second execution beside `runtime.execute`, written apart from it: there, boxes with strides are copied between files; here,
each tensor is taken apart along its layout and put together along its partner's (`runtime.axes`). A test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

from tensormap.checkpoints.catalog import Catalog, TensorInfo
from tensormap.checkpoints.lazy import LazyCatalog
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.dtypes import BY_NAME
from tensormap.language import mapping as m
from tensormap.language.inverse import invertible
from tensormap.language.layout import Leaf, Rest, atoms
from tensormap.language.pairing import Pair, pair
from tensormap.lowering.bind import Bound
from tensormap.lowering.instances import Account, Instances, in_order, rest_of
from tensormap.runtime import axes, frameworks
from tensormap.runtime.comparison import Differences
from tensormap.runtime.frameworks import Framework
from tensormap.runtime.link import Held, Link, Place
from tensormap.runtime.reading import Reader

Key: TypeAlias = tuple[axes.Path, tuple[int, ...]]


def check_names(tensors: Any) -> None:
    """Refuse what is no dictionary from names to tensors. CheckpointError."""
    if not hasattr(tensors, "items"):
        found = f"`{type(tensors).__name__}`"
        raise CheckpointError(
            Diagnostic("not-a-tensor", f"what is converted is a dictionary of tensors, and no {found}")
        )
    for name in tensors if not isinstance(tensors, LazyCatalog) else ():
        if not isinstance(name, str):
            raise CheckpointError(
                Diagnostic("not-a-tensor", f"the key {shown(repr(name))} is no name: names are strings")
            )


def catalog(tensors: Map[str, Any]) -> Catalog:
    """Return the names, dtypes and shapes of tensors in memory. CheckpointError: one is no tensor, or of an unknown dtype."""
    if isinstance(tensors, LazyCatalog):
        return tensors.catalog
    found: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        framework = frameworks.framework_of(tensor)
        if framework is None:
            raise CheckpointError(Diagnostic("not-a-tensor", f"`{name}` is no numpy array, torch tensor or jax array"))
        if unusual := frameworks.unusual(tensor):
            raise CheckpointError(
                Diagnostic("not-a-tensor", f"`{name}` is {unusual}, whose elements do not lie at strides")
            )
        dtype = framework.dtype(tensor)
        if dtype not in BY_NAME:
            raise CheckpointError(
                Diagnostic("unknown-dtype", f"`{name}` is of dtype `{dtype}`, which is not supported")
            )
        found[name] = TensorInfo(name, dtype, tuple(int(each) for each in tensor.shape), -1, 0)
    return Catalog(Path(), "memory", (), found)


def convert(bound: Bound, tensors: Map[str, Any], *, dtype: str | None = None) -> dict[str, Any]:
    """Return the tensors of the right side, of the framework and on the device of those they are made of.

    `dtype` is given to floating-point tensors whose rule states none. What only moves may share memory with its source.
    CheckpointError lists everything that is missing, read by no rule, of a wrong shape or not equal where it must be.
    """
    run = _Run(bound, tensors, dtype)
    for rule in in_order(bound):
        run.prepare(rule)
    run.account.close()
    return run.execute()


@dataclass(slots=True)
class _Draft:
    """A tensor that will be made: what is read for each of its blocks, at the positions of indices that only its sources have."""

    rule: m.Rule
    target: m.Tensor
    name: str
    place: Place
    links: Map[axes.Path, Link]
    reads: dict[Key, Sequence[Held]]
    rest: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str | None = None
    aliases: tuple[str, ...] = ()
    held: list[Held] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Check:
    """A source that must agree with the constant or the generated tensor on the right."""

    link: Link
    place: Place
    held: Held


class _Run:
    """One conversion. First everything is found, and refused if it does not fit; then tensors are made, one after the other."""

    def __init__(self, bound: Bound, tensors: Map[str, Any], dtype: str | None) -> None:
        self.bound = bound
        self.dtype = dtype
        self.instances = Instances(bound)
        self.account = Account(bound)
        self.reader = Reader(bound, tensors, self.instances, self.account)
        self.differences = Differences()
        self.home: Framework = frameworks.Numpy()
        if tensors and not isinstance(tensors, LazyCatalog):
            self.home = frameworks.framework_of(next(iter(tensors.values()))) or self.home
        self.drafts: dict[str, _Draft] = {}
        self.checks: list[_Check] = []
        self._fitting: set[tuple[int, tuple[int, ...]]] = set()

    # --- what is read and written -----------------------------------------------------------------------------------

    def prepare(self, rule: m.Rule) -> None:
        """Find what a rule reads, and draft what it writes."""
        if not rule.left:
            return  # what the other direction drops is not produced by this one
        if not rule.right:
            self._drop(rule)
        elif rule.arrow == "<-":
            self._backwards(rule)
        else:
            pairs = pair(rule)
            for position, term in enumerate(rule.right):
                mine = [each for each in pairs if each.right.term == position]
                if not isinstance(term.content, m.Stored):
                    self._verify(rule, mine)
                elif not rule.optional or m.stored(
                    rule.left
                ):  # an optional tensor that nothing asks for is not written
                    self._write(rule, term, term.content, mine)

    def _drop(self, rule: m.Rule) -> None:
        for tensor in m.stored(rule.left):
            if tensor.template.wild:
                continue  # what is left at the end
            for name, _ in self.instances.family(rule, tensor.template):
                if name in self.bound.catalog.tensors:
                    self.account.claim(name, rule)

    def _backwards(self, rule: m.Rule) -> None:
        templates = [tensor.template for tensor in m.stored(rule.left) if not tensor.template.virtual]
        names = [name for template in templates for name, _ in self.instances.family(rule, template)]
        present = [name for name in names if name in self.bound.catalog.tensors]
        for name in present:
            self.account.claim(name, rule)
        if present:
            message = f"this rule cannot be read backwards, and the source holds `{present[0]}`"
            notes = (f"{len(present)} tensors of the source are its targets",) if len(present) > 1 else ()
            self.account.findings.append(Diagnostic("one-way", message, (Label(rule.span, "one-way"),), notes))

    def _verify(self, rule: m.Rule, pairs: Sequence[Pair]) -> None:
        for each in pairs:
            link = Link.verifying(rule, each)
            if not link.tensors:
                continue
            for place in self.instances.places(link.inner):
                if not self.instances.holds(rule, place):
                    continue
                held, lacking = self.reader.find(link, place)
                if lacking:
                    if not rule.optional or held:
                        self.account.lack(rule, lacking)
                elif self._all_fit(held) and not link.is_anything:
                    if link.calls or len(held) != 1 or not invertible(link.formula):
                        self._refuse(rule, "this cannot be verified against a constant")
                    else:
                        self.checks.append(_Check(link, place, held[0]))

    def _refuse(self, rule: m.Rule, message: str) -> None:
        self.account.findings.append(Diagnostic("not-invertible", message, (Label(rule.span),)))

    def _write(self, rule: m.Rule, term: m.Term, content: m.Stored, pairs: Sequence[Pair]) -> None:
        target = content.tensors[0]
        if len(content.tensors) != 1 or not invertible(content.formula):
            self._refuse(rule, "this side cannot be solved for one tensor")
            return
        links = {link.target: link for link in (Link.writing(rule, each, term) for each in pairs)}
        write = self.instances.formatter(target.template)
        aliases = [
            self.instances.formatter(each.template) for each in target.aliases if not each.maybe or self._untied()
        ]
        for place in self.instances.places(target.template.indices):
            if not self.instances.holds(rule, place):
                continue
            reads = self._reads(rule, place, links)
            if not reads:
                continue
            draft = _Draft(rule, target, write(place), place, links, reads)
            draft.aliases = tuple(alias(place) for alias in aliases)
            if self._is_new(draft) and self._settle(draft):
                self.drafts[draft.name] = draft

    def _untied(self) -> bool:
        """Say whether the written side's config says that tied names are stored apart."""
        values = self.bound.known.values
        return bool(values["untied"]) if "untied" in values else "tied" in values and not values["tied"]

    def _reads(self, rule: m.Rule, place: Place, links: Map[axes.Path, Link]) -> dict[Key, Sequence[Held]]:
        """Find the sources of every block; nothing where one is missing."""
        reads: dict[Key, Sequence[Held]] = {}
        absent: list[tuple[m.Tensor, str]] = []
        found = 0
        fits = True
        for path, link in links.items():
            for inner in self.instances.places(link.inner, place):
                if self.instances.holds(rule, inner):
                    held, lacking = self.reader.find(link, inner)
                    absent.extend(lacking)
                    found += len(held)
                    fits &= self._all_fit(held)
                    if link.calls and fits and not lacking:
                        held = self.reader.called(link, held)
                    reads[path, link.spot(inner)] = held
        if absent and (found or not rule.optional):
            self.account.lack(rule, absent)
        return reads if fits and not absent else {}

    def _is_new(self, draft: _Draft) -> bool:
        other = self.drafts.get(draft.name)
        if other is not None:
            labels = (Label(draft.rule.span, "this one"), Label(other.rule.span, "and this one", primary=False))
            self.account.findings.append(Diagnostic("written-twice", f"two rules write `{draft.name}`", labels))
        return other is None

    def _settle(self, draft: _Draft) -> bool:
        """Work out a draft's shape and dtype from what it is made of."""
        rests: dict[tuple[int, ...], None] = {}
        for (path, _), held in draft.reads.items():
            left = draft.links[path].left
            rest: tuple[int, ...] = ()
            for source in held:
                if any(isinstance(axis, Rest) for axis in source.tensor.layout.axes):
                    rest = rest_of(source.tensor.layout, source.shape) or ()
            if isinstance(left, m.Generated):
                shape, _ = self.reader.generated(draft.links[path], draft.place)
                rest = rest_of(draft.target.layout, shape) or ()
            rests[rest] = None
        shapes = {self.instances.shape(draft.target.layout, rest, draft.place): rest for rest in rests}
        if len(shapes) > 1:
            listed = " and ".join(str(list(shape)) for shape in shapes)
            message = f"what `{draft.name}` is made of does not fit together: it would be {listed}"
            self.account.findings.append(Diagnostic("shape-mismatch", message, (Label(draft.rule.span),)))
            return False
        draft.shape, draft.rest = next(iter(shapes.items()))
        draft.held = [source for held in draft.reads.values() for source in held]
        draft.dtype = draft.target.dtype or self._dtype(draft)
        if draft.target.template.virtual:
            self.reader.virtuals[draft.name] = Held(draft.name, draft.target, draft.place, draft.shape, draft.dtype)
        return True

    def _all_fit(self, held: Sequence[Held]) -> bool:
        return sum(not self._fits(each) for each in held) == 0  # every one that does not fit is reported

    def _fits(self, held: Held) -> bool:
        key = (id(held.tensor), held.shape)
        if key in self._fitting:
            return True
        rest = rest_of(held.tensor.layout, held.shape)
        wanted = f"{len(held.tensor.layout.axes)} axes"
        if rest is not None:
            shape = self.instances.shape(held.tensor.layout, rest, held.place)
            if shape == held.shape:
                if not any("[" in name for atom in atoms(held.tensor.layout) for name in atom.size.dimensions):
                    self._fitting.add(key)  # at every position
                return True
            wanted = str(list(shape))
        message = f"`{held.name}` is {list(held.shape)}, and this layout makes it {wanted}"
        label = Label(held.tensor.layout.span or held.tensor.span, wanted)
        self.account.findings.append(Diagnostic("shape-mismatch", message, (label,)))
        return False

    def _dtype(self, draft: _Draft) -> str | None:
        """Return the dtype of a draft's sources; None where it has none, or only computed numbers."""
        dtype: str | None = None
        for (path, _), held in draft.reads.items():
            link = draft.links[path]
            for source in held[:1] if link.width > 1 else held:
                if source.tensor.dtype is not None:
                    continue  # `as` says how its own side stores it: on this side it has the dtype of most weights
                if dtype is not None and source.dtype not in (None, dtype):
                    message = f"`{draft.name}` is made of tensors of different dtypes: {dtype} and {source.dtype}"
                    note = f"`{source.name}` is {source.dtype}"
                    help_ = "say which it shall be: `as float32` behind the tensor"
                    self.account.findings.append(
                        Diagnostic("mixed-dtypes", message, (Label(draft.rule.span),), (note,), (help_,))
                    )
                    return dtype
                dtype = dtype or source.dtype
            if dtype is None and isinstance(link.left, m.Generated):
                _, own = self.reader.generated(link, draft.place)
                dtype = own if BY_NAME[own].kind != "float" else None
        return dtype

    # --- making -----------------------------------------------------------------------------------------------------

    def execute(self) -> dict[str, Any]:
        """Make every draft, and compare what must be equal."""
        for rule, one, other in self.reader.tied:
            self.reader.verify_tied(rule, one, other, self.differences)
        main = self._main_dtype()
        out: dict[str, Any] = {}
        for draft in self.drafts.values():
            virtual = draft.target.template.virtual
            dtype = draft.dtype or main
            if self.dtype is not None and draft.target.dtype is None and BY_NAME[dtype].kind == "float" and not virtual:
                dtype = self.dtype
            framework = self._framework(draft)
            if virtual:
                dtype = self._unrounded(draft, dtype)
            raw = self._make(draft, framework, dtype)
            if virtual:
                self.reader.keep(draft.name, framework, raw, dtype)
                continue
            for name in (draft.name, *draft.aliases):
                out[name] = framework.whole(framework.seen(raw, dtype))
        for check in self.checks:
            self.reader.verify(check.link, check.place, check.held, self.differences)
        self.differences.close()
        return out

    def _main_dtype(self) -> str:
        """Return the floating-point dtype that most elements have; for tensors that no source decides."""
        counts: dict[str, int] = {}
        for draft in self.drafts.values():
            if not draft.target.template.virtual and draft.dtype is not None and BY_NAME[draft.dtype].kind == "float":
                counts[draft.dtype] = counts.get(draft.dtype, 0) + max(1, prod(draft.shape))
        return max(counts, key=lambda name: counts[name]) if counts else "float32"

    def _framework(self, draft: _Draft) -> Framework:
        found: dict[Framework, str] = {}
        for source in draft.held:
            found.setdefault(self.reader.framework(source), source.name)
        if len(found) > 1:
            listed = " and ".join(f"`{name}` is {framework}" for framework, name in found.items())
            message = f"`{draft.name}` cannot be made of tensors in different places"
            raise CheckpointError(Diagnostic("mixed-places", message, (Label(draft.rule.span),), (listed,)))
        return next(iter(found), self.home)

    def _unrounded(self, draft: _Draft, dtype: str) -> str:
        """Return the dtype in which to hold a virtual tensor: its sources' where it only moves, a wide one where it is computed, so
        that what is made of it is rounded once.
        """
        own = {self.reader.dtype(source) for source in draft.held}
        if BY_NAME[dtype].kind != "float" or not own:
            return dtype
        if len(own) == 1 and not any(link.computes for link in draft.links.values()):
            return own.pop()
        return "float64" if any(BY_NAME[each].bits > 16 and each != "float32" for each in (*own, dtype)) else "float32"

    def _make(self, draft: _Draft, framework: Framework, dtype: str) -> Any:
        size = self.instances.size
        gaps = 0

        def fetch(nodes: tuple[Leaf, ...], path: axes.Path, place: Place) -> Any:
            nonlocal gaps
            link = draft.links[path]
            for at, node in enumerate(nodes):
                name = node.atom.name
                if name in link.inner and name not in place:
                    count = self.instances.count(name, place)
                    others = (*nodes[:at], *nodes[at + 1 :])
                    return axes.stack([fetch(others, path, {**place, name: k}) for k in range(count)], at)
            try:
                held = draft.reads.get((path, link.spot(place)))
                if held is None:
                    gaps += prod(size(node, place) for node in nodes)
                    return self.reader.filled(framework, 0, dtype, nodes, place, draft.name)
                return self.reader.value(link, nodes, place, held, framework, dtype, self.differences, draft.name)
            except axes.Loose as loose:
                message = f"`{loose.args[0]}` is no axis of `{draft.name}`, and no index in its name"
                raise CheckpointError(Diagnostic("incomplete", message, (Label(draft.rule.span),))) from None

        raw = axes.put(axes.nodes_of(draft.target.layout, draft.rest), draft.place, size, fetch)
        if gaps:
            total = prod(draft.shape)
            message = f"the rules fill {total - gaps} of the {total} elements of `{draft.name}`"
            label = Label(draft.target.span, "written here")
            raise CheckpointError(Diagnostic("incomplete", message, (label,)))
        return raw
