"""`invoke e2e --project`: the end-to-end checks that the deployed system allows, with objects of their own.

A laptop's e2e also kills workers and publishes by hand; a deployed system is left alone: these checks only use the API
and the tasks that are in the image.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from poolhouse.client.api import FINAL
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.remote import RemoteApi

#: Longest time that a task may take, in seconds: a pool may have to start, a job starts once a minute.
TIMEOUT_S = 300
_POLL_S = 1.0
_FILE = b"name,amount\n" + b"".join(b"row %d,%d\n" % (number, number) for number in range(1000))


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One check: what it was, whether it held, what was seen."""

    name: str
    ok: bool
    seen: str
    seconds: float


def run(
    api: RemoteApi,
    *,
    prefix: str,
    timeout_s: float = TIMEOUT_S,
    poll_s: float = _POLL_S,
    say: Callable[[str], None] = print,
) -> bool:
    """Run every check, report each as it ends, and go on after one that fails; True where all held.

    Args:
        api: the deployed API.
        prefix: folder below `uploads/` that is this run's own, without slashes at its ends.
        timeout_s: longest time that a task may take, in seconds.
        poll_s: time between two looks at a task, in seconds.
        say: where lines for the person go.
    """
    wait = _Waiter(api, timeout_s=timeout_s, poll_s=poll_s)
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("the API is healthy", lambda: _equal(api.call("GET", "/health")["status"], "healthy")),
        ("queue and bucket answer", lambda: _equal(api.call("GET", "/ready")["status"], "ready")),
        ("a data task succeeds", lambda: _data(api, wait)),
        ("the same key gives the same task", lambda: _idempotent(api, wait, prefix)),
        ("an uploaded file is processed", lambda: _file(api, wait, prefix)),
        ("a task with a missing file fails for good, with the reason", lambda: _missing(api, wait, prefix)),
        ("an unknown task type is refused", lambda: _refused(api, {"task_type": "unheard-of"}, "unheard-of")),
        ("a wrong payload is refused with its field", lambda: _refused(api, _WRONG, "dataset_size")),
        ("the queues are listed", lambda: ", ".join(queue["name"] for queue in api.call("GET", "/queues")["queues"])),
    )
    good = True
    for name, check in checks:
        started = time.monotonic()
        try:
            checked = Checked(name=name, ok=True, seen=check(), seconds=time.monotonic() - started)
        except CloudError as error:
            checked = Checked(name=name, ok=False, seen=str(error), seconds=time.monotonic() - started)
        good = good and checked.ok
        say(f"{'ok    ' if checked.ok else 'FAILED'} {checked.name} ({checked.seconds:.1f} s): {checked.seen}")
    return good


_DATA = {"task_type": "data_transformation", "payload": {"dataset_size": 1000, "transformation": "normalize"}}
_WRONG = {"task_type": "data_transformation", "payload": {"dataset_size": 0, "transformation": "normalize"}}


@dataclass(frozen=True)
class _Waiter:
    api: RemoteApi
    timeout_s: float
    poll_s: float

    def __call__(self, task_id: str, status: str) -> Any:
        end = time.monotonic() + self.timeout_s
        record = self.api.call("GET", f"/tasks/{task_id}")
        while record["status"] not in FINAL:
            if time.monotonic() > end:
                raise CloudError(
                    f"task {task_id} is still {record['status']} after {self.timeout_s:g} s: is a worker running? "
                    "`invoke status --project` shows."
                )
            time.sleep(self.poll_s)
            record = self.api.call("GET", f"/tasks/{task_id}")
        if record["status"] != status:
            raise CloudError(f"task {task_id} is {record['status']}, not {status}: {record}")
        return record


def _data(api: RemoteApi, wait: _Waiter) -> str:
    task_id = api.call("POST", "/tasks", _DATA)["task_id"]
    wait(task_id, "succeeded")
    result = api.call("GET", f"/tasks/{task_id}/result")
    _equal(result.get("rows_in"), 1000)
    return f"task {task_id}, {result['rows_in']} rows"


def _idempotent(api: RemoteApi, wait: _Waiter, prefix: str) -> str:
    headers = {"Idempotency-Key": prefix}
    first, second = (api.call("POST", "/tasks", _DATA, headers=headers)["task_id"] for _ in range(2))
    _equal(second, first)
    wait(first, "succeeded")
    return f"task {first}"


def _file(api: RemoteApi, wait: _Waiter, prefix: str) -> str:
    name = f"{prefix}/amounts.csv"
    body = {"name": name, "content_type": "text/csv", "size_bytes": len(_FILE)}
    session = api.call("POST", "/files", body)
    # Straight to storage: the session's address is the permission, no token goes there.
    answer = requests.request(
        session["method"], session["upload_url"], data=_FILE, headers=session["headers"], timeout=60
    )
    if not answer.ok:
        raise CloudError(f"storage refused the upload: {answer.status_code} {answer.text[:300]}")
    task_id = api.call("POST", "/tasks", {"task_type": "file_processing", "payload": {"filename": name}})["task_id"]
    wait(task_id, "succeeded")
    report = api.call("GET", f"/tasks/{task_id}/result")
    _equal(report.get("sha256"), hashlib.sha256(_FILE).hexdigest())
    return f"task {task_id}, {len(_FILE)} bytes"


def _missing(api: RemoteApi, wait: _Waiter, prefix: str) -> str:
    body = {"task_type": "file_processing", "payload": {"filename": f"{prefix}/missing.csv"}}
    task_id = api.call("POST", "/tasks", body)["task_id"]
    record = wait(task_id, "failed")
    if "missing.csv" not in str(record.get("reason")):
        raise CloudError(f"task {task_id} failed, but its reason does not name the file: {record}")
    return f"task {task_id}"


def _refused(api: RemoteApi, body: Any, named: str) -> str:
    try:
        api.call("POST", "/tasks", body)
    except CloudError as error:
        if named in str(error) and ": 4" in str(error):
            return str(error)[:120]
        raise
    raise CloudError(f"the API took {body}")


def _equal(seen: Any, wanted: Any) -> str:
    if seen != wanted:
        raise CloudError(f"saw {seen!r}, expected {wanted!r}")
    return str(seen)
