"""Tasks that wait for a time: listed, cancelled, run now, moved."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.messaging.message import parse_time
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord
from poolhouse.pipeline.timing.timers import Timers
from tests.kit.unit.api.conftest import Api


def scheduled(api: Api, delay_s: float = 86_400) -> str:
    answer = api.client.post("/tasks", json={"task_type": "anything", "payload": {"value": 1}, "delay_s": delay_s})
    return str(answer.json()["task_id"])


def post(api: Api, task_id: str, verb: str, **body: Any) -> Any:
    return api.client.post(f"/tasks/{task_id}:{verb}", json=body or None)


def due_at(api: Api, task_id: str) -> datetime:
    return parse_time(api.client.get(f"/tasks/{task_id}").json()["not_before"])


def sent(api: Api) -> list[dict[str, str]]:
    return [dict(published.message.attributes) for published in api.topics.published]


def test_a_scheduled_task_is_listed_with_its_time_though_no_worker_has_seen_it(api: Api) -> None:
    task_id = scheduled(api)
    [listed] = api.client.get("/tasks", params={"status": "scheduled"}).json()["tasks"]
    assert (listed["task_id"], parse_time(listed["not_before"])) == (task_id, api.clock.now + timedelta(days=1))


def test_a_list_of_the_scheduled_among_many_costs_a_bounded_number_of_calls(api: Api) -> None:
    for _ in range(50):
        scheduled(api)
    api.client.get("/tasks")  # loads the index
    before = api.store.calls
    page = api.client.get("/tasks", params={"status": "scheduled", "page_size": 10}).json()
    assert (len(page["tasks"]), bool(page["next_page_token"])) == (10, True)
    assert api.store.calls - before <= 1  # for what other processes wrote, once a second at the most


def test_run_now_queues_the_task_at_once_and_leaves_no_timer(api: Api) -> None:
    task_id = scheduled(api)
    answer = post(api, task_id, "run-now")
    assert (answer.status_code, answer.json()) == (200, {"task_id": task_id, "status": "queued"})
    [message] = sent(api)
    assert (message["task_id"], "not_before" in message) == (task_id, False)
    assert api.store.names(names.TIMERS) == ()
    assert api.client.get(f"/tasks/{task_id}").json()["payload"] == {"value": 1}
    assert "not_before" not in api.client.get("/tasks").json()["tasks"][0]


def test_run_now_again_sends_the_message_again_since_the_first_answer_may_be_lost(api: Api) -> None:
    task_id = scheduled(api)
    api.topics.down = True
    assert post(api, task_id, "run-now").status_code == 503
    api.topics.down = False
    assert post(api, task_id, "run-now").status_code == 200
    assert [message["task_id"] for message in sent(api)] == [task_id]


@pytest.mark.parametrize("delay_s", [60, 7200, 10 * 86_400])
def test_a_task_is_moved_to_an_earlier_or_a_later_time(api: Api, delay_s: float) -> None:
    task_id = scheduled(api)
    answer = post(api, task_id, "reschedule", delay_s=delay_s)
    assert answer.json()["status"] == "scheduled"
    assert parse_time(answer.json()["not_before"]) == due_at(api, task_id)
    assert due_at(api, task_id) == api.clock.now + timedelta(seconds=delay_s)
    woken = [names.timer_due_at(name) for name in api.store.names(names.TIMERS)]
    woken += [parse_time(message["not_before"]) for message in sent(api)]
    assert due_at(api, task_id) in woken


def test_a_task_that_is_moved_to_and_fro_keeps_what_wakes_it(api: Api) -> None:
    task_id = scheduled(api)
    first = due_at(api, task_id)
    post(api, task_id, "reschedule", delay_s=3600)
    post(api, task_id, "reschedule", run_at=first.isoformat())
    assert due_at(api, task_id) == first
    assert names.timer(first, task_id) in api.store.names(names.TIMERS)


def test_a_time_that_has_passed_means_now(api: Api) -> None:
    task_id = scheduled(api)
    assert post(api, task_id, "reschedule", run_at="2001-01-01T00:00:00Z").json()["status"] == "queued"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"delay_s": -1}, "delay_s"),
        ({"delay_s": "soon"}, "delay_s"),
        ({"run_at": "2030-01-31T08:00:00"}, "run_at"),
        ({"delay_s": 1, "run_at": "2030-01-31T08:00:00Z"}, "delay_s"),
        ({"queue": "bulk"}, "queue"),
        ({"delay_s": None}, "delay_s"),
    ],
)
def test_a_time_that_can_not_be_is_refused_with_its_field(api: Api, body: dict[str, Any], field: str) -> None:
    task_id = scheduled(api)
    before = due_at(api, task_id)
    answer = post(api, task_id, "reschedule", **body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert due_at(api, task_id) == before


@pytest.mark.parametrize("verb", ["run-now", "reschedule"])
def test_only_a_task_that_waits_can_be_moved(api: Api, verb: str) -> None:
    body = {"delay_s": 5} if verb == "reschedule" else {}
    queued = api.submit(value=1)
    assert post(api, queued, verb, **body).status_code == 409
    cancelled = scheduled(api)
    post(api, cancelled, "cancel")
    answer = post(api, cancelled, verb, **body)
    assert (answer.status_code, "cancelled" in answer.json()["error"]) == (409, True)
    assert post(api, "no-such-task", verb, **body).status_code == 404
    assert api.topics.published[1:] == []


def test_a_cancelled_task_leaves_no_timer(api: Api) -> None:
    post(api, scheduled(api), "cancel")
    assert api.store.names(names.TIMERS) == ()


def test_what_follows_a_task_that_is_cancelled_while_it_waits_is_published_by_the_call(api: Api) -> None:
    def rule(record: TaskRecord) -> list[FollowUp]:
        return [FollowUp(task_id=f"after-{record.task_id}", task_type="anything", queue="default", payload={})]

    application = api.app.state
    application.services = replace(application.services, after_end=(rule,))
    task_id = scheduled(api)
    api.topics.down = True
    assert post(api, task_id, "cancel").status_code == 503  # and the timer would make up for it
    assert api.store.names(names.TIMERS) != ()
    api.topics.down = False
    assert post(api, task_id, "cancel").json()["status"] == "cancelled"
    assert [published.message.attributes["task_id"] for published in api.topics.published] == [f"after-{task_id}"]


def test_a_worker_that_claims_while_the_task_is_moved_wins(api: Api) -> None:
    task_id = scheduled(api, delay_s=60)
    stored = api.records.read(task_id)
    assert stored is not None

    def claim(name: str) -> None:
        api.store.before_write = lambda name: None
        running = stored.record.model_copy(update={"status": Status.RUNNING, "not_before": None})
        api.records.write(running, if_generation=stored.generation)

    api.store.before_write = claim
    assert post(api, task_id, "reschedule", delay_s=600).status_code == 409
    assert stored.generation != ABSENT
    assert api.client.get(f"/tasks/{task_id}").json()["status"] == "running"


def test_writes_of_a_delayed_task(api: Api) -> None:
    api.submit(value=1)
    assert [name for name in api.store.writes if not name.startswith("config/")] == []
    task_id = scheduled(api)
    timer = names.timer(due_at(api, task_id), task_id)
    assert [name for name in api.store.writes if not name.startswith("config/")] == [timer, names.submitted(task_id)]


def test_the_timer_of_a_moved_task_wakes_it_for_its_new_time_only(api: Api) -> None:
    task_id = scheduled(api)
    post(api, task_id, "reschedule", delay_s=3 * 86_400)
    assert len(api.store.names(names.TIMERS)) == 2
    api.clock.forward(86_400)
    services = api.app.state.services
    assert Timers(api.store).fire(services.publisher, until=api.clock.now) == 1
    assert [message["task_id"] for message in sent(api)] == [task_id]  # which the worker puts off: its record says so
    assert due_at(api, task_id) == api.clock.now + timedelta(days=2)
