"""Schedules over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.messaging.message import LINKS
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import Api, application, settings

DUE = "X-CloudScheduler-ScheduleTime"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """The application over a pipeline.toml with two schedules; one can't run. It is noon, 1 March 2026."""
    (tmp_path / "pipeline.toml").write_text(
        """
        [queues.default]
        [queues.bulk]

        [schedules.nightly]
        cron = "30 3 * * *"
        time_zone = "Europe/Berlin"
        task_type = "data_transformation"
        payload = { dataset_size = 10 }

        [schedules.broken]
        cron = "0 * * * *"
        task_type = "data_transformation"
        payload = { dataset_size = 0 }
        """
    )
    environment = settings(pipeline_file=str(tmp_path / "pipeline.toml"))
    store, topics, clock = MemoryStore(), MemoryTopics(), ManualClock()
    app = application(store, topics, clock, environment=environment)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/ready")
        yield Api(app, client, store, topics, clock, environment)


def submitted(api: Api) -> list[str]:
    return [json.loads(published.message.data)["task_id"] for published in api.topics.published]


def test_a_listing_shows_when_each_schedule_is_due_and_what_is_wrong_with_it(api: Api) -> None:
    nightly, broken = api.client.get("/schedules").json()["schedules"]

    assert nightly == {
        "name": "nightly",
        "cron": "30 3 * * *",
        "time_zone": "Europe/Berlin",
        "task_type": "data_transformation",
        "queue": "bulk",
        "payload": {"dataset_size": 10},
        "missed_runs": "skip",
        "paused_at": None,
        "next_due_at": "2026-03-02T02:30:00Z",
        "last_run": None,
        "problem": None,
    }
    assert broken["problem"].startswith("payload.dataset_size: ")
    assert broken["next_due_at"] is None


def test_a_run_by_hand_is_a_task_of_its_own(api: Api) -> None:
    answer = api.client.post("/schedules/nightly:run")

    assert answer.status_code == 202
    task_id = answer.json()["task_id"]
    assert answer.headers["location"] == f"/tasks/{task_id}"
    assert api.topics.published[0].topic == "poolhouse-bulk"
    assert api.client.get(f"/tasks/{task_id}").json()["status"] == "queued"
    last = api.client.get("/schedules").json()["schedules"][0]["last_run"]
    assert set(last) == {"task_id", "due_at", "by_hand", "published_at"}  # nothing of the process that ran it
    assert (last["task_id"], last["by_hand"]) == (task_id, True)


def test_the_tasks_of_a_schedule_know_it_and_are_counted(api: Api) -> None:
    api.client.post("/tasks", json={"task_type": "data_transformation", "payload": {"dataset_size": 10}})
    by_hand = api.client.post("/schedules/nightly:run").json()["task_id"]
    api.clock.forward(5)
    due = api.client.post("/schedules/nightly:due").json()["run"]["task_id"]
    bodies = [json.loads(published.message.data) for published in api.topics.published]
    assert [body.get(LINKS) for body in bodies] == [None, {"schedule": "nightly"}, {"schedule": "nightly"}]
    listed = api.client.get("/tasks", params={"schedule": "nightly", "count": True}).json()
    assert {task["task_id"] for task in listed["tasks"]} == {by_hand, due}
    assert listed["total"] == 2
    nightly, broken = api.client.get("/schedules", params={"count": True}).json()["schedules"]
    assert (nightly["by_status"], broken["by_status"]) == ({"queued": 2}, {})


def test_a_pause_shows_and_ends(api: Api) -> None:
    paused = api.client.post("/schedules/nightly:pause").json()
    assert (paused["paused_at"], paused["next_due_at"]) == ("2026-03-01T12:00:00Z", None)

    resumed = api.client.post("/schedules/nightly:resume").json()
    assert (resumed["paused_at"], resumed["next_due_at"]) == (None, "2026-03-02T02:30:00Z")


