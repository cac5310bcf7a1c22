"""The consoles that commands write to: standard output, and standard error for all that is said beside it."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.local.safe_console import SafeConsole

out = SafeConsole()
err = SafeConsole(stderr=True)


def plain(text: object) -> str:
    """Return a text in which nothing is markup."""
    return escape(str(text))
