"""What surrounds every call: request id, access log, security headers, the web guard; unhandled errors become 500."""

from __future__ import annotations

import random
import re
import time
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poolhouse.api import bodies, problems
from poolhouse.pipeline.messaging import trace
from poolhouse.pipeline.web_guard import WebGuard

#: A client's own id for its request, where it is short and harmless.
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
#: For answers that no browser should show, sniff, frame or run.
_SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
#: Calls of health checks: logged at debug level where they went well.
_QUIET = {"/health", "/ready"}
#: Header of calls by who looks again and again, such as the console: where they only read, and it went well, they are
#: logged at debug level too.
WATCHING = "x-watching"
#: Key of a request's scope: the id of the task that it submitted, for the log.
SUBMITTED = "poolhouse.submitted"
#: Key of a request's scope: who made it, where the API checks that, for the log.
CALLER = "poolhouse.caller"
#: Calls that a program makes for a page, whose origin it names: the upload is opened for that origin.
_FOR_PAGES = {("POST", "/files")}
#: Status in the log of a request whose client went away before it was answered; nothing is sent (nginx's number).
CLIENT_GONE = 499

_log = structlog.get_logger("poolhouse.api.access")


class Access:
    """ASGI middleware; the outermost one."""

    def __init__(self, app: ASGIApp, *, project: str, guard: WebGuard) -> None:
        self._app = app
        self._guard = guard
        self._project = project

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                outgoing = MutableHeaders(scope=message)
                outgoing["x-request-id"] = request_id
                for name, value in _SECURITY.items():
                    outgoing.setdefault(name, value)
            await send(message)

        fields: dict[str, Any] = {"request_id": request_id}
        trace_id = trace.trace_id(headers)
        if trace_id:
            fields["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{trace_id}"
        method = scope["method"]
        try:
            refused = self._guard.refusal(method, headers, forwards_origin=(method, scope["path"]) in _FOR_PAGES)
            if refused is None:
                await self._app(scope, receive, answer)
            else:
                problem = problems.Problem(refused.status, refused.reason, headers={"connection": "close"})
                await problem.response()(scope, receive, answer)
        except ClientDisconnect:
            status = CLIENT_GONE
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            # The last resort: logged here, and revealed to no client. Validators, hooks and calls of the application's
            # may raise what ends a program; a stop of the service comes as a signal.
            _log.error("unexpected error", exc_info=error, method=method, path=scope["path"], **fields)
            if status:
                raise  # the answer has begun: all that is left is to break it off
            await problems.of(error).response()(scope, receive, answer)
        finally:
            bodies.release(scope)
            quiet = scope["path"] in _QUIET or (WATCHING in headers and method == "GET")
            if SUBMITTED in scope:
                fields["task_id"] = scope[SUBMITTED]
            if CALLER in scope:
                fields["caller"] = scope[CALLER]
            log = _log.debug if quiet and status < 400 else _log.info
            log(
                "request",
                method=method,
                path=scope["path"],
                status=status,
                duration_ms=round(1000 * (time.perf_counter() - started), 1),
                **fields,
            )
