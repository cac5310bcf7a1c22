"""The cases of every e2e: the sample task types, through each call and to each ending."""

from __future__ import annotations

from collections.abc import Sequence

from poolhouse.local.e2e.case import Case, Record, all_of, ended, one, result, succeeded
from poolhouse.local.e2e.client import Client

#: Names of the cases of a quick run: a dead letter, an idempotency key.
QUICK = frozenset({"refused by its handler", "duplicate: same idempotency key"})
#: Tasks of the batch call, beside one that is wrong.
BATCH = 25


def make(run: str, *, queues: Sequence[str]) -> list[Case]:
    """Return the cases of one run.

    Args:
        run: a name of its own for each run; idempotency keys begin with it.
        queues: the names of the queues, the one of the highest priority first.
    """
    return [
        Case(
            name="fails twice, then works",
            through="/tasks",
            submit=one("/tasks", {"task_type": "sample.flaky", "queue": queues[0], "payload": {"failures": 2}}),
            check=all_of(succeeded(outcomes=["failed", "failed", "succeeded"]), result({"value": 2, "attempt": 3})),
        ),
        Case(
            name="always fails",
            through="/tasks",
            submit=one(
                "/tasks",
                {"task_type": "sample.failing", "queue": queues[0], "payload": {"message": f"as told by {run}"}},
            ),
            check=ended("dead", reason=f"as told by {run}", outcomes=["failed", "failed"]),
            dead_letter=f"as told by {run}",
        ),
        Case(
            name="refused by its handler",
            through="/submit-task?queue=",
            submit=one(
                f"/submit-task?queue={queues[0]}", {"task_type": "sample.reject", "message": f"refused in {run}"}
            ),
            check=ended("failed", reason=f"refused in {run}", outcomes=["rejected"]),
            dead_letter=f"refused in {run}",
        ),
        Case(
            name="duplicate: same idempotency key",
            through="/tasks",
            submit=lambda client: _duplicate(client, run),
            check=all_of(succeeded(outcomes=["succeeded"]), result({"value": run, "attempt": 1})),
        ),
        Case(
            name=f"batch of {BATCH}, and one of unknown type",
            through="/tasks:batch",
            submit=_batch,
            check=_check_batch,
        ),
    ]


def _duplicate(client: Client, run: str) -> list[str]:
    body = {"task_type": "sample.echo", "payload": {"value": run}}
    key = f"{run}-key"
    ids = [client.submit("/tasks", body, key=key)["task_id"] for _ in range(3)]
    client.submit("/tasks", {**body, "payload": {"value": "other"}}, key=key, expect=(409,))
    return sorted(set(ids))


def _batch(client: Client) -> list[str]:
    tasks = [{"task_type": "sample.echo", "payload": {"value": number}} for number in range(BATCH)]
    answer = client.submit("/tasks:batch", {"tasks": [*tasks, {"task_type": "sample.unheard-of"}]})
    return [entry.get("task_id") or f"{entry['status']} {entry['code']}" for entry in answer["tasks"]][:BATCH]


def _check_batch(client: Client, records: Sequence[Record]) -> list[str]:
    lines = succeeded()(client, records)
    values = [record["result"]["value"] for record in records if record["status"] == "succeeded"]
    return lines or ([] if values == list(range(BATCH)) else [f"values {values}, expected 0 to {BATCH - 1}"])
