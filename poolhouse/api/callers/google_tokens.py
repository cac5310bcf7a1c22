"""Identity tokens that Google signs for one service account: how Cloud Scheduler says who it is.

Cloud Run checks them for a service that has an invoker check; one without gets them unchecked (Cloud Run,
Authenticating service-to-service).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import requests
from google.auth import exceptions, jwt

#: Where Google publishes the certificates of its tokens (Google Identity, Verify the ID token).
CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
_ISSUERS = frozenset({"accounts.google.com", "https://accounts.google.com"})
#: How long certificates are kept, in seconds: Google changes them every few days, the next ones known before.
KEEP_S = 3600.0
#: Shortest time between two looks for certificates, in seconds: tokens with invented keys must not cost calls.
LOOK_AGAIN_S = 60.0
_TIMEOUT_S = 10.0


def fetch() -> Mapping[str, str]:
    """Return the certificates by the ids of their keys. Raises `requests.RequestException`."""
    answer = requests.get(CERTIFICATES, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    found: Mapping[str, str] = answer.json()
    return found


class GoogleTokens:
    """Recognises the tokens of one account. Its calls may block; they are safe from any thread."""

    def __init__(
        self,
        *,
        account: str,
        audience: str,
        fetch: Callable[[], Mapping[str, str]] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch nothing yet.

        Args:
            account: e-mail address of the service account.
            audience: whom the tokens have to be for.
            fetch: gives the certificates, by key id.
            clock: seconds that only grow.
        """
        self._account = account
        self._audience = audience
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._certificates: Mapping[str, str] = {}
        self._fetched = float("-inf")

    def accepts(self, token: str) -> bool:
        """Whether a token is one of the account's, for this audience, and still valid.

        Raises:
            requests.RequestException: the certificates could not be fetched.
        """
        try:
            key = str(jwt.decode_header(token).get("kid"))
            claims = jwt.decode(token, certs=dict(self._certificates_with(key)), audience=self._audience)
        except (exceptions.GoogleAuthError, ValueError):
            return False
        return (
            claims.get("iss") in _ISSUERS
            and claims.get("email") == self._account
            and claims.get("email_verified") is True
        )

    def _certificates_with(self, key: str) -> Mapping[str, str]:
        with self._lock:
            age = self._clock() - self._fetched
            if age > KEEP_S or (key not in self._certificates and age > LOOK_AGAIN_S):
                self._certificates = self._fetch()
                self._fetched = self._clock()
            return self._certificates
