"""What is measured, under which names and labels, and that nothing is where no exporter is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from fastapi.testclient import TestClient
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from prometheus_client.parser import text_string_to_metric_families

from poolhouse.api import create_app
from poolhouse.commands.project import documentation, metrics_reference
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError, ObjectNotFound, PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.hooks import Hooks, TaskInfo
from poolhouse.pipeline.hooks.failures import failed
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.metrics import definitions
from poolhouse.pipeline.metrics.definitions import CATALOGUE, OTHER
from poolhouse.pipeline.metrics.process_metrics import open_metrics
from poolhouse.pipeline.metrics.storage_calls import OPERATIONS, observed
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.web_guard import WebGuard
from poolhouse.project import ROOT
from poolhouse.telemetry import prometheus
from poolhouse.telemetry.metrics import Metrics
from poolhouse.telemetry.prometheus import Endpoint
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker.registry import load
from poolhouse.worker.runtime.running_task import RunningTask
from tests.kit.push_endpoint import open_endpoint
from tests.kit.unit.worker.conftest import PIPELINE, Engine, FakeDelivery
from tests.kit.waiting import until

HANDLERS = "tests.kit.unit.worker.handlers"
Samples = dict[tuple[str, ...], float]


def settings(**more: Any) -> Settings:
    names = {"google_cloud_project": "test-project", "bucket_name": "test-bucket"}
    return Settings(**{**names, "pipeline_file": str(PIPELINE), **more})


class Scraped:
    """The metrics of a process, and its endpoint, which is never opened."""

    def __init__(self) -> None:
        self.endpoint = Endpoint(host="127.0.0.1", port=9464, guard=WebGuard())
        meter = MeterProvider([self.endpoint.reader]).get_meter("poolhouse")
        self.metrics = Metrics(meter, task_types=load([HANDLERS]), queues=("urgent", "default", "bulk"))

    def samples(self, name: str) -> Samples:
        """The values of a sample by its labels' values, in the order of the labels' names."""
        text = self.endpoint.text("")[0].decode()
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def scraped() -> Scraped:
    return Scraped()


@pytest.fixture
def engine(scraped: Scraped) -> Iterator[Engine]:
    built = Engine()
    built.hooks = Hooks([scraped.metrics])
    built.store = observed(built.store, scraped.metrics)  # type: ignore[assignment]
    built.heartbeat._metrics = scraped.metrics
    built.attempts = built.another("worker-1")
    yield built
    built.executor.stop()
    built.heartbeat.stop()


def test_every_metric_is_served_under_the_name_and_with_the_labels_of_its_definition(
    scraped: Scraped, engine: Engine
) -> None:
    for gauge in (definitions.QUEUE_TASKS, definitions.SLOTS, definitions.BUSY_SLOTS):
        scraped.metrics.observe(gauge, lambda gauge=gauge: [(1, dict.fromkeys(gauge.labels, "x"))])  # type: ignore[misc]
    scraped.metrics.lease_renewed("default", outcome="renewed")
    failed(scraped.metrics, "around", RuntimeError("once"))
    engine.attempts.process(engine.task("echo", "t-1"))
    info = TaskMessage(task_id="t", task_type="echo", submitted_at=engine.clock.now, queue="default", payload={})
    Hooks([scraped.metrics]).submitting(info)

    text = scraped.endpoint.text("")[0].decode()
    served: dict[str, tuple[str, set[str], str]] = {}
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        served[name] = (family.type, labels, family.documentation)
    served.pop("target_info")
    assert served == {metric.prometheus_name: (metric.kind, set(metric.labels), metric.help) for metric in CATALOGUE}
    buckets = {key[0] for key in scraped.samples("poolhouse_task_wait_seconds_bucket")}
    assert buckets == {*map(str, definitions.TASK_BOUNDS_S), "+Inf"}


def test_labels_are_never_what_a_client_chooses(scraped: Scraped) -> None:
    hooks = Hooks([scraped.metrics])
    for task_type, queue in (
        ("echo", "default"),
        ("echo", "elsewhere"),
        ("invented-1", "bulk"),
        ("invented-2", "bulk"),
    ):
        task = TaskMessage(
            task_id="t-1", task_type=task_type, submitted_at=ManualClock().now, queue=queue, payload={"tenant": "acme"}
        )
        hooks.submitting(task)
        hooks.of(task_type).on_death(TaskInfo.of(task), "no such type")
    assert scraped.samples("poolhouse_tasks_submitted_total") == {
        ("default", "echo"): 1,
        (OTHER, "echo"): 1,
        ("bulk", OTHER): 2,
    }
    assert scraped.samples("poolhouse_tasks_ended_total")[("dead", "bulk", OTHER)] == 2
    assert not re.search(r"invented|elsewhere|acme|t-1", scraped.endpoint.text("")[0].decode())


def test_a_delayed_task_has_waited_since_it_was_due(scraped: Scraped, engine: Engine) -> None:
    submitted_at = engine.clock.now
    due_at = submitted_at + timedelta(hours=1)
    task = TaskMessage(
        task_id="t-1", task_type="echo", submitted_at=submitted_at, queue="default", payload={}, not_before=due_at
    )
    engine.clock.now = due_at + timedelta(seconds=3)
    engine.attempts.process(FakeDelivery(data=task.data(), attributes=task.attributes(), published_at=submitted_at))
    assert engine.record().status is Status.SUCCEEDED
    assert scraped.samples("poolhouse_task_wait_seconds_sum") == {("default", "echo"): 3}


def test_the_line_about_a_first_attempt_says_how_long_the_task_waited(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    task = engine.task("boom", "t-1")
    engine.clock.now += timedelta(seconds=7)
    engine.attempts.process(task)
    again = engine.task("boom", "t-1", attempt=2)
    engine.clock.now += timedelta(hours=1)
    engine.attempts.process(again)
    lines = [line for line in capsys.readouterr().out.splitlines() if "task started" in line]
    assert ["waited_s=7.0" in line for line in lines] == [True, False]


def test_storage_calls_are_counted_with_how_they_end(scraped: Scraped) -> None:
    memory = MemoryStore()
    store = observed(memory, scraped.metrics)
    store.put("a", b"1", if_generation=ABSENT)
    with pytest.raises(PreconditionFailed):
        store.put("a", b"2", if_generation=ABSENT)
    with pytest.raises(ObjectNotFound):
        store.get("b")
    memory.get = _unavailable  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        observed(memory, scraped.metrics).get("a")
    assert scraped.samples("poolhouse_storage_call_duration_seconds_count") == {
        ("put", "ok"): 1,
        ("put", "conflict"): 1,
        ("get", "not_found"): 1,
        ("get", "error"): 1,
    }
    assert {"get", "put", "list", "delete", "open_read", "upload"} <= set(OPERATIONS)


def test_a_plain_task_costs_the_calls_that_it_cost_and_they_are_all_observed(scraped: Scraped, engine: Engine) -> None:
    engine.attempts.process(engine.task("echo", "t-1"))
    counts = scraped.samples("poolhouse_storage_call_duration_seconds_count")
    assert counts[("put", "ok")] == 2  # the claim and the record
    assert counts.keys() == {("put", "ok")}


def test_leases_are_counted_as_they_are_written(scraped: Scraped, engine: Engine) -> None:
    claimed = engine.claim(
        TaskMessage(task_id="t-1", task_type="echo", submitted_at=engine.clock.now, queue="default", payload={}),
        None,
        owner="worker-1",
    )
    running = RunningTask(claimed, load([HANDLERS])["echo"], started_s=0, store=RecordStore(engine.store), lease_s=20)
    engine.heartbeat._renew_and_look(running)  # not half over yet
    engine.clock.now += timedelta(seconds=15)
    engine.heartbeat._renew_and_look(running)
    engine.clock.now += timedelta(seconds=60)
    stored = engine.records.read("t-1")
    engine.claim(
        TaskMessage(task_id="t-1", task_type="echo", submitted_at=engine.clock.now, queue="default", payload={}),
        stored,
        owner="worker-2",
    )
    engine.heartbeat._renew_and_look(running)
    assert scraped.samples("poolhouse_lease_renewals_total") == {("renewed", "default"): 1, ("lost", "default"): 1}


def _noting(call: Callable[..., Any], threads: list[str]) -> Callable[..., Any]:
    """The same call, which notes the names of the threads that make it."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread().name)
        return call(*args, **kwargs)

    return noted


