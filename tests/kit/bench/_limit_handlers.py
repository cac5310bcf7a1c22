"""What the measurements of limits run: tasks that note when they begin and end."""

from __future__ import annotations

import os
import time

from poolhouse.worker import Limit, Payload, TaskContext, task


class Work(Payload):
    tenant: str = ""
    seconds: float = 0.0


def _note(change: int) -> None:
    file = os.open(os.environ["LIMIT_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{time.time():.6f} {change}\n".encode())  # one write: lines of two processes never mix
    finally:
        os.close(file)


def _work(payload: Work) -> None:
    _note(1)
    time.sleep(payload.seconds)
    _note(-1)


@task("paced", limit=Limit(rate="40/s"))
def paced(payload: Work, ctx: TaskContext) -> None:
    """At most forty starts a second."""
    _work(payload)


@task("narrow", limit=Limit(max_concurrency=6))
def narrow(payload: Work, ctx: TaskContext) -> None:
    """At most six at a time."""
    _work(payload)


@task("in_turn", serial_by="tenant")
def in_turn(payload: Work, ctx: TaskContext) -> None:
    """One at a time for each tenant."""
    _work(payload)
