"""The overview: how each service is doing, what waits in each queue, what happened last."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
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
from poolhouse.local.console.charts import Chart, chart
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

_EVERY_S = 2.0
#: Tasks that are shown.
_NEWEST = 8
_TOLD = {"pause": "{} is paused: what runs goes on.", "resume": "{} runs."}


@dataclass(frozen=True)
class Window:
    """How far back charts and times look."""

    name: str
    minutes: int


WINDOWS = (Window("1 h", 60), Window("24 h", 1440))


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """A queue: its figures as the API reports them, and where they come from."""

    name: str
    #: Since when it is paused; None while it runs.
    paused_at: str | None
    oldest_age_s: float | None
    #: How many tasks are where, and what came and went, as GET /statistics has it.
    figures: Document
    chart: Chart
    #: Its topics and subscription; None where pipeline.toml does not declare it now.
    declared: Queue | None
    scale: QueueScale | None


def overview(request: Request) -> Response:
    """The page. Services are shown where the API is down too: that is when people look."""
    console = rendering.of(request)
    backend = console.stack.backend()
    services = backend.status() if backend else ()
    window = next((each for each in WINDOWS if each.name == request.query_params.get("window")), WINDOWS[0])
    queues: Sequence[QueueView] = ()
    statistics: Document = {"queues": [], "task_types": []}
    newest: list[Document] = []
    problem = source = ""
    refused = False
    with console.stack.api() as api:
        try:
            found = api.get("/queues")
            source = found["backlog_source"]
            statistics = api.get("/statistics", minutes=str(window.minutes))
            queues = _queues(
                found["queues"],
                statistics,
                scaling=backend.scaling() if backend else (),
                stage=console.stack.info().stage,
            )
            newest = api.get("/tasks", page_size=str(_NEWEST))["tasks"]
        except ApiError as error:
            problem, refused = str(error), error.status not in {0, 503}
    return rendering.page(
        request,
        "overview.html",
        every_s=_EVERY_S,
        services=services,
        notes=_notes(services),
        queues=queues,
        windows=WINDOWS,
        window=window,
        task_types=statistics["task_types"],
        newest=newest,
        problem=problem,
        refused=refused,
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
    found: Sequence[Mapping[str, Any]], statistics: Document, *, scaling: Sequence[QueueScale], stage: str
) -> Sequence[QueueView]:
    declared: Mapping[str, Queue] = {}
    with contextlib.suppress(ConfigError):  # it is being edited; the stack goes on with what it has read
        declared = topology.load(os.environ.get("PIPELINE_FILE") or ROOT / "pipeline.toml", stage=stage).by_name
    scales = {scale.queue: scale for scale in scaling}
    figures = {each["name"]: each for each in statistics["queues"]}
    return [
        QueueView(
            name=queue["name"],
            paused_at=queue["paused_at"],
            oldest_age_s=queue["oldest_age_s"],
            figures=(own := figures[queue["name"]]),
            chart=chart(submitted=own["submitted"], ended=own["ended"], failed=own["failed"]),
            declared=declared.get(queue["name"]),
            scale=scales.get(queue["name"]),
        )
        for queue in found
    ]


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
