"""The fenced code blocks of a Markdown file, with the line they start on and the reason not to run them, if one is given."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}) *([\w+-]*)[^`]*$")
_EXEMPT = re.compile(r"^\s*<!--\s*no-run:\s*(.+?)\s*-->\s*$")


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    text: str
    line: int  # of the fence, counted from 1
    exempt: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block, and the output that follows it: None where none is shown."""

    text: str
    output: str | None
    line: int


def blocks(text: str) -> list[Block]:
    """Find the fenced blocks of a Markdown text, in order. A fence that is not closed is an error."""
    found: list[Block] = []
    lines = text.splitlines()
    number = 0
    exempt: str | None = None
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            reason = _EXEMPT.match(lines[number])
            if reason is not None:
                exempt = reason[1]
            elif lines[number].strip():
                exempt = None
            number += 1
            continue
        start, indent, mark = number, len(fence[1]), fence[2]
        body: list[str] = []
        number += 1
        while number < len(lines) and lines[number].strip() != mark:
            body.append(lines[number][min(indent, len(lines[number]) - len(lines[number].lstrip())) :])
            number += 1
        if number == len(lines):
            msg = f"line {start + 1}: the code block is not closed"
            raise ValueError(msg)
        found.append(Block(fence[3], "\n".join(body) + "\n", start + 1, exempt))
        exempt = None
        number += 1
    return found


def commands(block: Block) -> list[Command]:
    """Split a console block at its `$ ` lines. A command goes on in the next line after a backslash."""
    found: list[Command] = []
    lines = block.text.splitlines()
    number = 0
    while number < len(lines):
        if not lines[number].startswith("$ "):
            msg = f"line {block.line + number + 1}: a console block starts with `$ `"
            raise ValueError(msg)
        start, command = number, [lines[number][2:]]
        while command[-1].endswith("\\") and number + 1 < len(lines):
            number += 1
            command.append(lines[number].removeprefix("> "))
        number += 1
        output: list[str] = []
        while number < len(lines) and not lines[number].startswith("$ "):
            output.append(lines[number])
            number += 1
        shown = "\n".join(output).strip("\n")
        found.append(Command("\n".join(command), shown if shown.strip() else None, block.line + start + 1))
    return found


def matches(pattern: str, actual: str) -> bool:
    """Compare output with what is shown: `...` stands for anything, trailing blanks do not count."""
    parts = [re.escape(part) for part in _plain(pattern).split("...")]
    return re.fullmatch(".*".join(parts), _plain(actual), re.DOTALL) is not None


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
