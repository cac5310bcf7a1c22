"""Schedules: when each runs next, when it ran last; paused, resumed, run now."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client.calls import segment
from poolhouse.local.console import forms, rendering

_EVERY_S = 5.0
_TOLD = {"pause": "{} is paused.", "resume": "{} runs again."}


def listing(request: Request) -> Response:
    """All of them, in the order of pipeline.toml."""
    with rendering.of(request).stack.api() as api:
        schedules = api.get("/schedules", count="true")["schedules"]
    return rendering.page(request, "schedules.html", every_s=_EVERY_S, schedules=schedules)


def change(request: Request, form: FormData) -> Response:
    """Run, pause or resume one."""
    name, verb = request.path_params["name"], request.path_params["verb"]
    if verb not in {"run", *_TOLD}:
        raise HTTPException(404)
    with rendering.of(request).stack.api() as api:
        answer = api.post(f"/schedules/{segment(name)}:{verb}")
    if verb == "run":
        return rendering.go_to(
            request, f"/tasks/{segment(answer['task_id'])}", note=f"{name} runs now: this is its task."
        )
    return rendering.go_to(request, "/schedules", note=_TOLD[verb].format(name))


routes = [
    Route("/schedules", listing),
    Route("/schedules/{name}/{verb}", forms.posted(change), methods=["POST"]),
]
