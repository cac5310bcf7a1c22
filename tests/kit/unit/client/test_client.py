from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from google.auth.exceptions import DefaultCredentialsError

from poolhouse import Payload, ResultTimeout, TaskFailed, TaskType
from poolhouse.client import answers, calls
from poolhouse.client.async_client import AsyncClient
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.client.event_stream import TRIES
from poolhouse.client.identity import BearerToken
from poolhouse.client.target import target
from poolhouse.local import state
from poolhouse.local.errors import NoStack
from poolhouse.local.stack_api import stack_api
from poolhouse.pipeline.errors import ConfigError, InvalidValue

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
def connect(scripted: Scripted) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def connect(tokens: list[str] | None = None) -> Client:
        made.append(Client(scripted.url, token=None if tokens is None else lambda: tokens.pop(0), sleep=lambda _: None))
        return made[-1]

    yield connect
    for api in made:
        api.close()


def event(number: int, status: str, **more: object) -> bytes:
    return f"id: {number}\nevent: status\ndata: {json.dumps({'status': status, **more})}\n\n".encode()


def test_a_rebuild_of_the_index_may_last_longer_than_other_calls(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[httpx2.Timeout] = []

    def request(*arguments: object, timeout: httpx2.Timeout, **options: object) -> httpx2.Response:
        given.append(timeout)
        return httpx2.Response(200, json={})

    api = connect()
    monkeypatch.setattr(api._http, "request", request)
    api.get("/tasks")
    api.send(calls.rebuild_index())
    assert [(each.connect, each.read) for each in given] == [(60, 60), (60, 1800)]


STREAM = "text/event-stream; charset=utf-8"


def test_events_end_with_the_task(scripted: Scripted, connect: Callable[..., Client]) -> None:
    scripted.answers = [(200, STREAM, b"retry: 2000\n\n" + event(0, "queued") + b": still here\n\n" + event(5, "dead"))]
    assert [event.data["status"] for event in connect().events("t")] == ["queued", "dead"]


def test_a_stream_that_breaks_off_goes_on_where_it_was(scripted: Scripted, connect: Callable[..., Client]) -> None:
    scripted.answers = [
        (200, STREAM, event(3, "running")),
        (503, "application/problem+json", b'{"error": "down"}'),
        (200, STREAM, event(4, "succeeded")),
    ]
    assert [event.data["status"] for event in connect().events("t")] == ["running", "succeeded"]
    assert scripted.requests[0][2].get("Last-Event-ID") is None
    assert [headers["Last-Event-ID"] for _, _, headers in scripted.requests[1:]] == ["3", "3"]


def test_events_of_a_service_that_stays_down_are_given_up(scripted: Scripted, connect: Callable[..., Client]) -> None:
    scripted.answers = [(503, "application/problem+json", b'{"error": "down"}')] * (TRIES + 1)
    with pytest.raises(ApiError, match="down"):
        list(connect().events("t"))
    assert scripted.answers == []


def test_events_of_a_task_that_is_not_there_are_an_error_at_once(
    scripted: Scripted, connect: Callable[..., Client]
) -> None:
    scripted.answers = [(404, "application/problem+json", b'{"error": "no task"}')]
    with pytest.raises(ApiError, match="no task") as caught:
        list(connect().events("t"))
    assert caught.value.status == 404


def test_events_are_utf_8(scripted: Scripted, connect: Callable[..., Client]) -> None:
    line = 'data: {"status": "dead", "reason": "café ☕"}\n\n'.encode()
    scripted.answers = [(200, "text/event-stream", line)]
    assert [event.data["reason"] for event in connect().events("t")] == ["café ☕"]


def test_a_token_is_asked_for_once_and_again_when_it_has_expired(
    scripted: Scripted, connect: Callable[..., Client]
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


def test_a_token_that_opens_nothing_says_which_role_is_missing(
    scripted: Scripted, connect: Callable[..., Client]
) -> None:
    scripted.answers = [(403, "text/html", b"<html>Forbidden")]
    with pytest.raises(ApiError, match=r"roles/run\.invoker"):
        connect(["one"]).get("/queues")


def test_several_wrong_fields_are_reported_one_a_line(scripted: Scripted, connect: Callable[..., Client]) -> None:
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


def test_something_else_at_the_address_is_reported(scripted: Scripted, connect: Callable[..., Client]) -> None:
    scripted.answers = [(200, "text/html", b"<html>"), (500, "text/html", b"oops")]
    with pytest.raises(ApiError, match="no Poolhouse API"):
        connect().get("/queues")
    with pytest.raises(ApiError, match="GET /queues: 500 oops"):
        connect().get("/queues")


def test_nothing_at_the_address_says_where_and_what_to_do(unused: str) -> None:
    api = Client(unused)
    with pytest.raises(ApiError, match=r"http://127\.0\.0\.1:\d+ does not answer.*invoke status"):
        api.get("/queues")
    api.close()


@pytest.fixture
def unused() -> str:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return f"http://127.0.0.1:{server.server_address[1]}"


def test_pages_are_read_to_the_last(scripted: Scripted, connect: Callable[..., Client]) -> None:
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


def jwt(expires_at: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires_at}).encode()).decode().rstrip("=")
    return f"head.{claims}.signature"


