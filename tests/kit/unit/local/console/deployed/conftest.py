"""A deployed console over the real API, and a proxy in front of it that signs with a key of the test's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import jwt
from google.auth.crypt import es256
from httpx2 import Response
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from poolhouse.local.console.app import create_app
from poolhouse.local.console.deployed.assertions import HEADER, ISSUER, Assertions
from poolhouse.local.console.deployed.gate import Gate
from poolhouse.local.console.stacks import Deployed
from poolhouse.pipeline.signed_tokens import Fetch
from poolhouse.pipeline.web_guard import WebGuard
from tests.kit.unit.commands.conftest import Served, served

__all__ = ["served"]

AUDIENCE = "/projects/123456789012/locations/europe-west1/services/shop-console"
URL = "https://shop-console-123456789012.europe-west1.run.app"
OPERATOR, VIEWER = "ann@example.com", "bob@example.com"
OPERATORS = (f"user:{OPERATOR}", "serviceAccount:bot@p.iam.gserviceaccount.com", "domain:ops.example.com")
SIGNER, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def public(key: ec.EllipticCurvePrivateKey) -> str:
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


KEYS = {"one": public(SIGNER)}


def assertion(
    email: str, *, by: ec.EllipticCurvePrivateKey = SIGNER, key_id: str = "one", ended_s: float = -600, **claims: object
) -> str:
    """Sign as the proxy does: for ten minutes.

    Args:
        email: who signed in.
        by: the key.
        key_id: its name.
        ended_s: for how many seconds it has not been valid.
        **claims: others than the usual.
    """
    pem = by.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    end = int(time.time() - ended_s)
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "accounts.google.com:1", "email": email}
    made: bytes = jwt.encode(
        es256.ES256Signer.from_string(pem, key_id=key_id), {**usual, "iat": end - 600, "exp": end, **claims}
    )
    return made.decode()


@dataclass
class Visited:
    """The console, and a browser without scripts that a person has signed in with."""

    served: Served
    client: TestClient

    def get(self, path: str, *, as_: str = OPERATOR) -> Response:
        return self.client.get(path, headers={HEADER: assertion(as_)})

    def post(self, path: str, *, as_: str = OPERATOR, **form: str | list[str]) -> Response:
        headers = {HEADER: assertion(as_), "Origin": URL, "Sec-Fetch-Site": "same-origin"}
        return self.client.post(path, data=form, headers=headers, follow_redirects=False)


def console(api_url: str, *, fetch: Fetch = lambda: KEYS) -> TestClient:
    """A browser at the deployed console of the pipeline whose API is at some address."""
    stack = Deployed("some-project", api_url, lambda: "token", log_filter="x")
    gate = Middleware(Gate, assertions=Assertions(audience=AUDIENCE, fetch=fetch), operators=OPERATORS)
    app = create_app(stack, guard=WebGuard(hosts=None), middleware=[gate])
    return TestClient(app, base_url=URL, raise_server_exceptions=False)


@pytest.fixture
def visited(served: Served) -> Iterator[Visited]:
    with console(served.api.url) as client:
        yield Visited(served, client)
