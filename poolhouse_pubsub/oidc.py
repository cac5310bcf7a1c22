"""OIDC tokens of push requests, and the keys that verify them, served under `/admin/oidc/`.

The issuer is Google's, as in the service's tokens; the keys are this emulator's own. A receiver verifies with
`google.oauth2.id_token.verify_token(token, request, audience, certs_url="http://HOST:PORT/admin/oidc/certs")`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from dataclasses import dataclass
from typing import Any

from poolhouse_pubsub.http import HttpRequest, HttpResponse, json_response

ISSUER = "https://accounts.google.com"
#: Life of a token in seconds, and how long one is used again: the service's tokens last an hour as well.
LIFETIME_S = 3_600
_REUSE_S = 1_800

_CONFIGURATION = "/admin/oidc/.well-known/openid-configuration"
_CERTS = "/admin/oidc/certs"


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    private: Any
    public_jwk: dict[str, str]


class Oidc:
    """Signs tokens, and answers the two calls that verifiers make.

    Times in a token are real times, whatever the emulator's clock says: a receiver checks them against its own.
    """

    def __init__(self) -> None:
        self._key: asyncio.Task[_Key] | None = None
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}

    async def token(self, *, email: str, audience: str) -> str:
        """Return a signed JWT (RS256).

        Args:
            email: The service account.
            audience: Who it is for.
        """
        import jwt  # noqa: PLC0415 - slow to import, and few subscriptions ask for tokens

        now = time.time()
        made, token = self._tokens.get((email, audience), (0.0, ""))
        if now - made < _REUSE_S:
            return token
        key = await self._signing_key()
        # The service's subject is the account's number: 21 digits.
        subject = f"1{int(hashlib.sha256(email.encode()).hexdigest(), 16) % 10**20:020d}"
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "azp": subject,
            "sub": subject,
            "email": email,
            "email_verified": True,
            "iat": int(now),
            "exp": int(now) + LIFETIME_S,
        }
        token = jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": key.id})
        self._tokens[email, audience] = (now, token)
        return token

    async def __call__(self, request: HttpRequest) -> HttpResponse | None:
        """Answer the calls of a verifier, None for any other."""
        if request.method != "GET":
            return None
        if request.path == _CERTS:
            return json_response(200, {"keys": [(await self._signing_key()).public_jwk]})
        if request.path == _CONFIGURATION:
            base = f"http://{request.headers.get('host', 'localhost')}"
            return json_response(
                200,
                {
                    "issuer": ISSUER,
                    "jwks_uri": base + _CERTS,
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                },
            )
        return None

    async def _signing_key(self) -> _Key:
        if self._key is None:
            # Takes some 0.1 s: not on the loop that delivers messages. All who wait for it share the one key.
            self._key = asyncio.ensure_future(asyncio.to_thread(_make_key))
        return await asyncio.shield(self._key)


def _make_key() -> _Key:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - see token()

    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    numbers = private.public_key().public_numbers()
    modulus = _base64url(numbers.n)
    key_id = hashlib.sha256(modulus.encode()).hexdigest()[:40]
    public_jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key_id, "n": modulus, "e": _base64url(numbers.e)}
    return _Key(id=key_id, private=private, public_jwk=public_jwk)


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
