"""Limits of all workers together: what is held, by whom, and how much waits."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.local.console import rendering

_EVERY_S = 2.0


def listing(request: Request) -> Response:
    """The limits in use."""
    with rendering.of(request).stack.api() as api:
        found = api.get("/limits")
    return rendering.page(request, "limits.html", every_s=_EVERY_S, limits=found["limits"], more=found["more"])


routes = [Route("/limits", listing)]