def test_a_token_is_replaced_before_it_expires() -> None:
    now, tokens = [1000.0], [jwt(1300.0), jwt(9000.0)]
    given = list(tokens)
    auth = BearerToken(lambda: given.pop(0), clock=lambda: now[0])
    sent = []
    for at in (1000.0, 1200.0, 1250.0):
        now[0] = at
        sent.append(next(auth.auth_flow(httpx2.Request("GET", "https://x"))).headers["Authorization"])
    assert sent == [f"Bearer {tokens[0]}", f"Bearer {tokens[0]}", f"Bearer {tokens[1]}"]


def test_the_async_client_asks_for_tokens_as_the_sync_one(scripted: Scripted) -> None:
    ok, expired = (200, "application/json", b"{}"), (401, "text/html", b"<html>")
    scripted.answers = [ok, expired, ok]
    tokens = ["one", "two"]

    async def calls() -> None:
        async with AsyncClient(scripted.url, token=lambda: tokens.pop(0)) as client:
            await client.get("/queues")
            await client.get("/queues")

    asyncio.run(calls())
    assert [headers["Authorization"] for _, _, headers in scripted.requests] == [
        "Bearer one",
        "Bearer one",
        "Bearer two",
    ]


@pytest.mark.parametrize(
    ("url", "audience", "for_whom"),
    [
        ("https://shop-1.europe-west1.run.app/", None, "https://shop-1.europe-west1.run.app"),
        ("https://api.example.com", "shop", "shop"),
        ("https://api.example.com", None, None),
        ("http://127.0.0.1:8080", "shop", None),
        ("http://localhost:8080", None, None),
    ],
)
def test_cloud_run_gets_id_tokens_of_google_auth_and_nobody_else(
    url: str, audience: str | None, for_whom: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("google.oauth2.id_token.fetch_id_token", lambda _, audience: asked.append(audience) or "token")
    found = target(url, token=None, audience=audience, timeout_s=1, headers=None)
    if for_whom is None:
        assert found.auth is None
        return
    assert found.auth is not None
    request = next(found.auth.auth_flow(httpx2.Request("GET", url)))
    assert request.headers["Authorization"] == "Bearer token"
    assert asked == [for_whom]


def test_without_credentials_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise DefaultCredentialsError("none here")  # type: ignore[no-untyped-call]

    monkeypatch.setattr("google.oauth2.id_token.fetch_id_token", refuse)
    with Client("https://shop-1.run.app") as client, pytest.raises(ConfigError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        client.get("/queues")


@pytest.mark.parametrize(
    ("url", "given", "sent"),
    [
        ("https://shop-api-1.europe-west1.run.app", {}, "from the environment"),
        ("https://shop-api-1.europe-west1.run.app", {"x-api-key": "given"}, "given"),
        ("http://127.0.0.1:8080", {}, "from the environment"),
        ("http://api.example", {}, None),
    ],
)
def test_an_api_key_takes_the_place_of_a_token_and_is_never_sent_unencrypted(
    url: str, given: dict[str, str], sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("no token is asked for")

    monkeypatch.setattr("google.oauth2.id_token.fetch_id_token", refuse)
    monkeypatch.setenv("POOLHOUSE_API_KEY", "from the environment")
    headers: list[str | None] = []
    with Client(url, headers=given) as client:
        request = client._http.build_request("GET", "/queues")
        headers.append(request.headers.get("X-API-Key"))
        assert client._target.auth is None
    assert headers == [sent]


def test_a_refusal_for_want_of_a_key_names_the_variable() -> None:
    request = httpx2.Request("GET", "https://api.example/queues")
    answer = httpx2.Response(
        401, json={"error": "needs a key"}, headers={"WWW-Authenticate": "ApiKey header=X"}, request=request
    )
    with pytest.raises(ApiError, match=r"needs a key \(the variable POOLHOUSE_API_KEY\)"):
        answers.check(answer, api_url="https://api.example")


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POOLHOUSE_API_URL", raising=False)
    with pytest.raises(ConfigError, match="POOLHOUSE_API_URL"):
        Client()
    with pytest.raises(ConfigError, match="no address"):
        Client("shop.example.com")
    monkeypatch.setenv("POOLHOUSE_API_URL", "http://127.0.0.1:1/")
    with Client() as client:
        assert client.url == "http://127.0.0.1:1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_is_called_past_every_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    found = target(f"http://{host}:1", token=None, audience=None, timeout_s=1, headers=None)
    assert found.here
    assert found.options()["trust_env"] is False


def test_a_wait_ends_in_time_while_events_come_in(scripted: Scripted, connect: Callable[..., Client]) -> None:
    # Streams that end at once: each look costs no time, and none of them ends the task.
    scripted.answers = [(200, STREAM, event(number, "running")) for number in range(10_000)]
    started = time.monotonic()
    with pytest.raises(ResultTimeout, match=r"task t is running after 0\.3 s; it goes on"):
        connect().wait("t", timeout_s=0.3)
    assert time.monotonic() - started < 5


def test_a_task_that_failed_is_an_error_with_its_reason(scripted: Scripted, connect: Callable[..., Client]) -> None:
    scripted.answers = [(200, STREAM, event(1, "failed", reason="no such file"))]
    with pytest.raises(TaskFailed, match="task t is failed: no such file") as caught:
        connect().task("t").result()
    assert (caught.value.status, caught.value.reason) == ("failed", "no such file")


def test_a_result_of_another_shape_is_an_error_that_names_the_task(
    scripted: Scripted, connect: Callable[..., Client]
) -> None:
    number = TaskType("number", Payload, int)
    scripted.answers = [(200, STREAM, event(1, "succeeded")), (200, "application/json", b'"many"')]
    with pytest.raises(ApiError, match="the result of task t is not what its type promises"):
        connect().task("t", number).result()


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ({"error": "payload is too large", "detail": "Put it into a file"}, "payload is too large: Put it into a file"),
        ({"error": "no queue", "detail": "no queue. Try again"}, "no queue. Try again"),
        ({"error": "no queue"}, "no queue"),
    ],
)
def test_an_error_tells_what_is_wrong_and_what_to_do(scripted: Scripted, problem: dict[str, str], told: str) -> None:
    scripted.answers = [(413, "application/problem+json", json.dumps(problem).encode())]
    with Client(scripted.url) as client, pytest.raises(ApiError) as caught:
        client.get("/tasks")
    assert str(caught.value) == told


class KeptOpen(BaseHTTPRequestHandler):
    """Answers on connections that stay open, and notes which ones."""

    protocol_version = "HTTP/1.1"
    connections: ClassVar[list[object]] = []

    def do_GET(self) -> None:
        self.connections.append(self.client_address)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_forked_process_uses_no_connection_of_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    KeptOpen.connections.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), KeptOpen)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api = Client(f"http://127.0.0.1:{server.server_address[1]}")
    parents = api._connected()
    for _ in range(2):
        api.get("/health")
    with monkeypatch.context() as forked:
        forked.setattr("poolhouse.client.client.os.getpid", lambda: -1)
        api.get("/health")
        api.close()
        with pytest.raises(RuntimeError, match="closed"):
            api.get("/health")
    parents.close()
    server.shutdown()
    server.server_close()
    first, second, in_child = KeptOpen.connections
    assert first == second != in_child


