"""Open a checkpoint as one side of a mapping describes it: which files, which part of their names, which config.

A pattern such as `layer_{n:02}-model_{r:02}-model_states.pt` as `{n}.{r}.` gives every tensor of a file its prefix; which of
several forms a checkpoint has is read off the files that are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from tensormap.checkpoints import config as configs
from tensormap.checkpoints.catalog import Catalog, OpenFile, SourceFile, TensorInfo
from tensormap.checkpoints.links import stays
from tensormap.checkpoints.open import Shelf
from tensormap.checkpoints.reader import Reader
from tensormap.checkpoints.refusal import shown
from tensormap.diagnostics import CheckpointError, Diagnostic, Label
from tensormap.language import mapping as m
from tensormap.language import syntax
from tensormap.language.expressions import Missing, evaluate, nested
from tensormap.language.expressions import names as names_in
from tensormap.lowering.direction import fit

ANY = "model"
"""What is written for a `*` in the name of a file."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A source: its catalog, its config with the files it came from, and the params that the files decided."""

    catalog: Catalog
    config: Map[str, Any]
    config_name: str
    config_files: tuple[Path, ...]
    preset: Map[str, Any] = field(default_factory=dict)
    base: Path = Path()


def open_side(
    mapping: m.Mapping,
    side: m.Side,
    root: Path,
    settings: Map[str, Any],
    config_paths: Sequence[Path] = (),
    shelf: Shelf | None = None,
) -> Opened:
    """Open `root` as `side` describes it. CheckpointError if nothing there fits. What is read is put on the `shelf`, for the other
    side.
    """
    shelf = shelf or Shelf()
    base = root
    preset: dict[str, Any] = {}
    objects: Map[str, Any] = {}
    if side.files and root.is_dir():
        base = _base(side, root)
        variants, catalog = _choose(mapping, side, base, root, settings, shelf)
        preset.update(variants)
        objects = catalog.objects
    else:
        catalog = shelf.checkpoint(root)
        objects = catalog.objects
        if len(catalog.files) == 1:
            objects = {f"{catalog.files[0].path}:{key}": value for key, value in objects.items()}
    files, config = _config(side, root, base, config_paths, objects)
    name = ", ".join(path.name for path in files) or "the config"
    return Opened(_dotted(catalog, side), config, name, files, preset, base)


def _dotted(catalog: Catalog, side: m.Side) -> Catalog:
    """Give every name dots where the side's files have its own separator."""
    if side.separator == ".":
        return catalog
    tensors: dict[str, TensorInfo] = {}
    for name, info in catalog.tensors.items():
        dotted = name.replace(side.separator, ".")
        if dotted in tensors:
            raise CheckpointError(
                Diagnostic(
                    "duplicate-tensor",
                    f"`{name}` and `{tensors[dotted].name}` are one name once `{side.separator}` is read as a dot",
                )
            )
        tensors[dotted] = info._replace(name=dotted)
    return replace(catalog, tensors=tensors)


def _base(side: m.Side, root: Path) -> Path:
    """Follow the text file that names the subdirectory, if there is one."""
    if side.tag is None:
        return root
    tag = root / side.tag.file
    if not tag.is_file():
        return root
    stays(root, side.tag.file)
    with Reader(tag, side.tag.file) as file:
        name = file.head(256).decode("utf-8", "replace").strip()
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise CheckpointError(
            Diagnostic("bad-tag", f"`{tag}` should hold the name of a directory beside it, and holds {shown(name, 60)}")
        )
    candidates = [name]
    if name.isascii() and name.isdigit() and len(name) < 20:
        numbers = [Pattern(each) for each in side.tag.patterns]
        candidates += [each.format({place: int(name) for place in each.names()}) for each in numbers]
    for candidate in candidates:
        if (root / candidate).is_dir():
            stays(root, candidate)
            return root / candidate
    wanted = " or ".join(map(shown, candidates))
    raise CheckpointError(
        Diagnostic("missing-file", f"`{tag}` holds {shown(name)}, and there is no directory {wanted}")
    )


