"""The span of each call that may change something. Calls that only read have none: who polls would fill the files."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poolhouse.api.access import SUBMITTED
from poolhouse.pipeline.traces.process_traces import ProcessTraces

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class TracedCalls:
    """ASGI middleware; there only where traces are on."""

    def __init__(self, app: ASGIApp, *, traces: ProcessTraces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._traces.serving(scope["method"], Headers(scope=scope)) as call:
            try:
                await self._app(scope, receive, answer)
            finally:
                route = getattr(scope.get("route"), "path", "")
                call.ended(route=route, status=status, task_id=scope.get(SUBMITTED))
