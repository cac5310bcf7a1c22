"""One trace from the HTTP call to every attempt, and metrics of what became of the tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from poolhouse.pipeline.hooks import Hooks, load
from poolhouse.testing.pipeline import Pipeline
from poolhouse.worker.runtime.execution.executor import Executor
from tests.kit.unit.levels import pipeline_file
from tests.kit.unit.telemetry import telemetry_hooks
from tests.kit.unit.worker.conftest import PIPELINE, Engine

__all__ = ["pipeline_file"]

HOOKS = "tests.kit.unit.telemetry.telemetry_hooks"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


@pytest.fixture(scope="session")
def pipeline_text() -> str:
    return f'hooks = ["{HOOKS}:tracing", "{HOOKS}:metrics"]\n[queues.default]\n'


@pytest.fixture(scope="session")
def pipeline_handlers() -> tuple[str, ...]:
    return (HOOKS,)


@pytest.fixture(autouse=True)
def _no_spans() -> None:
    telemetry_hooks.exporter.clear()


def submit(pipeline: Pipeline, task_type: str, **payload: Any) -> str:
    answer = requests.post(
        f"{pipeline.api_url}/tasks",
        json={"task_type": task_type, "payload": payload},
        headers={"traceparent": f"00-{TRACE_ID}-{CALLER}-01"},
        timeout=10,
    )
    return str(answer.json()["task_id"])


def span_id(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def spans(name: str) -> list[ReadableSpan]:
    return [span for span in telemetry_hooks.exporter.get_finished_spans() if span.name == name]


def test_one_trace_leads_from_the_http_call_through_the_message_to_each_attempt(pipeline: Pipeline) -> None:
    task_id = submit(pipeline, "traced", failures=1)
    pipeline.run_until_idle()

    assert {f"{span.context.trace_id:032x}" for span in telemetry_hooks.exporter.get_finished_spans()} == {TRACE_ID}
    [published] = spans("submit traced")
    assert parent(published) == CALLER
    first, second = spans("run traced")
    assert parent(first) == parent(second) == span_id(published)
    assert [span.attributes and span.attributes["poolhouse.attempt"] for span in (first, second)] == [1, 2]
    assert first.attributes is not None
    assert first.attributes["poolhouse.task_id"] == task_id
    assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert [event.name for event in first.events] == ["exception"]
    assert [parent(span) for span in spans("inside")] == [span_id(first), span_id(second)]


def test_spans_of_a_coroutine_are_below_its_attempt(pipeline: Pipeline) -> None:
    submit(pipeline, "traced_async")
    pipeline.run_until_idle()
    [inside], [attempt] = spans("inside"), spans("run traced_async")
    assert parent(inside) == span_id(attempt)


def test_what_follows_a_task_is_part_of_its_trace(pipeline: Pipeline) -> None:
    submit(pipeline, "traced_parent")
    pipeline.run_until_idle()
    [published], [followed], [attempt] = (
        spans("submit traced_parent"),
        spans("submit traced_async"),
        spans("run traced_async"),
    )
    assert f"{attempt.context.trace_id:032x}" == TRACE_ID
    assert (parent(followed), parent(attempt)) == (span_id(published), span_id(followed))


def test_a_process_of_its_own_sends_the_span_of_its_attempt_before_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans_file = tmp_path / "spans"
    for name, value in {
        "GOOGLE_CLOUD_PROJECT": "test-project",
        "BUCKET_NAME": "test-bucket",
        "PIPELINE_FILE": str(PIPELINE),
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        "SPANS": str(spans_file),
    }.items():
        monkeypatch.setenv(name, value)
    declared = (f"{HOOKS}:tracing_to_a_file",)
    engine = Engine()
    engine.executor = Executor(task_handlers=("tests.kit.unit.worker.handlers",), hooks=declared)
    engine.hooks = Hooks(load((f"{HOOKS}:tracing",)))
    engine.attempts = engine.another("worker-1")
    task = engine.task("own_process")
    task.attributes = {**task.attributes, "traceparent": f"00-{TRACE_ID}-{CALLER}-01"}
    engine.attempts.process(task)
    written = spans_file.read_text(encoding="utf-8")
    engine.executor.stop()
    engine.heartbeat.stop()
    assert engine.record().status == "succeeded"
    assert '"name": "run own_process"' in written
    assert f"0x{TRACE_ID}" in written
    assert f"0x{CALLER}" in written


def points(name: str) -> dict[tuple[str, ...], Any]:
    data = telemetry_hooks.reader.get_metrics_data()
    return {
        tuple(str(value) for key, value in sorted((point.attributes or {}).items()) if key != "queue"): point
        for resource in (data.resource_metrics if data else ())  # None before the first measurement of the process
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


def test_metrics_count_what_is_submitted_and_how_it_ends(pipeline: Pipeline) -> None:
    def counted() -> dict[str, float]:
        return {
            **{f"submitted {key[0]}": point.value for key, point in points("poolhouse.tasks.submitted").items()},
            **{f"ended {' '.join(key)}": point.count for key, point in points("poolhouse.attempt.duration").items()},
            **{
                f"ended for good {' '.join(key)}": point.value for key, point in points("poolhouse.tasks.ended").items()
            },
            **{f"wait {key[0]}": point.count for key, point in points("poolhouse.task.wait").items()},
        }

    before = counted()
    submit(pipeline, "traced", failures=2)
    submit(pipeline, "traced")
    pipeline.run_until_idle()
    now = counted()
    assert {name: now[name] - before.get(name, 0) for name in now if name.endswith(" traced")} == {
        "submitted traced": 2,
        "wait traced": 2,
        "ended for good dead traced": 1,
        "ended for good succeeded traced": 1,
        "ended retried traced": 1,
        "ended dead traced": 1,
        "ended succeeded traced": 1,
    }
    assert {point.value for point in points("poolhouse.attempts.running").values()} == {0}
