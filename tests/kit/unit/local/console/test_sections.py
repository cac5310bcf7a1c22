"""The pages of delayed tasks, groups, limits and triggers."""

from __future__ import annotations

import re

import pytest

from poolhouse.pipeline.tasks.records import Status
from tests.kit.unit.api.test_limits import use
from tests.kit.unit.local.console.conftest import Shown
from tests.kit.unit.local.console.test_groups import MEMBER, end, submit


def delayed(shown: Shown, delay_s: float, task_type: str = "anything") -> str:
    return str(shown.served.api.post("/tasks", {"task_type": task_type, "delay_s": delay_s})["task_id"])


def keys(page: str) -> list[str]:
    return re.findall(r'<tr data-key="([^"]*)"', page)


def test_delayed_tasks_are_listed_by_their_time_and_chosen_from(shown: Shown) -> None:
    later, first, other = delayed(shown, 9000), delayed(shown, 3000), delayed(shown, 6000, "stamped")
    shown.served.api.post("/tasks", {"task_type": "anything"})
    page = shown.page("/delayed")
    assert keys(page) == [first, other, later]
    assert "3 tasks" in page
    assert keys(shown.page("/delayed?task_type=anything")) == [first, later]
    assert "No matching tasks." in shown.page("/delayed?queue=bulk")


def test_a_delayed_task_is_run_now_or_moved_from_the_list(shown: Shown) -> None:
    one, two = delayed(shown, 3000), delayed(shown, 6000)
    assert shown.post(f"/tasks/{two}/run-now").startswith(f"/tasks/{two}?note=")
    assert [task["task_id"] for task in shown.served.published] == [two]
    assert "Moved." in shown.text(shown.post(f"/delayed/{one}/reschedule", delay="1d"))
    assert shown.served.api.get(f"/tasks/{one}")["not_before"] == "2026-03-02T12:00:00Z"
    assert "Move &#39;soon&#39;" in shown.page(shown.post(f"/delayed/{one}/reschedule", delay="soon"))
    assert shown.post(f"/delayed/{one}/forget", status=404)


def test_of_many_delayed_tasks_the_later_ones_are_a_page_away(shown: Shown) -> None:
    made = [delayed(shown, 3000 + number) for number in range(51)]
    first = shown.page("/delayed")
    assert keys(first) == made[:50]
    later = first.rpartition('class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert keys(shown.page(later)) == made[50:]


def test_groups_are_listed_with_their_progress(shown: Shown) -> None:
    assert "No groups yet." in shown.page("/groups")
    first = submit(shown)["group_id"]
    end(shown, 0, Status.SUCCEEDED)
    end(shown, 1, Status.DEAD)
    shown.served.clock.forward(1)
    opened = shown.served.api.post("/groups", {"open": True})["group_id"]
    shown.served.clock.forward(1)
    cancelled = shown.served.api.post("/groups", {"tasks": [MEMBER]})["group_id"]
    shown.served.api.post(f"/groups/{cancelled}:cancel")
    page = shown.page("/groups")
    assert keys(page) == [cancelled, opened, first]
    assert '<progress value="2" max="3"' in page
    assert f"/tasks?group_id={first}&amp;status=dead" in page
    assert "members are still being added" in page
    assert "badge cancelled" in page


def test_older_groups_are_a_page_away(shown: Shown) -> None:
    made = []
    for _ in range(21):
        made.append(shown.served.api.post("/groups", {"tasks": [MEMBER]})["group_id"])
        shown.served.clock.forward(1)
    first = shown.page("/groups")
    assert keys(first) == made[:0:-1]
    older = first.rpartition('class="button" href="')[2].partition('"')[0]
    assert keys(shown.page(older)) == made[:1]


def test_a_limit_in_use_shows_what_is_held_by_whom_and_what_waits(shown: Shown) -> None:
    assert "No limit is in use" in shown.page("/limits")
    use(shown.served, "acme", one=3, two=4)
    text = shown.text("/limits")
    assert "call tenant=acme" in text
    assert "3 of 3" in text
    assert "10/s" in text
    assert re.search(r"\bone\b.*\btwo\b", text)
    assert "status=queued&amp;task_type=call" in shown.page("/limits")


def test_a_trigger_shows_its_files_and_tasks_and_is_backfilled(shown: Shown) -> None:
    for name in ("uploads/in/a.csv", "uploads/in/b.csv", "uploads/in/c.txt"):
        shown.served.store.put(name, b"data")
    shown.served.api.post("/tasks", {"task_type": "file_processing", "payload": {"filename": "in/a.csv"}})
    shown.served.topics.published.clear()
    page = shown.page("/triggers")
    assert "/files?prefix=uploads/in/" in page
    assert "None yet." in page
    counted = shown.text(shown.post("/triggers/tables/count"))
    assert "2 files (uploads/in/a.csv, uploads/in/b.csv): none has started anything now." in counted
    assert shown.served.published == []
    shown.post("/triggers/tables/backfill")
    assert [task["filename"] for task in shown.served.published] == ["in/a.csv", "in/b.csv"]
    page = shown.page("/triggers")
    assert page.count('href="/tasks/') == 2  # not the task that a client submitted for a file
    assert "queued 2" in shown.text("/triggers")
    assert 'href="/tasks?trigger=tables&amp;status=queued"' in page
    listed = shown.page("/tasks?trigger=tables&status=queued")
    assert len(keys(listed)) == 2
    assert 'Submitted by trigger <a href="/triggers#trigger-tables">tables</a>' in listed
    assert "Cancel all" not in listed
    assert shown.post("/triggers/tables/remove", status=404)
    assert shown.post("/triggers/none/backfill", status=404)


@pytest.mark.parametrize(
    ("path", "place"),
    [("/delayed", "/tasks"), ("/groups", "/tasks"), ("/limits", "/tasks"), ("/triggers", "/schedules")],
)
def test_a_section_belongs_to_its_place(shown: Shown, path: str, place: str) -> None:
    page = shown.page(path)
    assert re.findall(r'<a href="([^"]*)"[^>]* aria-current="page"', page) == [place, path]
