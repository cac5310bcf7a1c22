"""A client that does as the documentation says: an idempotency key, and the same call again until it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from poolhouse.client import answers
from poolhouse.client.calls import Call
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.local.chaos.plan import Job

_THREADS = 8
_TIMEOUT_S = 15
_PAUSE_S = 0.2
#: Answers after which the same call may succeed; 0: there was none, since the API restarts.
_AGAIN = {0, 429, 500, 502, 503, 504}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Accepted:
    """A job whose call was answered with 202."""

    job: Job
    task_id: str
    #: Whether the answer named another task, which had the key of this unique one.
    exists: bool = False


class Submitter:
    """Submits jobs at their times, from some threads."""

    def __init__(self, api_url: str, *, webhook_url: str, give_up: threading.Event) -> None:
        """Nothing is called yet.

        Args:
            api_url: where the API is.
            webhook_url: the receiver of jobs whose end is to be told.
            give_up: once set, calls are not repeated any more.
        """
        self._webhook_url = webhook_url
        self._api = Client(api_url, timeout_s=_TIMEOUT_S)
        self._give_up = give_up
        self.refusals: list[str] = []

    def run(self, jobs: Sequence[Job], *, started_s: float) -> list[Accepted]:
        """Submit all; returns those that were accepted, once all calls have been answered or given up."""
        with self._api, ThreadPoolExecutor(_THREADS, thread_name_prefix="client") as pool:
            answers = pool.map(lambda job: self._submit(job, started_s), jobs)
            return [accepted for accepted in answers if accepted is not None]

    def _submit(self, job: Job, started_s: float) -> Accepted | None:
        self._give_up.wait(max(0.0, started_s + job.at_s - time.monotonic()))
        body: dict[str, Any] = {"task_type": job.task_type, "queue": job.queue, "payload": job.payload}
        if job.told:
            body["webhook_url"] = self._webhook_url
        if job.delay_s:
            body["delay_s"] = job.delay_s
        call = Call(method="POST", path="/tasks", body=body, headers={"Idempotency-Key": job.key}, read=answers.json_of)
        try:
            answer = self._call(lambda: self._api.send(call))
        except ApiError as error:
            self.refusals.append(f"{job.key} ({job.task_type}): HTTP {error.status} {error}")
            return None
        if answer is None:
            return None
        if answer["status"] == "exists":
            return Accepted(job, answer["task_id"], exists=True)
        task = self._api.task(answer["task_id"])
        if job.cancel:
            try:
                self._call(task.cancel)
            except ApiError as error:
                if error.status != 409:  # it has ended meanwhile
                    self.refusals.append(f"cancel {task.task_id}: HTTP {error.status} {error}")
        return Accepted(job, task.task_id)

    def _call(self, call: Callable[[], _T]) -> _T | None:
        """Make a call until it is answered; None where it was given up before. Raises `ApiError` for a refusal."""
        while not self._give_up.is_set():
            try:
                return call()
            except ApiError as error:
                if error.status not in _AGAIN:
                    raise
            self._give_up.wait(_PAUSE_S)
        return None
