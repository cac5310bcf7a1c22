"""Where files come from: the storage server of a local stack, or the API of a deployed pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

import requests

from poolhouse.client import calls, loopback, units
from poolhouse.client.client import Client
from poolhouse.local.errors import StackError
from poolhouse.pipeline import names, numbers
from poolhouse.pipeline.errors import ObjectNotFound, PoolhouseError

#: Folders and files of one page.
PAGE = 200
#: Bytes that are read at a time.
CHUNK_BYTES = 256 * 1024
_TIMEOUT_S = 10.0
_BINARY = "application/octet-stream"


class NotShown(PoolhouseError):
    """What can't be seen from here; the text says why, and where it can."""


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """An object; what is not known is None."""

    name: str
    size_bytes: int | None
    content_type: str | None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A page of what lies directly below a prefix."""

    #: Their full names, each with its slash.
    folders: tuple[str, ...]
    files: tuple[FileInfo, ...]
    next_page_token: str | None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An object that is being read."""

    info: FileInfo
    #: Its bytes, a piece at a time; may raise `StackError`.
    pieces: Iterator[bytes]

    def head(self, most_bytes: int) -> bytes:
        """Read the first bytes, and a piece more at the most."""
        data = bytearray()
        for piece in self.pieces:
            data += piece
            if len(data) >= most_bytes:
                break
        return bytes(data[:most_bytes])


class Bucket(Protocol):
    """The objects of a pipeline. Every method may raise `StackError`, `ApiError` or `NotShown`."""

    def folder(self, prefix: str, *, page_token: str | None) -> Folder:
        """List what lies directly below a prefix."""

    def open(self, name: str) -> AbstractContextManager[Opened]:
        """Open an object. Raises `ObjectNotFound`."""


class LocalBucket:
    """The bucket of a stack on this machine, asked of its storage server."""

    def __init__(self, storage_url: str, bucket: str) -> None:
        """Call nothing yet."""
        self._objects = f"{storage_url.rstrip('/')}/storage/v1/b/{quote(bucket, safe='')}/o"

    def folder(self, prefix: str, *, page_token: str | None) -> Folder:
        query = {"prefix": prefix, "delimiter": "/", "maxResults": str(PAGE), "projection": "noAcl"}
        with self._get(self._objects, query | ({"pageToken": page_token} if page_token else {})) as answer:
            page: dict[str, Any] = answer.json()
        return Folder(
            folders=tuple(page.get("prefixes", ())),
            files=tuple(_described(item) for item in page.get("items", ())),
            next_page_token=page.get("nextPageToken") or None,
        )

    @contextmanager
    def open(self, name: str) -> Iterator[Opened]:
        address = f"{self._objects}/{quote(name, safe='')}"
        with self._get(address, {"projection": "noAcl"}, name=name) as answer:
            info = _described(answer.json())
        with self._get(address, {"alt": "media"}, name=name) as answer:
            yield Opened(info=info, pieces=_pieces(answer))

    @contextmanager
    def _get(self, address: str, query: dict[str, str], *, name: str = "") -> Iterator[requests.Response]:
        with loopback.session() as session, _answering():
            answer = session.get(address, params=query, timeout=_TIMEOUT_S, stream=True)
            if name and answer.status_code == requests.codes.not_found:
                raise ObjectNotFound(f"there is no object {name}")
            if not answer.ok:
                raise StackError(f"storage answers {answer.status_code}: {answer.text[:300]}")
            yield answer


class ApiBucket:
    """The files of a deployed pipeline: those that its API lets clients read, by their names."""

    def __init__(self, api: Client) -> None:
        """Call nothing yet."""
        self._api = api

    def folder(self, prefix: str, *, page_token: str | None) -> Folder:
        raise NotShown(
            "The API of a deployed pipeline lists no files. Open one by its name, or browse the bucket with "
            "`gcloud storage ls`."
        )

    @contextmanager
    def open(self, name: str) -> Iterator[Opened]:
        folder = next((prefix for prefix in (names.UPLOADS, names.PROCESSED) if name.startswith(prefix)), None)
        if folder is None:
            raise NotShown(
                f"The API of a deployed pipeline gives out what lies in uploads/ and processed/ alone, and not {name}: "
                "read it with `gcloud storage cat`."
            )
        path = calls.file_path(name.removeprefix(folder))
        with self._api.stream(path, query={"folder": folder.rstrip("/")}) as answer:
            info = FileInfo(
                name=name,
                size_bytes=numbers.digits(answer.headers.get("content-length", "")),
                content_type=answer.headers.get("content-type"),
            )
            yield Opened(info=info, pieces=answer.iter_bytes(CHUNK_BYTES))


def _described(properties: dict[str, Any]) -> FileInfo:
    return FileInfo(
        name=str(properties["name"]),
        size_bytes=int(properties.get("size", 0)),
        content_type=properties.get("contentType") or _BINARY,
        updated_at=units.moment(properties.get("updated")),
    )


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    with _answering():
        yield from answer.iter_content(CHUNK_BYTES)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except requests.RequestException as error:
        raise StackError(f"storage does not answer ({type(error).__name__}): ./invoke status may say why") from None
