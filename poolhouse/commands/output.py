"""Consoles for messages to people; without colours when the output is piped."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.local.safe_console import SafeConsole

out = SafeConsole(highlight=False, soft_wrap=True)
err = SafeConsole(stderr=True, highlight=False, soft_wrap=True)


def plain(text: object) -> str:
    """Return a text with all markup escaped."""
    return escape(str(text))
