"""The pipeline's API as the commands call it: of the local stack, or of any other place that a token opens."""

from __future__ import annotations

import json
import mimetypes
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import requests

from poolhouse.local import backends
from poolhouse.local.backend import default_state_dir
from poolhouse.pipeline.errors import PoolhouseError

#: Longest time of one call, in seconds: a deployed API may need its start first.
TIMEOUT_S = 60.0
#: Longest silence of an event stream, in seconds: the API sends a comment every 15.
EVENTS_SILENCE_S = 45.0
#: Times in a row that an event stream is opened in vain, each after a second more, before that is an error.
EVENTS_TRIES = 4
#: Bytes of a result that are read at a time.
CHUNK_BYTES = 256 * 1024

#: A JSON object.
Document = dict[str, Any]


class ApiError(PoolhouseError):
    """The API said no, or nothing; the text has its own words.

    Attributes:
        status: the HTTP status; 0 where there was no answer.
        document: the problem document; empty where there was none.
    """

    def __init__(self, text: str, *, status: int = 0, document: Mapping[str, Any] | None = None) -> None:
        """An error with what it says."""
        super().__init__(text)
        self.status = status
        self.document = dict(document or {})


@dataclass(frozen=True)
class Event:
    """A server-sent event: `status` or `progress`, and its data."""

    name: str
    data: Document


