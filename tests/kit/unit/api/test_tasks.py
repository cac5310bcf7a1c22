"""Looking tasks up, results, cancelling, and following."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.record_store import Stored
from poolhouse.pipeline.tasks.records import ErrorInfo, Progress, ResultObject, Step
from poolhouse.pipeline.tasks.task_ids import TaskIds, new_key
from poolhouse.pipeline.tasks.transitions import Run
from tests.kit.unit.api.conftest import Api, application, settings

#: What a token of a listing might hold, and none does.
NO_PLACES = (
    '[1e400, "a"]',
    f'[{2**63}, "a"]',
    '[NaN, "a"]',
    '[true, "a"]',
    '["1", "a"]',
    '[1, "\\ud800"]',
    '[1, "a/b"]',
    "[1, null]",
    "[" * 1400,
)


def claim(api: Api, task_id: str, *, lease_s: float = 30) -> Stored:
    """What a worker does when it starts a task."""
    task = TaskMessage(
        task_id=task_id, task_type="anything", submitted_at=api.clock(), queue="default", payload={"value": 1}
    )
    decided = transitions.claim(
        None, task, owner="owner-token", worker="w1", now=api.clock(), lease_s=lease_s, max_attempts=5
    )
    assert isinstance(decided, Run)
    return api.records.write(decided.record, if_generation=ABSENT)


def succeed(api: Api, stored: Stored, **result: Any) -> Stored:
    record = transitions.succeeded(stored.record, now=api.clock(), **result)
    return api.records.write(record, if_generation=stored.generation)


class TestLookingUp:
    def test_a_task_that_no_worker_has_touched_is_queued(self, api: Api) -> None:
        task_id = api.submit()

        answer = api.client.get(f"/tasks/{task_id}")

        assert answer.json() == {"task_id": task_id, "status": "queued", "submitted_at": "2026-03-01T12:00:00Z"}

    def test_a_record_is_shown_without_what_workers_keep_for_each_other(self, api: Api) -> None:
        task_id = api.submit()
        succeed(api, claim(api, task_id), result={"rows": 3})

        record = api.client.get(f"/tasks/{task_id}").json()

        assert record["status"] == "succeeded"
        assert record["result"] == {"rows": 3}
        assert {"owner", "write_token"}.isdisjoint(record)

    @pytest.mark.parametrize("shown", [False, True])
    def test_what_tells_of_the_inside_is_shown_on_a_developers_own_stack_alone(self, api: Api, shown: bool) -> None:
        task_id = api.submit()
        first = claim(api, task_id)
        error = ErrorInfo(type="ValueError", message="no such row", traceback='File "/srv/app/secret.py", line 3')
        step = Step(name="read", attempt=1, started_at=api.clock(), ended_at=api.clock(), result="what a step found")
        stepped = transitions.carried_on(first.record, steps=[step], cursor=("where it is",))
        api.records.write(
            transitions.failed(stepped, error=error, now=api.clock(), reason="no such row"),
            if_generation=first.generation,
        )
        environment = settings(show_tracebacks=shown)

        with TestClient(application(api.store, api.topics, api.clock, environment=environment)) as client:
            text = client.get(f"/tasks/{task_id}").text

        assert "no such row" in text
        assert '"read"' in text
        for inside in ("secret.py", '"w1"', "what a step found", "where it is"):
            assert (inside in text) == shown

    def test_a_record_that_no_one_can_read_is_told_as_such(self, api: Api) -> None:
        task_id = api.submit()
        api.store.put(names.record(task_id), b'{"status":"of another version"}')

        for answer in (api.client.get(f"/tasks/{task_id}"), api.client.post(f"/tasks/{task_id}:cancel")):
            assert answer.status_code == 500
            assert answer.json()["error"] == "the task's record can't be read"

    def test_an_id_of_another_deployment_is_404(self, api: Api) -> None:
        assert api.client.get(f"/tasks/{TaskIds(new_key()).new(api.clock())}").status_code == 404

    def test_a_task_whose_message_can_no_longer_exist_has_expired(self, api: Api) -> None:
        task_id = api.submit()
        api.clock.forward(timedelta(days=8).total_seconds())

        answer = api.client.get(f"/tasks/{task_id}")

        assert answer.status_code == 404
        assert "expired" in answer.json()["error"]

    def test_a_bucket_that_is_down_is_503(self, api: Api) -> None:
        task_id = api.submit()
        api.store.failure = StoreUnavailable("it is down")

        answer = api.client.get(f"/tasks/{task_id}")

        assert answer.status_code == 503
        assert "retry-after" in answer.headers


class TestListing:
    def test_records_are_listed_newest_first_and_by_filter(self, api: Api) -> None:
        ids = []
        for _ in range(3):
            ids.append(api.submit())
            api.clock.forward(1)
        succeed(api, claim(api, ids[0]))
        claim(api, ids[1])
        claim(api, ids[2])

        everything = api.client.get("/tasks").json()
        running = api.client.get("/tasks?status=running&task_type=anything&queue=default").json()

        assert [task["task_id"] for task in everything["tasks"]] == ids[::-1]
        assert everything["next_page_token"] is None
        assert [task["task_id"] for task in running["tasks"]] == [ids[2], ids[1]]
        assert api.client.get("/tasks?queue=bulk").json()["tasks"] == []

    def test_a_task_that_no_worker_has_touched_is_listed_and_found_by_its_text(self, api: Api) -> None:
        task_id = api.submit(value="Ada Lovelace")
        api.submit(value="Grace Hopper")

        answer = api.client.get("/tasks", params={"text": "lovelace", "count": True}).json()

        assert answer["total"] == 1
        [task] = answer["tasks"]
        assert (task["task_id"], task["status"], task["task_type"]) == (task_id, "queued", "anything")
        assert (task["queue"], task["attempts"]) == ("default", 0)
        assert "total" not in api.client.get("/tasks").json()

    def test_delayed_tasks_are_listed_by_their_time(self, api: Api) -> None:
        due = {
            delay_s: str(
                api.client.post("/tasks", json={"task_type": "anything", "delay_s": delay_s}).json()["task_id"]
            )
            for delay_s in (9000, 3000, 6000)
        }
        api.submit()
        first = api.client.get("/tasks", params={"sort": "due", "page_size": 2, "count": True}).json()
        assert [task["task_id"] for task in first["tasks"]] == [due[3000], due[6000]]
        assert (first["total"], first["by_status"]) == (3, {"scheduled": 3})
        rest = api.client.get("/tasks", params={"sort": "due", "page_token": first["next_page_token"]}).json()
        assert [task["task_id"] for task in rest["tasks"]] == [due[9000]]
        answer = api.client.get("/tasks", params={"sort": "due", "status": "failed"})
        assert answer.status_code == 422
        assert "leave status out" in answer.text

    def test_a_filter_by_what_is_no_group_is_refused(self, api: Api) -> None:
        answer = api.client.get("/tasks", params={"group_id": api.submit()})
        assert (answer.status_code, "group_id" in answer.text) == (422, True)

    def test_a_listing_costs_no_call_but_one_a_second(self, api: Api) -> None:
        for _ in range(3):
            claim(api, api.submit())
        api.client.get("/tasks")
        calls = api.store.calls

        for status in ("running", "failed,dead", "queued"):
            api.client.get("/tasks", params={"status": status, "text": "x", "count": True})

        assert api.store.calls - calls <= 1

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"status": "done"}, "status"),
            ({"status": "failed,done"}, "status"),
            ({"status": ","}, "status"),
            ({"submitted_after": "yesterday"}, "submitted_after"),
            ({"submitted_before": "2026-03-01T12:00:00"}, "submitted_before"),
            ({"text": "x" * 201}, "text"),
            ({"page_size": 0}, "page_size"),
            ({"page_token": "nonsense"}, "page_token"),
            ({"page_token": "WyJ4Il0="}, "page_token"),
            *(({"page_token": base64.urlsafe_b64encode(text.encode())}, "page_token") for text in NO_PLACES),
        ],
    )
    def test_a_parameter_that_is_none_is_named(self, api: Api, query: dict[str, Any], field: str) -> None:
        answer = api.client.get("/tasks", params=query)

        assert 400 <= answer.status_code < 500
        assert field in answer.json()["error"]

    def test_a_rebuild_finds_what_a_killed_process_did_not_write_down(self, api: Api) -> None:
        api.client.get("/tasks")
        claim(api, api.submit())

        assert api.client.post("/index:rebuild").json()["corrected"] == 1
        assert [task["status"] for task in api.client.get("/tasks").json()["tasks"]] == ["running"]

    def test_pages_follow_each_other(self, api: Api) -> None:
        ids = {claim(api, api.submit()).record.task_id for _ in range(5)}
        found: list[str] = []
        token = ""
        while token is not None:
            page = api.client.get("/tasks", params={"page_size": 2, "page_token": token}).json()
            found += [task["task_id"] for task in page["tasks"]]
            token = page["next_page_token"]

        assert len(found) == 5
        assert set(found) == ids


class TestStatistics:
    def test_the_numbers_of_a_queue_are_those_of_its_listings(self, api: Api) -> None:
        done, running, _, _ = (api.submit() for _ in range(4))
        stored = claim(api, done)
        api.clock.forward(2)
        succeed(api, stored)
        claim(api, running)

        found = api.client.get("/statistics").json()

        [queue] = [each for each in found["queues"] if each["name"] == "default"]
        for name, status in (("waiting", "queued"), ("running", "running"), ("delayed", "scheduled")):
            listed = api.client.get("/tasks", params={"status": status, "queue": "default", "count": True}).json()
            assert queue[name] == listed["total"]
        assert (queue["waiting"], queue["running"], queue["dead"], queue["parked"]) == (2, 1, 0, None)
        assert (sum(queue["submitted"]), sum(queue["ended"]), sum(queue["failed"])) == (4, 1, 0)
        [mail] = found["task_types"]
        assert (mail["task_type"], mail["ends"]["ended"], mail["ends"]["run"]["p50_s"]) == ("anything", 1, 2.0)

    @pytest.mark.parametrize("minutes", ["0", "x", "10081"])
    def test_a_window_that_is_none_is_named(self, api: Api, minutes: str) -> None:
        answer = api.client.get("/statistics", params={"minutes": minutes})
        assert answer.status_code == 422
        assert "minutes" in answer.json()["error"]


class TestResults:
    def test_a_result_in_the_record_is_json(self, api: Api) -> None:
        task_id = api.submit()
        succeed(api, claim(api, task_id), result={"rows": [1, None, "ü"]})

        answer = api.client.get(f"/tasks/{task_id}/result")

        assert answer.json() == {"rows": [1, None, "ü"]}
        assert answer.headers["content-type"] == "application/json"

    def test_a_handler_that_returns_nothing_has_null_as_result(self, api: Api) -> None:
        task_id = api.submit()
        succeed(api, claim(api, task_id))

        assert api.client.get(f"/tasks/{task_id}/result").text == "null"

    def test_a_result_object_is_streamed_whole(self, api: Api) -> None:
        task_id = api.submit()
        data = bytes(range(256)) * 5000
        api.store.put(f"results/x_{task_id}.bin", data, content_type="application/octet-stream")
        made = ResultObject(
            name=f"results/x_{task_id}.bin", size_bytes=len(data), content_type="application/octet-stream"
        )
        succeed(api, claim(api, task_id), result_object=made)

        answer = api.client.get(f"/tasks/{task_id}/result")

        assert answer.content == data
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_a_result_object_that_has_expired_is_404(self, api: Api) -> None:
        task_id = api.submit()
        succeed(api, claim(api, task_id), result_object=ResultObject(name="results/gone.json", size_bytes=1))

        assert api.client.get(f"/tasks/{task_id}/result").status_code == 404

    def test_a_task_without_a_result_yet_is_409_and_says_why(self, api: Api) -> None:
        queued, running, failed = api.submit(), api.submit(), api.submit()
        claim(api, running)
        stored = claim(api, failed)
        error = ErrorInfo(type="Reject", message="no")
        api.records.write(
            transitions.failed(stored.record, error=error, reason="input not found", now=api.clock()),
            if_generation=stored.generation,
        )

        answers = [api.client.get(f"/tasks/{task_id}/result") for task_id in (queued, running, failed)]

        assert [answer.status_code for answer in answers] == [409, 409, 409]
        assert [answer.json()["task_status"] for answer in answers] == ["queued", "running", "failed"]
        assert "input not found" in answers[2].json()["error"]


class TestCancelling:
    def test_a_queued_task_is_cancelled_so_that_no_worker_starts_it(self, api: Api) -> None:
        task_id = api.submit()

        answer = api.client.post(f"/tasks/{task_id}:cancel")

        assert answer.json() == {"task_id": task_id, "status": "cancelled"}
        stored = api.records.read(task_id)
        assert stored is not None
        task = TaskMessage(task_id=task_id, task_type="anything", submitted_at=api.clock(), queue="default", payload={})
        decided = transitions.claim(
            stored.record, task, owner="o", worker="w", now=api.clock(), lease_s=30, max_attempts=5
        )
        assert isinstance(decided, transitions.Finished)

    def test_a_running_task_is_asked_to_stop(self, api: Api) -> None:
        task_id = api.submit()
        claim(api, task_id)

        answer = api.client.post(f"/tasks/{task_id}:cancel")

        assert answer.json()["status"] == "running"
        stored = api.records.read(task_id)
        assert stored is not None
        assert stored.record.cancel_requested_at == api.clock()

    def test_a_task_whose_worker_is_gone_is_cancelled_at_once(self, api: Api) -> None:
        task_id = api.submit()
        claim(api, task_id, lease_s=30)
        api.clock.forward(31)

        assert api.client.post(f"/tasks/{task_id}:cancel").json()["status"] == "cancelled"

    def test_cancelling_twice_is_no_error(self, api: Api) -> None:
        task_id = api.submit()
        answers = [api.client.post(f"/tasks/{task_id}:cancel") for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]

    def test_a_task_that_has_ended_is_409(self, api: Api) -> None:
        task_id = api.submit()
        succeed(api, claim(api, task_id))

        answer = api.client.post(f"/tasks/{task_id}:cancel")

        assert answer.status_code == 409
        assert "succeeded" in answer.json()["error"]

    def test_a_worker_that_claims_in_between_sees_the_cancel_call(self, api: Api) -> None:
        task_id = api.submit()

        def between(name: str) -> None:
            if name == names.claim(task_id):
                api.store.before_write = lambda name: None
                claim(api, task_id)

        api.store.before_write = between
        answer = api.client.post(f"/tasks/{task_id}:cancel")

        assert answer.json()["status"] == "running"
        stored = api.records.read(task_id)
        assert stored is not None
        assert stored.record.owner == "owner-token"
        assert stored.record.cancel_requested_at is not None

    def test_a_worker_that_finishes_in_between_wins(self, api: Api) -> None:
        task_id = api.submit()
        stored = claim(api, task_id)

        def between(name: str) -> None:
            if name == names.claim(task_id):
                api.store.before_write = lambda name: None
                succeed(api, stored, result=1)

        api.store.before_write = between
        assert api.client.post(f"/tasks/{task_id}:cancel").status_code == 409
        assert api.client.get(f"/tasks/{task_id}/result").json() == 1

    def test_a_record_that_changes_all_the_time_is_409(self, api: Api) -> None:
        task_id = api.submit()
        claim(api, task_id)

        def between(name: str) -> None:
            if name != names.claim(task_id):
                return
            api.store.before_write = lambda name: None
            stored = api.records.read(task_id)
            assert stored is not None
            api.records.write(
                transitions.renewed(stored.record, now=api.clock(), lease_s=30), if_generation=stored.generation
            )
            api.store.before_write = between

        api.store.before_write = between
        assert api.client.post(f"/tasks/{task_id}:cancel").status_code == 409


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream: name and data."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


class TestFollowing:
    def test_a_task_that_has_ended_is_one_event(self, api: Api) -> None:
        task_id = api.submit()
        succeed(api, claim(api, task_id))

        answer = api.client.get(f"/tasks/{task_id}/events")

        assert answer.headers["content-type"].startswith("text/event-stream")
        [(name, data)] = events(answer.text)
        assert name == "status"
        assert (data["status"], data["attempt"]) == ("succeeded", 1)

    def test_a_client_that_has_seen_the_end_gets_no_event_again(self, api: Api) -> None:
        task_id = api.submit()
        stored = succeed(api, claim(api, task_id))

        answer = api.client.get(f"/tasks/{task_id}/events", headers={"Last-Event-ID": str(stored.generation)})

        assert events(answer.text) == []

    def test_all_who_follow_see_status_and_progress_until_the_end(self, api: Api) -> None:
        task_id = api.submit()
        seen: list[int] = []

        def when_looked_at() -> None:
            """Wait until the followers have looked at the record twice more: each look is up to six calls."""
            seen.append(api.store.calls)
            done = threading.Event()
            while api.store.calls < seen[-1] + 12:
                done.wait(0.005)

        with ThreadPoolExecutor(3) as pool:
            answers = [pool.submit(api.client.get, f"/tasks/{task_id}/events") for _ in range(3)]
            when_looked_at()
            stored = claim(api, task_id)
            when_looked_at()
            renewed = transitions.renewed(stored.record, now=api.clock(), lease_s=60)  # tells clients nothing
            stored = api.records.write(renewed, if_generation=stored.generation)
            when_looked_at()
            progress = Progress(done=5, total=10, note="half", at=api.clock())
            stored = api.records.write(
                transitions.renewed(stored.record, now=api.clock(), lease_s=60, progress=progress),
                if_generation=stored.generation,
            )
            when_looked_at()
            succeed(api, stored)
            streams = [events(answer.result(timeout=5).text) for answer in answers]

        for stream in streams:
            assert [(name, data["status"]) for name, data in stream] == [
                ("status", "queued"),
                ("status", "running"),
                ("progress", "running"),
                ("status", "succeeded"),
            ]
            assert stream[2][1]["progress"]["done"] == 5

    def test_a_storage_outage_does_not_end_the_stream(self, api: Api) -> None:
        task_id = api.submit()
        stored = claim(api, task_id)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(api.client.get, f"/tasks/{task_id}/events")
            done = threading.Event()
            calls = api.store.calls
            while api.store.calls < calls + 3:
                done.wait(0.005)
            api.store.failure = StoreUnavailable("it is down")
            calls = api.store.calls
            while api.store.calls < calls + 3:
                done.wait(0.005)
            api.store.failure = None
            succeed(api, stored)
            assert [data["status"] for _, data in events(answer.result(timeout=5).text)] == ["running", "succeeded"]
