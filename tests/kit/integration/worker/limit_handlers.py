"""Task types with limits, for several real worker processes: each notes in a shared file what runs beside it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poolhouse.worker import Limit, Payload, TaskContext, task


class Work(Payload):
    tenant: str
    seconds: float = 0.05
    number: int = 0


@contextmanager
def _counted(kind: str, payload: Work, ctx: TaskContext) -> Iterator[None]:
    """Note the task while it runs, and with each begin how many of its key run in processes that live."""
    place = f"{kind}-{payload.tenant}"
    with _locked(place) as lines:
        lines.append(f"begin {os.getpid()} {ctx.task_id} {_alive(lines) + 1} {payload.number}")
    yield
    with _locked(place) as lines:
        lines.append(f"end {os.getpid()} {ctx.task_id}")


@contextmanager
def _locked(place: str) -> Iterator[list[str]]:
    path = Path(os.environ["LIMIT_NOTES"]) / place
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        lines = file.read().splitlines()
        known = len(lines)
        yield lines
        file.write("".join(f"{line}\n" for line in lines[known:]))
        file.flush()


def _alive(lines: list[str]) -> int:
    """The tasks that have begun and not ended, without those of processes that were killed."""
    open_tasks: dict[str, int] = {}
    for line in lines:
        what, pid, task_id, *_ = line.split()
        if what == "begin":
            open_tasks[task_id] = int(pid)
        else:
            open_tasks.pop(task_id, None)
    return sum(_lives(pid) for pid in open_tasks.values())


def _lives(pid: int) -> bool:
    try:  # one that was killed, and not yet waited for, is a zombie
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@task("narrow", limit=Limit(max_concurrency=3, key="tenant"))
def narrow(payload: Work, ctx: TaskContext) -> None:
    """At most three at a time for each tenant."""
    with _counted("narrow", payload, ctx):
        time.sleep(payload.seconds)


@task("paced", limit=Limit(rate="20/m"))
def paced(payload: Work, ctx: TaskContext) -> None:
    """At most twenty starts a minute."""
    with _counted("paced", payload, ctx):
        pass


@task("in_turn", serial_by="tenant")
def in_turn(payload: Work, ctx: TaskContext) -> None:
    """One at a time for each tenant."""
    with _counted("in_turn", payload, ctx):
        time.sleep(payload.seconds)
