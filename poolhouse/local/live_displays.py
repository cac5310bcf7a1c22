"""What moves on a terminal: live tables and progress bars. They leave sys.stdout and sys.stderr alone.

By default rich replaces both while something moves. Whatever any thread prints then, such as a line of its log, is
rendered on that thread, and Python 3.11 crashes now and then when it frees what did so.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress, ProgressColumn


def screen(console: Console) -> Live:
    """A display that takes the whole screen and is drawn when it is told to."""
    return Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


def table(console: Console, render: Callable[[], RenderableType]) -> Live:
    """A display that is drawn eight times a second, and is gone when it ends."""
    return Live(
        console=console,
        get_renderable=render,
        refresh_per_second=8,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def bars(console: Console, *columns: ProgressColumn) -> Progress:
    """Progress bars, which are gone when they are done; none where the console is no terminal."""
    return Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
