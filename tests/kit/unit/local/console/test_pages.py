from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html import escape
from typing import Any

import pytest

from poolhouse.local.backend import QueueScale, ServiceState, ServiceStatus
from poolhouse.local.console import rendering
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import TaskRecord
from poolhouse.worker import Unique
from tests.kit.unit.api.conftest import REGISTRY
from tests.kit.unit.local.console.conftest import Shown

HOSTILE = """<script>alert("1")</script>'"`"""
#: Every place but the emulator’s page (test_emulator.py).
PLACES = [
    "/",
    "/tasks",
    "/submit",
    "/submit/anything",
    "/submit/anything?json",
    "/files",
    "/dead-letters",
    "/schedules",
    "/logs",
    "/delayed",
    "/groups",
    "/limits",
    "/triggers",
]


def run(shown: Shown, *, status: str, payload: dict[str, Any] | None = None, **more: Any) -> str:
    """A task that a worker has touched: its record has that status, and more."""
    payload = payload or {}
    submitted = {"task_type": more.get("task_type", "anything"), "payload": payload}
    task_id = str(shown.served.api.post("/tasks", submitted)["task_id"])
    now = shown.served.clock()
    record = TaskRecord.model_validate(
        {
            "task_id": task_id,
            "task_type": "anything",
            "queue": "default",
            "status": status,
            "submitted_at": now,
            "updated_at": now,
            "payload": payload,
            **more,
        }
    )
    RecordStore(shown.served.store).write(record, if_generation=ABSENT)
    return task_id


@pytest.mark.parametrize("path", PLACES)
def test_every_page_answers_with_nothing_done_yet(shown: Shown, path: str) -> None:
    page = shown.page(path)
    assert page.startswith("<!doctype html>")
    assert 'aria-current="page"' in page


@pytest.mark.parametrize("path", PLACES)
def test_without_a_stack_a_page_says_what_to_do_and_looks_again(shown: Shown, path: str) -> None:
    shown.up = False
    page = shown.page(path, status=503)
    assert "./invoke up" in page
    assert "data-every" in page


@pytest.mark.parametrize("path", [path for path in PLACES if path not in {"/", "/logs", "/files"}])
def test_without_the_api_a_page_says_so(shown: Shown, path: str) -> None:
    shown.break_api()
    page = shown.page(path, status=503)
    assert "does not answer" in page
    assert "Traceback" not in page


def test_without_the_api_the_overview_still_shows_the_services(shown: Shown) -> None:
    shown.break_api()
    shown.backend.services = (
        ServiceStatus(
            service="api", instance="api", state=ServiceState.BACKOFF, restarts=3, last_exit="killed by SIGSEGV"
        ),
    )
    text = shown.text("/")
    assert "The API does not answer" in text
    assert "backoff" in text
    assert "killed by SIGSEGV" in text


def test_the_overview_shows_notes_first_and_unknown_figures_as_none(shown: Shown) -> None:
    shown.backend.services = tuple(
        ServiceStatus(service="worker", instance=name, state=ServiceState.READY, note=f"old goes on: {HOSTILE}")
        for name in ("worker-1", "worker-2")
    )
    shown.backend.scales = (QueueScale(queue="bulk", backlog=4, running=2, wanted=3, least=0, most=10),)
    page = shown.page("/")
    assert page.index("old goes on") < page.index("Services")
    assert page.count("old goes on") == 1
    assert "worker-1, worker-2" in page
    text = shown.text("/")
    assert "waiting 0 running 0 delayed 0 parked – dead 0" in text
    assert "2 of 10 workers, 3 wanted" in text


