"""A small client of Cloud Storage's JSON API, for an emulator of it; blocking, so it is called on a thread."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

#: Where the emulator is: `http://HOST:PORT`, or `HOST:PORT`, as for Google's own clients.
VARIABLE: Final = "STORAGE_EMULATOR_HOST"
_TIMEOUT_S: Final = 30.0


class StoreError(Exception):
    """A call that failed.

    Args:
        status: HTTP status of the answer, 0 without one.
        message: What failed.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def denied(self) -> bool:
        """Whether it was refused for want of permission."""
        return self.status in (401, 403)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a listing; `created` in seconds since the epoch."""

    name: str
    generation: int
    created: float


class ObjectStore:
    """The storage emulator that the environment names.

    Args:
        url: Its address; that of `STORAGE_EMULATOR_HOST` when None.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        # A proxy of the environment has no business with an emulator on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def upload(self, bucket: str, name: str, content: bytes, *, content_type: str) -> None:
        """Write an object.

        Raises:
            StoreError: It is not written.
        """
        query = urllib.parse.urlencode({"uploadType": "media", "name": name})
        self._call("POST", f"/upload/storage/v1/b/{_quote(bucket)}/o?{query}", content, content_type=content_type)

    def check_bucket(self, bucket: str) -> None:
        """Check that a bucket exists.

        Raises:
            StoreError: It is not, or may not be looked at.
        """
        self._call("GET", f"/storage/v1/b/{_quote(bucket)}")

    def list(self, bucket: str) -> Iterator[StoredObject]:
        """All objects of a bucket, in the order of their names.

        Raises:
            StoreError: They can't be listed.
        """
        token = ""
        while True:
            query = urllib.parse.urlencode({"pageToken": token} if token else {})
            page = json.loads(self._call("GET", f"/storage/v1/b/{_quote(bucket)}/o?{query}"))
            for item in page.get("items", []):
                created = datetime.fromisoformat(item["timeCreated"]).timestamp()
                yield StoredObject(item["name"], int(item.get("generation", 0)), created)
            token = page.get("nextPageToken", "")
            if not token:
                return

    def read(self, bucket: str, name: str) -> bytes:
        """Return the content of an object.

        Raises:
            StoreError: It can't be read.
        """
        return self._call("GET", f"/storage/v1/b/{_quote(bucket)}/o/{_quote(name)}?alt=media")

    def _call(self, method: str, path: str, body: bytes | None = None, *, content_type: str = "") -> bytes:
        headers = {"Content-Type": content_type} if content_type else {}
        request = urllib.request.Request(self._base() + path, data=body, method=method, headers=headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read(500).decode("utf-8", "replace").strip()
            raise StoreError(error.code, f"{method} {path.partition('?')[0]}: {error.code} {reason}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise StoreError(0, f"no answer from the storage emulator at {self._base()}: {error}") from None

    def _base(self) -> str:
        url = self._url or os.environ.get(VARIABLE, "")
        if not url:
            raise StoreError(0, f"there is no Cloud Storage here: {VARIABLE} is not set")
        return (url if "://" in url else f"http://{url}").rstrip("/")


def _quote(name: str) -> str:
    return urllib.parse.quote(name, safe="")
