"""What Identity-Aware Proxy says of who calls: the signed header that it adds to each request.

Only that one counts. `X-Goog-Authenticated-User-Email` is not signed: whoever gets past the proxy can send it (IAP,
Securing your app with signed headers).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from poolhouse.pipeline.signed_tokens import Fetch, SignedTokens, published

HEADER = "x-goog-iap-jwt-assertion"
#: Where the keys are published, and who signs (IAP, Securing your app with signed headers).
KEYS = "https://www.gstatic.com/iap/verify/public_key"
ISSUER = "https://cloud.google.com/iap"


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who signed in, in lower case."""

    #: The e-mail address.
    address: str
    #: The Workspace or Cloud Identity domain that the account belongs to; empty: none.
    domain: str = ""


class Assertions:
    """Reads the assertions for one service. Its calls may block; they are safe from any thread."""

    def __init__(
        self, *, audience: str, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Fetch nothing yet.

        Args:
            audience: of a Cloud Run service `/projects/NUMBER/locations/REGION/services/NAME`.
            fetch: gives the keys, by their ids; None: those that are published.
            clock: seconds that only grow.
        """
        self._tokens = SignedTokens(issuers={ISSUER}, audience=audience, fetch=fetch or published(KEYS), clock=clock)

    def person(self, assertion: str) -> Person | None:
        """Return who an assertion is about; None where it is not valid.

        Raises:
            requests.RequestException: the keys could not be fetched.
        """
        claims = self._tokens.claims(assertion)
        address = str((claims or {}).get("email") or "").lower()
        if claims is None or not address:
            return None
        return Person(address=address, domain=str(claims.get("hd") or "").lower())


def is_among(person: Person, members: tuple[str, ...]) -> bool:
    """Whether members, as IAM writes them, include a person. A group never does: it can't be looked into here."""
    named = {f"user:{person.address}", f"serviceAccount:{person.address}", f"domain:{person.domain}"}
    return any(f"{kind}:{name.lower()}" in named for kind, _, name in (member.partition(":") for member in members))
