"""Small objects over Cloud Storage's JSON API, a request each: what every task does a few times.

Google's client spends more CPU on such a request than all else that a task costs (1.1 ms against 0.1 ms here): its
generality, and the session of `requests` below it. These requests are the ones it would send, under the same
credentials, with the same preconditions and checksums.
"""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import google_crc32c
import requests
import urllib3
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors
from google.auth.transport.urllib3 import AuthorizedHttp

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.gcs.http_pool import Answer, Connections

#: Codes after which the same request may succeed (Cloud Storage, Retry strategy).
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
#: Longest first wait before a request is repeated, and longest wait, in seconds; the wait is drawn from 0 up to it.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
#: Fields of an object that `stat` asks for.
_FIELDS = "name,generation,size,contentType,updated,metadata"
_Answer = Answer | urllib3.BaseHTTPResponse


class SmallObjects:
    """The objects of one bucket. Thread-safe.

    Every call may raise `google.api_core.exceptions.GoogleAPICallError` by the code of the answer, or `RetryError`
    where none comes in time.
    """

    def __init__(
        self,
        http: Any,
        *,
        endpoint: str,
        bucket: str,
        timeout_s: float,
        user_agent: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect at the first call.

        Args:
            http: sends the requests: what `connect` returns.
            endpoint: origin of the JSON API.
            timeout_s: the longest that a call may take, repetitions included.
        """
        self._http = http
        place = f"b/{quote(bucket, safe='')}/o"
        self._objects = f"{endpoint}/storage/v1/{place}"
        self._uploads = f"{endpoint}/upload/storage/v1/{place}"
        self._downloads = f"{endpoint}/download/storage/v1/{place}"
        self._timeout_s = timeout_s
        self._headers = {"User-Agent": user_agent, "X-Goog-Api-Client": user_agent}
        self._sleep = sleep
        # Random and secret, so that no object can contain it.
        self._boundary = secrets.token_hex(16)

    def get(self, name: str) -> tuple[bytes, Mapping[str, str]]:
        """The whole object, and the header fields that came with it."""
        url = f"{self._downloads}/{quote(name, safe='')}?alt=media"
        answer = self._send("GET", url, intact=_as_stored)
        return answer.data, answer.headers

    def stat(self, name: str) -> dict[str, Any]:
        """The object's properties, as the JSON API has them."""
        url = f"{self._objects}/{quote(name, safe='')}?projection=noAcl&fields={_FIELDS}"
        found: dict[str, Any] = json.loads(self._send("GET", url).data)
        return found

    def list(
        self,
        prefix: str,
        *,
        page_size: int,
        page_token: str | None,
        start: str | None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """A page of the objects below a prefix, from `start` on, as the JSON API has them."""
        query = {
            "prefix": prefix,
            "maxResults": str(page_size),
            "projection": "noAcl",
            "fields": f"nextPageToken,items({_FIELDS})",
        }
        if page_token is not None:
            query["pageToken"] = page_token
        if start is not None:
            query["startOffset"] = start
        url = f"{self._objects}?{urlencode(query, quote_via=quote)}"
        found: dict[str, Any] = json.loads(self._send("GET", url, timeout_s=timeout_s).data)
        return found

    def folders(self, prefix: str, *, start: str | None, most: int) -> Sequence[str]:
        """The first folders directly below a prefix."""
        query = {"prefix": prefix, "delimiter": "/", "maxResults": str(most), "fields": "nextPageToken,prefixes"}
        if start is not None:
            query["startOffset"] = start
        found: dict[str, None] = {}
        while True:
            page = json.loads(self._send("GET", f"{self._objects}?{urlencode(query, quote_via=quote)}").data)
            # Emulators list more than is asked for, and what comes before `start` too.
            found |= {name: None for name in page.get("prefixes", ()) if start is None or name >= start}
            if len(found) >= most or "nextPageToken" not in page:
                return list(found)[:most]
            # Each object below a folder may count, so pages are short, and a folder may be on two of them (Cloud
            # Storage JSON API, Objects: list).
            query["pageToken"] = page["nextPageToken"]

    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None,
        if_generation: int | None,
    ) -> int:
        """Write the object in one request; returns its generation."""
        properties: dict[str, Any] = {"name": name, "contentType": content_type, "crc32c": _crc32c(data)}
        if metadata:
            properties["metadata"] = dict(metadata)
        boundary = self._boundary
        body = b"".join(
            (
                f"--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n".encode(),
                json.dumps(properties).encode(),
                f"\r\n--{boundary}\r\ncontent-type: {content_type}\r\n\r\n".encode(),
                data,
                f"\r\n--{boundary}--".encode(),
            )
        )
        url = f"{self._uploads}?uploadType=multipart"
        if if_generation is not None:
            url += f"&ifGenerationMatch={if_generation}"
        answer = self._send("POST", url, body=body, content_type=f'multipart/related; boundary="{boundary}"')
        return int(json.loads(answer.data)["generation"])

    def _send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        content_type: str | None = None,
        intact: Callable[[_Answer], bool] = lambda answer: True,
        timeout_s: float | None = None,
    ) -> _Answer:
        """Send until an answer comes that a repetition can't better."""
        headers = self._headers if content_type is None else {**self._headers, "Content-Type": content_type}
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + timeout_s
        wait_s = FIRST_WAIT_S
        while True:
            failure: Exception
            try:
                answer: _Answer = self._http.urlopen(
                    method,
                    url,
                    body=body,
                    headers=headers,
                    retries=False,
                    timeout=max(0.001, deadline_s - time.monotonic()),
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                failure = error
            except auth_errors.GoogleAuthError as error:
                if not (isinstance(error, auth_errors.TransportError) or error.retryable):
                    raise
                failure = error
            else:
                if answer.status >= 400:
                    failure = google_errors.from_http_status(answer.status, _message(answer))
                    if answer.status not in RETRIED_STATUSES:
                        raise failure
                elif intact(answer):
                    return answer
                else:
                    failure = google_errors.DataLoss("the bytes that came are not those that were stored")
            pause_s = random.uniform(0, wait_s)
            if time.monotonic() + pause_s >= deadline_s:
                raise google_errors.RetryError(f"no answer within {timeout_s:g} s", failure) from failure
            self._sleep(pause_s)
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)