class Api:
    """Calls of one pipeline's API. Every method may raise `ApiError`."""

    def __init__(
        self,
        url: str,
        *,
        token: Callable[[], str] | None = None,
        timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects at the first call.

        Args:
            url: where it is, without a slash at the end.
            token: gives an identity token, a new one at each call; None for an API that asks for none.
            timeout_s: longest time of one call, in seconds.
            headers: sent with every call.
            sleep: how to wait before a stream is opened again, in seconds.
        """
        self.url = url.rstrip("/")
        self._token = token
        self._bearer: str | None = None
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.headers.update(headers or {})
        if self.url.startswith("http://127.0.0.1:"):
            self._session.trust_env = False  # no proxy of the environment between us and this machine

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer to a GET."""
        return self._json(self._request("GET", path, params=query))

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON answer to a POST; None if it is empty."""
        return self._json(self._request("POST", path, json=body))

    def pages(self, path: str, key: str, **query: str) -> Iterator[Document]:
        """The entries of a listing, page after page."""
        token = ""
        while True:
            page = self.get(path, **query, **({"page_token": token} if token else {}))
            yield from page[key]
            token = page.get("next_page_token") or ""
            if not token:
                return

    def events(self, task_id: str) -> Iterator[Event]:
        """What happens to a task until it has ended; connects again where the stream breaks off."""
        last_id = ""
        failures = 0
        while True:
            try:
                for event, event_id in self._stream(task_id, last_id):
                    last_id, failures = event_id or last_id, 0
                    yield event
                    if event.data.get("status") in FINAL:
                        return
            except requests.RequestException as error:
                lost: ApiError = self._no_answer(error)
            except ApiError as error:
                if error.status not in {0, 503}:
                    raise
                lost = error
            else:
                continue  # the API ended the stream: it stops, and its successor goes on
            failures += 1
            if failures > EVENTS_TRIES:
                raise lost
            self._sleep(failures)

    def _stream(self, task_id: str, last_id: str) -> Iterator[tuple[Event, str]]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        path = f"/tasks/{segment(task_id)}/events"
        with self._request("GET", path, headers=headers, stream=True) as stream:
            stream.encoding = "utf-8"  # requests would take text/* for Latin-1
            yield from _parse(stream.iter_lines(decode_unicode=True))

    def upload(
        self,
        name: str,
        file: IO[bytes],
        *,
        size_bytes: int,
        content_type: str,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Send a file to `uploads/NAME`, straight to storage.

        Args:
            name: the name that tasks use.
            file: read from where it is, as a stream.
            size_bytes: how much there is to read.
            content_type: its media type.
            on_bytes: told of each piece that was sent, in bytes.
        """
        session = self.post("/files", {"name": name, "content_type": content_type, "size_bytes": size_bytes})
        # An empty stream would be sent in chunks, which storage does not take.
        body: Any = _Watched(file, size_bytes, on_bytes) if size_bytes else b""
        try:
            answer = self._session.request(
                session["method"], session["upload_url"], data=body, headers=session["headers"], timeout=TIMEOUT_S
            )
        except requests.RequestException as error:
            raise ApiError(f"storage broke off the upload of {name}: {error}. Try again.") from error
        if not answer.ok:
            raise ApiError(
                f"storage refused {name}: {answer.status_code} {answer.text[:300]}", status=answer.status_code
            )

    def result(self, task_id: str) -> requests.Response:
        """A task's result, to be read as a stream and closed."""
        return self._request("GET", f"/tasks/{segment(task_id)}/result", stream=True)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        timeout = (self._timeout_s, EVENTS_SILENCE_S if options.get("stream") else self._timeout_s)
        headers = options.pop("headers", {})
        try:
            fresh = self._bearer is None
            answer = self._session.request(
                method, self.url + path, headers={**headers, **self._identity()}, timeout=timeout, **options
            )
            if answer.status_code == requests.codes.unauthorized and self._token is not None and not fresh:
                self._bearer = None  # it has expired; the API did nothing
                answer = self._session.request(
                    method, self.url + path, headers={**headers, **self._identity()}, timeout=timeout, **options
                )
        except requests.RequestException as error:
            raise self._no_answer(error) from error
        if answer.status_code < 400:
            return answer
        document = _problem(answer)
        if answer.status_code in {401, 403} and not document:
            raise ApiError(
                f"{self.url}: {answer.status_code}. The API takes calls of accounts that have roles/run.invoker on it.",
                status=answer.status_code,
            )
        raise ApiError(_words(answer, document), status=answer.status_code, document=document)

    def _identity(self) -> dict[str, str]:
        if self._token is None:
            return {}
        self._bearer = self._bearer or self._token()
        return {"Authorization": f"Bearer {self._bearer}"}

    def _no_answer(self, error: Exception) -> ApiError:
        return ApiError(f"the API at {self.url} does not answer ({type(error).__name__}): ./invoke status tells more")

    def _json(self, answer: requests.Response) -> Any:
        if not answer.content:
            return None
        try:
            return answer.json()
        except requests.JSONDecodeError as error:
            raise ApiError(
                f"{self.url} is no Poolhouse API: its answer is not JSON", status=answer.status_code
            ) from error


#: A task in one of these will not change by itself.
FINAL = frozenset({"succeeded", "failed", "dead", "cancelled"})


def stack_api(state_dir: Path | None = None) -> Api:
    """The API of the local stack that is up. Raises `NoStack`."""
    return Api(backends.live(state_dir or default_state_dir()).endpoints.api_url)


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def content_type(name: str) -> str:
    """The media type of a file, by its name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


class _Watched:
    """A file that tells how much of it was read; its length is known, so that it is not sent in chunks."""

    def __init__(self, file: IO[bytes], size: int, on_bytes: Callable[[int], None]) -> None:
        self._file = file
        self._size = size
        self._on_bytes = on_bytes

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._on_bytes(len(piece))
        return piece


def _parse(lines: Iterator[str]) -> Iterator[tuple[Event, str]]:
    """Events and their ids. WHATWG HTML, Server-sent events, Interpreting an event stream; only what the API sends."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "data" in fields:
                yield Event(fields.get("event", "message"), json.loads(fields["data"])), fields.get("id", "")
            fields = {}


def _problem(answer: requests.Response) -> Document:
    if "json" not in answer.headers.get("Content-Type", ""):
        return {}
    try:
        document = answer.json()
    except requests.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _words(answer: requests.Response, document: Document) -> str:
    said = document.get("detail") or document.get("error")
    if not said:
        return f"{answer.request.method} {answer.request.path_url}: {answer.status_code} {answer.text[:300]}"
    errors = document.get("errors") or ()
    if len(errors) > 1:
        return "\n  ".join([f"{len(errors)} fields are wrong:", *(f"{e['field']}: {e['message']}" for e in errors)])
    return str(said)
