"""The console for everyone: by keyboard, on a phone, in the dark, in any time zone, with little motion."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.kit.browser.looks import expect_status, look_at
from tests.kit.browser.world import World

pytestmark = pytest.mark.xdist_group("console")


@pytest.fixture
def page(new_page: Callable[..., Page], world: World) -> Page:
    # A zone without summer time, and no whole hour from UTC.
    return new_page(base_url=world.console_url, timezone_id="Asia/Kolkata")


def test_every_page_passes_axe_light_and_dark_wide_and_on_a_phone(page: Page, world: World, tmp_path: Path) -> None:
    dead = world.submit("weigh", name="a feather" + " and another" * 20, grams=-1)
    done = world.submit("sample.echo", value="a" * 300)
    running = world.submit("sample.slow", duration_s=600)
    group = world.submit_group("weigh", [{"name": f"apple {number}"} for number in range(3)])
    delayed = world.submit("weigh", delay_s=3600, name="a melon")
    traced = world.submit("parcel", name="a box")
    page.goto("/dead-letters")
    expect(page.get_by_label(f"Choose {dead}")).to_be_visible()
    page.goto(f"/tasks/{done}")
    expect_status(page, "succeeded")
    page.goto(f"/tasks/{traced}")
    expect(page.get_by_text("process weigh")).to_be_visible()
    expect(page.get_by_role("link", name="retry of attempt 1")).to_be_visible()
    page.goto("/files")
    page.get_by_label("Files", exact=True).set_input_files(
        [
            {"name": "things.csv", "mimeType": "text/csv", "buffer": b"thing,grams\napple,120\n"},
            {"name": "page.html", "mimeType": "text/html", "buffer": b"<p>Words " * 100},
        ]
    )
    page.get_by_role("textbox", name="Folder").fill("looks")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("link", name="page.html")).to_be_visible()
    world.run("nightly-sample")
    for path in ("/triggers", "/schedules"):
        page.goto(path)
        expect(page.locator(".counted:visible")).to_be_visible()
    paths = {
        "overview": "/",
        "tasks": "/tasks",
        "task-succeeded": f"/tasks/{done}",
        "task-failed": f"/tasks/{dead}",
        "task-running": f"/tasks/{running}",
        "task-delayed": f"/tasks/{delayed}",
        "task-trace": f"/tasks/{traced}",
        "delayed": "/delayed",
        "groups": "/groups",
        "group": f"/groups/{group}",
        "limits": "/limits",
        "submit": "/submit",
        "submit-form": "/submit/file_processing",
        "dead-letters": "/dead-letters",
        "dead-letter": f"/dead-letters/{dead}",
        "schedules": "/schedules",
        "triggers": "/triggers",
        "files": "/files",
        "folder": "/files?prefix=uploads/looks/",
        "file-table": "/files/object?name=uploads/looks/things.csv",
        "file-text": "/files/object?name=uploads/looks/page.html",
        "emulator": "/emulator",
        "logs": "/logs?service=scheduler",
    }
    look_at(page, paths, folder=tmp_path)
    page.goto(f"/tasks/{running}")
    page.get_by_role("button", name="Cancel").click()


def test_four_queues_leave_no_hole(page: Page) -> None:
    page.goto("/")
    cards = page.locator(".queues > .card")
    expect(cards.first).to_be_visible()
    # In one go: a live page takes away what it does not know.
    tops = cards.first.evaluate("""card => {
        const row = card.parentElement;
        while (row.children.length < 4) card.after(card.cloneNode(true));
        return [...row.children].map(one => one.getBoundingClientRect().top);
    }""")
    assert (len(tops), len(set(tops))) == (4, 1)


def test_the_keyboard_searches_walks_through_rows_opens_them_and_goes_everywhere(page: Page, world: World) -> None:
    first, second = (world.submit("weigh", name=name) for name in ("a first quince", "a second quince"))
    page.goto("/")
    expect(page.locator("tbody tr").first).to_be_visible()
    page.keyboard.press("/")
    expect(page).to_have_url(re.compile("/tasks$"))
    expect(page.get_by_label("Text")).to_be_focused()
    page.keyboard.type("quince? j/k")
    expect(page.get_by_label("Text")).to_have_value("quince? j/k")  # while one types, keys are letters
    page.get_by_label("Text").fill("quince")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("text=quince"))
    page.wait_for_load_state()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Text").blur()
    for key, task_id in (("j", second), ("j", first), ("j", first), ("k", second)):
        page.keyboard.press(key)
        expect(page.get_by_role("link", name=task_id)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{world.console_url}/tasks/{second}")
    page.wait_for_load_state()
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile("/tasks$"))
    page.wait_for_load_state()
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.get_by_role("heading", name="Dead letters")).to_be_visible()


def test_a_list_of_the_keys_turns_them_off_and_on(page: Page) -> None:
    page.goto("/schedules")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(keys).to_contain_text("Dead letters")
    keys.get_by_label("Single keys act").uncheck()
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.goto("/schedules")
    page.keyboard.press("?")
    expect(keys).to_be_hidden()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    keys.get_by_label("Single keys act").check()
    keys.get_by_role("button", name="Close").click()
    page.keyboard.press("?")
    expect(keys).to_be_visible()


def test_times_are_in_the_viewers_zone_and_hovering_shows_utc(page: Page, world: World) -> None:
    task_id = world.submit("weigh", name="a lime")
    page.goto(f"/tasks/{task_id}")
    expect_status(page, "succeeded")
    started = page.locator("time.moment").first
    expect(started).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\+5:30$"))
    assert started.evaluate("time => Date.parse(time.innerText) === Date.parse(time.title)")
    expect(page.locator("time:not(.moment, .clock)").first).to_have_attribute(
        "title", re.compile(r"GMT\+5:30\n.* UTC$")
    )
