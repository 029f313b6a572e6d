"""Choose between named variants by the names that are present, and take defaults for what nothing determines."""

from __future__ import annotations

from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing
from tensormap.language.expressions import names as names_in
from tensormap.language.names import Shape, numbers, shapes
from tensormap.language.polynomial import Polynomial
from tensormap.language.printer import print_expression
from tensormap.lowering import evidence
from tensormap.lowering.known import Known
from tensormap.lowering.matching import Names
from tensormap.lowering.observe import solve_all
from tensormap.lowering.solve import Equation, Witness
from tensormap.lowering.state import State, active


def infer_variants(state: State) -> bool:
    """Infer named variants from the names that are present."""
    changed = False
    for param in state.mapping.params.values():
        if not param.variants or param.name in state.known.values:
            continue
        possible = _possible(param, state)
        if possible is not None and len(possible) == 1:
            state.inferred.add(param.name)
            changed |= state.known.put(param.name, possible[0])
            state.notes.append(f"{param.name} = {possible[0]}, as the names say")
    return changed


def _possible(param: m.Param, state: State) -> tuple[str, ...] | None:
    """List the variants that the names allow; None where names do not tell them apart."""
    required: dict[str, list[Shape]] = {}
    meant: dict[str, set[str]] = {}
    guarded = [rule for rule in state.mapping.rules if any(param.name in names_in(g.condition) for g in rule.guards)]
    for variant in param.variants:
        state.known.values[param.name] = variant
        required[variant], meant[variant] = [], set()
        for rule in guarded:
            for term in rule.left:
                for tensor in term.tensors:
                    if tensor.template.virtual or tensor.template.wild:
                        continue
                    for shape in shapes(tensor.template):
                        holds = active(rule.guards, state.known, dict(shape.words))
                        if holds is False:
                            continue
                        meant[variant].add(_form(shape, state.known))
                        if holds and not rule.optional:
                            required[variant].append(shape)
    state.known.drop(param.name)
    if len({frozenset(each) for each in meant.values()}) <= 1:
        return None
    everything = set().union(*meant.values())
    size = state.known.size
    present = {form for form in everything if _is_present(form, state.names)}
    return tuple(
        variant
        for variant in param.variants
        if all(state.names.has(shape, size) for shape in required[variant])
        and not (present & (everything - meant[variant]))
    )


def _form(shape: Shape, known: Known) -> str:
    """Write a shape as text, its literals and the holes whose number is known included."""
    slots = []
    for slot in shape.slots:
        if isinstance(slot, int):
            slots.append(str(slot))
        else:
            number = None if slot.parts else known.size(slot.offset)
            slots.append("#" if number is None else str(number))
    return shape.text + "|" + ",".join(slots)


def _is_present(form: str, names: Names) -> bool:
    """Say whether there is a name of this form."""
    text, _, written = form.rpartition("|")
    slots = written.split(",") if written else []
    if all(slot == "#" for slot in slots):
        return text in names.groups
    return any(
        all(a in ("#", str(b)) for a, b in zip(slots, numbers(info.name), strict=True))
        for info in names.groups.get(text, ())
    )


def _variant(param: m.Param) -> str | None:
    """Return the variant that is a param's default: a word, as its variants are; None where it is worked out."""
    match param.default:
        case syntax.Name(text=text):
            return text
        case syntax.String(value=value):
            return value
        case _:
            return None


def take_default(state: State) -> bool:
    """Take one default, in the order of the file, for what nothing determines."""
    for param in state.mapping.params.values():
        if param.default is None or param.name in state.known.values:
            continue
        if state.known.dimension(param.name) is not None:
            continue
        value = _variant(param) if param.variants else None
        if value is None:
            value = state.known.evaluate(param.default)
        if isinstance(value, Missing):
            continue
        shown = str(value) if isinstance(value, int | float | str) else print_expression(param.default)
        simple = isinstance(param.default, syntax.Name | syntax.Integer | syntax.Number | syntax.String)
        about = "" if simple or not value or not param.text else f": {param.text}"
        state.notes.append(f"{param.name} = {shown}, the default{about}")
        if isinstance(value, int) and not isinstance(value, bool):
            witness = Witness(f"the default of `{param.name}` is {shown}", param.span, evidence.DEFAULT)
            state.equations.append(Equation(Polynomial.dimension(param.name), value, witness))
        state.known.put(param.name, value)
        solve_all(state)
        return True
    return False
