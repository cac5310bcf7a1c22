"""Who calls: an identity token in each call of an API that wants one, replaced before it expires."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator
from urllib.parse import urlsplit

import httpx2
from anyio import to_thread

from poolhouse.pipeline.errors import ConfigError

#: How long before its end a token is replaced, in seconds.
MARGIN_S = 60


class BearerToken(httpx2.Auth):
    """Sends a token; asks for another when it has expired, or when the API no longer takes it."""

    def __init__(self, token: Callable[[], str], *, clock: Callable[[], float] = time.time) -> None:
        """Ask for no token yet.

        Args:
            token: gives an identity token, a new one at each call. It may block.
            clock: the time in seconds since 1970.
        """
        self._token = token
        self._clock = clock
        self._bearer = ""
        self._until = 0.0

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send the request; once more with a new token where an old one is refused: the API did nothing."""
        fresh = self._clock() >= self._until
        if fresh:
            self._renew()
        request.headers["Authorization"] = f"Bearer {self._bearer}"
        answer = yield request
        if answer.status_code == 401 and not fresh:
            self._renew()
            request.headers["Authorization"] = f"Bearer {self._bearer}"
            yield request

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """As `auth_flow`; the token is fetched on a thread, since that may block."""
        flow = self.auth_flow(request)
        step = await to_thread.run_sync(next, flow, None)
        while step is not None:
            answer = yield step
            step = await to_thread.run_sync(_send, flow, answer)

    def _renew(self) -> None:
        self._bearer = self._token()
        self._until = _expiry(self._bearer) - MARGIN_S


def _send(flow: Generator[httpx2.Request, httpx2.Response, None], answer: httpx2.Response) -> httpx2.Request | None:
    try:
        return flow.send(answer)
    except StopIteration:
        return None


def wants_token(url: str) -> bool:
    """Whether the address is one of Cloud Run's own, whose services take calls with an ID token or are public."""
    host = urlsplit(url).hostname or ""
    return url.startswith("https://") and host.endswith(".run.app")


def google_id_token(audience: str) -> Callable[[], str]:
    """Return what fetches ID tokens for a service with the credentials of the environment, by google-auth.

    Those are the service account of the machine (metadata server) or the key or impersonation that
    GOOGLE_APPLICATION_CREDENTIALS names. Cloud Run, Service-to-service authentication.

    Args:
        audience: the service's URL, or one of its custom audiences.
    """

    def fetch() -> str:
        from google.auth import exceptions  # noqa: PLC0415 - an API on this machine needs no credentials
        from google.auth.transport.requests import Request  # noqa: PLC0415
        from google.oauth2 import id_token  # noqa: PLC0415

        try:
            return str(id_token.fetch_id_token(Request(), audience))
        except exceptions.GoogleAuthError as error:
            raise ConfigError(
                f"no ID token for {audience}: {error}. Run as a service account, or name one's credentials in "
                "GOOGLE_APPLICATION_CREDENTIALS, or hand over token=…"
            ) from error

    return fetch


def _expiry(token: str) -> float:
    """The time at which a JWT ends, in seconds since 1970; infinity where it doesn't say. The API checks the rest."""
    try:
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return float("inf")