def test_an_async_client_says_that_it_belongs_to_another_event_loop(scripted: Scripted) -> None:
    api = AsyncClient(scripted.url)
    scripted.answers = [(200, "application/json", b"{}")]
    asyncio.run(api.get("/health"))
    with pytest.raises(RuntimeError, match="used in another event loop"):
        asyncio.run(api.get("/health"))
    asyncio.run(api.close())


@pytest.mark.parametrize(
    ("payload", "options", "error", "says"),
    [
        ("n=1", {}, TypeError, "a payload is a model or a mapping of its fields, not str"),
        ({}, {"idempotency_key": "caf\u00e9"}, ValueError, "only printable ASCII"),
        ({}, {"idempotency_key": "a\nb"}, ValueError, "only printable ASCII"),
        ({}, {"run_at": date(2027, 1, 1)}, TypeError, "run_at must be a datetime with its zone, not date"),
    ],
)
def test_what_can_not_be_sent_is_refused_by_its_name(
    connect: Callable[..., Client], payload: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        connect().submit("greet", payload, **options)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "body.payload.rows.0 is nan"),
        (object(), "body.payload.rows.0 is a builtins.object"),
        ("\ud800", "body.payload.rows.0 is text with a lone surrogate"),
        ({1: "a", "1": "b"}, "body.payload.rows.0 has keys that are all '1'"),
    ],
)
def test_what_json_has_no_form_for_is_named_with_its_place_and_not_sent(
    scripted: Scripted, connect: Callable[..., Client], value: object, place: str
) -> None:
    async def submit() -> None:
        async with AsyncClient(scripted.url) as api:
            await api.submit("mail", {"rows": [value]})

    with pytest.raises(InvalidValue, match=place):
        connect().submit("mail", {"rows": [value]})
    with pytest.raises(InvalidValue, match=place):
        asyncio.run(submit())
    assert scripted.requests == []


def test_a_payload_is_sent_as_a_handler_would_send_it() -> None:
    sent = calls.post("/tasks", {"payload": {"day": date(2026, 3, 1), "of": {"x"}, "name": "Łódź"}}).sent()
    assert json.loads(sent["content"]) == {"payload": {"day": "2026-03-01", "of": ["x"], "name": "Łódź"}}
    assert sent["headers"]["Content-Type"] == "application/json"
    assert calls.get("/tasks", {}).sent() == {"headers": {}}
