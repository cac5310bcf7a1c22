"""Identity tokens that Google signs for service accounts: those of Cloud Scheduler and of the deployed console.

Cloud Run checks them for a service that has an invoker check; one without gets them unchecked (Cloud Run,
Authenticating service-to-service).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from poolhouse.pipeline.signed_tokens import Fetch, SignedTokens, published

#: Where Google publishes the certificates of its tokens (Google Identity, Verify the ID token).
CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
_ISSUERS = frozenset({"accounts.google.com", "https://accounts.google.com"})


class GoogleTokens:
    """Recognises the tokens for one audience. Its calls may block; they are safe from any thread."""

    def __init__(
        self, *, audience: str, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Fetch nothing yet.

        Args:
            audience: whom the tokens have to be for.
            fetch: gives the certificates, by key id; None: those that are published.
            clock: seconds that only grow.
        """
        self._tokens = SignedTokens(
            issuers=_ISSUERS, audience=audience, fetch=fetch or published(CERTIFICATES), clock=clock
        )

    def account(self, token: str) -> str:
        """Return the address of the account whose valid token it is; empty where it is none.

        Raises:
            requests.RequestException: the certificates could not be fetched.
        """
        claims = self._tokens.claims(token)
        return str(claims.get("email", "")) if claims and claims.get("email_verified") is True else ""
