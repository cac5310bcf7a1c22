"""The check of each call: ASGI middleware of an API that everybody can reach."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from poolhouse.api.access import ANONYMOUS, CALLER
from poolhouse.api.callers import needs
from poolhouse.api.callers.google_tokens import GoogleTokens
from poolhouse.api.callers.needs import Need
from poolhouse.api.problems import Problem, unavailable
from poolhouse.pipeline.config import api_access
from poolhouse.pipeline.config.api_access import ApiAccess
from poolhouse.pipeline.limits.rate import Rate, RateWindow

#: The header that has the key.
HEADER = "X-API-Key"
_MINUTE_S = 60.0


@dataclass(frozen=True)
class Caller:
    """Who calls, as far as the rules tell callers apart."""

    name: str
    may: tuple[api_access.Scope, ...]
    #: When they called; None: they may call as often as they want.
    calls: RateWindow | None = None


class CallerCheck:
    """Lets calls through whose caller may make them. Counts are those of this process."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: ApiAccess,
        tokens: GoogleTokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the rules.

        Args:
            app: what answers the calls.
            access: the rules.
            tokens: recognises accounts; None: by Google's certificates, where the rules name some.
            clock: seconds that only grow.
        """
        self._app = app
        self._clock = clock
        self._scheduler, self._console = access.scheduler, access.console
        self._tokens = tokens or GoogleTokens(audience=access.audience)
        self._anonymous = Caller(
            ANONYMOUS, () if access.anonymous is None else (access.anonymous,), _window(access.anonymous_per_minute)
        )
        self._keys = {
            key.sha256: Caller(f"key {name}", key.may, _window(key.per_minute)) for name, key in access.keys.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A web socket, of an application's own route, has no method: it needs what an unknown call needs.
        wanted = "nothing" if scope["type"] == "lifespan" else needs.need(scope.get("method", ""), scope["path"])
        if wanted != "nothing":
            try:
                scope[CALLER] = await self._admit(wanted, Headers(scope=scope))
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, wanted: Need, headers: Headers) -> str:
        """Return the name of who calls. Raises `Problem` where the call is not theirs to make, or not now."""
        key = headers.get(HEADER)
        # A token is looked at where an account could make the call: others may send one that is not for this API.
        if key is None and (self._console or (wanted == "due" and self._scheduler)):
            account = await self._account(headers)
            if account and account == self._console:
                return "console"
            if account and account == self._scheduler and wanted == "due":
                return "scheduler"
        caller = self._anonymous if key is None else self._keys.get(api_access.digest(key))
        self._count(caller or self._anonymous)
        if caller is None:
            raise _refused(401, f"{HEADER}: this key is not, or no longer, one of this API's")
        if not needs.met(wanted, caller.may):
            scope = {"any": "a key", "due": "the scope operate"}.get(wanted, f"the scope {wanted}")
            if key is None:
                raise _refused(401, f"this call needs {scope}: send a key in the header {HEADER}")
            raise _refused(403, f"this call needs {scope}; this key may {' and '.join(caller.may)}")
        return caller.name

    async def _account(self, headers: Headers) -> str:
        """Return the account whose token a call has; empty where it has none."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return ""
        try:
            return await asyncio.to_thread(self._tokens.account, token.strip())
        except requests.RequestException:
            raise unavailable("the certificates of Google's tokens can't be fetched") from None

    def _count(self, caller: Caller) -> None:
        """Count a call. Raises `Problem` where it is one too many."""
        if caller.calls is None:
            return
        now = self._clock()
        wait_s = caller.calls.wait_s(now)
        if wait_s > 0:
            raise _refused(
                429, "too many calls in a minute: try again after Retry-After", {"retry-after": str(math.ceil(wait_s))}
            )
        caller.calls.start(now)


def describe(document: dict[str, Any], access: ApiAccess) -> None:
    """Add to an OpenAPI document how callers identify themselves."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["ApiKey"] = {"type": "apiKey", "in": "header", "name": HEADER}
    document["security"] = [{"ApiKey": []}, *([{}] if access.anonymous else [])]


def _refused(status: int, error: str, headers: dict[str, str] | None = None) -> Problem:
    # RFC 9110 wants a challenge in each 401. The body of the call is not read: the connection can't be used again.
    challenge = {"www-authenticate": f'ApiKey header="{HEADER}"'} if status == 401 else {}
    return Problem(status, error, headers={**challenge, **(headers or {}), "connection": "close"})


def _window(per_minute: int | None) -> RateWindow | None:
    return None if per_minute is None else RateWindow(Rate(per_minute, _MINUTE_S))