def _choose(
    mapping: m.Mapping, side: m.Side, base: Path, root: Path, settings: Map[str, Any], shelf: Shelf
) -> tuple[dict[str, Any], Catalog]:
    """Try the variants that the file patterns depend on; return the one whose files are there."""
    involved = [
        param
        for param in mapping.params.values()
        if param.variants
        and param.name not in settings
        and any(line.condition is not None and param.name in names_in(line.condition) for line in side.files)
    ]
    tried: list[tuple[dict[str, Any], Catalog]] = []
    for chosen in product(*(param.variants for param in involved)):
        preset = dict(zip((param.name for param in involved), chosen, strict=True))
        lines = [line for line in side.files if _active(line, {**settings, **preset})]
        opened = _open_lines(lines, base, root, shelf)
        if opened is not None:
            tried.append((preset, opened))
    if not tried:
        patterns = ", ".join(f"`{_text(line.pattern)}`" for line in side.files)
        raise CheckpointError(
            Diagnostic(
                "no-files",
                f"`{root}` holds no files of side `{side.name}`",
                tuple(Label(line.span, "", k == 0) for k, line in enumerate(side.files[:1])),
                (f"looked for {patterns}",),
            )
        )
    if len(tried) > 1:
        tried = [each for each in tried if _agrees(mapping, side, *each, base, root)] or tried
    if len(tried) > 1:  # a prefix that one form takes off and another does not
        turned = mapping if mapping.sides[0].name == side.name else mapping.inverse
        tried = [each for each in tried if fit(turned, each[1].tensors)] or tried
    if len(tried) > 1:
        names = ", ".join(param.name for param in involved)
        raise CheckpointError(
            Diagnostic("choice-needed", f"`{root}` holds files of several forms; set {names}", (), ())
        )
    return tried[0]


def _agrees(mapping: m.Mapping, side: m.Side, preset: Map[str, Any], catalog: Catalog, base: Path, root: Path) -> bool:
    """Say whether the config that lies there names these variants, or none."""
    _, config = _config(side, root, base, (), catalog.objects)
    for line in mapping.config:
        ours = line.left if mapping.sides[0].name == side.name else line.right
        if ours is None or not isinstance(line.value, syntax.Name) or line.value.text not in preset:
            continue
        said = evaluate(ours, nested(config))
        if not isinstance(said, Missing) and said != preset[line.value.text]:
            return False
    return True


def _active(line: syntax.Files, values: Map[str, Any]) -> bool:
    """Say whether a line may count: conditions that need what is not known yet do not rule it out."""
    if line.condition is None:
        return True
    value = evaluate(line.condition, values)
    return isinstance(value, Missing) or bool(value)


