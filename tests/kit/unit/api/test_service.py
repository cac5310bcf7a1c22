"""Health, queues, files, the reference, and what surrounds every call."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import requests
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from poolhouse.api import services
from poolhouse.api.app import create_app
from poolhouse.api.backlog import (
    Backlog,
    BacklogUnavailable,
    EmulatorBacklog,
    MonitoringBacklog,
    NoBacklog,
    open_source,
)
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.errors import ConfigError, StoreUnavailable
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.names import INDEX
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api import conftest
from tests.kit.unit.api.conftest import Api


class TestHealth:
    def test_health_asks_nothing(self, api: Api) -> None:
        api.topics.down = True
        api.store.failure = StoreUnavailable("it is down")

        answer = api.client.get("/health")

        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})

    @pytest.mark.parametrize("path", ["/health", "/ready"])
    def test_monitors_may_ask_by_head(self, api: Api, path: str) -> None:
        assert api.client.head(path).status_code == 200
        assert api.client.post(path).headers["allow"] == "GET, HEAD"

    def test_ready_says_that_queue_and_bucket_answer(self, api: Api) -> None:
        assert api.client.get("/ready").json() == {"status": "ready", "queue": "ok", "bucket": "ok"}

    def test_ready_is_503_and_names_what_is_down(self, api: Api) -> None:
        api.topics.down = True

        answer = api.client.get("/ready")

        assert answer.status_code == 503
        assert "down" in answer.json()["queue"]
        assert answer.json()["bucket"] == "ok"

    def test_a_service_that_started_before_its_bucket_recovers(self) -> None:
        store, topics = MemoryStore(), MemoryTopics()
        store.failure = StoreUnavailable("not there yet")
        with TestClient(conftest.application(store, topics, ManualClock())) as client:
            assert client.post("/submit-task", json={"task_type": "anything"}).status_code == 503
            assert topics.published == []
            store.failure = None
            assert client.post("/submit-task", json={"task_type": "anything"}).status_code == 200
        assert topics.closed


class TestFiles:
    def test_an_upload_session_is_opened(self, api: Api) -> None:
        answer = api.client.post(
            "/files",
            json={"name": "a/ü.csv", "content_type": "text/csv; charset=utf-8", "size_bytes": 12},
            headers={"Origin": "http://console.test"},
        )

        assert answer.status_code == 201
        assert answer.json() == {
            "name": "a/ü.csv",
            "object": "uploads/a/ü.csv",
            "upload_url": "memory://uploads/a/ü.csv",
            "method": "PUT",
            "headers": {"Content-Type": "text/csv; charset=utf-8"},
        }
        assert api.store.sessions == [
            {
                "name": "uploads/a/ü.csv",
                "content_type": "text/csv; charset=utf-8",
                "size_bytes": 12,
                "origin": "http://console.test",
            }
        ]

    @pytest.mark.parametrize(("present", "wanted"), [("a", "a/b/c"), ("a/b", "a/b/c"), ("a/b", "a"), ("a/b/c", "a/b")])
    def test_a_name_can_not_be_file_and_folder_at_once(self, api: Api, present: str, wanted: str) -> None:
        api.store.put(f"uploads/{present}", b"x")

        answer = api.client.post("/files", json={"name": wanted})

        assert answer.status_code == 409
        assert answer.json()["errors"][0]["field"] == "name"

    def test_a_bucket_that_is_down_is_503(self, api: Api) -> None:
        api.store.failure = StoreUnavailable("it is down")

        assert api.client.post("/files", json={"name": "a"}).status_code == 503


class _Source:
    def look(self, queue: Queue) -> Backlog:
        if queue.name == "bulk":
            raise BacklogUnavailable("no answer")
        return Backlog(backlog=7, in_flight=2, oldest_age_s=1.5)


class _Session:
    """Answers like Cloud Monitoring."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.queries: list[dict[str, str]] = []

    def get(self, url: str, *, params: dict[str, str], timeout: float) -> requests.Response:
        self.queries.append(params)
        answer = requests.Response()
        answer.status_code = 200
        answer._content = json.dumps(self.answers.pop(0)).encode()
        return answer


