"""`invoke quotas`."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.client.answers import Document
from poolhouse.client.client import Client
from poolhouse.commands.terminal import Terminal
from poolhouse.pipeline.exit_codes import OK


def show(api: Client, *, as_json: bool = False, terminal: Terminal | None = None) -> int:
    """List how much of its quota each caller has used today, and of the shared rates in this minute."""
    terminal = terminal or Terminal()
    answer = api.get("/quotas")
    quotas: list[Document] = answer["quotas"]
    rates: list[Document] = answer["rates"]
    if as_json:
        for each in [*quotas, *rates]:
            terminal.json({"day": answer["day"], **each})
        return OK
    if not quotas and not rates:
        terminal.say(
            "no caller has a quota: per_day under \\[deploy.keys.NAME] or anonymous_per_day under \\[deploy] sets one"
        )
    if quotas:
        _table(f"used on {answer['day']} (UTC)", quotas, "per_day", terminal)
    if rates:
        _table("used in this minute", rates, "per_minute", terminal)
    return OK


def _table(used: str, found: list[Document], most: str, terminal: Terminal) -> None:
    terminal.table(
        ("caller", used, "kept ready", "left"),
        (
            (
                escape(each["caller"]),
                f"{each['used']:,} of {each[most]:,}",
                f"{each['reserved']:,}",
                f"{max(0, each[most] - each['used']):,}",
            )
            for each in found
        ),
    )
