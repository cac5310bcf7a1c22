"""Tokens that Google signs (JWT), checked by the keys that it publishes: who calls, said by someone who knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import requests
from google.auth import exceptions, jwt

#: How long keys are kept, in seconds: Google changes them every few days, the next ones known before.
KEEP_S = 3600.0
#: Shortest time between two looks for keys, in seconds: tokens with invented keys must not cost calls.
LOOK_AGAIN_S = 60.0
#: How long keys serve where none can be fetched, in seconds.
STALE_S = 24 * 3600.0
#: Shortest time between two tries after one that failed where no key serves, in seconds: a try may take as long as its
#: timeout, and the others wait for it.
RETRY_S = 2.0
#: How far the clock of who signs may be from this one, in seconds (IAP, Securing your app with signed headers).
CLOCK_SKEW_S = 30
_TIMEOUT_S = 10.0

#: Gives keys or certificates, as PEM, by their ids.
Fetch = Callable[[], Mapping[str, str]]


def published(url: str) -> Fetch:
    """Return what fetches the keys published at an address. Its calls raise `requests.RequestException`."""

    def fetch() -> Mapping[str, str]:
        answer = requests.get(url, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        found: Mapping[str, str] = answer.json()
        return found

    return fetch


class SignedTokens:
    """The tokens of some issuers for one audience. Its calls may block; they are safe from any thread."""

    def __init__(
        self, *, issuers: Collection[str], audience: str, fetch: Fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Fetch nothing yet.

        Args:
            issuers: who may have signed them.
            audience: whom they have to be for.
            fetch: gives the keys.
            clock: seconds that only grow.
        """
        self._issuers = frozenset(issuers)
        self._audience = audience
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, str] = {}
        self._fetched = self._failed = float("-inf")
        self._failure = ""

    def claims(self, token: str) -> Mapping[str, Any] | None:
        """Return what a token says; None where it is not signed, not for this audience, or no longer valid.

        Raises:
            requests.RequestException: the keys could not be fetched.
        """
        try:
            key = str(jwt.decode_header(token).get("kid"))
            found: Mapping[str, Any] = jwt.decode(
                token,
                certs=dict(self._keys_with(key)),
                audience=self._audience,
                clock_skew_in_seconds=CLOCK_SKEW_S,
            )
        except (exceptions.GoogleAuthError, ValueError, RecursionError):  # the last: JSON that is nested too deeply
            return None
        return found if found.get("iss") in self._issuers else None

    def _keys_with(self, key: str) -> Mapping[str, str]:
        with self._lock:
            now = self._clock()
            age = now - self._fetched
            if age > KEEP_S or (key not in self._keys and age > LOOK_AGAIN_S):
                usable = bool(self._keys) and age <= STALE_S
                if now - self._failed > (LOOK_AGAIN_S if usable else RETRY_S):
                    self._look()
                if self._fetched < self._failed and not (usable and key in self._keys):
                    raise requests.RequestException(self._failure)
            return self._keys

    def _look(self) -> None:
        try:
            self._keys = self._fetch()
        except requests.RequestException as error:
            self._failed, self._failure = self._clock(), str(error)
        else:
            self._fetched = self._clock()
