"""The check of each call: ASGI middleware of an API that everybody can reach."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poolhouse.api.access import CALLER
from poolhouse.api.callers import needs
from poolhouse.api.callers.google_tokens import GoogleTokens
from poolhouse.api.callers.needs import Need
from poolhouse.api.callers.quota import Quota, QuotaExceeded
from poolhouse.api.problems import Problem, unavailable
from poolhouse.pipeline.config import api_access
from poolhouse.pipeline.config.api_access import ANONYMOUS, ApiAccess
from poolhouse.pipeline.limits.rate import Rate, RateWindow

#: The header that has the key.
HEADER = "X-API-Key"
_MINUTE_S = 60.0


@dataclass(frozen=True)
class Caller:
    """Who calls, as far as the rules tell callers apart."""

    name: str
    may: tuple[api_access.Scope, ...]
    #: When they called this instance; None: they may call it as often as they want.
    calls: RateWindow | None = None
    #: How often they may call all instances; the shortest window first.
    quotas: Sequence[Quota] = ()


class CallerCheck:
    """Lets calls through whose caller may make them. Rates are those of this process, quotas those of all instances."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: ApiAccess,
        quotas: Mapping[str, Sequence[Quota]] | None = None,
        tokens: GoogleTokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the rules.

        Args:
            app: what answers the calls.
            access: the rules.
            quotas: those of the rules, by caller; the shortest window first.
            tokens: recognises accounts; None: by Google's certificates, where the rules name some.
            clock: seconds that only grow.
        """
        self._app = app
        self._clock = clock
        self._scheduler, self._console = access.scheduler, access.console
        self._tokens = tokens or GoogleTokens(audience=access.audience)
        quotas = quotas or {}
        may = () if access.anonymous is None else (access.anonymous,)
        #: Of calls with a wrong key: they count as calls without one where those are counted here.
        self._guesses = _window(access.anonymous_per_minute)
        calls = None if access.share_rates else self._guesses
        self._anonymous = Caller(ANONYMOUS, may, calls, quotas.get(ANONYMOUS, ()))
        self._keys: dict[str, Caller] = {}
        for holder, key in access.keys.items():
            name = api_access.caller(holder)
            calls = None if access.share_rates else _window(key.per_minute)
            self._keys[key.sha256] = Caller(name, key.may, calls, quotas.get(name, ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A web socket, of an application's own route, has no method: it needs what an unknown call needs.
        wanted = "nothing" if scope["type"] == "lifespan" else needs.need(scope.get("method", ""), scope["path"])
        if wanted != "nothing":
            try:
                caller = await self._admit(wanted, Headers(scope=scope))
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
            scope[CALLER] = caller.name
            if caller.quotas:
                send = _with_headers(send, caller.quotas)
        await self._app(scope, receive, send)

    async def _admit(self, wanted: Need, headers: Headers) -> Caller:
        """Return who calls. Raises `Problem` where the call is not theirs to make, or not now."""
        key = headers.get(HEADER)
        # A token is looked at where an account could make the call: others may send one that is not for this API.
        if key is None and (self._console or (wanted == "due" and self._scheduler)):
            account = await self._account(headers)
            if account and account == self._console:
                return Caller("console", ("operate",))
            if account and account == self._scheduler and wanted == "due":
                return Caller("scheduler", ())
        caller = self._anonymous if key is None else self._keys.get(api_access.digest(key))
        self._count(self._guesses if caller is None else caller.calls)
        if caller is None:
            raise _refused(401, f"{HEADER}: this key is not, or no longer, one of this API's")
        if not needs.met(wanted, caller.may):
            scope = {"any": "a key", "due": "the scope operate"}.get(wanted, f"the scope {wanted}")
            if key is None:
                raise _refused(401, f"this call needs {scope}: send a key in the header {HEADER}")
            raise _refused(403, f"this call needs {scope}; this key may {' and '.join(caller.may)}")
        await _take(caller)
        return caller

    async def _account(self, headers: Headers) -> str:
        """Return the account whose token a call has; empty where it has none."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return ""
        try:
            return await asyncio.to_thread(self._tokens.account, token.strip())
        except requests.RequestException:
            raise unavailable("the certificates of Google's tokens can't be fetched") from None

    def _count(self, calls: RateWindow | None) -> None:
        """Count a call. Raises `Problem` where it is one too many."""
        if calls is None:
            return
        now = self._clock()
        wait_s = calls.wait_s(now)
        if wait_s > 0:
            raise _refused(
                429, "too many calls in a minute: try again after Retry-After", {"retry-after": str(math.ceil(wait_s))}
            )
        calls.start(now)


async def _take(caller: Caller) -> None:
    """Count a call that is the caller's to make. Raises `Problem` where a quota has none left."""
    for quota in caller.quotas:
        try:
            await quota.take()
        except QuotaExceeded as exceeded:
            resets_at = f"{exceeded.resets_at:%Y-%m-%dT%H:%M:%SZ}"
            text = f"the quota of {caller.name}, {quota.calls:,} calls a {quota.window.name},"
            raise _refused(
                429,
                f"{text} is used up: it starts anew at {resets_at}"
                if exceeded.used_up
                else f"what is left of {text} is reserved by other instances of the API: try again after Retry-After",
                {"retry-after": str(exceeded.retry_after_s), **_headers(caller.quotas)},
                quota=f"per_{quota.window.name}",
                limit=quota.calls,
                resets_at=resets_at,
            ) from None


def _headers(quotas: Sequence[Quota]) -> dict[str, str]:
    """Return what an answer says of quotas."""
    said = [quota.headers() for quota in quotas]
    return {name: ", ".join(headers[name] for headers in said) for name in said[0]}


def _with_headers(send: Send, quotas: Sequence[Quota]) -> Send:
    """Add to the answer what is left of quotas."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_headers(quotas))
        await send(message)

    return answer


def describe(document: dict[str, Any], access: ApiAccess) -> None:
    """Add to an OpenAPI document how callers identify themselves."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["ApiKey"] = {"type": "apiKey", "in": "header", "name": HEADER}
    document["security"] = [{"ApiKey": []}, *([{}] if access.anonymous else [])]


def _refused(status: int, error: str, headers: dict[str, str] | None = None, **members: Any) -> Problem:
    # RFC 9110 wants a challenge in each 401. The body of the call is not read: the connection can't be used again.
    challenge = {"www-authenticate": f'ApiKey header="{HEADER}"'} if status == 401 else {}
    return Problem(status, error, headers={**challenge, **(headers or {}), "connection": "close"}, **members)


def _window(per_minute: int | None) -> RateWindow | None:
    return None if per_minute is None else RateWindow(Rate(per_minute, _MINUTE_S))
