"""A client that does as the documentation says: an idempotency key, and the same call again until it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests

from poolhouse.client import loopback
from poolhouse.local.chaos.plan import Job

_THREADS = 8
_TIMEOUT_S = 15
_PAUSE_S = 0.2
#: Answers after which the same call may succeed.
_AGAIN = {429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Accepted:
    """A job whose call was answered with 202."""

    job: Job
    task_id: str
    #: Whether the answer named another task, which had the key of this unique one.
    exists: bool = False


class Submitter:
    """Submits jobs at their times, from some threads."""

    def __init__(self, api_url: str, *, give_up: threading.Event) -> None:
        """Args: give_up: once set, calls are not repeated any more."""
        self._api_url = api_url
        self._give_up = give_up
        self._local = threading.local()
        self.refusals: list[str] = []

    def run(self, jobs: Sequence[Job], *, started_s: float) -> list[Accepted]:
        """Submit all; returns those that were accepted, once all calls have been answered or given up."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="client") as pool:
            answers = pool.map(lambda job: self._submit(job, started_s), jobs)
            return [accepted for accepted in answers if accepted is not None]

    def _submit(self, job: Job, started_s: float) -> Accepted | None:
        self._give_up.wait(max(0.0, started_s + job.at_s - time.monotonic()))
        body: dict[str, Any] = {"task_type": job.task_type, "queue": job.queue, "payload": job.payload}
        if job.delay_s:
            body["delay_s"] = job.delay_s
        answer = self._call("/tasks", body, {"Idempotency-Key": job.key})
        if answer is None:
            return None
        if answer.status_code != 202:
            self.refusals.append(f"{job.key} ({job.task_type}): HTTP {answer.status_code} {answer.text[:300]}")
            return None
        task_id: str = answer.json()["task_id"]
        if answer.json()["status"] == "exists":
            return Accepted(job, task_id, exists=True)
        if job.cancel:
            cancelled = self._call(f"/tasks/{task_id}:cancel", None, {})
            # 409: it has ended meanwhile.
            if cancelled is not None and cancelled.status_code not in {200, 202, 409}:
                self.refusals.append(f"cancel {task_id}: HTTP {cancelled.status_code} {cancelled.text[:300]}")
        return Accepted(job, task_id)

    def _call(self, path: str, body: object, headers: dict[str, str]) -> requests.Response | None:
        while not self._give_up.is_set():
            try:
                answer = self._session().post(f"{self._api_url}{path}", json=body, headers=headers, timeout=_TIMEOUT_S)
            except requests.RequestException:  # the API restarts
                pass
            else:
                if answer.status_code not in _AGAIN:
                    return answer
            self._give_up.wait(_PAUSE_S)
        return None

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = loopback.session()
        session: requests.Session = self._local.session
        return session