def connect(endpoint: str, credentials: Any, *, connections: int) -> AuthorizedHttp:
    """What sends requests to one server and signs them; heeds the variables that `requests` heeds.

    Args:
        connections: kept open at the most.

    Raises:
        ConfigError: the file of trusted certificates can't be read.
    """
    bundle = (
        os.environ.get("REQUESTS_CA_BUNDLE")
        or os.environ.get("CURL_CA_BUNDLE")
        or requests.utils.DEFAULT_CA_BUNDLE_PATH
    )
    directory = os.path.isdir(bundle)
    trusted: dict[str, Any] = {"ca_cert_dir" if directory else "ca_certs": bundle}
    proxy = requests.utils.select_proxy(endpoint, requests.utils.get_environ_proxies(endpoint))
    if proxy:
        return AuthorizedHttp(credentials, http=urllib3.ProxyManager(proxy, maxsize=connections, **trusted))
    authorized = AuthorizedHttp(credentials, http=urllib3.PoolManager(**trusted))  # tokens come from other servers
    tls = None
    if endpoint.startswith("https:"):
        try:
            tls = ssl.create_default_context(cafile=None if directory else bundle, capath=bundle if directory else None)
        except OSError as error:
            raise ConfigError(f"no certificates in {bundle} (REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE): {error}") from None
    authorized.http = Connections(endpoint, kept=connections, tls=tls)
    return authorized


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _as_stored(answer: _Answer) -> bool:
    """Whether the bytes are those that were stored, as far as the answer shows (Cloud Storage, Hashes and ETags)."""
    if answer.headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return True  # unpacked on the way: the checksum is that of the packed bytes
    for entry in (answer.headers.get("x-goog-hash") or "").split(","):
        kind, _, value = entry.strip().partition("=")
        if kind == "crc32c":
            return value == _crc32c(answer.data)
    return True


def _message(answer: _Answer) -> str:
    try:
        return str(json.loads(answer.data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.data[:500].decode(errors="replace")
