"""The bucket, behind the few operations that Poolhouse needs, with Poolhouse's errors.

A write that decides something is one small single-request upload with a generation precondition: the only kind that
Cloud Storage and its emulators agree on. Large files go as streams, whose memory does not grow with them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import requests
from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_transient_error
from google.auth import exceptions as auth_errors
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import (
    BucketMissing,
    ConfigError,
    InvalidName,
    ObjectNotFound,
    PreconditionFailed,
    StoreForbidden,
    StoreUnavailable,
)
from poolhouse.pipeline.gcs.json_objects import RETRIED_STATUSES, SmallObjects, connect
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.pieces import PIECE_BYTES

#: `if_generation` of a write that must be the first one.
ABSENT = 0
#: Connections kept open to storage: threads above this number open new ones for each request.
POOL_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    name: str
    generation: int
    size_bytes: int
    content_type: str | None = None
    updated_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectPage:
    """One page of a listing; `next_token` is None on the last."""

    objects: tuple[ObjectInfo, ...]
    next_token: str | None


class ObjectStore(Protocol):
    """One bucket. Every call may raise `StoreUnavailable`, those that create or list also its kind `BucketMissing`.

    Names are full object names.
    """

    def get(self, name: str) -> tuple[bytes, ObjectInfo]:
        """The whole object and its generation. Raises `ObjectNotFound`."""

    def stat(self, name: str) -> ObjectInfo:
        """The object's properties. Raises `ObjectNotFound`."""

    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str = "application/json",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        """Write a small object in one request; returns its generation.

        Args:
            metadata: text; what no header may hold in it is escaped (`printable`).
            if_generation: write only if this is the current generation (`ABSENT`: only if there is none).

        Raises:
            PreconditionFailed: another generation is current. A repeated request whose first answer was lost ends so
                too: read back and look for your own mark.
        """

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        """Delete an object; one that is absent already is fine."""

    def list(
        self,
        prefix: str,
        *,
        page_size: int = 1000,
        page_token: str | None = None,
        start: str | None = None,
        timeout_s: float | None = None,
    ) -> ObjectPage:
        """Return a page of the objects below `prefix`, in the order of their names.

        Args:
            page_size: the most objects; Cloud Storage answers with 1,000 at the most, whatever is asked.
            page_token: `next_token` of the page before.
            start: the first name that may be listed.
            timeout_s: the longest that the call may take; None: as long as any other.

        Raises:
            InvalidName: `page_token` is none.
        """

    def folders(self, prefix: str, *, most: int, start: str | None = None) -> Sequence[str]:
        """Return the first folders directly below `prefix`, in order: what their objects' names begin with.

        Args:
            most: how many; 1,000 at the most.
            start: the first name that may be listed.
        """

    def open_read(self, name: str, *, generation: int | None = None) -> IO[bytes]:
        """The object as a seekable stream; one generation, whatever is written meanwhile.

        Args:
            generation: which one; None: the current one.

        Raises:
            ObjectNotFound: there is none; where a generation is given, perhaps only when the stream is read.
        """

    def upload(self, name: str, source: IO[bytes], *, content_type: str, size_bytes: int | None = None) -> ObjectInfo:
        """Write a stream from its present position, in chunks; replaces what was there."""

    def upload_session(self, name: str, *, content_type: str, size_bytes: int | None, origin: str | None) -> str:
        """The address of a resumable upload session: its holder can write this one object."""

    def check(self) -> None:
        """Raise `StoreUnavailable` unless the bucket is there and answers."""


