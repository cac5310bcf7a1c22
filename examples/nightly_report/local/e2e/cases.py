"""What `invoke e2e` submits to the whole stack, and what must come of it."""

from __future__ import annotations

from collections.abc import Sequence

from poolhouse.local.e2e.case import Case, all_of, ended, result, succeeded
from poolhouse.local.e2e.client import Client

DAY = "2026-01-31"


def cases(run: str, *, queues: Sequence[str]) -> list[Case]:
    """Return the cases of one run; its shops have the run's name."""

    def sales(client: Client) -> list[str]:
        lines = b"article,quantity,price\ntea,2,3.50\ntea,1,3.50\n"
        client.upload(f"sales/{DAY}/{run}.csv", lines, content_type="text/csv")
        return [_submit(client, "shop_sales", day=DAY, shop=run)]

    def nothing(client: Client) -> list[str]:
        return [_submit(client, "nightly_report", day="1999-12-31")]

    return [
        Case(
            name="sales of a shop",
            through="/tasks",
            submit=sales,
            check=all_of(succeeded(), result({"articles": {"tea": {"quantity": 3, "revenue": "10.50"}}})),
        ),
        Case(
            name="report without sales",
            through="/tasks",
            submit=nothing,
            check=ended("failed", reason="no shop has sent its sales of 1999-12-31"),
            dead_letter="no shop has sent its sales of 1999-12-31",
        ),
    ]


def _submit(client: Client, task_type: str, **payload: str) -> str:
    return str(client.submit("/tasks", {"task_type": task_type, "payload": payload})["task_id"])
