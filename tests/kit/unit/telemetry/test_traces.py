"""The spans behind TRACES_EXPORTER: of HTTP calls, publishes, deliveries and storage calls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2.credentials import Credentials
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError, StoreUnavailable
from poolhouse.pipeline.hooks import Hooks
from poolhouse.pipeline.metrics.storage_calls import observed
from poolhouse.pipeline.traces.process_traces import hook_names, open_traces
from poolhouse.pipeline.traces.span_files import SpanFiles
from poolhouse.pipeline.traces.spans import Span
from poolhouse.project import ROOT
from poolhouse.telemetry import cloud_trace, trace_exporters
from poolhouse.telemetry.traces import DeliveryTracing, Traces
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.push_endpoint import open_endpoint
from tests.kit.unit.api.conftest import application
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import PIPELINE, Engine
from tests.kit.waiting import until

TRACE_ID, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TASK = {"task_type": "anything", "payload": {}}
TRACEPARENT = f"00-{TRACE_ID}-{CALLER}-01"


def settings(**fields: Any) -> Settings:
    known = {"google_cloud_project": "p", "bucket_name": "bucket", "pipeline_file": str(PIPELINE)}
    return Settings(**{**known, **fields})


class Recorded:
    """The spans of a process."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.traces = Traces(self.provider)

    def tree(self) -> dict[str, list[str]]:
        """The names of the spans, by the name of their parent; "" where that is recorded elsewhere."""
        found: dict[str, list[str]] = {}
        spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        names = {span.context.span_id: span.name for span in spans}
        for span in spans:
            above = "" if span.parent is None else names.get(span.parent.span_id, "")
            found.setdefault(above, []).append(span.name)
        return found

    def of(self, name: str) -> list[tuple[Mapping[str, Any], ReadableSpan]]:
        return [(span.attributes or {}, span) for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def engine(recorded: Recorded) -> Iterator[Engine]:
    handlers.runs.clear()
    built = Engine()
    built.hooks = Hooks([DeliveryTracing(recorded.provider)])
    built.store = observed(built.store, recorded.traces)  # type: ignore[assignment]
    built.traces = recorded.traces
    built.attempts = built.another("worker-1")
    built.attempts._services.publisher.on_publishing = recorded.traces.publishing
    yield built
    built.executor.stop()
    built.heartbeat.stop()


def test_a_delivery_spans_claim_handler_and_record(engine: Engine, recorded: Recorded) -> None:
    task = engine.task("echo", n=1)
    task.attributes = {**task.attributes, "traceparent": TRACEPARENT}
    engine.attempts.process(task)
    assert recorded.tree() == {"": ["process echo"], "process echo": ["storage put", "run echo", "storage put"]}
    [(attributes, span)] = recorded.of("process echo")
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE_ID, CALLER)
    assert attributes["poolhouse.attempt"] == 1
    assert attributes["poolhouse.outcome"] == "succeeded"
    assert [attributes["poolhouse.object"] for attributes, _ in recorded.of("storage put")] == [
        "tasks/t-1.json,claim",
        "tasks/t-1.json",
    ]


def test_what_follows_a_task_is_below_the_attempt_that_ended_it(engine: Engine, recorded: Recorded) -> None:
    engine.attempts.process(engine.task("parent", n=1))
    tree = recorded.tree()
    assert tree["process parent"][-2:] == ["submit echo", "submit echo"]
    assert sorted(tree["submit echo"]) == ["publish default", "publish urgent"]
    [(_, span)] = recorded.of("process parent")
    for published in engine.topics.published:
        assert f"{span.context.trace_id:032x}" in published.message.attributes["traceparent"]


def test_a_failed_attempt_says_so_and_a_duplicate_has_no_attempt(engine: Engine, recorded: Recorded) -> None:
    engine.attempts.process(engine.task("reject", n=1))
    engine.attempts.process(engine.task("reject", n=1))
    first, second = recorded.of("process reject")
    assert (first[0]["poolhouse.outcome"], first[1].status.description) == ("failed", "Reject")
    assert "poolhouse.attempt" not in second[0]


def test_a_coroutine_is_below_its_delivery_too(engine: Engine, recorded: Recorded) -> None:
    engine.attempts.process(engine.task("coroutine", n=1))
    assert "run coroutine" in recorded.tree()["process coroutine"]


def test_storage_calls_belong_to_what_is_recorded_or_are_left_out(recorded: Recorded) -> None:
    memory = MemoryStore()
    store = observed(memory, recorded.traces)
    store.put("a", b"")
    assert recorded.tree() == {}

    def broken(name: str) -> Any:
        raise StoreUnavailable("down")

    memory.get = broken  # type: ignore[method-assign]
    with recorded.provider.get_tracer("test").start_as_current_span("around"), pytest.raises(StoreUnavailable):
        observed(memory, recorded.traces).get("a")
    [(attributes, span)] = recorded.of("storage get")
    assert attributes["poolhouse.outcome"] == "error"
    assert not span.status.is_ok