def _text(template: syntax.Template) -> str:
    return "".join(part if isinstance(part, str) else "*" for part in template.parts)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A template over pattern variables, as a matcher and a formatter of text. `*` matches any name and is written as `ANY`."""

    template: syntax.Template

    def expression(self) -> re.Pattern[str]:
        """Compile to a regular expression of literal text and runs of digits; a variable has one value throughout."""
        out: list[str] = []
        seen: set[str] = set()
        for part in self.template.parts:
            match part:
                case str():
                    out.append(re.escape(part).replace(r"\*", "[^/]*"))
                case syntax.Hole(expression=syntax.Name(text=text)):
                    out.append(f"(?P={text})" if text in seen else f"(?P<{text}>[0-9]+)")
                    seen.add(text)
                case syntax.Hole(expression=syntax.Integer(value=value), width=width):
                    out.append(f"{value:0{width}d}" if width else str(value))
                case _:
                    out.append("[0-9]+")
        return re.compile("".join(out))

    def names(self) -> tuple[str, ...]:
        return tuple(
            part.expression.text
            for part in self.template.parts
            if isinstance(part, syntax.Hole) and isinstance(part.expression, syntax.Name)
        )

    def format(self, values: Map[str, int]) -> str:
        """Return the text for these values of the variables."""
        out: list[str] = []
        for part in self.template.parts:
            if isinstance(part, str):
                out.append(part.replace("*", ANY))
                continue
            value = evaluate(part.expression, values)
            assert isinstance(value, int)
            out.append(f"{value:0{part.width}d}" if part.width else str(value))
        return "".join(out)


def _open_lines(lines: Sequence[syntax.Files], base: Path, root: Path, shelf: Shelf) -> Catalog | None:
    """Open the files of these lines as one catalog; None if a line that gives names finds no tensors."""
    files: list[SourceFile] = []
    tensors: dict[str, TensorInfo] = {}
    objects: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    formats: set[str] = set()
    found: dict[int, int] = {}
    listing = sorted(_listing(base, max((_text(line.pattern).count("/") for line in lines), default=0)))
    opened: dict[str, OpenFile] = {}
    for k, line in enumerate(lines):
        matcher = Pattern(line.pattern).expression()
        for name in listing:
            match = matcher.fullmatch(name)
            if match is None:
                continue
            values = {key: int(value) for key, value in match.groupdict().items()}
            if name not in opened:
                relative = (base / name).relative_to(root).as_posix() if base != root else name
                stays(root, relative)
                opened[name] = shelf.file(base / name, relative)
            inside = opened[name]
            if not line.prefix and line.entries:
                _objects(inside, name, objects)
                continue
            count = _take(line, values, inside, len(files), tensors)
            if count:
                files.append(inside.file)
                formats.add(inside.format)
                metadata = {**inside.metadata, **metadata}
                found[k] = found.get(k, 0) + count
            _objects(inside, name, objects)
    named = [k for k, line in enumerate(lines) if line.prefix is not None or not line.entries]
    if not any(found.get(k) for k in named) or any(not found.get(k) and _decided(lines[k]) for k in named):
        return None
    return Catalog(root, formats.pop() if len(formats) == 1 else "mixed", tuple(files), tensors, metadata, objects)


def _decided(line: syntax.Files) -> bool:
    """Say whether a line's condition rests on named variants alone, so that its files must be there."""
    return line.condition is None or not isinstance(line.condition, syntax.Binary) or line.condition.operator == "=="


def _listing(base: Path, depth: int) -> Iterator[str]:
    for path in base.iterdir():
        if path.name.startswith("."):
            continue  # what systems and interrupted programs leave
        if path.is_file():
            yield path.name
        elif depth and path.is_dir() and not path.is_symlink():
            for name in _listing(path, depth - 1):
                yield f"{path.name}/{name}"


def _objects(inside: OpenFile, name: str, objects: dict[str, Any]) -> None:
    for keys, value in inside.objects.items():
        objects[f"{name}:{'.'.join(keys)}"] = value


def _take(
    line: syntax.Files, values: Map[str, int], inside: OpenFile, number: int, tensors: dict[str, TensorInfo]
) -> int:
    """Give the tensors of one file their names."""
    at = tuple(Pattern(line.at).format(values).split(".")) if line.at else ()
    under = Pattern(line.under).expression() if line.under else None
    count = 0
    for keys, info in inside.tensors.items():
        if keys[: len(at)] != at or len(keys) <= len(at):
            continue
        inner = ".".join(keys[len(at) :])
        place = dict(values)
        if under is not None:
            match = under.match(inner)
            if match is None:
                continue
            place.update((key, int(value)) for key, value in match.groupdict().items())
            inner = inner[match.end() :]
        name = (Pattern(line.prefix).format(place) if line.prefix else "") + inner
        if name in tensors:
            raise CheckpointError(
                Diagnostic(
                    "duplicate-tensor",
                    f"`{name}` is in two files, or twice in `{inside.file.path}`",
                    (Label(line.span, "by this line"),),
                )
            )
        tensors[name] = info._replace(name=name, file=number)
        count += 1
    return count


