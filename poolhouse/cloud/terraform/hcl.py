"""HCL, the language of Terraform's files, as values: blocks with attributes, and their text in canonical form."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ESCAPES = {
    **{code: f"\\u{code:04x}" for code in (*range(0x20), 0x7F)},
    **{ord(mark): f"\\{mark}" for mark in '"\\'},
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}
#: Longest list that stays on one line, in characters.
_LINE = 100


@dataclass(frozen=True)
class Expression:
    """An expression as it stands in the file, such as `var.image`."""

    text: str

    def __getattr__(self, name: str) -> Expression:
        """An attribute of what it refers to."""
        if name.startswith("_"):
            raise AttributeError(name)
        return Expression(f"{self.text}.{name}")


@dataclass(frozen=True)
class Template:
    """A string with expressions in it."""

    parts: tuple[str | Expression, ...]


@dataclass(frozen=True)
class Call:
    """The call of a function with one argument."""

    function: str
    argument: Value


Value: TypeAlias = (
    "str | int | float | bool | Expression | Template | Call | Sequence[Value] | Mapping[str, Value] | None"
)


@dataclass(frozen=True)
class Block:
    """A block: its type, its labels, and its attributes and blocks in order.

    An attribute that is None is left out.
    """

    type: str
    labels: tuple[str, ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()

    @property
    def address(self) -> Expression:
        """How other blocks refer to it, if it is a resource or a data source."""
        prefix = "data." if self.type == "data" else ""
        return Expression(prefix + ".".join(self.labels))


def text(blocks: Sequence[Block]) -> str:
    """The text of a file, formatted as `terraform fmt` does."""
    return "\n".join("\n".join(_block(block, 0)) + "\n" for block in blocks)


def value(given: Value, depth: int = 0) -> str:
    """The text of a value at some depth of nesting."""
    match given:
        case None:
            return "null"
        case bool():
            return "true" if given else "false"
        case int() | float():
            return f"{given:.15g}"
        case str():
            return quoted(given)
        case Expression():
            return given.text
        case Template():
            return _template(given)
        case Call():
            return f"{given.function}({value(given.argument, depth)})"
        case Mapping():
            return _object(given, depth)
        case _:
            return _list(given, depth)


def quoted(given: str) -> str:
    """A string literal of which nothing is taken for an expression (HCL, Template expressions)."""
    return f'"{_escaped(given)}"'


def _escaped(given: str) -> str:
    return given.translate(_ESCAPES).replace("${", "$${").replace("%{", "%%{")


def _template(given: Template) -> str:
    found = ""
    for part in given.parts:
        if isinstance(part, Expression):
            # In front of an expression a mark would make it text.
            last = found[-1:]
            found = f'{found[:-1]}${{"{last}"}}' if last in {"$", "%"} else found
            found += f"${{{part.text}}}"
        else:
            found += _escaped(part)
    return f'"{found}"'


def _object(given: Mapping[str, Value], depth: int) -> str:
    if not given:
        return "{}"
    keys = {key if _IDENTIFIER.fullmatch(key) else quoted(key): item for key, item in given.items()}
    return "\n".join(["{", *_assignments(keys, depth + 1), "  " * depth + "}"])


def _list(given: Sequence[Value], depth: int) -> str:
    line = f"[{', '.join(value(item, depth) for item in given)}]"
    if len(line) <= _LINE and "\n" not in line:
        return line
    indent = "  " * (depth + 1)
    return "\n".join(["[", *(f"{indent}{value(item, depth + 1)}," for item in given), "  " * depth + "]"])


def _block(block: Block, depth: int) -> Iterator[str]:
    indent = "  " * depth
    head = " ".join([block.type, *map(quoted, block.labels)])
    present = {name: item for name, item in block.attributes.items() if item is not None}
    if not present and not block.blocks:
        yield f"{indent}{head} {{}}"
        return
    yield f"{indent}{head} {{"
    yield from _assignments(present, depth + 1)
    for number, inner in enumerate(block.blocks):
        if present or number:
            yield ""
        yield from _block(inner, depth + 1)
    yield f"{indent}}}"


def _assignments(given: Mapping[str, Value], depth: int) -> Iterator[str]:
    """The lines of attributes; the signs of neighbours that take one line each stand below each other."""
    indent = "  " * depth
    lines = [(name, value(item, depth)) for name, item in given.items()]
    for several, neighbours in itertools.groupby(lines, key=lambda line: "\n" in line[1]):
        group = list(neighbours)
        width = 0 if several else max(len(name) for name, _ in group)
        yield from (f"{indent}{name.ljust(width)} = {item}" for name, item in group)
