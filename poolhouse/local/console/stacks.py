"""What the console shows: the stack on this machine, or a deployed pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.client.target import TIMEOUT_S
from poolhouse.local.backend import Backend, Endpoints, traces_dir
from poolhouse.local.console import google_console
from poolhouse.local.console.emulator import Emulator, NoEmulator
from poolhouse.local.console.files.bucket import ApiBucket, Bucket, LocalBucket
from poolhouse.pipeline.timing.clock import now
from poolhouse.pipeline.traces.span_files import SpanFiles

#: Longest time of a call to a local API, in seconds: a person waits.
LOCAL_TIMEOUT_S = 10.0
#: How long an identity token is kept, in seconds: gcloud gives none that ends within five minutes.
TOKEN_S = 240.0
#: Calls that only look are not in the API's log (`poolhouse.api.access`): an open page makes one every second or two.
_WATCHING = {"X-Watching": "console"}


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """What the head of every page shows of a stack, and what its pages can show."""

    #: In a word, where it runs: a backend's name, or the cloud's.
    place: str
    project: str
    #: Which stage of pipeline.toml it is; empty: the declaration as it stands.
    stage: str = ""
    #: Where a browser can read the API's reference; None where it is not let in.
    reference_url: str | None = None
    #: The filter of Cloud Logging for its log lines; empty where the console itself shows them.
    log_filter: str = ""
    #: Whether its spans are in Cloud Trace.
    cloud_trace: bool = False
    #: How many times as long as on a local stack a page waits before it looks again.
    pace: float = 1.0

    def logs_url(self, task_id: str = "") -> str:
        """Where its log lines are read, or those of one task."""
        if self.log_filter:
            return google_console.logs(self.project, self.log_filter, task_id=task_id)
        return f"/logs?words={segment(task_id)}" if task_id else "/logs"

    def trace_url(self, trace_id: str) -> str:
        """Where a trace is read in Cloud Trace."""
        return google_console.trace(self.project, trace_id)


class Stack(Protocol):
    """Access to what is shown. Every method may raise `PoolhouseError`, such as `NoStack`."""

    #: The time as its processes see it: that of a local stack may have been moved forward.
    now: Callable[[], datetime]

    def info(self) -> StackInfo:
        """What it is, and what can be seen of it."""

    def backend(self) -> Backend | None:
        """Its processes and their logs; None where they are not on this machine."""

    def api(self) -> AbstractContextManager[Client]:
        """A client of its API, closed in the end: threads of several requests must not share one."""

    def bucket(self) -> AbstractContextManager[Bucket]:
        """Its files, for one page."""

    def spans(self) -> SpanFiles | None:
        """Where its processes keep their spans, if they do; None where they are not on this machine."""

    def emulator(self) -> Emulator:
        """The administration of its Pub/Sub emulator. Raises `NoEmulator` where there is none of ours."""


class LocalStack:
    """Whatever stack is up: looked up anew each time, since one may end and another come."""

    def __init__(
        self,
        find: Callable[[], Backend],
        *,
        state_dir: Path,
        now: Callable[[], datetime] = now,
        open_bucket: Callable[[str, str], Bucket] = LocalBucket,
    ) -> None:
        """Looks at nothing yet.

        Args:
            find: gives the backend of the stack that is up; may raise `NoStack`.
            state_dir: where its processes keep what they leave.
            now: the time as the stack's processes see it.
            open_bucket: given the address of the storage server and the bucket's name.
        """
        self._find = find
        self._state_dir = state_dir
        self.now = now
        self._open_bucket = open_bucket
        #: Whether the emulator is ours, by what identifies a stack.
        self._ours: dict[Endpoints, bool] = {}

    def info(self) -> StackInfo:
        backend = self._find()
        endpoints = backend.endpoints()
        return StackInfo(
            place=backend.name,
            project=endpoints.project,
            reference_url=f"{endpoints.api_url}/docs",
        )

    def backend(self) -> Backend:
        return self._find()

    @contextmanager
    def api(self) -> Iterator[Client]:
        api = Client(self._find().endpoints().api_url, timeout_s=LOCAL_TIMEOUT_S, headers=_WATCHING)
        try:
            yield api
        finally:
            api.close()

    @contextmanager
    def bucket(self) -> Iterator[Bucket]:
        endpoints = self._find().endpoints()
        yield self._open_bucket(endpoints.storage_url, endpoints.bucket)

    def spans(self) -> SpanFiles:
        return SpanFiles(traces_dir(self._state_dir, self._find().name))

    def emulator(self) -> Emulator:
        endpoints = self._find().endpoints()
        emulator = Emulator(endpoints.pubsub_host)
        if endpoints not in self._ours:
            self._ours = {endpoints: emulator.is_ours()}
        if not self._ours[endpoints]:
            raise NoEmulator(
                "The Pub/Sub of this stack is Google’s emulator: it has no call to look at messages and leases, to "
                "move its clock or to inject faults.\nOurs has: ./invoke up --backend compose --pubsub poolhouse"
            )
        return emulator


class Deployed:
    """A pipeline on Google Cloud: all that its API returns."""

    def __init__(
        self,
        project: str,
        url: str,
        token: Callable[[], str],
        *,
        log_filter: str,
        cloud_trace: bool = False,
        stage: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Calls nothing yet.

        Args:
            project: where it is deployed.
            url: of its API.
            token: gives an identity token; takes a second, since it asks gcloud.
            log_filter: finds its lines in Cloud Logging.
            cloud_trace: whether its spans are in Cloud Trace.
            stage: which of the deployments of pipeline.toml it is; empty: the one without a stage.
            clock: gives the time in seconds.
        """
        self.now = now
        self._project = project
        self._url = url
        self._log_filter = log_filter
        self._cloud_trace = cloud_trace
        self._stage = stage
        self._give_token = token
        self._clock = clock
        self._lock = threading.Lock()
        self._token, self._token_until = "", float("-inf")

    def info(self) -> StackInfo:
        # Each look is a request that costs its answer's time, and a fraction of a cent.
        place = f"Google Cloud: {self._project}" + (f", {self._stage}" if self._stage else "")
        return StackInfo(
            place=place,
            project=self._project,
            stage=self._stage,
            log_filter=self._log_filter,
            cloud_trace=self._cloud_trace,
            pace=3.0,
        )

    def backend(self) -> None:
        return None

    @contextmanager
    def api(self) -> Iterator[Client]:
        api = Client(self._url, token=self._current_token, timeout_s=TIMEOUT_S, headers=_WATCHING)
        try:
            yield api
        finally:
            api.close()

    @contextmanager
    def bucket(self) -> Iterator[Bucket]:
        with self.api() as api:
            yield ApiBucket(api)

    def spans(self) -> None:
        return None

    def emulator(self) -> Emulator:
        raise NoEmulator(
            f"The Pub/Sub of this pipeline is Google Cloud’s, in {self._project}: messages can’t be looked at without "
            "pulling them, and there is no clock to move and no fault to inject.\n"
            "./invoke up brings the same pipeline up on your machine, with an emulator that has all of it."
        )

    def _current_token(self) -> str:
        with self._lock:
            if self._clock() >= self._token_until:
                self._token = self._give_token()
                self._token_until = self._clock() + TOKEN_S
            return self._token
