"""Triggers over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from poolhouse.api.routes import triggers
from poolhouse.pipeline.messaging.message import LINKS, parse_time
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import Api, application, settings


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """The application over a pipeline.toml with a trigger."""
    (tmp_path / "pipeline.toml").write_text(
        """
        [queues.default]
        [queues.bulk]

        [triggers.tables]
        prefix = "uploads/in/"
        suffix = ".csv"
        task_type = "file_processing"
        queue = "bulk"
        payload = { processing_time = 0.5 }
        """
    )
    environment = settings(pipeline_file=str(tmp_path / "pipeline.toml"))
    store, topics, clock = MemoryStore(), MemoryTopics(), ManualClock()
    app = application(store, topics, clock, environment=environment)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/ready")
        yield Api(app, client, store, topics, clock, environment)


def submitted(api: Api) -> list[dict[str, object]]:
    return [json.loads(published.message.data) for published in api.topics.published]


def test_a_listing_shows_which_files_start_which_task(api: Api) -> None:
    (tables,) = api.client.get("/triggers").json()["triggers"]
    assert tables == {
        "name": "tables",
        "prefix": "uploads/in/",
        "suffix": ".csv",
        "task_type": "file_processing",
        "queue": "bulk",
        "field": "filename",
        "payload": {"processing_time": 0.5},
    }


def test_a_backfill_starts_the_task_of_each_file_and_again_the_same_one(api: Api) -> None:
    for name in ("uploads/in/a.csv", "uploads/in/deep/b.csv", "uploads/in/c.txt", "uploads/d.csv"):
        api.store.put(name, b"a\n1\n")
    dry = api.client.post("/triggers/tables:backfill?dry_run=true").json()
    assert dry == {
        "files": 2,
        "submitted": 0,
        "examples": ["uploads/in/a.csv", "uploads/in/deep/b.csv"],
        "next_page_token": None,
    }
    assert submitted(api) == []
    for _ in range(2):
        api.clock.forward(5)
        assert api.client.post("/triggers/tables:backfill").json()["submitted"] == 2
    first, second = submitted(api)[:2], submitted(api)[2:]
    # Not the files' time: a purge in between does not mean these tasks.
    assert [parse_time(task["submitted_at"]) for task in second] == [api.clock.now] * 2
    assert [task["filename"] for task in first] == ["in/a.csv", "in/deep/b.csv"]
    assert [task["task_id"] for task in first] == [task["task_id"] for task in second]
    assert {published.message.attributes["queue"] for published in api.topics.published} == {"bulk"}


def test_the_tasks_of_a_backfill_are_those_of_their_trigger(api: Api) -> None:
    api.store.put("uploads/in/a.csv", b"")
    api.client.post("/triggers/tables:backfill")
    api.client.post("/tasks", json={"task_type": "file_processing", "payload": {"filename": "in/b.csv"}})
    started, other = submitted(api)
    assert (started[LINKS], other.get(LINKS)) == ({"trigger": "tables"}, None)
    found = api.client.get("/tasks", params={"trigger": "tables"}).json()["tasks"]
    assert [task["task_id"] for task in found] == [started["task_id"]]
    assert api.client.get("/tasks", params={"trigger": "removed-since"}).json()["tasks"] == []


@pytest.mark.parametrize("name", ["trigger", "schedule"])
@pytest.mark.parametrize("value", ["Tables", "a b", "x" * 31, "trigger:tables", "\x00"])
def test_a_filter_by_what_can_not_be_declared_is_refused(api: Api, name: str, value: str) -> None:
    answer = api.client.get("/tasks", params={name: value})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)


def test_the_record_of_a_task_names_its_trigger_or_schedule_in_the_openapi_document(api: Api) -> None:
    described = api.client.get("/openapi.json").json()
    fields = described["components"]["schemas"]["Task.file_processing"]["properties"]
    filters = {each["name"] for each in described["paths"]["/tasks"]["get"]["parameters"]}
    for name in ("trigger", "schedule"):
        assert f"The {name} of pipeline.toml that submitted it" in fields[name]["description"]
        assert name in filters


def test_a_backfill_goes_on_where_a_page_ends(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "PAGE_OBJECTS", 2)
    for number in range(5):
        api.store.put(f"uploads/in/{number}.csv", b"")
    counts, token = [], ""
    while token is not None:
        answer = api.client.post("/triggers/tables:backfill", params={"page_token": token} if token else {}).json()
        counts.append(answer["submitted"])
        token = answer["next_page_token"]
    assert sum(counts) == 5
    assert len(counts) >= 3
    assert len({task["task_id"] for task in submitted(api)}) == 5


def test_a_trigger_that_there_is_not_is_refused(api: Api) -> None:
    unknown = api.client.post("/triggers/table:backfill")
    assert unknown.status_code == 404
    assert "declared: tables" in unknown.json()["detail"]


def test_a_queue_that_is_down_is_an_error_and_the_backfill_can_be_repeated(api: Api) -> None:
    api.store.put("uploads/in/a.csv", b"")
    api.topics.down = True
    assert api.client.post("/triggers/tables:backfill").status_code == 503
    api.topics.down = False
    assert api.client.post("/triggers/tables:backfill").json()["submitted"] == 1
