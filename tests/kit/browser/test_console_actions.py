"""What people do with tasks, groups, queues, dead letters and triggers in the console, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.kit.browser.looks import expect_status
from tests.kit.browser.world import World

pytestmark = pytest.mark.xdist_group("console")

LONG_S = 7200.0


def expect_note(page: Page, text: str) -> None:
    expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()


def confirm(within: Page | Locator, what: str, button: str) -> None:
    """Unfold what asks once more, and answer it."""
    within.get_by_text(what, exact=True).click()
    within.get_by_role("button", name=button, exact=True).click()


def test_a_delayed_task_is_moved_run_now_and_run_again(page: Page, world: World) -> None:
    task_id = world.submit("weigh", delay_s=LONG_S, name="a pear")
    page.goto(f"/tasks/{task_id}")
    expect_status(page, "scheduled")
    page.get_by_label("Move to a time from now").fill("3d")
    page.get_by_role("button", name="Move", exact=True).click()
    expect_note(page, "Moved.")
    page.get_by_role("button", name="Run now").click()
    expect_status(page, "succeeded")
    page.get_by_role("button", name="Run again").click()
    expect_note(page, "Submitted again.")
    expect_status(page, "succeeded")
    assert task_id not in page.url


def test_delayed_tasks_are_moved_and_run_from_their_list(page: Page, world: World) -> None:
    task_id = world.submit("weigh", delay_s=LONG_S, name="a plum")
    page.goto("/delayed?task_type=weigh")
    row = page.get_by_role("row").filter(has_text=task_id)
    row.get_by_text("Move…").click()
    row.get_by_label("Move to a time from now").fill("15m")
    row.get_by_role("button", name="Move", exact=True).click()
    expect_note(page, "Moved.")
    page.get_by_role("row").filter(has_text=task_id).get_by_role("button", name="Run now").click()
    expect_note(page, "Queued.")
    page.goto(f"/tasks/{task_id}")
    expect_status(page, "succeeded")


def test_a_group_is_cancelled(page: Page, world: World) -> None:
    group_id = world.submit_group("sample.slow", [{"duration_s": 600}] * 3)
    page.goto(f"/tasks?group_id={group_id}&status=running")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.goto(f"/groups/{group_id}")
    page.get_by_role("button", name="Cancel").click()
    expect_note(page, "Cancelled.")
    page.goto(f"/tasks?group_id={group_id}&status=cancelled")
    expect(page.locator("tbody tr")).to_have_count(3)


def test_all_tasks_of_a_filter_are_cancelled(page: Page, world: World) -> None:
    task_id = world.submit("sample.slow", duration_s=600)
    page.goto(f"/tasks/{task_id}")
    expect_status(page, "running")
    page.goto("/tasks?task_type=sample.slow&status=running")
    confirm(page, "Cancel all…", "Cancel them")
    expect_note(page, "1 that run were notified.")
    page.goto(f"/tasks/{task_id}")
    expect_status(page, "cancelled")


def test_a_queue_is_paused_purged_and_resumed(page: Page, world: World) -> None:
    page.goto("/")
    queue = page.locator(".queue").filter(has=page.get_by_role("heading", name="bulk", exact=True))
    queue.get_by_role("button", name="Pause").click()
    expect_note(page, "bulk is paused")
    task_id = world.submit("weigh", queue="bulk", delay_s=LONG_S, name="a plum")
    confirm(queue, "Purge…", "Purge bulk")
    expect_note(page, "Cancelled 1 with a record.")
    queue.get_by_role("button", name="Resume").click()
    expect_note(page, "bulk runs.")
    page.goto(f"/tasks/{task_id}")
    expect_status(page, "cancelled")


def test_all_dead_letters_of_a_filter_are_replayed_and_discarded(page: Page, world: World) -> None:
    stones = [world.submit("weigh", name="a stone", grams=-number) for number in (1, 2)]
    matching = "/dead-letters?reason=a+stone"
    page.goto(matching)
    for task_id in stones:
        expect(page.get_by_label(f"Choose {task_id}")).to_be_visible()
    confirm(page, "Replay all…", "Replay them")
    expect_note(page, "Replayed 2.")
    for task_id in stones:  # they die once more
        expect(page.get_by_label(f"Choose {task_id}")).to_be_visible()
    confirm(page, "Discard all…", "Discard them for good")
    expect_note(page, "Discarded 2.")
    expect(page.get_by_text("a stone weighs nothing")).to_have_count(0)


def test_the_files_of_a_trigger_are_counted_and_started_once(page: Page) -> None:
    page.goto("/triggers")
    page.get_by_role("button", name="Count files").click()
    expect_note(page, "none has started anything now")
    confirm(page, "Backfill…", "Start tasks")
    expect_note(page, "each version has started its task now, or had before")
