"""Input that is made to cost: pages of other sites, bodies of too many values, requests that are never ended."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from poolhouse.api import __main__ as service
from poolhouse.api import bodies
from poolhouse.api.access import CLIENT_GONE
from poolhouse.api.body_gate import BodyGate
from poolhouse.api.problems import Problem
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker.registry import Handler
from tests.kit.unit.api import conftest
from tests.kit.unit.api.conftest import Api
from tests.kit.waiting import until

JSON = {"content-type": "application/json"}
CROSS_SITE = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
BIG = b'{"task_type": "anything", "value": %s}'


class TestOtherSites:
    @pytest.mark.parametrize(
        "path", ["/schedules/x:pause", "/tasks/x:cancel", "/dead-letters/x:replay", "/submit-task"]
    )
    @pytest.mark.parametrize("kind", [{}, {"content-type": "text/plain"}])
    def test_what_a_page_can_send_unasked_is_refused_wherever_the_service_runs(
        self, api: Api, path: str, kind: dict[str, str]
    ) -> None:
        answer = api.client.post(path, headers={**CROSS_SITE, **kind})
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert "x-request-id" in answer.headers

    def test_a_service_that_knows_its_hosts_answers_to_no_other(self) -> None:
        settings = conftest.settings(allowed_hosts="local", allowed_origins="https://app.example")
        app = conftest.application(MemoryStore(), MemoryTopics(), ManualClock(), environment=settings)
        with TestClient(app) as client:
            assert client.get("/tasks", headers={"host": "evil.example"}).status_code == 421
            assert client.get("/tasks", headers=CROSS_SITE).status_code == 403
            assert client.get("/tasks", headers={"host": "api:8080"}).status_code == 200
            assert client.get("/tasks", headers={**CROSS_SITE, "origin": "https://app.example"}).status_code == 200


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [
            b"[" + b"[]," * 3_000_000 + b"0]",
            b"[" + b'{"a":1},' * 1_000_000 + b"0]",
            b"[" + b'"",' * 2_000_000 + b'""]',
            b"{" + b",".join(b'"k%d":1' % number for number in range(150_000)) + b"}",
            b"[" + b"0," * bodies.MAX_VALUES + b"0]",
        ],
        ids=["lists", "objects", "texts", "names", "numbers"],
    )
    def test_too_many_are_refused_before_they_are_made(self, api: Api, value: bytes) -> None:
        answer = api.client.post("/submit-task", content=BIG % value, headers=JSON)
        assert answer.status_code == 413
        assert "100,000 values" in answer.json()["error"]
        assert api.topics.published == []

    @pytest.mark.parametrize(
        "value",
        [
            json.dumps("a,[{" * 200_000),
            json.dumps('"\\,[' * 150_000),
            json.dumps(list(range(90_000))),
            json.dumps([[] for _ in range(90_000)]),
            json.dumps([{} for _ in range(90_000)]).replace("{}", "{ }"),
        ],
        ids=["a text of commas", "a text of quotes", "numbers", "empty lists", "empty objects"],
    )
    def test_as_many_as_are_possible_are_taken_whatever_is_in_texts(self, api: Api, value: str) -> None:
        answer = api.client.post("/submit-task", content=BIG % value.encode(), headers=JSON)
        assert answer.status_code == 200, answer.text
        assert json.loads(api.topics.published[0].message.data)["value"] == json.loads(value)

    @pytest.mark.parametrize(("count", "named"), [(3, 3), (500, 100), (50_000, 1)])
    def test_wrong_fields_are_named_up_to_a_hundred_and_counted_beyond_a_thousand(
        self, api: Api, count: int, named: int
    ) -> None:
        body = {"task_type": "anything", **{f"field-{number}": 1 for number in range(count)}}
        answer = api.client.post("/submit-task", json=body)
        assert answer.status_code == 422
        assert len(answer.json()["errors"]) == named
        assert len(answer.content) < 20_000


class TestGate:
    def test_what_does_not_fit_waits_in_order(self) -> None:
        async def run() -> list[str]:
            gate, entered = BodyGate(capacity_bytes=10, wait_s=5), []

            async def body(name: str, size: int) -> int:
                took = await gate.enter(size)
                entered.append(name)
                return took

            first = await body("first", 8)
            waiting = [asyncio.ensure_future(body(name, size)) for name, size in (("large", 99), ("small", 1))]
            await asyncio.sleep(0)
            assert entered == ["first"]
            gate.leave(first)
            gate.leave(await waiting[0])
            gate.leave(await waiting[1])
            assert await gate.enter(10) == 10
            return entered

        assert asyncio.run(run()) == ["first", "large", "small"]

    def test_one_that_gives_up_keeps_nothing(self) -> None:
        async def run() -> None:
            gate = BodyGate(capacity_bytes=10, wait_s=0.01)
            took = await gate.enter(10)
            with pytest.raises(Problem) as refused:
                await gate.enter(5)
            assert refused.value.status == 503
            cancelled = asyncio.ensure_future(gate.enter(5))
            await asyncio.sleep(0)
            gate.leave(took)
            cancelled.cancel()  # its turn has come in this very moment
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert await gate.enter(10) == 10

        asyncio.run(run())

    @pytest.mark.parametrize("path", ["/submit-task", "/tasks", "/tasks:batch"])
    @pytest.mark.parametrize("size", [10, 900_000])
    def test_large_bodies_are_validated_and_written_off_the_event_loop(
        self, api: Api, path: str, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        on_loop: list[bool] = []

        def noted(call: Any) -> Any:
            def noting(*args: Any, **kwargs: Any) -> Any:
                try:
                    asyncio.get_running_loop()
                except RuntimeError:
                    on_loop.append(False)
                else:
                    on_loop.append(True)
                return call(*args, **kwargs)

            return noting

        monkeypatch.setattr(Handler, "parse", noted(Handler.parse))
        monkeypatch.setattr(TaskMessage, "data", noted(TaskMessage.data))
        body: dict[str, Any] = {"task_type": "anything", "payload": {"value": "x" * size}}
        if path == "/submit-task":
            body = {"task_type": "anything", "value": "x" * size}
        assert api.client.post(path, json={"tasks": [body]} if path == "/tasks:batch" else body).is_success
        assert on_loop == [size == 10] * 2

    def test_room_is_given_back_whatever_becomes_of_the_request(self, api: Api) -> None:
        gate = api.app.state.body_gate
        for value, status in ((b'"%s"' % (b"x" * 1_000_000), 200), (b"[" * 1_000_000, 400)):
            assert api.client.post("/submit-task", content=BIG % value, headers=JSON).status_code == status
            assert gate._free_bytes == gate.capacity_bytes


@contextmanager
def served(app: Any) -> Iterator[tuple[str, int]]:
    """The service at a port, as `python -m poolhouse.api` runs it."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, loop="asyncio")
    server = service.Server(config, app.state.events, app.state.services.ending)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started, "the service starts")
    try:
        yield listener.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


