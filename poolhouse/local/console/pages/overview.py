"""The overview: how each service is doing, what waits in each queue, what happened last."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.errors import ApiError
from poolhouse.local.backend import QueueScale, ServiceStatus
from poolhouse.local.console import bulk, forms, rendering
from poolhouse.local.console.emulator import Emulator
from poolhouse.local.console.throughput import Counts, Rates, Throughput
from poolhouse.local.errors import StackError
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.topology import TIER_SUFFIX, Queue
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

_EVERY_S = 2.0
#: Tasks that are shown.
_NEWEST = 8
_TOLD = {"pause": "{} is paused: what runs goes on.", "resume": "{} runs."}


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """A queue: its figures as the API reports them, and where they come from."""

    name: str
    #: Since when it is paused; None while it runs.
    paused_at: str | None
    #: Messages that wait: those not finished which no worker holds; None where unknown.
    waiting: int | None
    in_flight: int | None
    oldest_age_s: float | None
    dead_letters: int
    #: Its topics and subscription; None where pipeline.toml does not declare it now.
    declared: Queue | None
    rates: Rates | None
    scale: QueueScale | None


def overview(request: Request) -> Response:
    """The page. Services are shown where the API is down too: that is when people look."""
    console = rendering.of(request)
    backend = console.stack.backend()
    services = backend.status() if backend else ()
    queues: Sequence[QueueView] = ()
    newest: list[Document] = []
    problem = source = ""
    with console.stack.api() as api:
        try:
            rates = dict(_rates(console.stack.emulator(), console.throughput))
            figures = api.get("/queues")
            source = figures["backlog_source"]
            queues = _queues(figures["queues"], scaling=backend.scaling() if backend else (), rates=rates)
            newest = api.get("/tasks", page_size=str(_NEWEST))["tasks"]
        except ApiError as error:
            problem = str(error)
    return rendering.page(
        request,
        "overview.html",
        every_s=_EVERY_S,
        services=services,
        notes=_notes(services),
        queues=queues,
        newest=newest,
        problem=problem,
        source=source,
    )


def _notes(services: Sequence[ServiceStatus]) -> dict[str, list[str]]:
    """What a person should know, and of whom: an import error is the same for every worker."""
    found: dict[str, list[str]] = {}
    for service in services:
        if service.note:
            found.setdefault(service.note, []).append(service.instance)
    return found


def _queues(
    found: Sequence[Mapping[str, Any]], *, scaling: Sequence[QueueScale], rates: Mapping[str, Rates]
) -> Sequence[QueueView]:
    declared: Mapping[str, Queue] = {}
    with contextlib.suppress(ConfigError):  # it is being edited; the stack goes on with what it has read
        declared = topology.load(os.environ.get("PIPELINE_FILE") or ROOT / "pipeline.toml").by_name
    scales = {scale.queue: scale for scale in scaling}
    return [
        QueueView(
            name=figures["name"],
            paused_at=figures["paused_at"],
            waiting=_waiting(figures),
            in_flight=figures["in_flight"],
            oldest_age_s=figures["oldest_age_s"],
            dead_letters=figures["dead_letters"],
            declared=(queue := declared.get(figures["name"])),
            rates=None if queue is None else rates.get(queue.subscription),
            scale=scales.get(figures["name"]),
        )
        for figures in found
    ]


def _waiting(figures: Mapping[str, Any]) -> int | None:
    backlog, in_flight = figures["backlog"], figures["in_flight"]
    return None if backlog is None or in_flight is None else max(0, int(backlog) - int(in_flight))


def _rates(emulator: Emulator | None, throughput: Throughput) -> Iterator[tuple[str, Rates]]:
    """The rates of every subscription, by its id, where they are counted."""
    if emulator is None:
        return
    try:
        counts = Counter[str]()
        for entry in emulator.subscriptions():
            counts[entry["subscription"].partition(TIER_SUFFIX)[0]] += int(entry["finished"])
    except StackError:
        return  # the page has a line for each service; this chart is no place to say it again
    throughput.add(Counts(time.monotonic(), counts))
    for name in counts:
        found = throughput.rates(name)
        if found is not None:
            yield name.rpartition("/")[2], found


def change(request: Request, form: FormData) -> Response:
    """Pause, resume or purge a queue."""
    name, verb = request.path_params["name"], request.path_params["verb"]
    if verb not in {"purge", *_TOLD}:
        raise HTTPException(404)
    path = f"/queues/{segment(name)}:{verb}"
    with rendering.of(request).stack.api() as api:
        if verb == "purge":
            return rendering.go_to(request, "/", note=bulk.cancel(api, path, {}))
        api.post(path)
    return rendering.go_to(request, "/", note=_TOLD[verb].format(name))


routes = [Route("/", overview), Route("/queues/{name}/{verb}", forms.posted(change), methods=["POST"])]
