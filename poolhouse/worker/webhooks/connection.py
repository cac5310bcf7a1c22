"""One POST to a receiver: only to an address that is allowed, no redirect followed, time and size bounded.

The host's name is resolved once, and the connection is made to the very address that was checked: a name that leads
elsewhere a moment later (DNS rebinding) changes nothing. Proxies of the environment are not used: they would resolve
the name themselves.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.webhooks import addresses
from poolhouse.pipeline.webhooks.urls import check_url

#: Bytes of an answer that are read: for the reason of a failure.
ANSWER_BYTES = 1000


class AddressRefused(Exception):
    """No address of the host is allowed."""


@dataclass(frozen=True)
class Answer:
    """What a receiver answered."""

    status: int
    #: The header Retry-After, as it came.
    retry_after: str | None
    #: The beginning of the body.
    text: str


def post(url: str, body: bytes, headers: Mapping[str, str], *, options: Webhooks) -> Answer:
    """Send a body; returns the answer, whatever its status.

    Raises:
        AddressRefused: the host has no address that is allowed.
        OSError: it can't be resolved or reached, or does not answer in time; a certificate that is not valid, too.
        http.client.HTTPException: the answer is no HTTP.
    """
    parts = check_url(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(host, port, timeout=options.timeout_s)
    try:
        sock = _connect(host, port, tls=tls, options=options)
        connection.sock = _tls().wrap_socket(sock, server_hostname=host) if tls else sock
        # http.client leaves a default port out of Host by its own default, which is 80.
        named = f"[{host}]" if ":" in host else host
        name = named if parts.port is None else f"{named}:{parts.port}"
        connection.request("POST", target, body=body, headers={**headers, "host": name, "connection": "close"})
        response = connection.getresponse()
        text = response.read(ANSWER_BYTES).decode("utf-8", "replace")
        return Answer(response.status, response.headers.get("retry-after"), text)
    finally:
        connection.close()


def _connect(host: str, port: int, *, tls: bool, options: Webhooks) -> socket.socket:
    refused: str | None = None
    failure: OSError | None = None
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = str(address[0])
        why = addresses.refusal(ip, host=host, tls=tls, options=options)
        if why is not None:
            refused = refused or why
            continue
        try:
            return socket.create_connection((ip, port), timeout=options.timeout_s)
        except OSError as error:
            failure = error
    if failure is not None:
        raise failure
    raise AddressRefused(refused or f"{host} has no address")


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