# --- configs ---------------------------------------------------------------------------------------------------------------


def config_files(side: m.Side) -> tuple[str, ...]:
    """Return the patterns of a side's config files; `config.json` where it names none."""
    patterns = tuple(line.pattern for line in side.configs if line.at is None and not in_header(line))
    return patterns or (() if side.configs else ("config.json",))


def in_header(line: syntax.ConfigFile) -> bool:
    """Say whether a config line means the metadata in the headers of GGUF files."""
    return line.at is None and line.pattern.endswith(".gguf")


def _config(
    side: m.Side, root: Path, base: Path, given: Sequence[Path], objects: Map[str, Any]
) -> tuple[tuple[Path, ...], Map[str, Any]]:
    paths = tuple(given) or _find(side, root, base)
    merged: dict[str, Any] = {}
    headers: tuple[Path, ...] = ()
    for line in side.configs:
        if in_header(line):
            file, values = _header(objects)
            merged.update(values)
            headers = (base / file if base.is_dir() else base,) if values else ()
        elif line.at is not None:
            merged.update(_embedded(line, objects))
    merged.update(read_config(paths))
    return (*headers, *paths), merged


def read_config(paths: Sequence[Path]) -> Map[str, Any]:
    """Read one JSON file, or one or several YAML files that are merged."""
    if all(path.suffix == ".json" for path in paths):
        merged: dict[str, Any] = {}
        for path in paths:
            merged.update(configs.read_json(path))
        return merged
    return configs.read_yaml(list(paths))


def _find(side: m.Side, root: Path, base: Path) -> tuple[Path, ...]:
    """Look in the directory, in the one that its tag names, in their `configs`, and last beside the directory."""
    patterns = config_files(side)
    if not root.is_dir():
        root = base = root.parent
    for folder in dict.fromkeys((root, base, root / "configs", base / "configs")):
        found = _matches(patterns, folder, root)
        if found:
            return found
    if any("*" in each for each in patterns):
        run = (
            root.parent
        )  # of a directory with one saved step, this is the run's; then its configs may lie one further out
        tagged = side.tag is not None and (run / side.tag.file).is_file()
        for folder in (run, run / "configs", *((run.parent,) if tagged else ())):
            found = _matches(patterns, folder, run if folder.is_relative_to(run) else folder)
            if found:
                return found
    return ()


def _matches(patterns: Sequence[str], folder: Path, within: Path) -> tuple[Path, ...]:
    """List the files that match in a directory. CheckpointError where a link leads out of the one it is to stay within."""
    if not folder.is_dir():
        return ()
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    for path in found:
        stays(within, path.relative_to(within).as_posix())
    return tuple(found)


def _header(objects: Map[str, Any]) -> tuple[str, Map[str, Any]]:
    """Return the metadata of GGUF files, and which file they are from: of a model's parts, the first says them."""
    found: dict[str, Any] = {}
    for key, value in objects.items():
        found.setdefault(key.partition(":")[2], value)
    return next((key.partition(":")[0] for key in objects), ""), found


def _embedded(line: syntax.ConfigFile, objects: Map[str, Any]) -> Map[str, Any]:
    """Return the config that a torch file holds beside its tensors."""
    prefix = f"{line.at}."
    found: dict[str, Any] = {}
    for key, value in objects.items():
        file, _, path = key.partition(":")
        if not re.fullmatch(re.escape(line.pattern).replace(r"\*", "[^/]*"), file):
            continue
        if f"{line.at}.".startswith(f"{path}."):
            state = getattr(value, "state", value)
            for part in str(line.at)[len(path) + 1 :].split(".") if path != line.at else ():
                state = state.get(part) if isinstance(state, Map) else None
                state = getattr(state, "state", state)
            if isinstance(state, Map):
                found.update(state)
        elif path.startswith(prefix):
            configs.nested_set(found, path[len(prefix) :], value)
    return found
