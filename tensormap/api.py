"""The library's front door, composed from what lies below: load a mapping, plan it for a checkpoint, run the plan.

Knows how the parts fit together and nothing of how they work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tensormap import library
from tensormap.checkpoints.open import Shelf, open_checkpoint
from tensormap.collection import uncollected
from tensormap.diagnostics import CheckpointError, Diagnostic, MappingError, Source
from tensormap.dtypes import BY_NAME, SHORT
from tensormap.language import checks
from tensormap.language import mapping as m
from tensormap.language.expressions import Missing, evaluate
from tensormap.language.parser import parse_expression
from tensormap.language.resolve import resolve
from tensormap.lowering import align as alignment
from tensormap.lowering import direction, plan_json, plan_text
from tensormap.lowering import plan as plan_types
from tensormap.lowering.bind import Bound, bind
from tensormap.lowering.lower import lower
from tensormap.lowering.schedule import DEFAULT_SHARD, Options, schedule
from tensormap.lowering.sources import Opened, open_side
from tensormap.version import VERSION

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from tensormap.checkpoints.lazy import LazyCatalog
    from tensormap.runtime.execute import Report

Settings: TypeAlias = Map[str, Any]
Paths: TypeAlias = "str | Path | Sequence[str | Path]"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping file, resolved and checked."""

    resolved: m.Mapping

    @property
    def name(self) -> str:
        """The bundled name, or the file's stem."""
        return self.resolved.name

    @property
    def sides(self) -> tuple[str, str]:
        """The names of the left and the right side."""
        return self.resolved.sides[0].name, self.resolved.sides[1].name

    @property
    def inverse(self) -> Mapping:
        """The same mapping with its sides swapped."""
        return Mapping(self.resolved.inverse)

    def check(self) -> checks.Findings:
        """Say what is proved for every admissible size, what is left for given sizes, and what each direction loses."""
        return checks.check(self.resolved)

    def convert(
        self,
        tensors: Map[str, Any],
        to: str | None = None,
        set: Settings | None = None,
        *,
        config: Map[str, Any] | None = None,
        dtype: str | None = None,
    ) -> dict[str, Any]:
        """Convert tensors in memory: numpy arrays, torch tensors, jax arrays, on any device; gradients flow.

        `to` names the side wanted and may be left out where only one side matches the names. `set` gives params and dimensions,
        `config` the source side's config. Raises as `plan` does.

        >>> loads("a [x y] <-> b [y x]").convert({"a": np.ones((2, 3))}, to="right")["b"].shape
        (3, 2)
        """
        from tensormap.runtime import memory

        memory.check_names(tensors)
        turned = direction.turn(self.resolved, to, tensors)
        read, written = (side.separator for side in turned.sides)
        dotted = {name.replace(read, "."): tensor for name, tensor in tensors.items()}
        catalog = memory.catalog(dotted)
        bound = bind(turned, catalog, config=config or {}, config_name="the config", settings=settings_of(set))
        converted = memory.convert(bound, dotted, dtype=_dtype(dtype))
        return {name.replace(".", written): tensor for name, tensor in converted.items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, to the last byte of every header. Prints readably; keeps as JSON."""

    steps: plan_types.Plan

    def __str__(self) -> str:
        return plan_text.show(self.steps)

    @property
    def outputs(self) -> tuple[plan_types.OutputFile, ...]:
        """The files with tensors that will be written."""
        return self.steps.outputs

    def to_json(self) -> str:
        """Return the plan as JSON text, for `Plan.from_json`."""
        return plan_json.dump(self.steps)

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read a plan that `to_json` wrote. CheckpointError if it is none."""
        return Plan(plan_json.load(text))

    def iter_tensors(self) -> Iterator[tuple[str, Any]]:
        """Yield every tensor that would be written, one at a time, as a numpy array; memory holds one tensor."""
        from tensormap.runtime.iterate import iter_tensors

        return iter_tensors(self.steps)


def load(name: str | Path) -> Mapping:
    """Load a mapping: the name of a bundled one (`neox/llama`), or a path. MappingError with everything that is wrong in it."""
    found, source = library.find(name)
    return _checked(resolve(source, library.include, found))


def loads(text: str, name: str = "<text>") -> Mapping:
    """Load a mapping from its text; without a header its sides are `left` and `right`."""
    return _checked(resolve(Source(name, text), library.include, name))


def _checked(resolved: m.Mapping) -> Mapping:
    errors = [each for each in checks.laws(resolved) if each.severity == "error"]
    if errors:
        raise MappingError(errors)
    return Mapping(resolved)


def plan(
    mapping: Mapping | str | Path,
    source: str | Path,
    to: str | None = None,
    set: Settings | None = None,
    max_shard_size: str | int = DEFAULT_SHARD,
    dtype: str | None = None,
    *,
    config: Paths | None = None,
    like: str | Path | None = None,
    trust: str | None = None,
    align: bool = False,
) -> Plan:
    """Return the plan that writes side `to` from the checkpoint at `source`, reading headers and configs only.

    `set` gives params and dimensions; `config` replaces the config files that would be found; `like` names a checkpoint whose
    tensors' names, shapes and dtypes the target must have; `trust="shapes"` lets observed shapes overrule a config that disagrees;
    `align` makes safetensors headers up to 4 KB longer where blocks can then be shared with the source (reflinks).
    MappingError: the mapping, a setting or a choice; CheckpointError: the checkpoint, or it does not fit.
    """
    held = mapping if isinstance(mapping, Mapping) else load(mapping)
    with uncollected():
        return _plan(
            held,
            Path(source),
            to,
            settings_of(set),
            Options(_dtype(dtype), parse_size(max_shard_size), VERSION),
            _paths(config),
            like,
            trust,
            align=align,
        )


def _plan(
    held: Mapping,
    root: Path,
    to: str | None,
    settings: dict[str, Any],
    wanted: Options,
    config: tuple[Path, ...],
    like: str | Path | None,
    trust: str | None,
    *,
    align: bool,
) -> Plan:
    if not root.exists():
        raise CheckpointError(Diagnostic("no-checkpoint", f"there is no `{root}`"))
    turned, opened = _open(held.resolved, root, to, settings, config)
    direction.refuse_own_output(turned, opened.catalog)
    direction.refuse_wrapped(turned, opened.catalog)
    bound = bind(
        turned,
        opened.catalog,
        config=opened.config,
        config_name=opened.config_name,
        settings=settings,
        trust=trust or "",
        preset=opened.preset,
    )
    made = schedule(bound, lower(bound, dtype=wanted.dtype), opened, wanted)
    if align:
        made = alignment.align(made)
    if like is not None:
        written = turned.sides[1]
        reference = open_side(turned, written, Path(like), settings, ()) if written.files else None
        direction.compare(made, reference.catalog if reference is not None else open_checkpoint(Path(like)))
    return Plan(made)


def bound(mapping: Mapping, source: str | Path, to: str | None = None, set: Settings | None = None) -> Bound:
    """Return a mapping bound to a checkpoint, for tools that look inside."""
    turned, opened = _open(mapping.resolved, Path(source), to, settings_of(set), ())
    return bind(
        turned,
        opened.catalog,
        config=opened.config,
        config_name=opened.config_name,
        settings=settings_of(set),
        preset=opened.preset,
    )


def _paths(config: Paths | None) -> tuple[Path, ...]:
    if config is None:
        return ()
    return (Path(config),) if isinstance(config, (str, Path)) else tuple(Path(each) for each in config)


def _open(
    mapping: m.Mapping, root: Path, to: str | None, settings: Settings, config: tuple[Path, ...]
) -> tuple[m.Mapping, Opened]:
    """Turn a mapping so that its left side is the source's, and open the source as that side."""
    if to is not None:
        turned = direction.towards(mapping, to)
        return turned, open_side(turned, turned.sides[0], root, settings, config)
    tried: list[tuple[float, m.Mapping, Opened]] = []
    errors: list[CheckpointError] = []
    shelf = Shelf()
    for turned in (mapping, mapping.inverse):
        try:
            opened = open_side(turned, turned.sides[0], root, settings, config, shelf)
        except CheckpointError as error:
            errors.append(error)
            continue
        tried.append((direction.fit(turned, opened.catalog.tensors), turned, opened))
    if not tried:
        raise errors[0]
    if errors and all(fit == 0 for fit, _, _ in tried):
        raise errors[0]  # the other side could not be read at all, and this one is not it
    return direction.best(mapping, tried)


def apply(
    mapping: Mapping | Plan | str | Path,
    source: str | Path,
    target: str | Path | None = None,
    to: str | None = None,
    set: Settings | None = None,
    max_shard_size: str | int = DEFAULT_SHARD,
    dtype: str | None = None,
    *,
    config: Paths | None = None,
    like: str | Path | None = None,
    trust: str | None = None,
    align: bool = False,
    workers: int | None = None,
    memory: str | int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    discard: bool = False,
    checksum: bool = False,
    trust_crc: bool = False,
    sync: bool = True,
    part: tuple[int, int] | None = None,
    executor: Executor | None = None,
    progress: Any = None,
) -> Report:
    """Run a plan, `apply(plan, "out/")`, or plan and run in one, `apply(mapping, "ckpt/", "out/", to="hf")`.

    The target appears when it is whole; what was there before stays until then. With `part=(3, 16)` only what is missing of the
    third of sixteen parts is made; when all are, anywhere and in any order, `finalize` lets the target appear. `executor`, of the
    kind of `concurrent.futures`, does jobs of a file each, on any machines that see source and target. Without `sync` the target
    appears before its data are on the disk, as with `cp`: a power failure soon after may lose some. Raises as `plan` does,
    BusyError where another run holds the target or an interrupted one waits, and OSError for the disk.
    """
    if isinstance(mapping, Plan):
        made, place = mapping, source
        if target is not None:
            raise TypeError("a plan knows its source: apply(plan, target)")
    else:
        if target is None:
            raise TypeError("apply(mapping, source, target) needs a target")
        made = plan(mapping, source, to, set, max_shard_size, dtype, config=config, like=like, trust=trust, align=align)
        place = target
    more: dict[str, Any] = {} if memory is None else {"memory": parse_size(memory)}
    if part is not None:
        if executor is not None:
            raise TypeError("an executor divides a whole run: give a part or an executor")
        if not sync:
            raise TypeError("a part is noted as made when it is on the disk: no sync goes with a whole run")
        if discard:
            raise TypeError("other parts may be at work: discard goes with a whole run")
        return _apply_part(
            made,
            place,
            part,
            workers=workers,
            overwrite=overwrite,
            checksum=checksum,
            trust_crc=trust_crc,
            progress=progress,
            **more,
        )
    from tensormap.runtime import execute

    with uncollected():
        return execute.run(
            made.steps,
            Path(place),
            workers=workers,
            overwrite=overwrite,
            resume=resume,
            discard=discard,
            checksum=checksum,
            trust_crc=trust_crc,
            sync=sync,
            executor=executor,
            progress=progress,
            **more,
        )


def _apply_part(made: Plan, target: str | Path, part: tuple[int, int], **given: Any) -> Report:
    from tensormap.runtime.divided import Part
    from tensormap.runtime.part import run_part

    with uncollected():
        return run_part(made.steps, target, Part(*part), **given)


def finalize(
    target: str | Path, *, plan: Plan | None = None, overwrite: bool = False, checksum: bool = False
) -> Report:
    """Let a target appear whose parts were all made with `apply(..., part=(k, n))`.

    With `plan`, they have to be of this plan. BusyError: parts are missing, running, or of another plan; MappingError: there are
    none, or the target exists; CheckpointError: the source is not what the parts read; OSError: the disk.
    """
    from tensormap.runtime import finalize as finishing

    with uncollected():
        return finishing.finalize(
            target, plan=None if plan is None else plan.steps, overwrite=overwrite, checksum=checksum
        )


def open(path: str | Path) -> LazyCatalog:
    """Open a checkpoint of any supported format: names, shapes and dtypes at once, a tensor's bytes when it is asked for."""
    from tensormap.checkpoints.lazy import LazyCatalog

    return LazyCatalog(open_checkpoint(Path(path)))


def settings_of(given: Settings | None) -> dict[str, Any]:
    """Return settings with texts such as `"[2, 3]"` or `"8"` read as the values they say."""
    out: dict[str, Any] = {}
    if given and not (hasattr(given, "items") and all(isinstance(name, str) for name in given)):
        raise MappingError(Diagnostic("bad-setting", "settings are a dictionary from names to values"))
    for name, value in (given or {}).items():
        out[name] = _plain(value) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    return out


def _plain(text: str) -> Any:
    try:
        value = evaluate(parse_expression(text), {})
    except MappingError:
        return text
    return text if isinstance(value, Missing) else value


def _dtype(name: str | None) -> str | None:
    if name is None:
        return None
    full = SHORT.get(name, name).removeprefix("torch.")
    if full not in BY_NAME or BY_NAME[full].kind != "float":
        raise MappingError(Diagnostic("unknown-dtype", f"`{name}` is no floating-point dtype"))
    return full


def parse_size(size: str | int) -> int:
    """Read `5GB`, `200MB`, `64MiB` or a number of bytes. MappingError if it is none."""
    if isinstance(size, int):
        return size
    text = size.strip().upper().replace(" ", "")
    units = {
        "KIB": 1024,
        "MIB": 1024**2,
        "GIB": 1024**3,
        "TIB": 1024**4,
        "KB": 10**3,
        "MB": 10**6,
        "GB": 10**9,
        "TB": 10**12,
        "B": 1,
    }
    for unit, factor in units.items():
        if text.endswith(unit):
            text, scale = text[: -len(unit)], factor
            break
    else:
        scale = 1
    try:
        value = int(float(text) * scale)
    except (ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise MappingError(Diagnostic("bad-size", f"`{size}` is no size; write `5GB`, `200MB` or a number of bytes"))
    return value