def printable(metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return an object's metadata without what a header can't hold: storage sends it back as header fields."""
    return {name: clean_text(value, one_line=True, masked=False) for name, value in (metadata or {}).items()}


class GcsStore:
    """`ObjectStore` on Cloud Storage, or on whatever `STORAGE_EMULATOR_HOST` names."""

    def __init__(self, bucket: str, *, project: str, timeout_s: float = 5, public_url: str | None = None) -> None:
        """Connect at the first call.

        Args:
            timeout_s: the longest that one small operation, or one chunk of a stream, may take, retries included.
            public_url: origin that clients reach the bucket at, where it is not the one that this process uses.
        """
        self._public_url = public_url
        self._client = storage.Client(project=project)
        adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=POOL_SIZE)
        for scheme in ("https://", "http://"):
            self._client._http.mount(scheme, adapter)
        _read_environment_once(self._client._http, self._client._connection.API_BASE_URL)
        self._bucket = self._client.bucket(bucket)
        endpoint = self._client._connection.API_BASE_URL
        self._small = SmallObjects(
            connect(endpoint, self._client._credentials, connections=POOL_SIZE),
            endpoint=endpoint,
            bucket=bucket,
            timeout_s=timeout_s,
            user_agent=self._client._connection.user_agent,
        )
        self._options: dict[str, Any] = {
            "timeout": timeout_s,
            "retry": Retry(predicate=_worth_retrying, initial=0.05, maximum=1.0, multiplier=2.0, timeout=timeout_s),
        }

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return str(self._bucket.name)

    def get(self, name: str) -> tuple[bytes, ObjectInfo]:
        with _errors(name):
            data, headers = self._small.get(name)
        return data, ObjectInfo(
            name=name,
            generation=int(headers["x-goog-generation"]),
            size_bytes=len(data),
            content_type=headers.get("content-type"),
        )

    def stat(self, name: str) -> ObjectInfo:
        with _errors(name):
            return _described(self._small.stat(name))

    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str = "application/json",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        with _errors(name, bucket=self.bucket):
            return self._small.put(
                name, data, content_type=content_type, metadata=printable(metadata), if_generation=if_generation
            )

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        try:
            with _errors(name):
                self._bucket.blob(name).delete(if_generation_match=if_generation, **self._options)
        except ObjectNotFound:
            return

    def list(
        self,
        prefix: str,
        *,
        page_size: int = 1000,
        page_token: str | None = None,
        start: str | None = None,
        timeout_s: float | None = None,
    ) -> ObjectPage:
        with _errors(prefix, bucket=self.bucket):
            try:
                found = self._small.list(
                    prefix, page_size=page_size, page_token=page_token, start=start, timeout_s=timeout_s
                )
            except google_errors.BadRequest:
                if page_token is None:
                    raise
                raise InvalidName("page_token: this is no token of such a listing") from None
        return ObjectPage(
            tuple(_described(item) for item in found.get("items", ())), found.get("nextPageToken") or None
        )

    def folders(self, prefix: str, *, most: int, start: str | None = None) -> Sequence[str]:
        with _errors(prefix, bucket=self.bucket):
            return self._small.folders(prefix, start=start, most=most)

    def open_read(self, name: str, *, generation: int | None = None) -> IO[bytes]:
        # Pinned: a file replaced while it is read must not be mixed.
        blob = self._bucket.blob(name, generation=generation)
        with _errors(name):
            blob.reload(**self._options)
            pinned = self._bucket.blob(name, generation=blob.generation)
            # Without the download link: an emulator's names some address of its own; the client makes the right one.
            pinned._set_properties({name: value for name, value in blob._properties.items() if name != "mediaLink"})
        return _Reader(  # type: ignore[return-value]  # typeshed: no RawIOBase is an IO[bytes]
            pinned.open("rb", chunk_size=PIECE_BYTES, **self._options), name
        )

    def upload(self, name: str, source: IO[bytes], *, content_type: str, size_bytes: int | None = None) -> ObjectInfo:
        # One request where the whole fits: emulators re-hash the object at every chunk of a resumable upload.
        blob = self._bucket.blob(
            name, chunk_size=None if size_bytes is not None and size_bytes <= PIECE_BYTES else PIECE_BYTES
        )
        with _errors(name, bucket=self.bucket):
            blob.upload_from_file(
                source, size=size_bytes, content_type=content_type, checksum="crc32c", **self._options
            )
        return _info(blob)

    def upload_session(self, name: str, *, content_type: str, size_bytes: int | None, origin: str | None) -> str:
        with _errors(name, bucket=self.bucket):
            session = self._bucket.blob(name).create_resumable_upload_session(
                content_type=content_type, size=size_bytes, origin=origin, **self._options
            )
        if self._public_url is None:
            return str(session)
        # The session is in the query; the origin only says which way to go.
        public = urlsplit(self._public_url)
        return urlunsplit(urlsplit(str(session))._replace(scheme=public.scheme, netloc=public.netloc))

    def check(self) -> None:
        self.list("config/", page_size=1)


def _read_environment_once(session: requests.Session, endpoint: str) -> None:
    """Take proxies and certificates from the environment now: handlers on threads may change it for themselves."""
    found = session.merge_environment_settings(endpoint, {}, None, None, None)
    session.proxies.update(found["proxies"])
    session.verify = found["verify"]
    session.trust_env = False


class _Reader(io.RawIOBase):
    """A blob's stream that raises Poolhouse's errors while it is read."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _errors(self._name):
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        with _errors(self._name):
            return self._stream.read(size)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_store(settings: Settings) -> GcsStore:
    """The bucket that the settings name. Raises `ConfigError` where there are no credentials for it."""
    try:
        return GcsStore(
            settings.bucket_name,
            project=settings.google_cloud_project,
            timeout_s=settings.storage_timeout_s,
            public_url=settings.storage_public_url,
        )
    except auth_errors.DefaultCredentialsError as error:
        raise ConfigError(f"no credentials for storage, and STORAGE_EMULATOR_HOST is not set: {error}") from None


def _described(properties: Mapping[str, Any]) -> ObjectInfo:
    """An object as the JSON API describes it."""
    updated = properties.get("updated")
    return ObjectInfo(
        name=properties["name"],
        generation=int(properties["generation"]),
        size_bytes=int(properties["size"]),
        content_type=properties.get("contentType"),
        updated_at=None if updated is None else datetime.fromisoformat(updated),
        metadata=properties.get("metadata") or {},
    )


def _info(blob: storage.Blob) -> ObjectInfo:
    return ObjectInfo(
        name=str(blob.name),
        generation=int(blob.generation or 0),
        size_bytes=int(blob.size or 0),
        content_type=blob.content_type,
        updated_at=blob.updated,
        metadata=dict(blob.metadata or {}),
    )


_CONNECTION_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    ConnectionError,
)