class TestQueues:
    QUEUE = Queue(name="default", prefix="poolhouse")

    def test_without_a_source_figures_are_null_never_a_guess(self, api: Api) -> None:
        answer = api.client.get("/queues").json()

        assert answer["backlog_source"] == "none"
        assert [queue["name"] for queue in answer["queues"]] == ["urgent", "default", "bulk"]
        assert answer["queues"][0] == {
            "name": "urgent",
            "paused_at": None,
            "backlog": None,
            "in_flight": None,
            "oldest_age_s": None,
            "dead_letters": 0,
        }

    def test_figures_come_from_the_source_and_are_null_where_it_fails(self) -> None:
        store = MemoryStore()
        store.put("dead-letters/default/x.json", b"{}")
        app = conftest.application(store, MemoryTopics(), ManualClock(), backlog=_Source())
        with TestClient(app) as client:
            queues = {queue.pop("name"): queue for queue in client.get("/queues").json()["queues"]}

        assert queues["default"] == {
            "paused_at": None,
            "backlog": 7,
            "in_flight": 2,
            "oldest_age_s": 1.5,
            "dead_letters": 1,
        }
        assert queues["bulk"]["backlog"] is None

    def test_cloud_monitoring_is_asked_for_the_newest_figure_of_the_subscription(self) -> None:
        points = [{"points": [{"value": {"int64Value": "41"}}, {"value": {"int64Value": "40"}}]}]
        session = _Session({"timeSeries": points}, {})
        source = MonitoringBacklog("p", session=session)  # type: ignore[arg-type]

        assert source.look(self.QUEUE) == Backlog(backlog=41, in_flight=None, oldest_age_s=None)
        assert 'subscription_id="poolhouse-default-workers"' in session.queries[0]["filter"]
        assert "num_undelivered_messages" in session.queries[0]["filter"]

    def test_the_figures_of_a_fair_queue_are_those_of_its_tiers_together(self) -> None:
        def figure(value: int) -> dict[str, Any]:
            return {"timeSeries": [{"points": [{"value": {"int64Value": str(value)}}]}]}

        answers = [figure(value) for tier in ((1, 60), (20, 5), (300, 7), (4000, 1)) for value in tier]
        source = MonitoringBacklog("p", session=_Session(*answers))  # type: ignore[arg-type]
        fair = self.QUEUE.model_copy(update={"fair_by": "tenant"})

        assert source.look(fair) == Backlog(backlog=4321, in_flight=None, oldest_age_s=60)

    def test_a_fair_queue_with_a_tier_of_unknown_figures_is_unknown(self) -> None:
        points = [{"points": [{"value": {"int64Value": "41"}}]}]
        source = MonitoringBacklog("p", session=_Session({"timeSeries": points}, *[{}] * 7))  # type: ignore[arg-type]
        fair = self.QUEUE.model_copy(update={"fair_by": "tenant"})

        assert source.look(fair).backlog is None

    def test_an_answer_of_another_form_is_no_figure(self) -> None:
        source = MonitoringBacklog("p", session=_Session({"timeSeries": [{"points": []}]}))  # type: ignore[arg-type]

        with pytest.raises(BacklogUnavailable, match="in an unknown form"):
            source.look(self.QUEUE)

    def test_an_emulator_that_does_not_answer_is_no_figure(self) -> None:
        with pytest.raises(BacklogUnavailable, match=r"127\.0\.0\.1:9"):
            EmulatorBacklog("127.0.0.1:9", project="p").look(self.QUEUE)

    @pytest.mark.parametrize(
        ("name", "kind"), [("none", NoBacklog), ("emulator", EmulatorBacklog), ("monitoring", MonitoringBacklog)]
    )
    def test_the_settings_name_the_source(self, name: str, kind: type) -> None:
        assert isinstance(open_source(conftest.settings(backlog_source=name)), kind)