class TestHalfRequests:
    @pytest.mark.parametrize("begun", [b"", b"GET /heal", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /he"])
    def test_a_head_that_does_not_come_is_not_waited_for(
        self, api: Api, begun: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "REQUEST_HEAD_S", 0.2)
        monkeypatch.setattr(service, "HEAD_CHECK_TICKS", 1)
        with served(api.app) as address, socket.create_connection(address, timeout=10) as connection:
            connection.sendall(begun)
            while connection.recv(65536):
                pass

    def test_a_body_that_stands_still_is_408(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bodies, "BODY_PAUSE_S", 0.2)
        with served(api.app) as address, socket.create_connection(address, timeout=10) as connection:
            head = b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            connection.sendall(head)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 408")

    def test_a_client_that_goes_away_is_no_error(self, api: Api) -> None:
        with capture_logs() as lines, served(api.app) as address:
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            until(lambda: any(line.get("status") == CLIENT_GONE for line in lines), "the request is logged")
        assert [line for line in lines if line["log_level"] == "error"] == []


def test_what_is_down_is_reported_without_names_of_hosts_and_objects(api: Api) -> None:
    api.store.failure = StoreUnavailable("http://10.0.0.7:4443/b/secret-bucket/o/tasks%2Fx: refused")
    with capture_logs() as lines:
        answers = [api.client.get("/ready"), api.client.get("/queues"), api.client.post("/files", json={"name": "a"})]
    assert {answer.status_code for answer in answers} <= {200, 503}
    for answer in answers:
        assert "secret" not in answer.text
        assert "10.0.0.7" not in answer.text
    assert any("secret-bucket" in line.get("error", "") for line in lines)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/csv; charset=utf-8", 201),
        ('multipart/x; boundary="a b;,"', 201),
        ("a/b;c=d;e=f", 201),
        ("a/b;\n c=d", 422),
        ('a/b; c="\x1b"', 422),
        ('a/b; c="\x7f"', 422),
        ('a/b; c="☃"', 422),
        ("a/٣", 422),
        ("ä/b", 422),
        ("a/b\n", 422),
        ("a/b;", 422),
        ("a\t/b", 422),
    ],
)
def test_a_content_type_holds_what_a_header_may_hold(api: Api, content_type: str, status: int) -> None:
    assert api.client.post("/files", json={"name": "a", "content_type": content_type}).status_code == status


def test_a_name_of_many_folders_is_refused(api: Api) -> None:
    assert api.client.post("/files", json={"name": "/".join("a" * 33)}).status_code == 422
    assert api.client.post("/files", json={"name": "/".join("a" * 32)}).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("DELETE", "/tasks", "GET, POST"), ("GET", "/submit-task", "POST"), ("POST", "/health", "GET, HEAD")],
)
def test_a_method_that_is_not_there_names_those_that_are(api: Api, method: str, path: str, allow: str) -> None:
    answer = api.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
