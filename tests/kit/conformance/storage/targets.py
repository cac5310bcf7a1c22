"""The servers that the suite runs against, and what a test needs of one."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from google.api_core.exceptions import GoogleAPICallError
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import Blob, Bucket
from google.cloud.storage.exceptions import InvalidResponse

from poolhouse.client import loopback
from poolhouse.local.storage.proxy import FaultProxy
from poolhouse.testing.servers import storage_server

#: The version of fake-gcs-server whose deviations are listed: the wheel's, and docker-compose.yml's.
VERSION = "1.54.0"
PROJECT = "conformance"
#: The server ends a connection behind some refusals (416), without having said so: a client may be sending by then.
_RECONNECT = Retry(predicate=if_exception_type(requests.exceptions.ConnectionError), initial=0.01, timeout=30)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The server of the local stack, as its own processes reach it."""
    with storage_server() as url:
        yield url


@contextlib.contextmanager
def proxy() -> Iterator[str]:
    """The same behind the storage proxy."""
    with storage_server() as url, FaultProxy(url) as running:
        yield running.url


@contextlib.contextmanager
def image() -> Iterator[str]:
    """The image of docker-compose.yml, in a container."""
    from poolhouse.testing.containers import StorageContainer

    with StorageContainer() as container:
        yield container.url


TARGETS: dict[str, Callable[[], AbstractContextManager[str]]] = {"server": server, "proxy": proxy, "image": image}


@dataclass(frozen=True)
class Target:
    """One running server, and Google's client of it, which makes each call once."""

    name: str
    url: str
    client: storage.Client
    #: For requests that the client does not make.
    http: requests.Session

    @classmethod
    def at(cls, name: str, url: str) -> Target:
        """Connect at the first call."""
        client = storage.Client(
            project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
        )
        call = client._connection.api_request

        def once(*args: Any, retry: Any = None, **named: Any) -> Any:
            """Call it without the retry of two minutes, so that a refusal is seen at once."""
            return call(*args, retry=_RECONNECT, **named)

        client._connection.api_request = once
        return cls(name, url, client, loopback.session())

    def bucket(self) -> Bucket:
        """Make a bucket that no other test uses."""
        return self.client.create_bucket(f"conformance-{secrets.token_hex(6)}")

    def objects(self, bucket: Bucket) -> str:
        """The URL of the objects of a bucket."""
        return f"{self.url}/storage/v1/b/{bucket.name}/o"

    def uploads(self, bucket: Bucket) -> str:
        """The URL of uploads to a bucket."""
        return f"{self.url}/upload/storage/v1/b/{bucket.name}/o"


def write(bucket: Bucket, name: str = "object", data: bytes = b"data", **options: Any) -> Blob:
    """Write an object in one request."""
    blob = bucket.blob(name)
    blob.upload_from_string(data, content_type="text/plain", checksum=None, retry=None, **options)
    return blob


def read(bucket: Bucket, name: str = "object", **options: Any) -> bytes:
    """Read an object."""
    return bytes(bucket.blob(name).download_as_bytes(checksum=None, retry=None, **options))


def names(bucket: Bucket, **options: Any) -> list[str]:
    """The names that a listing gives, in its order."""
    return [blob.name for blob in bucket.client.list_blobs(bucket, **options)]


@contextlib.contextmanager
def refused(*codes: int) -> Iterator[None]:
    """The call inside fails with one of these codes."""
    with pytest.raises((GoogleAPICallError, InvalidResponse)) as caught:
        yield
    error = caught.value
    code = error.response.status_code if isinstance(error, InvalidResponse) else error.code
    assert int(code) in codes, error
