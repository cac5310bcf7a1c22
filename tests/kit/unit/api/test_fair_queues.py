"""Submits to a fair queue name their tenant, whichever way they take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse.pipeline.messaging.fair_tiers import TENANT
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import Api, application, settings

LARGE = "x" * 1_100_000


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    file = tmp_path / "pipeline.toml"
    file.write_text("[queues.default]\nfair_by = 'label'\n[queues.bulk]\n")
    environment = settings(pipeline_file=str(file))
    store, topics, clock = MemoryStore(), MemoryTopics(), ManualClock()
    app = application(store, topics, clock, environment=environment)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(app, client, store, topics, clock, environment)


def tenants(api: Api) -> list[str]:
    return [published.message.attributes[TENANT] for published in api.topics.published]


def test_each_way_to_submit_names_it(api: Api) -> None:
    task: dict[str, Any] = {"task_type": "stamped", "payload": {"label": "acme"}}
    assert api.client.post("/submit-task", json={"task_type": "stamped", "label": "acme"}).status_code == 200
    for body in (task, {**task, "delay_s": 60}):
        assert api.client.post("/tasks", json=body).status_code == 202
    api.client.post("/tasks", json=task, headers={"Idempotency-Key": "k"})
    api.client.post("/tasks:batch", json={"tasks": [task, task]})
    assert tenants(api) == ["acme"] * 6


def test_a_large_payload_names_it_too_also_when_it_is_read_again(api: Api) -> None:
    task = {"task_type": "stamped", "payload": {"label": "acme", "stamp": LARGE}}
    api.client.post("/tasks", json=task)
    delayed = api.client.post("/tasks", json={**task, "delay_s": 86_400}).json()["task_id"]
    assert api.client.post(f"/tasks/{delayed}:run-now").status_code == 200
    assert tenants(api) == ["acme"] * 2
