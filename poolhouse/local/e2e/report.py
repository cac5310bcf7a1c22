"""The e2e's table: live on a terminal, a line for each finished case elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from poolhouse.local import live_displays


@dataclass
class Line:
    """A case as the table shows it."""

    name: str
    through: str
    started_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None
    tasks: int = 0
    done: int = 0
    note: str = ""
    differences: list[str] | None = None

    @property
    def took_s(self) -> float:
        """From its submission to its end, or to now, in seconds."""
        return (self.ended_at or time.monotonic()) - self.started_at

    @property
    def mark(self) -> str:
        """How it stands."""
        if self.differences is None:
            return "[yellow]…[/]"
        return "[red]✗[/]" if self.differences else "[green]✓[/]"


class Report:
    """Shows the lines; use it as a context manager while they change."""

    def __init__(self, console: Console) -> None:
        """Shows nothing yet."""
        self._console = console
        self.lines: list[Line] = []
        self._live = live_displays.table(console, self.table)

    def __enter__(self) -> Report:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def add(self, name: str, through: str = "") -> Line:
        """A new line."""
        line = Line(name, through)
        self.lines.append(line)
        return line

    def end(self, line: Line, differences: Sequence[str]) -> None:
        """A case has ended."""
        line.ended_at = line.ended_at or time.monotonic()
        line.differences = list(differences)
        if not self._console.is_terminal:
            self._console.print(f"{line.mark} {line.name} ({line.took_s:.2f} s)")

    def table(self) -> Table:
        """The table as it is now."""
        table = Table("", "case", "through", "tasks", "time", "", box=None, header_style="bold", pad_edge=False)
        for line in self.lines:
            tasks = f"{line.done}/{line.tasks}" if line.tasks else ""
            table.add_row(line.mark, line.name, line.through, tasks, f"{line.took_s:.2f} s", line.note)
        return table

    @property
    def differences(self) -> list[str]:
        """All differences, each with its case; a case that did not end is one too."""
        return [
            f"{line.name}: {text}"
            for line in self.lines
            for text in (["did not end"] if line.differences is None else line.differences)
        ]
