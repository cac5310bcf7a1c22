"""The pipeline as a stranger's client sees it: plain HTTP calls, so that the e2e checks `poolhouse.client` too."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

import requests

from poolhouse.client import loopback
from poolhouse.local.backend import Endpoints
from poolhouse.local.errors import StackError

_TIMEOUT_S = 30
#: A JSON object of an answer.
Document = dict[str, Any]


class Client:
    """Calls of one stack. Raises `StackError` where an answer is not the one that a sound stack gives."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Connects at the first call."""
        self._endpoints = endpoints
        self._session = loopback.session()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def submit(
        self, path: str, body: Mapping[str, Any], *, key: str | None = None, expect: Sequence[int] = (200, 202)
    ) -> Document:
        """POST a task to a submit call; returns the answer.

        Args:
            path: such as `/submit-task`.
            body: the request's body.
            key: an idempotency key.
            expect: statuses that are right.
        """
        headers = {"Idempotency-Key": key} if key is not None else {}
        return cast(Document, self._api("POST", path, json=body, headers=headers, expect=expect))

    def upload(self, name: str, data: bytes, *, content_type: str) -> None:
        """Open an upload with the API and send the bytes straight to storage."""
        session = self._api(
            "POST", "/files", json={"name": name, "content_type": content_type, "size_bytes": len(data)}, expect=(201,)
        )
        answer = self._session.request(
            session["method"], session["upload_url"], data=data, headers=session["headers"], timeout=_TIMEOUT_S
        )
        if not answer.ok:
            raise StackError(f"storage refused {name}: {answer.status_code} {answer.text[:300]}")

    def openapi(self) -> Document:
        """The API's own description."""
        return cast(Document, self._api("GET", "/openapi.json"))

    def task(self, task_id: str) -> Document:
        """A task's record."""
        return cast(Document, self._api("GET", f"/tasks/{task_id}"))

    def result(self, task_id: str) -> Any:
        """A finished task's result."""
        return self._api("GET", f"/tasks/{task_id}/result")

    def finished(self, task_id: str) -> bool:
        """Whether the result is there: one call, the fastest way to ask."""
        answer = self._session.get(f"{self._endpoints.api_url}/tasks/{task_id}/result", timeout=_TIMEOUT_S)
        return bool(answer.status_code == requests.codes.ok)

    def cancel(self, task_id: str) -> Document:
        """Cancel a task."""
        return cast(Document, self._api("POST", f"/tasks/{task_id}:cancel"))

    def dead_letters(self) -> Iterator[Document]:
        """Every dead letter's summary."""
        token = ""
        while True:
            page = self._api("GET", "/dead-letters", params={"page_token": token} if token else {})
            yield from page["dead_letters"]
            token = page["next_page_token"]
            if not token:
                return

    def dead_letter(self, task_id: str) -> Document:
        """A dead letter with its message."""
        return cast(Document, self._api("GET", f"/dead-letters/{quote(task_id, safe='')}"))

    def queues(self) -> list[Document]:
        """Figures of the queues."""
        return cast(list[Document], self._api("GET", "/queues")["queues"])

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str] | None = None) -> str:
        """Publish a message by hand, past the API; returns its id. Pub/Sub REST: projects.topics.publish."""
        answer = self._session.post(
            f"http://{self._endpoints.pubsub_host}/v1/projects/{self._endpoints.project}/topics/{topic}:publish",
            json={"messages": [{"data": base64.b64encode(data).decode(), "attributes": dict(attributes or {})}]},
            timeout=_TIMEOUT_S,
        )
        if not answer.ok:
            raise StackError(f"Pub/Sub refused a message to {topic}: {answer.status_code} {answer.text[:300]}")
        return str(answer.json()["messageIds"][0])

    def download(self, name: str) -> bytes:
        """An object's bytes. Cloud Storage JSON API: objects.get with alt=media."""
        base, bucket = self._endpoints.storage_url, self._endpoints.bucket
        answer = self._session.get(
            f"{base}/storage/v1/b/{bucket}/o/{quote(name, safe='')}", params={"alt": "media"}, timeout=_TIMEOUT_S
        )
        if not answer.ok:
            raise StackError(f"there is no object {name}: {answer.status_code}")
        return answer.content

    def _api(self, method: str, path: str, *, expect: Sequence[int] = (200,), **options: Any) -> Any:
        try:
            answer = self._session.request(method, f"{self._endpoints.api_url}{path}", timeout=_TIMEOUT_S, **options)
        except requests.RequestException as error:
            raise StackError(f"the API does not answer {method} {path}: {error}") from error
        if answer.status_code not in expect:
            raise StackError(
                f"{method} {path} got {answer.status_code}, not {' or '.join(map(str, expect))}: {answer.text[:500]}"
            )
        return json.loads(answer.content) if answer.content else None
