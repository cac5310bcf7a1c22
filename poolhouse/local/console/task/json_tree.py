"""A JSON value as a tree that can be folded, of a bounded size. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Values shown at the most, how deep they may lie, and characters of one text.
MOST_NODES, MOST_DEPTH, MOST_CHARACTERS = 600, 16, 4000
#: Members of an object or array below the outermost one that are shown unfolded.
_UNFOLDED = 12


@dataclass(frozen=True, kw_only=True)
class Node:
    """A value, with the name that it has in its object."""

    #: As JSON; empty in an array.
    key: str
    #: `object`, `array`, `string`, `number`, `literal`; `cut` where values are left out.
    kind: str
    #: The value as JSON; of an object or array how much is in it.
    text: str
    children: tuple[Node, ...] = ()
    #: Whether it is unfolded at first.
    open: bool = False
    #: Where it leads, if it names something.
    href: str = ""


def tree(value: Any, *, link: Callable[[tuple[str, ...], str], str] = lambda path, text: "") -> Node:
    """Make the tree of a value.

    Args:
        value: what JSON can hold.
        link: given the names that lead to a text, and the text: the address that it stands for; empty if none.
    """
    return _Builder(link).node(value, path=(), key="")


class _Builder:
    def __init__(self, link: Callable[[tuple[str, ...], str], str]) -> None:
        self._link = link
        self._left = MOST_NODES

    def node(self, value: Any, *, path: tuple[str, ...], key: str) -> Node:
        self._left -= 1
        if isinstance(value, Mapping):
            members = ((str(name), _json(str(name)), member) for name, member in value.items())
            return self._container("object", members, len(value), path=path, key=key)
        if isinstance(value, (list, tuple)):
            return self._container("array", (("", "", member) for member in value), len(value), path=path, key=key)
        if isinstance(value, str):
            left = len(value) - MOST_CHARACTERS
            more = f" … and {left:,} more characters" if left > 0 else ""
            text = _json(value[:MOST_CHARACTERS]) + more
            return Node(key=key, kind="string", text=text, href=self._link(path, value))
        literal = value is None or isinstance(value, bool)
        return Node(key=key, kind="literal" if literal else "number", text=_json(value))

    def _container(
        self, kind: str, members: Iterable[tuple[str, str, Any]], count: int, *, path: tuple[str, ...], key: str
    ) -> Node:
        children = []
        for index, (name, written, member) in enumerate(members):
            if self._left <= 0 or len(path) >= MOST_DEPTH:
                children.append(Node(key="", kind="cut", text=f"… {count - index:,} more"))
                break
            children.append(self.node(member, path=(*path, name), key=written))
        braces = "{}" if kind == "object" else "[]"
        what = ("field" if kind == "object" else "item") + ("" if count == 1 else "s")
        text = f"{braces[0]}{count:,} {what}{braces[1]}" if count else braces
        return Node(
            key=key,
            kind=kind,
            text=text,
            children=tuple(children),
            open=not path or (len(path) < 3 and count <= _UNFOLDED),
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
