"""`invoke quotas`."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.client.answers import Document
from poolhouse.client.client import Client
from poolhouse.commands.terminal import Terminal
from poolhouse.pipeline.exit_codes import OK


def show(api: Client, *, as_json: bool = False, terminal: Terminal | None = None) -> int:
    """List how much of its quota each caller has used today."""
    terminal = terminal or Terminal()
    answer = api.get("/quotas")
    quotas: list[Document] = answer["quotas"]
    if as_json:
        for quota in quotas:
            terminal.json({"day": answer["day"], **quota})
    elif not quotas:
        terminal.say(
            "no caller has a quota: per_day under \\[deploy.keys.NAME] or anonymous_per_day under \\[deploy] sets one"
        )
    else:
        terminal.table(
            ("caller", f"used on {answer['day']} (UTC)", "kept ready", "left"),
            (
                (
                    escape(quota["caller"]),
                    f"{quota['used']:,} of {quota['per_day']:,}",
                    f"{quota['reserved']:,}",
                    f"{max(0, quota['per_day'] - quota['used']):,}",
                )
                for quota in quotas
            ),
        )
    return OK
