"""Logs: the last lines of every service, or of one, as they come."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.local.console import lines, rendering

#: Files are read in a moment; a container engine's command takes a good part of a second.
_FILES_EVERY_S, _ENGINE_EVERY_S = 1.0, 3.0
_MOST = 400


def logs(request: Request) -> Response:
    """The page."""
    asked = request.query_params
    backend = rendering.of(request).stack.backend()
    if backend is None:
        raise HTTPException(404)
    service = asked.get("service", "")
    severity = asked.get("severity", "") if asked.get("severity") in lines.SEVERITIES else ""
    words = asked.get("words", "")
    following = "still" not in asked
    query = {name: value for name, value in asked.items() if name in {"service", "severity", "words"} and value}
    every_s = _ENGINE_EVERY_S if backend.log_files() is None else _FILES_EVERY_S
    return rendering.page(
        request,
        "logs.html",
        every_s=every_s if following else None,
        lines=lines.last(backend, service or None, severity=severity, words=words, most=_MOST),
        instances=lines.instances(backend),
        service=service,
        severity=severity,
        severities=lines.SEVERITIES,
        words=words,
        following=following,
        other=f"/logs?{urlencode({**query, **({'still': '1'} if following else {})})}",
    )


routes = [Route("/logs", logs)]