def test_the_api_records_calls_that_change_something_to_the_files_of_the_stack(tmp_path: Path) -> None:
    environment = settings(traces_exporter="file", traces_dir=str(tmp_path))
    topics = MemoryTopics()
    with TestClient(application(MemoryStore(), topics, ManualClock(), environment=environment)) as client:
        answer = client.post("/tasks", json=TASK, headers={"traceparent": TRACEPARENT})
        task_id = answer.json()["task_id"]
        client.get(f"/tasks/{task_id}")
        client.post("/nowhere", json={})
    spans = SpanFiles(tmp_path).of_task(task_id)
    call, submit, publish = spans
    assert [(span.name, span.kind, span.service) for span in spans] == [
        ("POST /tasks", "server", "poolhouse-api"),
        (f"submit {TASK['task_type']}", "producer", "poolhouse-api"),
        (publish.name, "client", "poolhouse-api"),
    ]
    assert publish.name.startswith("publish ")
    assert (call.trace_id, call.parent_id) == (TRACE_ID, CALLER)
    assert (submit.parent_id, publish.parent_id) == (call.span_id, submit.span_id)
    assert call.attributes["http.response.status_code"] == "202"
    assert topics.published[0].message.attributes["traceparent"] == f"00-{TRACE_ID}-{submit.span_id}-01"
    written = [Span.parse(line) for line in (tmp_path / "spans.jsonl").read_bytes().splitlines()]
    assert [span.name for span in written if span.kind == "server"] == ["POST /tasks", "POST"]


def test_otlp_sends_spans_to_a_collector_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_endpoint() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        traces = open_traces(settings(traces_exporter="otlp"), part="api")
        assert traces is not None
        with traces.serving("POST", {}) as call:
            call.ended(route="/tasks", status=202, task_id="t-1")
        Hooks([trace_exporters.hook()]).close()
        until(lambda: collector.requests, "the last export")
        [request] = collector.requests
    assert b"POST /tasks" in request.body
    assert b"poolhouse-api" in request.body


def test_cloud_trace_gets_the_spans_of_a_project_with_the_identity_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Sequence[str]] = []

    def identity(*, scopes: Sequence[str]) -> tuple[Credentials, str]:
        asked.append(scopes)
        return Credentials(token="a-token"), "p"

    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", identity)
    with open_endpoint() as telemetry_api:
        monkeypatch.setattr(cloud_trace, "ENDPOINT", telemetry_api.url)
        traces = open_traces(settings(traces_exporter="cloud_trace"), part="api")
        assert traces is not None
        with traces.serving("POST", {}) as call:
            call.ended(route="/tasks", status=202, task_id="t-1")
        Hooks([trace_exporters.hook()]).close()
        until(lambda: telemetry_api.requests, "the last export")
        [request] = telemetry_api.requests
    assert request.headers["authorization"] == "Bearer a-token"
    sent = ExportTraceServiceRequest.FromString(request.body)
    [resource_spans] = sent.resource_spans
    attributes = {each.key: each.value.string_value for each in resource_spans.resource.attributes}
    assert (attributes["gcp.project_id"], attributes["service.name"]) == ("p", "poolhouse-api")
    assert [span.name for scope in resource_spans.scope_spans for span in scope.spans] == ["POST /tasks"]
    assert asked == [["https://www.googleapis.com/auth/trace.append"]]


def test_cloud_trace_is_asked_for_nothing_beside_an_emulator_and_needs_an_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*, scopes: Sequence[str]) -> NoReturn:
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(google.auth, "default", none)
    for emulator, reason in (("localhost:8085", "is for a deployed pipeline"), ("", "credentials were not found")):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulator)
        with pytest.raises(ConfigError, match=f"TRACES_EXPORTER=cloud_trace.*{reason}"):
            open_traces(settings(traces_exporter="cloud_trace"), part="worker")


def test_a_disk_that_is_full_loses_spans_and_nothing_else(tmp_path: Path, recorded: Recorded) -> None:
    (tmp_path / "file").touch()
    exporter = trace_exporters.FileExporter(SpanFiles(tmp_path / "file" / "below"))
    with recorded.provider.get_tracer("test").start_as_current_span("lost"):
        pass
    assert exporter.export(recorded.exporter.get_finished_spans()).name == "FAILURE"


def test_off_nothing_is_made_or_imported() -> None:
    assert open_traces(settings(), part="worker") is None
    assert hook_names(settings()) == settings().topology.hooks
    program = (
        "import sys, poolhouse.worker.runtime.worker, poolhouse.api.app, poolhouse.worker.scheduler\n"
        "import poolhouse.local.console.app\n"
        "print(*[name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'poolhouse.telemetry'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_missing_library_and_a_missing_folder_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="TRACES_DIR names no folder"):
        open_traces(settings(traces_exporter="file"), part="worker")
    monkeypatch.setitem(sys.modules, "poolhouse.telemetry.trace_exporters", None)
    with pytest.raises(ConfigError, match=r"pip install 'poolhouse\[telemetry\]'"):
        open_traces(settings(traces_exporter="otlp"), part="worker")
