"""The page of one task, over the real API."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local.console.task.family import MOST_CHILDREN
from poolhouse.pipeline.traces.span_files import SpanFiles
from poolhouse.pipeline.traces.spans import Event, Span
from tests.kit.unit.local.console.conftest import Shown, words
from tests.kit.unit.local.console.task.recorded import retried, span
from tests.kit.unit.local.console.test_groups import MEMBER
from tests.kit.unit.local.console.test_pages import run


def parent_of(shown: Shown, count: int, **more: Any) -> str:
    """A task with so many children, the first of which is dead."""
    parent = run(shown, status="succeeded", **more)
    for number in range(count):
        run(shown, status="dead" if number == 0 else "succeeded", parent_id=parent)
    return parent


def test_a_task_shows_its_parent_and_its_children_with_their_statuses(shown: Shown) -> None:
    parent = parent_of(shown, 2)
    page = shown.page(f"/tasks/{parent}")
    assert page.count('class="id" href="/tasks/') == 2
    assert "badge dead" in page
    [child, _] = shown.served.api.get("/tasks", parent_id=parent)["tasks"]
    assert f"parent {parent} anything succeeded" in shown.text(f"/tasks/{child['task_id']}")


def test_of_many_children_the_numbers_are_shown_and_lead_to_them(shown: Shown) -> None:
    parent = parent_of(shown, MOST_CHILDREN + 1)
    page = shown.page(f"/tasks/{parent}")
    assert 'class="id"' not in page
    assert f"/tasks?parent_id={parent}&amp;status=dead" in page
    dead = shown.page(f"/tasks?parent_id={parent}&status=dead")
    assert dead.count("<tr data-key") == 1
    assert f"Children of task {parent}" in shown.text(f"/tasks?parent_id={parent}&status=dead")
    assert "Cancel all" not in shown.page(f"/tasks?parent_id={parent}")


def test_a_group_that_a_task_made_is_one_line_with_its_members_counted(shown: Shown) -> None:
    group = shown.served.api.post("/groups", {"tasks": [MEMBER] * 3, "then": MEMBER})["group_id"]
    made = [{"group_id": group, "created_at": shown.served.clock().isoformat(), "size": 3}]
    text = shown.text(f"/tasks/{run(shown, status='succeeded', groups=made)}")
    assert f"group {group} 3 members queued 3" in text
    page = shown.page(f"/tasks?group_id={group}")
    assert page.count("<tr data-key") == 3
    member = shown.served.published[0]["task_id"]
    assert "children" not in shown.text(f"/tasks/{member}")


def test_what_a_running_task_has_submitted_is_named_before_it_is_there(shown: Shown) -> None:
    later = {"task_id": "later", "task_type": "anything", "queue": "default", "payload": {}}
    text = shown.text(f"/tasks/{run(shown, status='running', follow_ups=[later])}")
    assert "later anything not submitted yet" in text


def test_a_task_is_run_again_with_its_payload_and_queue(shown: Shown) -> None:
    task_id = run(shown, status="dead", payload={"value": 7}, queue="bulk")
    where = shown.post(f"/tasks/{task_id}/again")
    assert "Submitted again." in shown.page(where)
    assert task_id not in where
    assert shown.served.published[-1]["value"] == 7
    assert shown.served.topics.published[-1].message.attributes["queue"] == "bulk"


def test_a_form_begins_with_the_payload_and_the_queue_of_a_task(shown: Shown) -> None:
    page = shown.page(f"/submit/anything?like={run(shown, status='dead', payload={'value': 7}, queue='bulk')}")
    assert 'value="bulk" selected' in page
    assert ">7</textarea>" in page


def test_a_form_begins_with_the_values_of_the_address(shown: Shown) -> None:
    page = shown.page("/submit/file_processing?field:filename=a%20%22b%22.csv&field:other=x")
    assert 'value="a &#34;b&#34;.csv"' in page


def test_objects_that_a_task_names_are_links(shown: Shown) -> None:
    task_id = run(
        shown,
        status="succeeded",
        task_type="file_processing",
        payload={"filename": "a/b c.csv"},
        result={"made": "processed/é.json", "words": "uploads are done"},
    )
    page = shown.page(f"/tasks/{task_id}")
    assert "/files/object?name=uploads%2Fa%2Fb+c.csv" in page
    assert "/files/object?name=processed%2F%C3%A9.json" in page
    assert page.count("/files/object") == 2


def test_the_log_has_the_tasks_lines_and_nothing_of_who_looked_at_it(shown: Shown, tmp_path: Path) -> None:
    task_id = run(shown, status="running")
    log = tmp_path / "api.log"
    said = [
        {"message": "request", "method": "POST", "path": "/tasks", "task_id": task_id},
        {"message": "request", "method": "GET", "path": f"/tasks/{task_id}"},
        {"message": "importing", "task_id": task_id, "rows": 7},
        {"message": "importing", "task_id": "another"},
    ]
    log.write_text("".join(f"{json.dumps({'severity': 'INFO', **line})}\n" for line in said))
    shown.backend.files = {"api": log}
    text = shown.text(f"/tasks/{task_id}").partition("Log lines")[2]
    assert "request method=POST" in text
    assert "importing rows=7" in text
    assert text.count("importing") == 1
    assert "method=GET" not in text


def test_a_line_of_a_task_is_found_behind_a_megabyte_of_others(shown: Shown, tmp_path: Path) -> None:
    task_id = run(shown, status="running")
    log = tmp_path / "worker-1.log"
    noise = json.dumps({"message": "x" * 1000}) + "\n"
    log.write_text(json.dumps({"message": "began", "task_id": task_id}) + "\n" + noise * 1000 + f"half of {task_id}")
    shown.backend.files = {"worker-1": log}
    assert "began" in shown.text(f"/tasks/{task_id}")


def test_a_parent_that_is_gone_is_named(shown: Shown) -> None:
    assert "parent gone not listed" in shown.text(f"/tasks/{run(shown, status='succeeded', parent_id='gone')}")


def test_objects_that_steps_dead_letters_and_log_lines_name_are_links(shown: Shown, tmp_path: Path) -> None:
    now = shown.served.clock().isoformat()
    step = {"name": "s", "attempt": 1, "started_at": now, "ended_at": now, "result": "processed/step.json"}
    log = tmp_path / "worker-1.log"
    shown.backend.files = {"worker-1": log}
    task_id = run(shown, status="running", steps=[step], cursor={"at": "processed/cursor.json"})
    log.write_text(json.dumps({"message": "made", "task_id": task_id, "object": "processed/line.json"}) + "\n")
    page = shown.page(f"/tasks/{task_id}")
    for name in ("step", "cursor", "line"):
        assert f"/files/object?name=processed%2F{name}.json" in page
    letter = shown.page(f"/dead-letters/{shown.served.bury('file_processing', filename='dead.csv')}")
    assert "/files/object?name=uploads%2Fdead.csv" in letter


def test_a_dead_letter_without_a_floor_is_shown_as_text(shown: Shown) -> None:
    task_id = shown.served.bury(data=b"[" * 100_000)
    assert "more characters" in shown.page(f"/dead-letters/{task_id}")


def test_the_spans_of_a_task_are_drawn_and_those_of_a_follow_up_lead_to_it(shown: Shown) -> None:
    task_id = run(shown, status="succeeded")
    duplicate = span(10, parent=2, name="process a", kind="consumer", start=7, task_id="a")
    spans = [replace(each, attributes={**each.attributes, **_of(each, task_id)}) for each in [*retried(), duplicate]]
    SpanFiles(shown.traces_dir).append(spans)
    page = shown.page(f"/tasks/{task_id}")
    assert page.count('<li id="span-') == len(spans)
    text = words(page)
    assert "POST /tasks shop-api" in text
    assert "process a attempt 1 failed shop-worker" in text
    assert "process a no attempt shop-worker" in text
    assert f'<a href="#span-{4:016x}">retry of attempt 1</a>' in page
    assert 'task <a class="id" href="/tasks/b">b</a>' in page


def test_hostile_spans_are_text(shown: Shown) -> None:
    task_id = run(shown, status="succeeded")
    script = "<script>alert(1)</script>"
    event = Event(name=script, attributes={script: script})
    attributes = {script: script, "poolhouse.object": 'uploads/"><script>', "poolhouse.task_id": task_id}
    hostile = span(1, name=script, service=script, message=script, attributes=attributes, events=(event,), failed=True)
    SpanFiles(shown.traces_dir).append([hostile])
    page = shown.page(f"/tasks/{task_id}")
    assert "<script>" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 7


def test_without_spans_a_task_says_how_they_are_recorded(shown: Shown) -> None:
    assert "TRACES_EXPORTER=file ./invoke up" in shown.text(f"/tasks/{run(shown, status='succeeded')}")


def test_a_page_goes_on_looking_while_the_last_spans_may_be_on_their_way(shown: Shown) -> None:
    task_id = run(shown, status="succeeded", updated_at=datetime.now(UTC))
    assert "data-every" not in shown.page(f"/tasks/{task_id}")
    SpanFiles(shown.traces_dir).append([span(1)])
    assert "data-every" in shown.page(f"/tasks/{task_id}")


def _of(each: Span, task_id: str) -> dict[str, str]:
    return {"poolhouse.task_id": task_id} if each.task_id == "a" else {}


@pytest.mark.parametrize("kind", ["trigger", "schedule"])
def test_a_task_leads_to_what_submitted_it(shown: Shown, kind: str) -> None:
    page = shown.page(f"/tasks/{run(shown, status='succeeded', **{kind: 'tables'})}")
    assert f'{kind} <a href="/{kind}s#{kind}-tables">tables</a>' in page
    assert "Submitted by" not in shown.page(f"/tasks/{run(shown, status='succeeded')}")
