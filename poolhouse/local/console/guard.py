"""What keeps other web pages out: who may ask, how much, and what a browser may do with the answer.

To the rule of `poolhouse.pipeline.web_guard` the console adds that whatever changes anything comes from a page of its
own: no program but a browser has a use for its forms.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poolhouse.pipeline.web_guard import Refusal, WebGuard

#: Bytes of a form: a payload of as many bytes as the API takes, and it may be three times as long when encoded.
MOST_FORM_BYTES = 64 * 1024**2
#: Bytes of a form with files.
MOST_UPLOAD_BYTES = 1024**3
#: Where such forms go.
_UPLOADS = ("/submit/", "/files/upload")
#: Media types of forms; without one there is no body.
_FORMS = frozenset({"", "application/x-www-form-urlencoded", "multipart/form-data"})
#: Methods that change nothing.
READING = frozenset({"GET", "HEAD"})
#: Scripts and styles are files of the console; pages go nowhere else and can't be framed. Only what shows a file
#: (`poolhouse.local.console.pages.files`) has rules of its own.
_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: with that, browsers send `Origin: null` with forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def refusal(method: str, headers: Headers, *, guard: WebGuard) -> Refusal | None:
    """Return why a request is refused; None where it may go on."""
    refused = guard.refusal(method, headers)
    if refused is not None or method in READING:
        return refused
    # What is no form, a page of another site can send only after it has asked; the rule relies on that, this need not.
    if (headers.get("content-type") or "").partition(";")[0].strip().lower() not in _FORMS:
        return Refusal(415, "the console takes forms alone")
    if headers.get("sec-fetch-site", "none") == "none" and "origin" not in headers:
        return Refusal(403, "a change needs an Origin header that names the console")
    return None


class Guard:
    """ASGI middleware; the outermost one."""

    def __init__(self, app: ASGIApp, rule: WebGuard) -> None:
        self._app = app
        self._rule = rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most_bytes = MOST_UPLOAD_BYTES if scope["path"].startswith(_UPLOADS) else MOST_FORM_BYTES
        got_bytes = 0

        async def bounded() -> Message:
            nonlocal got_bytes
            message = await receive()
            got_bytes += len(message.get("body", b""))
            if got_bytes > most_bytes:
                raise HTTPException(413, f"That is more than {most_bytes // 1024**2} MiB.")
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("cache-control", "no-store")
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = refusal(scope["method"], Headers(scope=scope), guard=self._rule)
        if refused is not None:
            await PlainTextResponse(f"{refused.reason}\n", refused.status)(scope, receive, guarded)
            return
        await self._app(scope, bounded, guarded)