def _unavailable(name: str) -> Any:
    raise StoreUnavailable("down")


def test_without_an_exporter_nothing_is_made_or_imported() -> None:
    assert open_metrics(settings(), part="worker", task_types=()) is None
    store = MemoryStore()
    assert observed(store, None) is store
    program = (
        "import sys, poolhouse.worker.runtime.worker as worker, poolhouse.api.app, poolhouse.worker.scheduler\n"
        "from poolhouse.pipeline.config import settings\n"
        "from poolhouse.pipeline.metrics.process_metrics import open_metrics\n"
        "open_metrics(settings.load(), part='worker', task_types=())\n"
        "extra = ('opentelemetry.sdk', 'opentelemetry.exporter', 'prometheus_client', 'poolhouse.telemetry')\n"
        "print(*[name for name in sys.modules if name.startswith(extra)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "GOOGLE_CLOUD_PROJECT": "p", "BUCKET_NAME": "bucket", "PIPELINE_FILE": str(PIPELINE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "poolhouse.telemetry.exporters", None)
    with pytest.raises(ConfigError, match=r"pip install 'poolhouse\[telemetry\]'"):
        open_metrics(settings(metrics_exporter="prometheus"), part="worker", task_types=())


@pytest.fixture
def served(scraped: Scraped) -> Iterator[Endpoint]:
    scraped.endpoint.start()
    yield scraped.endpoint
    scraped.endpoint.close()


def test_processes_of_one_machine_take_one_port_after_the_other(served: Endpoint) -> None:
    port = int(served.url.rpartition(":")[2].partition("/")[0])
    second = Endpoint(host="127.0.0.1", port=port, guard=WebGuard())
    second.start()
    assert second.url != served.url
    assert requests.get(second.url, timeout=10).status_code == 200
    second.close()


def test_no_free_port_is_an_error_that_names_the_setting(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(served.url.rpartition(":")[2].partition("/")[0])
    monkeypatch.setattr(prometheus, "PORTS", 1)
    with pytest.raises(ConfigError, match="set METRICS_PORT"):
        Endpoint(host="127.0.0.1", port=port, guard=WebGuard()).start()


def test_an_address_of_another_machine_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"metrics can't be served at 192\.0\.2\.1:9464: .*: set METRICS_HOST"):
        Endpoint(host="192.0.2.1", port=9464, guard=WebGuard()).start()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/metrics", {}, 200),
        ("/metrics?x=1", {"Host": "worker:9464"}, 200),
        ("/", {}, 404),
        ("/metrics", {"Host": "attacker.example"}, 421),
        ("/metrics", {"Origin": "https://attacker.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_only_scrapers_are_answered(served: Endpoint, path: str, headers: dict[str, str], status: int) -> None:
    answer = requests.get(served.url.removesuffix("/metrics") + path, headers=headers, timeout=10)
    assert answer.status_code == status


def test_a_scraper_that_asks_for_openmetrics_gets_it(served: Endpoint) -> None:
    answer = requests.get(served.url, headers={"Accept": "application/openmetrics-text; version=1.0.0"}, timeout=10)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_otlp_sends_what_is_kept_back_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_endpoint() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        found = open_metrics(settings(metrics_exporter="otlp"), part="worker", task_types=["echo"])
        assert found is not None
        found.start()
        found.lease_renewed("default", outcome="renewed")
        Hooks([found.hook]).close()
        until(lambda: collector.requests, "the last export")
        [request] = collector.requests
    assert b"poolhouse.lease.renewals" in request.body
    assert b"poolhouse-worker" in request.body


def test_the_api_measures_its_queues_when_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints: list[Endpoint] = []
    monkeypatch.setattr(Endpoint, "start", lambda self: endpoints.append(self))  # noqa: PLW0108 - binds
    store, clock = MemoryStore(), ManualClock()
    file = tmp_path / "pipeline.toml"
    file.write_text("[queues.default]\n[queues.bulk]\n", encoding="utf-8")
    environment = settings(metrics_exporter="prometheus", pipeline_file=str(file))
    app = create_app(
        environment,
        store=store,
        publisher=Publisher(environment, topics=MemoryTopics()),
        registry=load([HANDLERS]),
        clock=clock,
    )
    with TestClient(app) as client:
        later = (clock.now + timedelta(hours=1)).isoformat()
        for body in ({"queue": "bulk"}, {"queue": "bulk"}, {"run_at": later}):
            answer = client.post("/tasks", json={"task_type": "echo", "payload": {}, **body})
            assert answer.status_code == 202, answer.text
        scraped = Scraped()
        [scraped.endpoint] = endpoints
        scraped.samples("poolhouse_queue_tasks")  # the index is loaded, and writes its first snapshot
        writing: list[str] = []
        for operation in ("put", "upload", "delete"):
            monkeypatch.setattr(store, operation, _noting(getattr(store, operation), writing))
        found = scraped.samples("poolhouse_queue_tasks")
        assert set(writing) <= {"index journal"}  # which writes the submits down, in its own time
        assert scraped.samples("poolhouse_tasks_submitted_total") == {("bulk", "echo"): 2, ("default", "echo"): 1}
        monkeypatch.setattr(store, "list", _unavailable)
        scraped.samples("poolhouse_queue_tasks")  # the rest is served all the same
    expected = {
        (queue, state): 0.0 for queue in ("default", "bulk") for state in ("waiting", "running", "delayed", "dead")
    }
    assert found == {**expected, ("bulk", "waiting"): 2, ("default", "delayed"): 1}


def test_the_last_look_at_the_queues_finds_the_index_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("poolhouse")
    metrics = Metrics(meter, task_types=(), queues=(), close=lambda: found.append(reader.get_metrics_data()))
    found: list[MetricsData | None] = []
    monkeypatch.setattr("poolhouse.api.app.open_metrics", lambda *_, **__: metrics)
    file = tmp_path / "pipeline.toml"
    file.write_text("[queues.default]\n", encoding="utf-8")
    environment = settings(pipeline_file=str(file))
    app = create_app(
        environment,
        store=MemoryStore(),
        publisher=Publisher(environment, topics=MemoryTopics()),
        registry=load([HANDLERS]),
        clock=ManualClock(),
    )
    index = app.state.services.index
    with TestClient(app) as client:
        assert client.get("/tasks").status_code == 200
    [data] = found
    assert data is not None
    assert "poolhouse.queue.tasks" in data.to_json()
    assert index._database is None


def test_the_page_has_the_metrics_as_they_are() -> None:
    page = (ROOT / documentation.METRICS).read_text(encoding="utf-8")
    assert all(f"`{metric.prometheus_name}`" in page for metric in CATALOGUE)
    assert page == metrics_reference.current(page), "run ./invoke docs"


def test_the_scrape_configuration_of_the_page_names_the_ports_from_the_default_on() -> None:
    page = (ROOT / documentation.METRICS).read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    [job] = yaml.safe_load(block[1])["scrape_configs"]
    port = Settings.model_fields["metrics_port"].default
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{port + number}" for number in range(4)]}]
