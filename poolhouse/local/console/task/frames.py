"""A traceback in parts, so that one's own code stands out from that of libraries. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Where code of libraries lies, and of the worker that calls the handler.
_LIBRARY = re.compile(
    r"site-packages|dist-packages|/lib/python3[.\d]*/|<frozen |/poolhouse/(worker/(?!handlers/)|pipeline/)"
)
_FRAME = re.compile(r'\s+File "(?P<file>.*)", line \d+')


@dataclass(frozen=True, kw_only=True)
class Part:
    """Lines that belong together."""

    #: `frames`: of one's own code; `library`: frames of others; `text`: what was raised, and how it came about.
    kind: str
    text: str
    #: How many frames.
    count: int = 0


def parts(traceback: str) -> list[Part]:
    """Take a traceback apart; a text that is none is one part."""
    found: list[Part] = []
    for kind, lines in _blocks(traceback):
        text = "\n".join(lines)
        if found and found[-1].kind == kind:
            last = found[-1]
            found[-1] = Part(kind=kind, text=f"{last.text}\n{text}", count=last.count + (kind != "text"))
        else:
            found.append(Part(kind=kind, text=text, count=int(kind != "text")))
    return found


def _blocks(traceback: str) -> Iterator[tuple[str, list[str]]]:
    """Each frame with its lines of code, each other line alone."""
    kind, lines, indent = "", list[str](), 0
    for line in traceback.splitlines():
        depth = len(line) - len(line.lstrip())
        if frame := _FRAME.match(line):
            if lines:
                yield kind, lines
            kind, lines, indent = "library" if _LIBRARY.search(frame["file"]) else "frames", [line], depth
        elif lines and depth > indent:
            lines.append(line)
        else:
            if lines:
                yield kind, lines
                lines = []
            yield "text", [line]
    if lines:
        yield kind, lines
