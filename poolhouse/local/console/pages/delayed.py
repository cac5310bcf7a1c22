"""Delayed tasks: those that wait for a time, the next one first; run now, moved."""

from __future__ import annotations

from starlette.datastructures import FormData
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


def run_now(request: Request, form: FormData) -> Response:
    """Run one now, as `POST /tasks/ID:run-now` does."""
    path = f"/tasks/{segment(request.path_params['task_id'])}"
    with rendering.of(request).stack.api() as api:
        api.post(f"{path}:run-now")
    return rendering.go_to(request, path, note="Queued.")


def reschedule(request: Request, form: FormData) -> Response:
    """Move one, as `POST /tasks/ID:reschedule` does, and show it."""
    return _reschedule(request, form, shown=f"/tasks/{segment(request.path_params['task_id'])}")


def reschedule_listed(request: Request, form: FormData) -> Response:
    """Move one, and show the list."""
    return _reschedule(request, form, shown="/delayed")


def _reschedule(request: Request, form: FormData, *, shown: str) -> Response:
    try:
        delay = units.duration(forms.text(form, "delay"), option="Move")
    except ConfigError as error:
        return rendering.go_to(request, shown, note=str(error), complete=False)
    with rendering.of(request).stack.api() as api:
        api.post(f"/tasks/{segment(request.path_params['task_id'])}:reschedule", {"delay_s": delay.total_seconds()})
    return rendering.go_to(request, shown, note="Moved.")


routes = [
    Route("/delayed", listing),
    Route("/delayed/{task_id}/reschedule", forms.posted(reschedule_listed), methods=["POST"]),
    Route("/tasks/{task_id}/run-now", forms.posted(run_now), methods=["POST"]),
    Route("/tasks/{task_id}/reschedule", forms.posted(reschedule), methods=["POST"]),
]
