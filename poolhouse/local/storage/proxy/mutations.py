"""Which requests change an object or a bucket, for rates to count (Cloud Storage JSON API). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from poolhouse.local.storage.proxy.requests import Request

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


def mutation_of(request: Request) -> Mutation | None:
    """What a request changes; None where it changes nothing that is counted.

    A resumable upload counts when its session is opened: that names the object, which is written at its end.
    """
    method, stored = request.method, request.object
    if stored is not None:
        changes = method in {"POST", "PUT", "PATCH", "DELETE"} and request.session is None
        return Mutation("object", f"{stored.bucket}/{stored.name}") if changes else None
    if method in {"PUT", "PATCH"} and (found := _BUCKET.fullmatch(request.path)):
        return Mutation("bucket", unquote(found[1]))
    if (method == "POST" and _BUCKETS.fullmatch(request.path)) or (
        method == "DELETE" and _BUCKET.fullmatch(request.path)
    ):
        return Mutation("buckets")
    return None
