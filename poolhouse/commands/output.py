"""The consoles that commands write to: standard output for what was asked for, standard error for everything else."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.local.safe_console import SafeConsole

out = SafeConsole()
err = SafeConsole(stderr=True)


def plain(text: object) -> str:
    """Return a text with all markup escaped."""
    return escape(str(text))