def test_the_topology_is_shown_as_the_declaration_has_it(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown.text("/")
    assert "poolhouse-default poolhouse-default-workers poolhouse-default-dead-letters" in text
    monkeypatch.setenv("PIPELINE_FILE", "/nowhere/pipeline.toml")
    assert "poolhouse-default-workers" not in shown.text("/")


def test_tasks_are_listed_and_chosen_from(shown: Shown) -> None:
    done = run(shown, status="succeeded")
    bad = run(shown, status="failed")
    assert done in shown.page("/tasks")
    failed = shown.page("/tasks?status=failed")
    assert bad in failed
    assert done not in failed
    assert "No matching tasks." in shown.page("/tasks?task_type=gone")
    assert 'value="gone" selected' in shown.page("/tasks?task_type=gone")


def test_older_tasks_are_a_page_away_and_that_page_stays_as_it_is(shown: Shown) -> None:
    for _ in range(51):
        run(shown, status="succeeded")
    first = shown.page("/tasks")
    assert "data-every" in first
    older = first.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    second = shown.page(older)
    assert "data-every" not in second
    assert "Newest" in second
    assert first.count('class="id"') == 50
    assert second.count('class="id"') == 1


def test_an_id_that_is_typed_leads_to_its_task(shown: Shown) -> None:
    answer = shown.client.get("/find", params={"id": " a/b "}, follow_redirects=False)
    assert answer.headers["location"] == "/tasks/a%2Fb"
    assert shown.page("/tasks/never-issued", status=404)


def test_an_unclaimed_task_waits_and_can_be_cancelled(shown: Shown) -> None:
    task_id = str(shown.served.api.post("/tasks", {"task_type": "anything", "payload": {}})["task_id"])
    page = shown.page(f"/tasks/{task_id}")
    assert "It waits for a worker." in page
    assert "data-every" in page
    assert shown.post(f"/tasks/{task_id}/cancel").startswith(f"/tasks/{task_id}?note=")
    ended = shown.page(f"/tasks/{task_id}")
    assert "badge cancelled" in ended
    assert "data-every" not in ended
    assert "/cancel" not in ended


def test_a_task_is_submitted_for_later_moved_and_run_now(shown: Shown) -> None:
    where = shown.post("/submit/anything", delay="2h").partition("?")[0]
    task_id = where.rpartition("/")[2]
    assert shown.served.api.get(where)["not_before"] == "2026-03-01T14:00:00Z"
    assert "It waits for its time." in shown.text(where)
    assert "scheduled" in shown.text("/tasks?status=scheduled")
    assert "Move &#39;soon&#39;" in shown.page(shown.post(f"{where}/reschedule", delay="soon"))
    shown.post(f"{where}/reschedule", delay="1d")
    assert shown.served.api.get(where)["not_before"] == "2026-03-02T12:00:00Z"
    shown.post(f"{where}/run-now")
    assert [task["task_id"] for task in shown.served.published] == [task_id]
    assert "Run now" not in shown.text(where)


def test_a_unique_task_that_is_there_already_is_shown_instead(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = REGISTRY._handlers
    monkeypatch.setitem(handlers, "anything", replace(handlers["anything"], unique=Unique()))
    first, second = (shown.post("/submit/anything") for _ in range(2))
    assert first.partition("?")[0] == second.partition("?")[0]
    assert "Not submitted: this task is the same, and has not ended." in shown.text(second)


def test_a_delay_that_is_none_is_shown_again_with_what_is_wrong(shown: Shown) -> None:
    page = shown.post("/submit/anything", status=422, delay="soon")
    assert "Run in &#39;soon&#39;" in page
    assert 'value="soon"' in page


def test_a_running_task_shows_its_attempts_and_its_progress(shown: Shown) -> None:
    now = shown.served.clock().isoformat()
    error = {"type": "KeyError", "message": HOSTILE, "traceback": f"line of {HOSTILE}"}
    attempts = [
        {"number": 1, "worker": "w", "started_at": now, "ended_at": now, "outcome": "failed", "error": error},
        {"number": 2, "worker": "w", "started_at": now, "outcome": "running"},
    ]
    progress = {"done": 3, "total": 12, "note": HOSTILE, "at": now}
    task_id = run(shown, status="running", attempts=attempts, progress=progress, payload={"value": HOSTILE})
    page = shown.page(f"/tasks/{task_id}")
    assert '<progress value="3.0" max="12.0"' in page
    assert page.rindex("Attempt 2") < page.rindex("Attempt 1")  # the newest first, below the timeline
    assert "KeyError" in page
    assert HOSTILE not in page
    assert escape("<script>", quote=False) in page


def test_a_task_shows_its_steps_and_its_cursor(shown: Shown) -> None:
    now = shown.served.clock()
    made = {"name": "payloads/a/b.json", "size_bytes": 70_000, "sha256": "0" * 64}
    times = {"started_at": now.isoformat(), "ended_at": (now + timedelta(seconds=7)).isoformat()}
    steps = [
        {"name": HOSTILE, "attempt": 1, "size_bytes": 9, "result": HOSTILE, **times},
        {"name": "render", "attempt": 2, "size_bytes": 70_000, "result_object": made, **times},
    ]
    page = shown.page(f"/tasks/{run(shown, status='running', steps=steps, cursor={'row': 7})}")
    assert "7 s, 70.0 kB, attempt 2" in page
    assert "payloads/a/b.json" in page
    assert "&#34;row&#34;: 7" in page
    assert HOSTILE not in page


def test_a_large_payload_is_named_and_nothing_offers_to_submit_it_again(shown: Shown) -> None:
    made = {"name": "payloads/a/b.json", "size_bytes": 3_400_000, "sha256": "0" * 64}
    page = shown.page(f"/tasks/{run(shown, status='running', payload_object=made)}")
    assert "payloads/a/b.json" in page
    assert "3.4 MB" in page
    assert "Edit and run" not in page


def test_a_dead_letter_with_a_large_payload_can_not_be_replayed_with_none_by_mistake(shown: Shown) -> None:
    task_id = shown.served.bury(value="x" * 1_100_000)
    page = shown.page(f"/dead-letters/{task_id}")
    assert "an object of the bucket" in page
    assert '<textarea id="payload" name="payload" rows="10" class="mono" spellcheck="false"></textarea>' in page
    assert "Write a whole payload" in shown.post(f"/dead-letters/{task_id}/replay", status=422, payload="")


def test_a_result_is_shown_and_linked(shown: Shown) -> None:
    small = run(shown, status="succeeded", result={"sum": 42})
    page = shown.page(f"/tasks/{small}")
    assert f'href="/tasks/{small}/result"' in page
    assert "42" in page
    file = shown.client.get(f"/tasks/{small}/result")
    assert file.json() == {"sum": 42}
    assert file.headers["content-disposition"] == f'attachment; filename="{small}.json"'
    made = {"name": "results/big.json", "size_bytes": 3_400_000, "content_type": "application/json"}
    large = run(shown, status="succeeded", result_object=made)
    assert "results/big.json 3.4 MB" in shown.text(f"/tasks/{large}")


def test_a_result_that_is_a_page_is_saved_and_never_shown_as_one_of_the_consoles(shown: Shown) -> None:
    shown.served.store.put("processed/made.html", HOSTILE.encode(), content_type="text/html")
    made = {"name": "processed/made.html", "size_bytes": len(HOSTILE), "content_type": "text/html"}
    file = shown.client.get(f"/tasks/{run(shown, status='succeeded', result_object=made)}/result")
    assert file.text == HOSTILE
    assert file.headers["content-disposition"] == 'attachment; filename="made.html"'
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["x-content-type-options"] == "nosniff"


def test_without_a_result_a_download_says_why(shown: Shown) -> None:
    assert "has no result yet" in shown.text(f"/tasks/{run(shown, status='running')}/result", status=409)


def test_a_payload_of_megabytes_does_not_make_a_page_of_megabytes(shown: Shown) -> None:
    task_id = run(shown, status="running", payload={"value": "x" * 2_000_000})
    page = shown.page(f"/tasks/{task_id}")
    assert "more characters" in page
    assert len(page) < 3 * rendering.MOST_CHARACTERS


def test_a_form_has_the_types_fields_and_what_it_does(shown: Shown) -> None:
    text = shown.text("/submit/data_transformation")
    assert "Transform a table." in text
    assert "dataset_size required" in text
    assert 'type="number" step="1"' in shown.page("/submit/data_transformation")
    assert 'type="file" name="file:filename"' in shown.page("/submit/file_processing")
    assert "there is no task type" in shown.page("/submit/unheard-of", status=404)


def test_a_form_submits_what_was_filled_in(shown: Shown) -> None:
    where = shown.post(
        "/submit/data_transformation", **{"field:dataset_size": "7", "field:columns": "", "queue": "bulk"}
    )
    assert where.startswith("/tasks/")
    [sent] = shown.served.published
    assert (sent["task_type"], sent["dataset_size"], "columns" in sent) == ("data_transformation", 7, False)
    assert shown.served.topics.published[-1].message.attributes["queue"] == "bulk"


def test_what_the_api_refuses_is_shown_at_its_field(shown: Shown) -> None:
    page = shown.post("/submit/data_transformation", status=422, **{"field:dataset_size": "0", "field:columns": "[1]"})
    assert page.count("field wrong") == 2
    assert 'value="0"' in page
    assert shown.served.published == []


def test_a_payload_can_be_written_as_json(shown: Shown) -> None:
    assert "dataset_size" in shown.page("/submit/data_transformation?json")
    shown.post("/submit/anything", payload='{"value": [1, {"a": null}]}')
    assert shown.served.published[-1]["value"] == [1, {"a": None}]
    page = shown.post("/submit/anything", status=422, payload="{broken")
    assert "the payload is not JSON" in page
    assert "{broken" in page
    assert "there is no such field" in shown.post("/submit/anything", status=422, payload='{"other": 1}')


def test_another_task_like_one_begins_with_its_payload(shown: Shown) -> None:
    task_id = run(shown, status="failed", payload={"value": {"a": 1}})
    assert escape('{"a": 1}') in shown.page(f"/submit/anything?like={task_id}").replace("&#34;", "&quot;")


def test_dead_letters_are_listed_replayed_and_discarded(shown: Shown) -> None:
    first, second, third = (shown.served.bury(reason=f"because {HOSTILE}", value=n) for n in range(3))
    page = shown.page("/dead-letters")
    assert all(task_id in page for task_id in (first, second, third))
    assert HOSTILE not in page
    assert shown.post("/dead-letters/replay", id=first).startswith(f"/tasks/{first}?note=")
    assert set(shown.served.dead) == {third, second}
    where = shown.post("/dead-letters/discard", id=[second, third, "never-issued"])
    assert "Discarded 2 of 3. never-issued:" in shown.text(where)
    assert shown.served.dead == []
    assert "Nothing was chosen." in shown.page(shown.post("/dead-letters/replay"))


def test_dead_letters_of_one_queue(shown: Shown) -> None:
    task_id = shown.served.bury()
    assert task_id in shown.page("/dead-letters?queue=default")
    assert task_id not in shown.page("/dead-letters?queue=bulk")


def test_a_dead_letter_is_replayed_with_another_payload(shown: Shown) -> None:
    task_id = shown.served.bury("data_transformation", dataset_size=5)
    assert "dataset_size" in shown.page(f"/dead-letters/{task_id}")
    page = shown.post(f"/dead-letters/{task_id}/replay", status=422, payload='{"dataset_size": 0}')
    assert "dataset_size" in page
    assert shown.served.dead == [task_id]
    assert shown.post(f"/dead-letters/{task_id}/replay", payload='{"dataset_size": 9}').startswith(f"/tasks/{task_id}")
    assert shown.served.published[-1]["dataset_size"] == 9


@pytest.mark.parametrize(
    ("data", "shows"), [(b"\xff\xfe", "2 bytes that are no text: ff fe"), (b"just words", "just words")]
)
def test_a_dead_letter_that_is_no_task_is_shown_too(shown: Shown, data: bytes, shows: str) -> None:
    task_id = shown.served.bury(data=data)
    assert shows in shown.text(f"/dead-letters/{task_id}")


def test_a_schedule_is_paused_resumed_and_run(shown: Shown) -> None:
    assert "30 3 * * *" in shown.text("/schedules")
    assert "nightly is paused." in shown.page(shown.post("/schedules/nightly/pause"))
    assert "badge paused" in shown.page("/schedules")
    assert "nightly runs again." in shown.page(shown.post("/schedules/nightly/resume"))
    assert "nightly runs now" in shown.page(shown.post("/schedules/nightly/run"))
    assert shown.served.published[-1]["task_type"] == "data_transformation"
    page = shown.page("/schedules")
    assert 'href="/tasks?schedule=nightly&amp;status=queued"' in page
    assert 'id="schedule-nightly"' in page
    assert shown.page("/tasks?schedule=nightly").count("<tr data-key") == 1
    assert shown.post("/schedules/nightly/due", status=404)
    assert shown.post("/schedules/unheard-of/pause", status=404)


def test_a_flash_is_named_by_its_key_alone(shown: Shown) -> None:
    assert "owned" not in shown.page("/tasks?note=owned")


def test_a_mistake_of_the_console_is_a_page_without_a_traceback(shown: Shown) -> None:
    shown.backend.services = (replace(shown.backend.services[0], uptime_s="long"),)  # type: ignore[arg-type]
    page = shown.page("/", status=500)
    assert "The console made a mistake" in page
    assert "Its log has the details: ./invoke logs --service console." in page
    assert "Traceback" not in page


def test_a_queue_is_paused_and_resumed_on_its_card(shown: Shown) -> None:
    assert shown.post("/queues/bulk/pause").startswith("/?note=")
    assert "paused" in shown.text("/")
    assert "/queues/bulk/resume" in shown.page("/")
    assert "/queues/default/pause" in shown.page("/")
    shown.post("/queues/bulk/resume")
    assert "/queues/bulk/pause" in shown.page("/")
    assert shown.post("/queues/bulk/empty", status=404)


def test_a_queue_is_purged(shown: Shown) -> None:
    task_id = shown.served.api.post("/tasks", {"task_type": "anything", "delay_s": 86_400})["task_id"]
    shown.served.clock.forward(1)
    assert "Cancelled 1 with a record." in shown.text(shown.post("/queues/default/purge"))
    assert "queue default was purged" in shown.text(f"/tasks/{task_id}")


def test_all_tasks_that_match_are_cancelled(shown: Shown) -> None:
    delayed = shown.served.api.post("/tasks", {"task_type": "anything", "delay_s": 86_400})["task_id"]
    other = shown.served.api.post("/tasks", {"task_type": "stamped", "delay_s": 86_400})["task_id"]
    shown.served.clock.forward(1)
    assert "Cancel all" in shown.page("/tasks?task_type=anything&status=scheduled")
    assert "Cancel all" not in shown.page("/tasks?status=succeeded")
    where = shown.post("/tasks/matching/cancel", task_type="anything", queue="default")
    assert where.startswith("/tasks?task_type=anything&queue=default&note=")
    assert "Cancelled 1 with a record." in shown.text(where)
    statuses = [shown.served.api.get(f"/tasks/{task_id}")["status"] for task_id in (delayed, other)]
    assert statuses == ["cancelled", "scheduled"]


def test_all_dead_letters_that_match_are_replayed_or_discarded(shown: Shown) -> None:
    timeouts = {shown.served.bury(value=value, reason="timeout") for value in range(3)}
    other = shown.served.bury(value=4, reason=HOSTILE)
    page = shown.page("/dead-letters?reason=TIME")
    assert all(task_id in page for task_id in timeouts)
    assert other not in page
    assert "Replayed 3." in shown.text(shown.post("/dead-letters/matching/replay", reason="TIME"))
    assert shown.served.dead == [other]
    assert "No matching dead letters." in shown.text("/dead-letters?reason=TIME")
    assert "Discarded 1." in shown.text(shown.post("/dead-letters/matching/discard"))
    assert shown.served.dead == []
    assert shown.post("/dead-letters/matching/keep", status=404)


def test_each_place_has_a_key_of_its_own() -> None:
    keys = [place.key for place in rendering.PLACES]
    assert len(set(keys)) == len(keys)
