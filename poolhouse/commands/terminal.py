"""How commands write: tables and messages for people, JSON lines for programs."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn
from rich.table import Table

from poolhouse.commands import output
from poolhouse.local import live_displays
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.visible import CONTROLS

_COLOURS = {
    "succeeded": "green",
    "running": "cyan",
    "queued": "blue",
    "scheduled": "blue",
    "failed": "red",
    "dead": "red",
    "cancelled": "yellow",
}


@dataclass(frozen=True)
class Terminal:
    """Standard output for what was asked for, standard error for all that is said beside it."""

    out: Console = output.out
    err: Console = output.err

    def say(self, text: str) -> None:
        """A message for people; `text` may have rich's markup."""
        self.err.print(text)

    def line(self, text: str) -> None:
        """A line of output, as it is."""
        self.out.print(text, markup=False)

    def json(self, value: Any, *, indent: int | None = None) -> None:
        """A JSON value."""
        # Past rich: it wraps and colours, and programs read this. Inside strings JSON has an escape for any character,
        # which is needed where the output is not in UTF-8 (RFC 8259, 8.1).
        encoding = getattr(self.out.file, "encoding", None) or "utf-8"
        text = json.dumps(value, ensure_ascii=codecs.lookup(encoding).name != "utf-8", indent=indent)
        self.out.file.write(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """A table; cells may have rich's markup."""
        cells = [tuple(row) for row in rows]
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        # The first column is what people copy: whatever gets too narrow, it is whole.
        table.columns[0].no_wrap = True
        table.columns[0].min_width = max((len(row[0]) for row in cells), default=0)
        for row in cells:
            table.add_row(*row)
        self.out.print(table)

    def bars(self, *columns: ProgressColumn) -> Progress:
        """Progress bars, which are gone when they are done; none where standard error is not a terminal."""
        return live_displays.bars(self.err, *columns)

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Whether to go on.

        Raises:
            ConfigError: standard input is not a terminal.
        """
        if yes:
            return True
        if sys.stdin is None or not sys.stdin.isatty():
            raise ConfigError(f"{question} Not a terminal; pass --yes to confirm.")
        return self.ask(f"{question} [y/N] ").lower() in {"y", "yes"}

    def ask(self, question: str) -> str:
        """Return what a person types, without the spaces around it; nothing where the input has ended (Ctrl-D)."""
        try:
            return self.err.input(escape(question)).strip()
        except EOFError:
            return ""


def status(name: str) -> str:
    """A status in its colour."""
    colour = _COLOURS.get(name)
    return f"[{colour}]{name}[/]" if colour else escape(name)


def now() -> datetime:
    """The time, for ages."""
    return datetime.now(UTC)
