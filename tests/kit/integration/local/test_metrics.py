"""Metrics of a whole stack: what its processes serve together is what happened."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from poolhouse.local.backend import UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from tests.kit.waiting import until

SUCCEEDED = 3
Samples = Counter[tuple[str, ...]]


@pytest.fixture
def api_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "pipeline.toml").write_text("[queues.default]\n[queues.bulk]\n", encoding="utf-8")
    monkeypatch.setenv("PIPELINE_FILE", str(tmp_path / "pipeline.toml"))
    monkeypatch.setenv("TASK_HANDLERS", "poolhouse.worker.samples")
    monkeypatch.setenv("METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("METRICS_PORT", str(ports.choose()))
    backend = Embedded(tmp_path / "state")
    endpoints = backend.up(UpOptions(api_port=ports.choose(), timeout_s=120, attached=True), lambda text: None)
    try:
        yield endpoints.api_url
    finally:
        backend.down()


def test_api_and_worker_serve_what_happened(api_url: str, tmp_path: Path) -> None:
    logs = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "state").rglob("*.log"))
    urls = set(re.findall(r"http://127\.0\.0\.1:\d+/metrics", logs))
    assert len(urls) == 2

    def total(name: str) -> Samples:
        found: Samples = Counter()
        for url in urls:
            answer = requests.get(url, timeout=10)
            assert answer.status_code == 200, answer.text
            for family in text_string_to_metric_families(answer.text):
                for sample in family.samples:
                    if sample.name == name:
                        found[tuple(value for _, value in sorted(sample.labels.items()))] += int(sample.value)
        return found

    for task_type in [*["sample.echo"] * SUCCEEDED, "sample.reject"]:
        answer = requests.post(f"{api_url}/tasks", json={"task_type": task_type, "payload": {}}, timeout=10)
        assert answer.status_code == 202, answer.text
    expected = {
        ("succeeded", "default", "sample.echo"): SUCCEEDED,
        ("dead", "default", "sample.reject"): 1,
    }
    until(lambda: total("poolhouse_tasks_ended_total") == expected, timeout_s=60)
    assert total("poolhouse_tasks_submitted_total") == {("default", "sample.echo"): 3, ("default", "sample.reject"): 1}
    assert total("poolhouse_task_wait_seconds_count") == {
        ("default", "sample.echo"): 3,
        ("default", "sample.reject"): 1,
    }
    assert total("poolhouse_worker_slots") == {("default",): 8, ("bulk",): 8}
    until(lambda: total("poolhouse_queue_tasks")[("default", "dead")] == 1, timeout_s=60)
