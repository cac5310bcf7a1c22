"""Requests about small objects, without a server."""

from __future__ import annotations

import base64
import email
import io
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google_crc32c
import pytest
import urllib3
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.gcs.http_pool import Connections
from poolhouse.pipeline.gcs.json_objects import SmallObjects, connect


class Server:
    """Gives the answers it was told to, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, bytes | None, dict[str, str]]] = []

    def urlopen(self, method: str, url: str, *, body: bytes | None, headers: dict[str, str], **options: Any) -> Any:
        assert options["retries"] is False
        assert options["timeout"] > 0
        self.requests.append((method, url, body, headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, data, fields = answer
        return urllib3.HTTPResponse(body=io.BytesIO(data), status=status, headers=fields, preload_content=True)


def _objects(server: Server, *, timeout_s: float = 5, waits: list[float] | None = None) -> SmallObjects:
    return SmallObjects(
        server,
        endpoint="http://storage",
        bucket="b",
        timeout_s=timeout_s,
        user_agent="us",
        sleep=(waits if waits is not None else []).append,
    )


def _put(objects: SmallObjects, **options: Any) -> int:
    defaults: dict[str, Any] = {"content_type": "application/json", "metadata": None, "if_generation": None}
    return objects.put("tasks/ä.json", b'{"a":1}', **{**defaults, **options})


PUT = (200, b'{"generation":"7"}', {})


def test_a_write_carries_name_type_metadata_checksum_and_precondition() -> None:
    server = Server(PUT)
    assert _put(_objects(server), metadata={"status": "queued"}, if_generation=0) == 7
    method, url, body, headers = server.requests[0]
    assert (method, url) == ("POST", "http://storage/upload/storage/v1/b/b/o?uploadType=multipart&ifGenerationMatch=0")
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    properties, media = email.message_from_bytes(head + (body or b"")).get_payload()  # type: ignore[misc]
    crc = base64.b64encode(google_crc32c.Checksum(b'{"a":1}').digest()).decode()
    assert json.loads(properties.get_payload(decode=True)) == {  # type: ignore[union-attr, arg-type]
        "name": "tasks/ä.json",
        "contentType": "application/json",
        "crc32c": crc,
        "metadata": {"status": "queued"},
    }
    assert media.get_payload(decode=True) == b'{"a":1}'  # type: ignore[union-attr]
    assert headers["User-Agent"] == "us"


def test_a_write_without_precondition_has_none() -> None:
    server = Server(PUT)
    _put(_objects(server))
    assert "ifGenerationMatch" not in server.requests[0][1]


@pytest.mark.parametrize(
    "failure",
    [
        *((status, b"", {}) for status in (408, 429, 500, 502, 503, 504)),
        urllib3.exceptions.ProtocolError("reset"),
        urllib3.exceptions.ReadTimeoutError(None, "", "slow"),  # type: ignore[arg-type]
        auth_errors.TransportError("no token"),
        auth_errors.RefreshError("metadata server", retryable=True),
    ],
)
def test_what_may_pass_is_repeated_with_growing_waits(failure: Any) -> None:
    waits: list[float] = []
    server = Server(failure, failure, failure, PUT)
    assert _put(_objects(server, waits=waits)) == 7
    assert len({request[2] for request in server.requests}) == 1
    assert [wait <= most for wait, most in zip(waits, (0.05, 0.1, 0.2), strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, google_errors.NotFound), (412, google_errors.PreconditionFailed), (403, google_errors.Forbidden)],
)
def test_what_will_not_pass_is_reported_at_once(status: int, error: type[Exception]) -> None:
    server = Server((status, b'{"error":{"message":"so it is"}}', {}))
    with pytest.raises(error, match="so it is"):
        _put(_objects(server))
    assert len(server.requests) == 1


def test_a_listing_may_be_given_more_time_than_other_calls() -> None:
    given: list[float] = []

    class Slow(Server):
        def urlopen(self, *arguments: Any, **options: Any) -> Any:
            given.append(options["timeout"])
            return super().urlopen(*arguments, **options)

    objects = _objects(Slow((200, b"{}", {})))
    objects.list("tasks/", page_size=9, page_token=None, start=None)
    objects.list("tasks/", page_size=9, page_token=None, start=None, timeout_s=100)
    assert given[0] <= 5
    assert 50 < given[1] <= 100


def test_folders_are_listed_on_behind_a_page_that_is_short_or_empty() -> None:
    server = Server(
        (200, b'{"nextPageToken":"p2"}', {}),
        (200, b'{"prefixes":["g/b/"],"nextPageToken":"p3"}', {}),
        (200, b'{"prefixes":["g/b/","g/c/","g/d/"],"nextPageToken":"p4"}', {}),
    )
    assert _objects(server).folders("g/", start="g/a0", most=2) == ["g/b/", "g/c/"]
    queries = [parse_qs(urlsplit(url).query) for _, url, _, _ in server.requests]
    assert [query.pop("pageToken", None) for query in queries] == [None, ["p2"], ["p3"]]
    assert queries[0] == queries[1] == queries[2]
    assert (queries[0]["prefix"], queries[0]["startOffset"], queries[0]["delimiter"]) == (["g/"], ["g/a0"], ["/"])


def test_the_last_page_of_folders_ends_the_listing() -> None:
    server = Server((200, b'{"prefixes":["g/a/"]}', {}))
    assert _objects(server).folders("g/", start=None, most=5) == ["g/a/"]
    assert len(server.requests) == 1


def test_credentials_that_are_refused_are_no_outage() -> None:
    server = Server(auth_errors.RefreshError("revoked"))
    with pytest.raises(auth_errors.RefreshError, match="revoked"):
        _put(_objects(server))
    assert len(server.requests) == 1


def test_an_outage_ends_with_the_time_and_the_last_failure() -> None:
    server = Server((503, b"down", {}))
    with pytest.raises(google_errors.RetryError, match=r"no answer within 0\.01 s.*503 down"):
        _put(_objects(server, timeout_s=0.01))


def test_bytes_with_another_checksum_are_asked_for_again() -> None:
    right = {"X-Goog-Hash": f"crc32c={base64.b64encode(google_crc32c.Checksum(b'right').digest()).decode()},md5=x"}
    server = Server((200, b"wrong", right), (200, b"right", right))
    data, _ = _objects(server).get("uploads/a/b ?.txt")
    assert data == b"right"
    assert server.requests[1][1] == "http://storage/download/storage/v1/b/b/o/uploads%2Fa%2Fb%20%3F.txt?alt=media"


def test_bytes_that_were_unpacked_on_the_way_are_taken_as_they_are() -> None:
    server = Server((200, b"plain", {"X-Goog-Hash": "crc32c=AAAAAA==", "X-Goog-Stored-Content-Encoding": "gzip"}))
    assert _objects(server).get("a")[0] == b"plain"


def test_the_variables_for_a_proxy_and_for_certificates_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/company.pem")
    pool = connect("https://storage.googleapis.com", None, connections=3).http
    assert isinstance(pool, urllib3.ProxyManager)
    assert str(pool.proxy) == "http://proxy.example:3128"
    assert pool.connection_pool_kw["ca_certs"] == "/company.pem"
    monkeypatch.setenv("NO_PROXY", "storage.googleapis.com")
    with pytest.raises(ConfigError, match=r"no certificates in /company\.pem"):
        connect("https://storage.googleapis.com", None, connections=3)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert isinstance(connect("https://storage.googleapis.com", None, connections=3).http, Connections)
