"""Find mapping files: the ones that come with tensormap, by name, and the user's own, by path."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from tensormap.diagnostics import Diagnostic, Label, MappingError, Source, Span
from tensormap.suggest import did_you_mean

SUFFIX = ".tmap"
LONGEST = 1 << 20  # bytes of a mapping file
_SHOWN = 8  # mappings of a family, where one is asked for that there is not


def bundled() -> dict[str, Path]:
    """Return the mapping files that come with tensormap, by name (`neox/llama`), sorted. Those in `common` are only included."""
    root = Path(str(files("tensormap") / "mappings"))
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob(f"*{SUFFIX}")}
    return dict(sorted((name, path) for name, path in found.items() if not name.startswith("common/")))


def find(name: str | Path) -> tuple[str, Source]:
    """Return a mapping's name and text: a path that exists, or a bundled name. MappingError if there is neither."""
    text = str(name)
    path = Path(name)
    if path.is_file():
        return path.stem, read(path)
    known = bundled()
    short = text.removesuffix(SUFFIX)
    if short in known:
        return short, Source(f"{short}{SUFFIX}", _decode(known[short].read_bytes(), short))
    hint = did_you_mean(short, tuple(known))
    family = [f"`{each}`" for each in known if each.startswith(short.partition("/")[0] + "/")][:_SHOWN]
    others = f"of `{short.partition('/')[0]}` there are {', '.join(family)}" if family else ""
    raise MappingError(
        Diagnostic(
            "unknown-mapping",
            f"there is no mapping `{text}`",
            notes=("it is neither a file nor one of the mappings that `tensormap list` shows",),
            help=(f"did you mean `{hint}`?",) if hint else (others,) if others else (),
        )
    )


def read(path: Path) -> Source:
    """Read a mapping file; its path is its name in messages."""
    with path.open("rb") as file:
        return read_from(file, str(path))


def read_from(file: BinaryIO, name: str) -> Source:
    """Read a mapping file that is open already, and may have no end."""
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise MappingError(Diagnostic("too-long", f"`{name}` is longer than 1 MiB, which no mapping file is"))
    return Source(name, _decode(data, name))


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MappingError(
            Diagnostic("bad-character", f"`{name}` is not UTF-8: byte {error.start} does not belong there")
        ) from None


def include(path: str, span: Span) -> Source:
    """Find an included file: beside the including one, or in the bundled library."""
    beside = Path(span.source.name).parent / path
    if not Path(path).is_absolute() and ".." not in Path(path).parts:
        if beside.is_file():
            return read(beside)
        root = Path(str(files("tensormap") / "mappings"))
        if (root / path).is_file():
            return Source(path, _decode((root / path).read_bytes(), path))
    raise MappingError(
        Diagnostic("missing-include", f"there is no file `{path}` to include", (Label(span, "asked for here"),))
    )
