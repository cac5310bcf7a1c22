"""What a request is about: the objects that it names, and where (Cloud Storage JSON API). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from poolhouse.local.storage.proxy.http import Head

#: Bytes of a body in which properties are looked for.
PROPERTIES_WITHIN_BYTES = 64 * 1024

_UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o/?")
_OBJECT = re.compile(r"(?:/download)?(?:/storage/v1)?/b/([^/]+)/o/([^/]+)")
_COPY = re.compile(r"(?:/storage/v1)?/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
_COMPOSE = re.compile(r"(?:/storage/v1)?/b/([^/]+)/o/([^/]+)/compose")
_RANGE = re.compile(r"bytes (?:\d+-(\d+)|\*)/(\d+|\*)")
#: The first segment of paths that are not those of an object (XML API), such as a signed URL has.
_API = frozenset({"storage", "upload", "download", "resumable", "b", "batch", "_internal"})


@dataclass(frozen=True)
class StoredObject:
    """Which object: its bucket's name and its own."""

    bucket: str
    name: str


@dataclass(frozen=True)
class Request:
    """A request as far as it has been read."""

    method: str
    target: str
    #: What the body says, of an upload or a composition: the properties of an object, the parts of another.
    properties: Mapping[str, Any] = field(default_factory=dict)
    #: The header field Content-Range.
    content_range: str | None = None

    @classmethod
    def of(cls, head: Head, properties: Mapping[str, Any]) -> Request:
        """Return the request of a head."""
        return cls(head.method, head.target, properties, head.get("content-range"))

    @cached_property
    def path(self) -> str:
        """The target's path, encoded as it came."""
        return urlsplit(self.target).path

    @cached_property
    def query(self) -> Mapping[str, list[str]]:
        """The values of the target's query, by name."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def is_upload(self) -> bool:
        """Whether it writes an object whose bytes it has, or opens a session for that."""
        return self.method == "POST" and _UPLOAD.fullmatch(self.path) is not None and self.session is None

    @property
    def opens_session(self) -> bool:
        """Whether it opens a session of a resumable upload."""
        return self.is_upload and self.query.get("uploadType") == ["resumable"]

    @property
    def session(self) -> str | None:
        """The session of a resumable upload that it has bytes of."""
        return self.query.get("upload_id", [None])[0]

    @property
    def completes_session(self) -> bool:
        """Whether the object is written once its bytes have come."""
        if self.session is None or self.method not in {"PUT", "POST"}:
            return False
        found = _RANGE.fullmatch(self.content_range or "")
        return found is None or (found[1] is not None and found[2] == str(int(found[1]) + 1))

    @property
    def composes(self) -> bool:
        """Whether it makes an object of others."""
        return self.method == "POST" and _COMPOSE.fullmatch(self.path) is not None

    @property
    def names_in_body(self) -> bool:
        """Whether names of objects may be in its body."""
        return self.composes or (self.is_upload and "name" not in self.query)

    @property
    def by_path(self) -> bool:
        """Whether its path is BUCKET/OBJECT, as that of a signed URL."""
        first, _, rest = self.path.removeprefix("/").partition("/")
        return bool(rest) and first not in _API

    @cached_property
    def object(self) -> StoredObject | None:
        """The object that it reads, changes or writes."""
        if self.method == "POST" and (found := _UPLOAD.fullmatch(self.path)):
            name = self.query.get("name", [self.properties.get("name")])[0]
            return StoredObject(unquote(found[1]), name) if isinstance(name, str) else None
        if found := _COPY.fullmatch(self.path):
            return StoredObject(unquote(found[3]), unquote(found[4]))
        if found := _COMPOSE.fullmatch(self.path) or _OBJECT.fullmatch(self.path):
            return StoredObject(unquote(found[1]), unquote(found[2]))
        if self.by_path:
            bucket, _, name = self.path.removeprefix("/").partition("/")
            return StoredObject(unquote(bucket), unquote(name))
        return None

    @cached_property
    def source(self) -> StoredObject | None:
        """The object that is copied."""
        found = _COPY.fullmatch(self.path)
        return StoredObject(unquote(found[1]), unquote(found[2])) if found else None

    def names(self) -> Iterator[str]:
        """Yield the names of all objects that it is about."""
        for each in (self.object, self.source):
            if each is not None:
                yield each.name
        parts = self.properties.get("sourceObjects") if self.composes else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and isinstance(part.get("name"), str):
                yield part["name"]


def properties_in(body: bytes) -> dict[str, Any] | None:
    """The properties of an object in the body of an upload; None where they are not all there yet.

    They are the first part of a multipart upload, and all of what opens a resumable one (JSON API, Uploads).
    """
    if not body.startswith(b"--"):
        return _object(body)
    start = body.find(b"\r\n\r\n")
    end = body.find(b"\r\n--", start + 4)
    if start < 0 or end < 0:
        return None
    return _object(body[start + 4 : end]) or {}


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else {}
