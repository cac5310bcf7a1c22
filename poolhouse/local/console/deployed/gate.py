"""The gate of a deployed console: lets people in, lets operators act, and logs a line for each act."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import requests
import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poolhouse.local.console import acts, rendering, visitor
from poolhouse.local.console.deployed.assertions import HEADER, Assertions, is_among
from poolhouse.local.console.guard import READING
from poolhouse.local.console.visitor import Visitor

#: Asked by Cloud Run itself, which sends no assertion.
_HEALTH = "/health"
#: Pages that are there to act.
_FORMS = "/submit"
_RETRY_S = "5"
#: Closes a WebSocket that must not be (RFC 6455, 7.4.1: policy violation).
_REFUSED = 1008
_log = structlog.get_logger("console")


class Gate:
    """ASGI middleware inside the console's application, whose pages it uses for what it refuses."""

    def __init__(self, app: ASGIApp, *, assertions: Assertions, operators: tuple[str, ...]) -> None:
        """Set the rules.

        Args:
            app: what answers.
            assertions: tells who calls.
            operators: who may act, as IAM writes members.
        """
        self._app = app
        self._assertions = assertions
        self._operators = operators

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: the console has none
            await send({"type": "websocket.close", "code": _REFUSED})
            return
        if scope["path"] == _HEALTH and scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        found = await self._enter(request)
        if isinstance(found, Response):
            await found(scope, receive, send)
        elif request.method not in READING:
            await self._act(request, found, receive, send)
        elif not found.may_act and f"{scope['path']}/".startswith(f"{_FORMS}/"):
            await (await asyncio.to_thread(_denied, request, found))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _enter(self, request: Request) -> Visitor | Response:
        """Return who calls, or the answer to someone who is unknown."""
        found = request.headers.getlist(HEADER)
        if len(found) != 1:  # with two, one of them is not the proxy's
            return _plain(
                401,
                "This console is reached through Identity-Aware Proxy alone, which adds one assertion to each call; "
                f"this one has {len(found) or 'none'}.",
            )
        try:
            person = await asyncio.to_thread(self._assertions.person, found[0])
        except requests.RequestException:
            return _plain(
                503, "The keys of Identity-Aware Proxy can't be fetched: try again.", {"retry-after": _RETRY_S}
            )
        if person is None:
            return _plain(401, "Identity-Aware Proxy has not signed this call for this console, or too long ago.")
        who = Visitor(address=person.address, may_act=is_among(person, self._operators))
        visitor.enter(request, who)
        return who

    async def _act(self, request: Request, who: Visitor, receive: Receive, send: Send) -> None:
        """Answer a call that changes something, and log what came of it, whatever that is."""
        act = acts.begin(request)
        status, led_to = 500, ""

        async def noted(message: Message) -> None:
            nonlocal status, led_to
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message["headers"])
                led_to = headers.get(b"location", b"").decode("latin-1").partition("?")[0]
            await send(message)

        try:
            if who.may_act:
                await self._app(request.scope, receive, noted)
            else:
                await (await asyncio.to_thread(_denied, request, who))(request.scope, receive, noted)
        finally:
            _log.info(
                "audit",
                who=who.address,
                role=who.role,
                act=request.scope["path"][: acts.MOST_CHARACTERS],
                on=dict(act.on),
                outcome=act.outcome(status) if who.may_act else "denied",
                status=status,
                **({"led_to": led_to} if led_to else {}),
            )


def _denied(request: Request, who: Visitor) -> Response:
    return rendering.page(
        request,
        "error.html",
        status=403,
        title="You may look, but not act",
        text=f"{who.address} is not among the operators under [console] in pipeline.toml.",
        advice="",
    )


def _plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers=headers)
