"""Which requests change an object or a bucket, and its name (Cloud Storage JSON API). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

#: Bytes of an upload's body in which its object's properties are looked for.
PROPERTIES_WITHIN_BYTES = 64 * 1024

_UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o/?")
_OBJECT = re.compile(r"(?:/storage/v1)?/b/([^/]+)/o/([^/]+)")
_COPY = re.compile(r"(?:/storage/v1)?/b/[^/]+/o/[^/]+/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
_COMPOSE = re.compile(r"(?:/storage/v1)?/b/([^/]+)/o/([^/]+)/compose")
_BUCKET = re.compile(r"(?:/storage/v1)?/b/([^/]+)")
_BUCKETS = re.compile(r"(?:/storage/v1)?/b/?")


@dataclass(frozen=True)
class Mutation:
    """A change that a rate limit counts.

    Attributes:
        kind: of an object; of a bucket's metadata; of the list of buckets (one made or deleted).
        name: BUCKET/OBJECT, BUCKET, or nothing for the list of buckets.
    """

    kind: Literal["object", "bucket", "buckets"]
    name: str = ""


def names_in_body(method: str, target: str) -> bool:
    """Whether the name of what a request changes may be in its body, as that of an upload is."""
    return mutation_of(method, target, {}) is None and mutation_of(method, target, {"name": "-"}) is not None


def mutation_of(method: str, target: str, properties: Mapping[str, Any]) -> Mutation | None:
    """What a request changes; None where it changes nothing that is counted.

    A resumable upload counts when its session is opened: that names the object, which is written at its end.

    Args:
        method: of HTTP.
        target: path and query.
        properties: the object's, of an upload (`upload_properties`).
    """
    parts = urlsplit(target)
    path = parts.path
    if method == "POST" and (found := _UPLOAD.fullmatch(path)):
        query = parse_qs(parts.query)
        name = query.get("name", [properties.get("name")])[0]
        return Mutation("object", f"{unquote(found[1])}/{name}") if name and "upload_id" not in query else None
    if method == "POST" and (found := _COPY.fullmatch(path) or _COMPOSE.fullmatch(path)):
        return Mutation("object", f"{unquote(found[1])}/{unquote(found[2])}")
    if method in {"PUT", "PATCH", "DELETE"} and (found := _OBJECT.fullmatch(path)):
        return Mutation("object", f"{unquote(found[1])}/{unquote(found[2])}")
    if method in {"PUT", "PATCH"} and (found := _BUCKET.fullmatch(path)):
        return Mutation("bucket", unquote(found[1]))
    if (method == "POST" and _BUCKETS.fullmatch(path)) or (method == "DELETE" and _BUCKET.fullmatch(path)):
        return Mutation("buckets")
    return None


def upload_properties(body: bytes) -> dict[str, Any] | None:
    """The object's properties in the body of an upload; None where they are not all there yet.

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
