"""What keeps other web pages out: who may ask, how much, and what a browser may do with the answer.

Any page that a developer has open can send requests to 127.0.0.1. A name of its own that resolves to 127.0.0.1 makes
such a page read answers too (DNS rebinding), so the Host header must name this machine; and what changes anything must
come from a page of the console itself.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a form: a payload fits into a Pub/Sub message of 10 MB, and is about as long again when encoded.
MOST_FORM_BYTES = 32 * 1024**2
#: Bytes of a form with files.
MOST_UPLOAD_BYTES = 1024**3
#: Where such forms go.
_UPLOADS = "/submit/"
_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE | re.ASCII)
_READING = frozenset({"GET", "HEAD"})
#: Scripts and styles are files of the console; pages go nowhere else and can't be framed.
_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: with that, browsers send `Origin: null` with forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def refusal(method: str, headers: Headers) -> tuple[int, str] | None:
    """Status and reason why a request is not answered; None where it may go on."""
    host = headers.get("host", "")
    if not _HOST.fullmatch(host):
        return 421, "This console answers to localhost and 127.0.0.1 only."
    if method in _READING:
        return None
    # Browsers send one of them, or both, and let no page forge them.
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None:
        return 403, "A change needs an Origin header that names this console."
    if site not in {None, "same-origin"} or (origin is not None and urlsplit(origin).netloc != host):
        return 403, "This request comes from another page: nothing was done."
    return None


class Guard:
    """ASGI middleware; the outermost one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
                    headers[name] = value
            await send(message)

        refused = refusal(scope["method"], Headers(scope=scope))
        if refused is not None:
            status, reason = refused
            await PlainTextResponse(f"{reason}\n", status)(scope, receive, guarded)
            return
        await self._app(scope, bounded, guarded)
