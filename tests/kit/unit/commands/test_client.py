from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from poolhouse.client.api import EVENTS_TRIES, Api, ApiError
from poolhouse.local import state
from poolhouse.local.errors import NoStack
from poolhouse.local.stack_api import stack_api

Answer = tuple[int, str, bytes]


class Scripted:
    """A server that answers with what a test says, one answer a request."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.command, self.path, dict(self.headers)))
                status, kind, body = outer.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    scripted = Scripted()
    thread = threading.Thread(target=scripted.server.serve_forever, args=(0.01,))
    thread.start()
    yield scripted
    scripted.server.shutdown()
    thread.join()
    scripted.server.server_close()


@pytest.fixture
def connect(scripted: Scripted) -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def connect(tokens: list[str] | None = None) -> Api:
        made.append(Api(scripted.url, token=None if tokens is None else lambda: tokens.pop(0), sleep=lambda _: None))
        return made[-1]

    yield connect
    for api in made:
        api.close()


def event(number: int, status: str, **more: object) -> bytes:
    return f"id: {number}\nevent: status\ndata: {json.dumps({'status': status, **more})}\n\n".encode()


STREAM = "text/event-stream; charset=utf-8"


def test_events_end_with_the_task(scripted: Scripted, connect: Callable[..., Api]) -> None:
    scripted.answers = [(200, STREAM, b"retry: 2000\n\n" + event(0, "queued") + b": still here\n\n" + event(5, "dead"))]
    assert [event.data["status"] for event in connect().events("t")] == ["queued", "dead"]


def test_a_stream_that_breaks_off_goes_on_where_it_was(scripted: Scripted, connect: Callable[..., Api]) -> None:
    scripted.answers = [
        (200, STREAM, event(3, "running")),
        (503, "application/problem+json", b'{"error": "down"}'),
        (200, STREAM, event(4, "succeeded")),
    ]
    assert [event.data["status"] for event in connect().events("t")] == ["running", "succeeded"]
    assert scripted.requests[0][2].get("Last-Event-ID") is None
    assert [headers["Last-Event-ID"] for _, _, headers in scripted.requests[1:]] == ["3", "3"]


def test_events_of_a_service_that_stays_down_are_given_up(scripted: Scripted, connect: Callable[..., Api]) -> None:
    scripted.answers = [(503, "application/problem+json", b'{"error": "down"}')] * (EVENTS_TRIES + 1)
    with pytest.raises(ApiError, match="down"):
        list(connect().events("t"))
    assert scripted.answers == []


def test_events_of_a_task_that_is_not_there_are_an_error_at_once(
    scripted: Scripted, connect: Callable[..., Api]
) -> None:
    scripted.answers = [(404, "application/problem+json", b'{"error": "no task"}')]
    with pytest.raises(ApiError, match="no task") as caught:
        list(connect().events("t"))
    assert caught.value.status == 404


def test_events_are_utf_8(scripted: Scripted, connect: Callable[..., Api]) -> None:
    line = 'data: {"status": "dead", "reason": "café ☕"}\n\n'.encode()
    scripted.answers = [(200, "text/event-stream", line)]
    assert [event.data["reason"] for event in connect().events("t")] == ["café ☕"]


def test_a_token_is_asked_for_once_and_again_when_it_has_expired(
    scripted: Scripted, connect: Callable[..., Api]
) -> None:
    ok, expired = (200, "application/json", b"{}"), (401, "text/html", b"<html>")
    scripted.answers = [ok, ok, expired, ok]
    api = connect(["one", "two"])
    for _ in range(3):
        api.get("/queues")
    assert [headers["Authorization"] for _, _, headers in scripted.requests] == [
        "Bearer one",
        "Bearer one",
        "Bearer one",
        "Bearer two",
    ]


def test_a_token_that_opens_nothing_says_which_role_is_missing(scripted: Scripted, connect: Callable[..., Api]) -> None:
    scripted.answers = [(403, "text/html", b"<html>Forbidden")]
    with pytest.raises(ApiError, match=r"roles/run\.invoker"):
        connect(["one"]).get("/queues")


def test_several_wrong_fields_are_reported_one_a_line(scripted: Scripted, connect: Callable[..., Api]) -> None:
    errors = [
        {"field": "payload.a", "message": "is required"},
        {"field": "payload.b", "message": "there is no such field"},
    ]
    scripted.answers = [(422, "application/problem+json", json.dumps({"error": "x", "errors": errors}).encode())]
    with pytest.raises(ApiError) as caught:
        connect().get("/x")
    assert str(caught.value).splitlines() == [
        "2 fields are wrong:",
        "  payload.a: is required",
        "  payload.b: there is no such field",
    ]


def test_something_else_at_the_address_is_reported(scripted: Scripted, connect: Callable[..., Api]) -> None:
    scripted.answers = [(200, "text/html", b"<html>"), (500, "text/html", b"oops")]
    with pytest.raises(ApiError, match="no Poolhouse API"):
        connect().get("/queues")
    with pytest.raises(ApiError, match="GET /queues: 500 oops"):
        connect().get("/queues")


def test_nothing_at_the_address_says_where_and_what_to_do(unused: str) -> None:
    api = Api(unused)
    with pytest.raises(ApiError, match=r"http://127\.0\.0\.1:\d+ does not answer.*invoke status"):
        api.get("/queues")
    api.close()


@pytest.fixture
def unused() -> str:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return f"http://127.0.0.1:{server.server_address[1]}"


def test_pages_are_read_to_the_last(scripted: Scripted, connect: Callable[..., Api]) -> None:
    pages = [{"tasks": [1, 2], "next_page_token": "a/b"}, {"tasks": [], "next_page_token": "c"}, {"tasks": [3]}]
    scripted.answers = [(200, "application/json", json.dumps(page).encode()) for page in pages]
    assert list(connect().pages("/tasks", "tasks", queue="q")) == [1, 2, 3]
    assert [path for _, path, _ in scripted.requests] == [
        "/tasks?queue=q",
        "/tasks?queue=q&page_token=a%2Fb",
        "/tasks?queue=q&page_token=c",
    ]


def test_without_a_stack_the_command_that_starts_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoStack, match=r"\./invoke up"):
        stack_api(tmp_path)


def test_the_address_of_the_stack_is_read_from_its_state(tmp_path: Path) -> None:
    from poolhouse.local.backend import Endpoints

    endpoints = Endpoints(
        api_url="http://127.0.0.1:1234",
        pubsub_host="127.0.0.1:1",
        storage_url="http://127.0.0.1:2",
        project="p",
        bucket="b",
    )
    state.write(tmp_path, state.StackState(backend="compose", endpoints=endpoints, ready=True))
    assert stack_api(tmp_path).url == "http://127.0.0.1:1234"
