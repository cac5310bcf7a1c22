"""Where the commands of a stack write: messages for people, which a pipe gets without colours."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.local.safe_console import SafeConsole

out = SafeConsole(highlight=False, soft_wrap=True)
err = SafeConsole(stderr=True, highlight=False, soft_wrap=True)


def plain(text: object) -> str:
    """Return a text in which nothing is markup."""
    return escape(str(text))
