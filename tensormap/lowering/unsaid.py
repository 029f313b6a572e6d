"""What nothing says: the findings on values and sizes that are missing, each kind in one, with where they could be given."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Map

from tensormap.diagnostics import MARK, Diagnostic, Label, MappingError, unmarked
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing, evaluate, keys, nested
from tensormap.language.expressions import names as names_in
from tensormap.language.printer import print_expression
from tensormap.lowering.solve import FreeMonomial
from tensormap.lowering.state import State, says

_SHOWN = 5  # rules, and keys of a config
_FACTS = 6


def unknown_values(needed: Map[str, m.Rule], state: State) -> Diagnostic:
    """Report the values without which conditions stay open, each with a rule that depends on it."""
    names = tuple(needed)
    what = (
        "what {} is, and a condition depends on it" if len(names) == 1 else "what {} are, and conditions depend on them"
    )
    return Diagnostic(
        "unknown-value",
        "nothing says " + what.format(_listed(names, state)),
        _labels(needed, "this rule holds or not by it", "depends on"),
        help=(*_config(names, state), _set(names, state, "set each")),
    )


def choice(param: m.Param, state: State) -> Diagnostic:
    """Report a param that nothing decides."""
    choices = [f"--set {param.name}={variant}" for variant in param.variants] or [f"--set {param.name}=..."]
    seen = "the source does not tell its variants apart" if param.variants else "nothing says how much it is"
    return Diagnostic(
        "choice-needed",
        f"`{param.name}` must be chosen" + (f": {param.text}" if param.text else ""),
        (Label(param.span, seen),),
        help=(*_config((param.name,), state), "say " + " or ".join(f"`{each}`" for each in choices)),
    )


def open_sizes(needed: Map[str, m.Rule], state: State) -> Diagnostic:
    """Report the dimensions that stay open, each with a rule that needs it, what is known of them and what would settle them."""
    names = tuple(needed)
    if _one_settles_all(names, state):
        settings = " or ".join(f"`{each}`" for each in _settings(names, state))
        how = f"set one, and the others follow: {settings}"
    else:
        how = _set(names, state, "set each that does not follow from others")
    return Diagnostic(
        "underdetermined",
        f"nothing determines {_listed(names, state)}",
        _labels(needed, "needed here", "needs"),
        tuple(f"known: {fact}" for fact in _facts(names, state)),
        (*_config(names, state), how),
    )


# --- names ------------------------------------------------------------------------------------------------------------------


def _listed(names: Iterable[str], state: State) -> str:
    """List names, those that an included file has for itself with that file and last."""
    files: dict[str, list[str]] = {"": []}
    for name in names:
        files.setdefault(_file(name, state), []).append(f"`{unmarked(name)}`")
    return ", ".join(", ".join(own) + (f" of `{file}`" if file else "") for file, own in files.items() if own)


def _file(name: str, state: State) -> str:
    """Return the path of the included file that has a name for itself, or nothing."""
    _, mark, number = name.partition(MARK)
    return state.mapping.included[int(number) - 1] if mark else ""


def _setting(name: str, state: State) -> str:
    """Return what `--set` calls a name: with its file where another name is written like it."""
    own = unmarked(name)
    others = {*state.mapping.params, *state.mapping.lets, *state.mapping.indices, *_settled(state)} - {name}
    return f"{_file(name, state)}:{own}" if own != name and own in others else own


def _settled(state: State) -> Iterable[str]:
    return (name for each in state.equations for name in each.size.dimensions)


# --- places and facts -------------------------------------------------------------------------------------------------------


def _labels(needed: Map[str, m.Rule], alone: str, verb: str) -> tuple[Label, ...]:
    """Point at the rules, each with its names."""
    groups: dict[int, list[str]] = {}
    for name, rule in needed.items():
        groups.setdefault(rule.number, []).append(name)
    labels: list[Label] = []
    for k, members in enumerate(list(groups.values())[:_SHOWN]):
        shown = ", ".join(f"`{unmarked(name)}`" for name in members)
        labels.append(Label(needed[members[0]].span, alone if len(groups) == 1 else f"{verb} {shown}", k == 0))
    return tuple(labels)


def _facts(names: Iterable[str], state: State) -> tuple[str, ...]:
    """List what is known of open dimensions: products with a value, and sizes that were seen."""
    wanted = set(names)
    known = _products(names, state)
    facts = dict.fromkeys(map(str, known))
    seen = {each.monomial for each in known}
    for each in state.equations:
        size = each.size.substitute(
            {
                name: value
                for name in each.size.dimensions
                if name not in wanted and (value := state.known.dimension(name)) is not None
            }
        )
        open_terms = {monomial for monomial, _ in size.terms if monomial}
        if wanted & set(size.dimensions) and len(size.terms) > 1 and not open_terms <= seen:
            facts[f"{size} = {each.value} ({each.witness.text})"] = None
    return tuple(facts)[:_FACTS]


def _products(names: Iterable[str], state: State) -> list[FreeMonomial]:
    """List the products of open dimensions that have a value."""
    wanted = set(names)
    free = state.solution.free if state.solution is not None else ()
    return [each for each in free if each.value is not None and wanted & {name for name, _ in each.monomial}]


def _one_settles_all(names: Iterable[str], state: State) -> bool:
    """Say whether any one of several open dimensions determines the others, as where all but one of their products are known."""
    known = _products(names, state)
    together = set(names).union(*({name for name, _ in each.monomial} for each in known))
    return len(together) == len(known) + 1 > 1 and all(each.value for each in known)


# --- where it could be said -------------------------------------------------------------------------------------------------


def _config(names: tuple[str, ...], state: State) -> tuple[str, ...]:
    """Say which keys of the source's config would give these names. Nothing where no line reads them, or the config has them."""
    wanted = set(names)
    found: dict[str, None] = {}
    for line in state.mapping.config:
        if line.left is None or line.value is None or line.arrow == "<-" or not wanted & set(names_in(line.value)):
            continue
        if says(line, state.known) is False:
            continue
        if state.config and not _lacks(line.left, state):
            continue
        read_keys = keys(line.left)
        if read_keys:
            found[f"`{read_keys[0]}` says `{print_expression(line.value)}`"] = None
    if not found:
        name = unmarked(next(iter(names)))
        return (
            (f"the config can say it where a line of the mapping reads it: `{name} = KEY <-> KEY`",)
            if state.config
            else ()
        )
    listed = ", ".join(list(found)[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    if state.config:
        return (f"the config has no such key: {listed}",)
    return (f"no config was found beside the source; `--config FILE` names one, where {listed}",)


def _lacks(keys_of: syntax.Expression, state: State) -> bool:
    """Say whether the config lacks a key of one side of a line."""
    try:
        return isinstance(evaluate(keys_of, nested(state.config)), Missing)
    except MappingError:
        return False  # it has something there that makes no sense


def _set(names: tuple[str, ...], state: State, which: str) -> str:
    settings = " ".join(_settings(names, state))
    return f"set it: `{settings}`" if len(names) == 1 else f"{which}: `{settings}`"


def _settings(names: tuple[str, ...], state: State) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"--set {_setting(name, state)}=..." for name in names))
