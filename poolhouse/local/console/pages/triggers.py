"""Triggers: files that start tasks, what they started last, and files that were there before."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.local.console import bulk, forms, rendering

_EVERY_S = 5.0
#: Tasks that are shown of each.
_NEWEST = "5"


def listing(request: Request) -> Response:
    """All of them, in the order of pipeline.toml."""
    with rendering.of(request).stack.api() as api:
        triggers = api.get("/triggers")["triggers"]
        submitted = {
            trigger["name"]: api.get("/tasks", trigger=trigger["name"], page_size=_NEWEST, count="true")
            for trigger in triggers
        }
    return rendering.page(request, "triggers.html", every_s=_EVERY_S, triggers=triggers, submitted=submitted)


def backfill(request: Request, form: FormData) -> Response:
    """Start its task for each file that is there, or count them."""
    verb = request.path_params["verb"]
    if verb not in {"backfill", "count"}:
        raise HTTPException(404)
    with rendering.of(request).stack.api() as api:
        note = bulk.backfill(api, request.path_params["name"], dry_run=verb == "count")
    return rendering.go_to(request, "/triggers", note=note)


routes = [
    Route("/triggers", listing),
    Route("/triggers/{name}/{verb}", forms.posted(backfill), methods=["POST"]),
]
