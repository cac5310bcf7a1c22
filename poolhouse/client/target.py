"""Which API is called, and how: what the sync and the async client have in common."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from poolhouse.client import identity, loopback
from poolhouse.client.identity import BearerToken
from poolhouse.pipeline.errors import ConfigError

#: Longest time of one call, in seconds: a deployed API may need its start first.
TIMEOUT_S = 60.0
URL_VARIABLE, AUDIENCE_VARIABLE = "POOLHOUSE_API_URL", "POOLHOUSE_API_AUDIENCE"
#: The variable with an API key, and the header that it is sent in.
KEY_VARIABLE, KEY_HEADER = "POOLHOUSE_API_KEY", "X-API-Key"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One API."""

    url: str
    auth: BearerToken | None = None
    timeout_s: float = TIMEOUT_S
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return loopback.is_here(self.url)

    def options(self) -> dict[str, Any]:
        """Return the arguments of an HTTP client for it."""
        return {
            **connection(self.url),
            "auth": self.auth,
            "headers": dict(self.headers),
            "timeout": self.timeout_s,
        }

    def timeouts(self, silence_s: float) -> httpx2.Timeout:
        """Return the timeouts of one call.

        Args:
            silence_s: the longest time without a byte of its answer, in seconds.
        """
        return httpx2.Timeout(self.timeout_s, connect=min(self.timeout_s, silence_s), read=silence_s)


def connection(url: str) -> dict[str, Any]:
    """Return the arguments of an HTTP client that have to do with where it connects to."""
    # Certificates are read where they are needed: that takes a tenth of a second.
    verify = True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {"trust_env": not loopback.is_here(url), "verify": verify, "follow_redirects": False}


def target(
    url: str | None,
    *,
    token: Callable[[], str] | None,
    audience: str | None,
    timeout_s: float,
    headers: Mapping[str, str] | None,
) -> Target:
    """Return the API that the arguments, and for what they leave open the environment, name.

    Raises:
        ConfigError: neither names an address, or it is none.
    """
    url = (url or os.environ.get(URL_VARIABLE, "")).rstrip("/")
    if not url:
        raise ConfigError(
            f'which API? Give its address, or set {URL_VARIABLE}; for the stack on this machine: eval "$(./invoke env)"'
        )
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no address of an API: it begins with https:// (or http:// on this machine)")
    sent = httpx2.Headers({KEY_HEADER: key} if (key := _key(url)) else {})
    sent.update(headers or {})
    by_key = KEY_HEADER in sent
    audience = (
        audience or os.environ.get(AUDIENCE_VARIABLE) or (url if identity.wants_token(url) and not by_key else None)
    )
    if token is None and audience and not loopback.is_here(url):
        token = identity.google_id_token(audience)
    auth = None if token is None else BearerToken(token)
    return Target(url=url, auth=auth, timeout_s=timeout_s, headers=sent)


def _key(url: str) -> str:
    """The API key of the environment; none for an address that it would reach unencrypted."""
    return os.environ.get(KEY_VARIABLE, "") if url.startswith("https:") or loopback.is_here(url) else ""