def test_a_due_time_that_is_sent_again_is_one_task(api: Api) -> None:
    first = api.client.post("/schedules/nightly:due", headers={DUE: "2026-03-01T11:59:58Z"})
    again = api.client.post("/schedules/nightly:due", headers={DUE: "2026-03-01T11:59:58Z"})

    assert first.json()["status"] == "submitted"
    assert again.json() == {"status": "skipped"}
    assert submitted(api) == [first.json()["run"]["task_id"]]


@pytest.mark.parametrize("later_s", [5, 20 * 3600])
def test_a_due_time_whose_first_call_failed_is_the_same_task(api: Api, later_s: float) -> None:
    api.topics.down = True
    assert api.client.post("/schedules/nightly:due", headers={DUE: "2026-03-01T12:00:00Z"}).status_code == 503
    api.topics.down = False
    api.clock.forward(later_s)
    assert api.client.post("/schedules/nightly:due", headers={DUE: "2026-03-01T12:00:00Z"}).status_code == 200
    assert len(submitted(api)) == 1


def test_a_due_time_of_a_paused_schedule_is_skipped(api: Api) -> None:
    api.client.post("/schedules/nightly:pause")
    answer = api.client.post("/schedules/nightly:due", headers={DUE: "2026-03-01T12:00:00Z"})
    assert (answer.status_code, answer.json()) == (200, {"status": "skipped"})
    assert submitted(api) == []


@pytest.mark.parametrize("verb", ["run", "pause", "resume", "due"])
def test_a_schedule_that_is_not_declared_is_404_and_the_declared_ones_are_named(api: Api, verb: str) -> None:
    answer = api.client.post(f"/schedules/nightmare:{verb}")
    assert answer.status_code == 404
    assert answer.json()["error"] == "there is no schedule 'nightmare' (schedules: nightly, broken)"


@pytest.mark.parametrize("verb", ["run", "due"])
def test_a_schedule_that_can_not_run_says_why(api: Api, verb: str) -> None:
    answer = api.client.post(f"/schedules/broken:{verb}")
    assert answer.status_code == 409
    assert "payload.dataset_size" in answer.json()["error"]
    assert submitted(api) == []


def test_a_due_time_that_is_none_is_refused(api: Api) -> None:
    assert api.client.post("/schedules/nightly:due", headers={DUE: "tomorrow"}).status_code == 422


@pytest.mark.parametrize("call", ["GET /schedules", "POST /schedules/nightly:pause"])
def test_a_bucket_that_is_down_is_503(api: Api, call: str) -> None:
    api.store.failure = StoreUnavailable("down")
    method, _, path = call.partition(" ")
    assert api.client.request(method, path).status_code == 503


@pytest.mark.parametrize(
    "due_at",
    [
        "2026-03-01T12:01:01Z",
        "2099-01-01T00:00:00Z",
        "9999-12-31T23:59:00Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1970-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
        "nan",
        "2026-03-01T12:00:00+99:99",
    ],
)
def test_an_absurd_due_time_is_refused_and_changes_nothing(api: Api, due_at: str) -> None:
    answer = api.client.post("/schedules/nightly:due", headers={DUE: due_at})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == DUE
    assert api.client.post("/schedules/nightly:due").json()["status"] == "submitted"
    assert len(submitted(api)) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"settled_until": "2026-03-01T12:00:00"}', b"\xff"])
def test_a_state_that_can_not_be_read_is_reported_and_breaks_no_listing(api: Api, content: bytes) -> None:
    api.store.put("schedules/nightly.json", content)

    nightly, _ = api.client.get("/schedules").json()["schedules"]

    assert "delete it" in nightly["problem"]
    for call in ("pause", "resume", "due"):
        answer = api.client.post(f"/schedules/nightly:{call}")
        assert answer.status_code == 409
        assert "delete it" in answer.json()["error"]
    assert api.client.post("/schedules/nightly:run").status_code == 202
