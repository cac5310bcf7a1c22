"""`invoke e2e --project`: the end-to-end checks that the deployed system allows, with objects of their own.

A laptop's e2e also kills workers and publishes by hand; a deployed system is left alone: these checks only use the API
and the tasks that are in the image. Checks of task types that the image does not have are left out.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from poolhouse.client import schema
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError, ResultTimeout, TaskFailed
from poolhouse.cloud.errors import CloudError
from poolhouse.pipeline.errors import PoolhouseError

#: Longest time that a task may take, in seconds: a pool may have to start, a job starts once a minute.
TIMEOUT_S = 300
_FILE = b"name,amount\n" + b"".join(b"row %d,%d\n" % (number, number) for number in range(1000))


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One check: what it was, whether it held, what was seen."""

    name: str
    ok: bool
    seen: str
    seconds: float


def run(
    api: Client,
    *,
    prefix: str,
    timeout_s: float = TIMEOUT_S,
    say: Callable[[str], None] = print,
) -> bool:
    """Run every check, report each as it ends, and go on after one that fails; True where all that were run held.

    Args:
        api: the deployed API.
        prefix: folder below `uploads/` that is this run's own, without slashes at its ends.
        timeout_s: longest time that a task may take, in seconds.
        say: where lines for the person go.
    """
    wait = _Waiter(api, timeout_s=timeout_s)
    checks: tuple[tuple[str, str, Callable[[], str]], ...] = (
        ("the API is healthy", "", lambda: _equal(api.get("/health")["status"], "healthy")),
        ("queue and bucket answer", "", lambda: _equal(api.get("/ready")["status"], "ready")),
        ("a data task succeeds", _DATA["task_type"], lambda: _data(api, wait)),
        ("the same key gives the same task", _DATA["task_type"], lambda: _idempotent(api, wait, prefix)),
        ("an uploaded file is processed", _FILES, lambda: _file(api, wait, prefix)),
        ("a task with a missing file fails for good, with the reason", _FILES, lambda: _missing(api, wait, prefix)),
        ("an unknown task type is refused", "", lambda: _refused(api, {"task_type": "unheard-of"}, "unheard-of")),
        (
            "a wrong payload is refused with its field",
            _DATA["task_type"],
            lambda: _refused(api, _WRONG, "dataset_size"),
        ),
        ("the queues are listed", "", lambda: ", ".join(queue["name"] for queue in api.get("/queues")["queues"])),
    )
    good, there = True, _task_types(api)
    for name, needs, check in checks:
        if needs and there is not None and needs not in there:
            say(f"left out: {name}: this pipeline has no task type {needs}")
            continue
        started = time.monotonic()
        try:
            checked = Checked(name=name, ok=True, seen=check(), seconds=time.monotonic() - started)
        except PoolhouseError as error:
            checked = Checked(name=name, ok=False, seen=str(error), seconds=time.monotonic() - started)
        good = good and checked.ok
        say(f"{'ok    ' if checked.ok else 'FAILED'} {checked.name} ({checked.seconds:.1f} s): {checked.seen}")
    return good


def _task_types(api: Client) -> Collection[str] | None:
    """The task types of the image; None where the API does not say."""
    try:
        return schema.task_types(api.get("/openapi.json"))
    except PoolhouseError:
        return None


_FILES = "file_processing"
_DATA: dict[str, Any] = {
    "task_type": "data_transformation",
    "payload": {"dataset_size": 1000, "transformation": "normalize"},
}
_WRONG = {"task_type": "data_transformation", "payload": {"dataset_size": 0, "transformation": "normalize"}}


@dataclass(frozen=True)
class _Waiter:
    api: Client
    timeout_s: float

    def __call__(self, task_id: str) -> Any:
        """Return the result of a task, once it has succeeded. Raises `PoolhouseError`."""
        try:
            return self.api.task(task_id).result(timeout_s=self.timeout_s)
        except ResultTimeout as error:
            raise CloudError(f"{error}. Is a worker running? `invoke status --project` shows.") from None


def _data(api: Client, wait: _Waiter) -> str:
    task_id = api.post("/tasks", _DATA)["task_id"]
    result = wait(task_id)
    _equal(result.get("rows_in"), 1000)
    return f"task {task_id}, {result['rows_in']} rows"


def _idempotent(api: Client, wait: _Waiter, prefix: str) -> str:
    first, second = (api.submit(_DATA["task_type"], _DATA["payload"], idempotency_key=prefix).task_id for _ in range(2))
    _equal(second, first)
    wait(first)
    return f"task {first}"


def _file(api: Client, wait: _Waiter, prefix: str) -> str:
    name = f"{prefix}/amounts.csv"
    api.files.upload(name, _FILE, content_type="text/csv")
    task_id = api.submit(_FILES, {"filename": name}).task_id
    _equal(wait(task_id).get("sha256"), hashlib.sha256(_FILE).hexdigest())
    with api.files.open(name) as file:
        _equal(hashlib.sha256(file.read()).hexdigest(), hashlib.sha256(_FILE).hexdigest())
    return f"task {task_id}, {len(_FILE)} bytes"


def _missing(api: Client, wait: _Waiter, prefix: str) -> str:
    task_id = api.submit(_FILES, {"filename": f"{prefix}/missing.csv"}).task_id
    try:
        wait(task_id)
    except TaskFailed as error:
        if error.status != "failed" or "missing.csv" not in str(error.reason):
            raise
        return f"task {task_id}"
    raise CloudError(f"task {task_id} succeeded without its file")


def _refused(api: Client, body: Any, named: str) -> str:
    try:
        api.post("/tasks", body)
    except ApiError as error:
        if named in str(error) and 400 <= error.status < 500:
            return str(error)[:120]
        raise
    raise CloudError(f"the API took {body}")


def _equal(seen: Any, wanted: Any) -> str:
    if seen != wanted:
        raise CloudError(f"saw {seen!r}, expected {wanted!r}")
    return str(seen)