def _worth_retrying(error: BaseException) -> bool:
    if isinstance(error, InvalidResponse):
        return error.response.status_code in RETRIED_STATUSES
    return isinstance(error, _CONNECTION_ERRORS) or bool(if_transient_error(error))


@contextmanager
def _errors(name: str, *, bucket: str | None = None) -> Iterator[None]:
    """Poolhouse's errors for those of the clients.

    Args:
        bucket: given for calls that need no object: what such a call does not find is the bucket.
    """
    try:
        yield
    except google_errors.NotFound:
        if bucket is not None:
            raise BucketMissing(f"there is no bucket {bucket}: bring the stack up (invoke up or deploy)") from None
        raise ObjectNotFound(f"there is no object {name}") from None
    except google_errors.PreconditionFailed:
        raise PreconditionFailed(f"{name}: another process wrote it first") from None
    except (google_errors.Forbidden, google_errors.Unauthorized) as error:
        raise StoreForbidden(
            f"storage denies this account access to {name}, or has not granted it yet: {error}"
        ) from error
    except google_errors.RequestRangeNotSatisfiable:
        raise
    except (google_errors.RetryError, google_errors.ServerError, google_errors.TooManyRequests) as error:
        raise StoreUnavailable(f"storage did not answer for {name}: {error}") from error
    except (*_CONNECTION_ERRORS, auth_errors.TransportError, InvalidResponse, DataCorruption) as error:
        raise StoreUnavailable(f"storage did not answer for {name}: {error}") from error
