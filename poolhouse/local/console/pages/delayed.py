"""Delayed tasks: those that wait for a time, the next one first; run now, moved."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client import schema, units
from poolhouse.client.calls import segment
from poolhouse.local.console import forms, rendering
from poolhouse.local.console.paging import Asked
from poolhouse.pipeline.errors import ConfigError

_EVERY_S = 3.0
_PAGE = 50
_FILTERS = ("task_type", "queue")


def listing(request: Request) -> Response:
    """Tasks with a time, and those that wait for their next attempt."""
    asked = Asked.of(request, *_FILTERS)
    with rendering.of(request).stack.api() as api:
        page = api.get("/tasks", sort="due", count="true", **asked.query(size=_PAGE))
        openapi = api.get("/openapi.json")
    return rendering.page(
        request,
        "delayed.html",
        every_s=_EVERY_S if asked.first else None,
        tasks=page["tasks"],
        total=page["total"],
        asked=asked,
        following=page["next_page_token"],
        types=sorted(schema.task_types(openapi)),
        queues=schema.queues(openapi),
    )


def change(request: Request, form: FormData) -> Response:
    """Run one now, or move it."""
    task_id, verb = request.path_params["task_id"], request.path_params["verb"]
    path = f"/tasks/{segment(task_id)}"
    with rendering.of(request).stack.api() as api:
        match verb:
            case "run-now":
                api.post(f"{path}:run-now")
                return rendering.go_to(request, path, note="Queued.")
            case "move":
                try:
                    delay = units.duration(forms.text(form, "delay"), option="Move")
                except ConfigError as error:
                    return rendering.go_to(request, "/delayed", note=str(error))
                api.post(f"{path}:reschedule", {"delay_s": delay.total_seconds()})
                return rendering.go_to(request, "/delayed", note="Moved.")
    raise HTTPException(404)


routes = [
    Route("/delayed", listing),
    Route("/delayed/{task_id}/{verb}", forms.posted(change), methods=["POST"]),
]
