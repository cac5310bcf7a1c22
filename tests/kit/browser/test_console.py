"""The console in a real browser, over a real stack whose code is replaced while it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from tests.kit.browser.looks import expect_status
from tests.kit.browser.world import HANDLER, World

pytestmark = pytest.mark.xdist_group("console")

MORE = '''
class Measure(Payload):
    pass

@task("measure")
def measure(payload: Measure, ctx: TaskContext) -> str:
    """Measure a thing."""
    return "so long"
'''
#: Does something wherever it is taken for HTML.
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def expect_text(page: Page, text: str) -> None:
    expect(page.locator("body")).to_contain_text(text, use_inner_text=True)


def expect_nothing_owned(page: Page) -> None:
    expect(page.locator("main img, main script")).to_have_count(0)
    assert "owned" not in page.title()


def test_a_task_is_submitted_with_the_form_and_followed_until_it_has_succeeded(page: Page) -> None:
    page.goto("/")
    expect_text(page, "worker-1")
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_role("link", name="Weigh a thing.").click()
    page.get_by_label("name").fill("an apple")
    page.get_by_label("grams").fill("120")
    page.get_by_role("button", name="Submit").click()
    expect_status(page, "succeeded")
    expect_text(page, '"an apple": 120')
    expect_text(page, "weighing")  # its log line


def test_an_invalid_field_is_marked_and_what_was_typed_stays(page: Page, complaints: list[str]) -> None:
    page.goto("/submit/weigh")
    page.get_by_label("grams").fill("3")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".field.wrong")).to_contain_text("name")
    expect(page.locator(".field.wrong")).to_contain_text("is required")
    expect(page.get_by_label("grams")).to_have_value("3")
    complaints.clear()  # browsers report every answer that is 4xx


def test_a_file_is_uploaded_with_the_form(page: Page, tmp_path: Path) -> None:
    table = tmp_path / "things.csv"
    table.write_text("thing,grams\napple,120\n")
    page.goto("/submit/file_processing")
    page.locator("input[type=file]").set_input_files(table)
    page.get_by_role("button", name="Submit").click()
    expect_status(page, "succeeded")
    expect_text(page, '"things.csv"')


def test_a_running_task_shows_its_progress_and_is_cancelled(page: Page, world: World) -> None:
    page.goto(f"/tasks/{world.submit('sample.slow', duration_s=600)}")
    progress = page.get_by_role("progressbar")
    expect(progress).to_have_attribute("max", "600.0")
    page.evaluate("untouched = true")
    first = progress.get_attribute("value")
    assert first is not None
    expect(progress).not_to_have_attribute("value", first)
    assert page.evaluate("untouched")
    page.get_by_role("button", name="Cancel").click()
    expect_status(page, "cancelled")
    expect(page.locator("body[data-every]")).to_have_count(0)


def test_a_hidden_tab_makes_no_calls(page: Page) -> None:
    looks: list[Request] = []
    page.on("request", lambda request: looks.append(request) if request.resource_type == "fetch" else None)
    page.clock.install()
    page.goto("/")
    hide = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch") as answered:
        page.clock.run_for(2_000)
    answered.value.finished()
    page.evaluate(hide, True)
    before = len(looks)
    page.clock.run_for(60_000)
    assert len(looks) == before
    with page.expect_request(lambda request: request.resource_type == "fetch"):
        page.evaluate(hide, False)


def test_a_dead_letter_is_replayed_with_another_payload(page: Page, world: World) -> None:
    task_id = world.submit("weigh", name="a feather", grams=-1)
    page.goto("/dead-letters")
    row = page.get_by_role("row").filter(has_text=task_id)
    expect(row).to_contain_text("a feather weighs nothing")
    row.get_by_role("link").click()
    page.get_by_label("Payload", exact=True).fill(json.dumps({"name": "a feather", "grams": 1}))
    page.get_by_role("button", name="Replay with this payload").click()
    expect_status(page, "succeeded")
    expect_text(page, '"a feather": 1')


def test_a_dead_letter_is_discarded_only_after_a_second_look(page: Page, world: World) -> None:
    task_id = world.submit("weigh", name="nothing", grams=-1)
    page.goto("/dead-letters")
    page.get_by_label(f"Choose {task_id}").check()
    confirm = page.get_by_role("button", name="Discard for good")
    expect(confirm).to_be_hidden()
    page.get_by_text("Discard chosen…").click()
    confirm.click()
    expect_text(page, "Discarded 1 of 1.")
    expect(page.get_by_label(f"Choose {task_id}")).to_have_count(0)


def test_hostile_payloads_reasons_and_log_lines_are_text_and_nothing_else(page: Page, world: World) -> None:
    task_id = world.submit("weigh", name=HOSTILE, grams=-1)
    page.goto("/dead-letters")
    expect(page.get_by_role("row").filter(has_text=task_id)).to_have_count(1)
    for path in (f"/dead-letters/{task_id}", f"/tasks/{task_id}", "/dead-letters", "/logs?service=worker"):
        page.goto(path)
        expect_text(page, "<img src=x")
        expect_nothing_owned(page)
    for path in ("/tasks", "/"):
        page.goto(path)
        expect_nothing_owned(page)


def test_the_same_holds_for_what_a_live_page_fetches(page: Page, world: World) -> None:
    page.goto("/logs?service=worker")
    expect_text(page, "worker ready")
    world.submit("weigh", name=f"later {HOSTILE}")
    expect_text(page, "later <img")
    expect_nothing_owned(page)


def test_a_schedule_is_paused_resumed_and_run(page: Page) -> None:
    page.goto("/schedules")
    page.get_by_role("button", name="Pause").first.click()
    expect(page.locator(".badge.paused")).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".badge.paused")).to_have_count(0)
    page.get_by_role("button", name="Run now").first.click()
    expect_text(page, "runs now")


def test_messages_and_publishing_are_on_the_emulators_own_pages_a_click_away(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Emulator").click()
    page.get_by_role("link", name="default-workers").click()
    expect(page.get_by_text("Looking takes nothing")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="Publish to poolhouse-default", exact=True).click()
    expect(page.get_by_role("heading", name="Publish")).to_be_visible()


# The last ones: the code that they save stays.


def test_an_import_error_of_a_reload_is_shown_while_the_old_code_goes_on(page: Page, world: World) -> None:
    page.goto("/")
    expect_text(page, "worker-1")
    world.handler.write_text("import nothing_of_that_name\n")
    expect(page.get_by_role("alert").first).to_contain_text("nothing_of_that_name")
    page.goto(f"/tasks/{world.submit('weigh', name='a stone')}")
    expect_status(page, "succeeded")
    page.goto("/logs?service=worker")
    expect_text(page, "nothing_of_that_name")
    page.goto("/")
    world.handler.write_text(HANDLER)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_new_task_type_is_there_once_it_is_saved(page: Page, world: World) -> None:
    page.goto("/submit")
    expect(page.get_by_role("heading", name="Submit a task")).to_be_visible()
    assert "measure" not in page.locator("body").inner_text()
    world.handler.write_text(HANDLER + MORE)
    page.get_by_role("link", name="Measure a thing.").click()
    page.get_by_role("button", name="Submit").click()
    expect_status(page, "succeeded")
    expect_text(page, '"so long"')