class TestReference:
    def test_payload_types_of_every_task_are_in_the_document(self, api: Api) -> None:
        document = api.client.get("/openapi.json").json()

        schemas = document["components"]["schemas"]
        assert schemas["FileProcessing"]["properties"]["processing_time"]["anyOf"][0]["maximum"] == 3600
        assert schemas["FlatTask"]["discriminator"]["mapping"].keys() == conftest.REGISTRY.keys()
        flat = schemas["FlatTask.data_transformation"]
        assert flat["properties"]["task_type"]["const"] == "data_transformation"
        assert flat["properties"]["dataset_size"]["maximum"] == 1_000_000
        assert set(flat["required"]) == {"task_type", "dataset_size"}
        nested = schemas["NewTask.file_processing"]
        assert nested["properties"]["payload"] == {"$ref": "#/components/schemas/FileProcessing"}
        assert nested["properties"]["queue"]["enum"] == ["urgent", "default", "bulk", None]  # null is as good as unset

    def test_every_example_of_the_document_is_accepted(self, api: Api) -> None:
        paths = api.client.get("/openapi.json").json()["paths"]
        tried = 0
        for path in ("/submit-task", "/submit-file-task", "/submit-data-task", "/tasks", "/tasks:batch", "/files"):
            examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
            for example in examples.values():
                answer = api.client.post(path, json=example["value"])
                assert answer.status_code < 300, (path, example, answer.text)
                tried += 1
        assert tried >= 9

    def test_every_reference_in_the_document_leads_somewhere(self, api: Api) -> None:
        document = api.client.get("/openapi.json").json()

        def references(value: Any) -> set[str]:
            if isinstance(value, dict):
                own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
                return own.union(*(references(item) for item in value.values()))
            if isinstance(value, list):
                return set().union(*(references(item) for item in value))
            return set()

        found = references(document)
        assert len(found) > 10
        for reference in found:
            target: Any = document
            for part in reference.removeprefix("#/").split("/"):
                target = target[part]

    def test_every_call_is_described_and_says_how_it_fails(self, api: Api) -> None:
        paths = api.client.get("/openapi.json").json()["paths"]

        calls = [operation for operations in paths.values() for operation in operations.values()]
        assert len(calls) == 44
        for call in calls:
            assert call["summary"]
            assert "application/problem+json" in call["responses"]["default"]["content"]

    def test_the_page_needs_nothing_from_elsewhere(self, api: Api) -> None:
        page = api.client.get("/docs")

        assert page.headers["content-type"].startswith("text/html")
        assert "http://" not in page.text
        assert "https://" not in page.text
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png", "start.js"):
            assert f"docs/assets/{name}" in page.text
            assert api.client.get(f"/docs/assets/{name}").status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]


class TestEveryAnswer:
    def test_a_request_id_is_made_or_taken_over(self, api: Api) -> None:
        assert len(api.client.get("/health").headers["x-request-id"]) == 16
        assert api.client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
        assert api.client.get("/health", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"

    def test_no_browser_may_sniff_frame_or_read_it_from_another_site(self, api: Api) -> None:
        answer = api.client.get("/tasks", headers={"Origin": "http://elsewhere.test"})

        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not any(name.startswith("access-control-") for name in answer.headers)

    @pytest.mark.parametrize(
        ("method", "path", "watching", "level"),
        [
            ("GET", "/queues", False, "info"),
            ("GET", "/queues", True, "debug"),
            ("GET", "/tasks/never-issued", True, "info"),  # what went wrong is told to all
            ("POST", "/schedules/unheard-of:run", True, "info"),
            ("GET", "/health", False, "debug"),
        ],
    )
    def test_frequent_probes_are_logged_at_debug_level(
        self, api: Api, method: str, path: str, watching: bool, level: str
    ) -> None:
        with capture_logs() as lines:
            api.client.request(method, path, headers={"X-Watching": "console"} if watching else {})
        assert [line["log_level"] for line in lines if line["event"] == "request"] == [level]

    def test_the_line_of_a_submit_names_the_task(self, api: Api) -> None:
        with capture_logs() as lines:
            submitted = api.submit()
            created = api.client.post("/tasks", json={"task_type": "anything"}).json()["task_id"]
            api.client.get("/queues")
        assert [line.get("task_id") for line in lines if line["event"] == "request"] == [submitted, created, None]

    def test_one_line_is_logged_and_no_payload(self, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
        api.submit(value="secret text")

        line = capsys.readouterr().out
        assert "/submit-task" in line
        assert "status=200" in line
        assert "secret text" not in line


def test_a_handler_of_an_undeclared_queue_is_refused_at_the_start() -> None:
    from poolhouse.worker import Payload, TaskContext, task
    from poolhouse.worker.registry import Registry

    class Nothing(Payload):
        pass

    def lost(payload: Nothing, ctx: TaskContext) -> None:
        """Never run."""

    lost.__annotations__["payload"] = Nothing
    lost.__annotations__["ctx"] = TaskContext
    handler = task("lost", queue="nowhere")(lost)
    environment = conftest.settings()

    registry = Registry(handler.__poolhouse_handlers__)
    publisher = Publisher(environment, topics=MemoryTopics())

    with pytest.raises(ConfigError, match="nowhere"):
        create_app(environment, store=MemoryStore(), publisher=publisher, registry=registry)


def test_its_end_does_not_wait_for_storage_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "END_S", 0.2)
    store, topics, clock = MemoryStore(), MemoryTopics(), ManualClock()
    ended, waited_in_vain = threading.Event(), []

    def stall(name: str) -> None:
        if name.startswith(INDEX) and not ended.wait(30):
            waited_in_vain.append(name)

    store.before_write = stall
    with TestClient(conftest.application(store, topics, clock)) as client:
        assert client.post("/submit-task", json={"task_type": "anything"}).status_code == 200
    assert topics.published
    assert not waited_in_vain
    ended.set()
