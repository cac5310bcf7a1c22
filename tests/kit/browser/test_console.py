"""The console in a real browser, over a real stack whose code is replaced while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from tests.kit.browser.chromium import Page, chromium

pytestmark = pytest.mark.xdist_group("console")

HANDLER = '''
from poolhouse import Payload, Reject, TaskContext, task

class Weigh(Payload):
    """What to weigh."""
    name: str
    grams: int = 5

@task("weigh")
def weigh(payload: Weigh, ctx: TaskContext) -> dict[str, int]:
    """Weigh a thing."""
    ctx.log.info("weighing", name=payload.name)
    if payload.grams < 0:
        raise Reject(f"{payload.name} weighs nothing")
    return {payload.name: payload.grams}
'''
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


@dataclass(frozen=True)
class World:
    """The stack, and the module that its handlers are in."""

    endpoints: Endpoints
    handler: Path

    def submit(self, task_type: str, **payload: object) -> str:
        answer = requests.post(
            f"{self.endpoints.api_url}/tasks", json={"task_type": task_type, "payload": payload}, timeout=10
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("console")
    handler = folder / "code" / "weighing.py"
    handler.parent.mkdir()
    handler.write_text(HANDLER)
    backend = Embedded(folder / "state")
    options = UpOptions(
        api_port=ports.choose(),
        console_port=ports.choose(),
        timeout_s=120,
        attached=True,
        reload=True,
        environment={"TASK_HANDLERS": "worker.handlers,weighing", "PYTHONPATH": str(handler.parent)},
    )
    endpoints = backend.up(options, lambda _: None)
    try:
        yield World(endpoints, handler)
    finally:
        backend.down()


@pytest.fixture(scope="module")
def new_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Page]]:
    with chromium(tmp_path_factory.mktemp("profile")) as new:
        yield new


@pytest.fixture
def page(new_page: Callable[[], Page]) -> Iterator[Page]:
    """A tab; nothing that a test does may make it complain."""
    page = new_page()
    page.look_like(width=1280)
    yield page
    assert page.complaints == []


def address(world: World, path: str) -> str:
    assert world.endpoints.console_url is not None
    return world.endpoints.console_url + path


def test_a_task_is_submitted_with_the_form_and_followed_until_it_has_succeeded(page: Page, world: World) -> None:
    page.open(address(world, "/"))
    page.until_text("worker-1")
    page.click("a[href='/submit']")
    page.until_text("Weigh a thing.")
    page.click("a[href='/submit/weigh']")
    page.fill("[name='field:name']", "an apple")
    page.fill("[name='field:grams']", "120")
    page.click("form button.solid")
    page.until("document.querySelector('h1 .badge.succeeded') !== null")
    page.until_text('"an apple": 120')
    page.until_text("weighing")  # its log line


def test_an_invalid_field_is_marked_and_what_was_typed_stays(page: Page, world: World) -> None:
    page.open(address(world, "/submit/weigh"))
    page.fill("[name='field:grams']", "3")
    page.click("form button.solid")
    page.until_text("is required")
    assert page.tell("document.querySelector('.field.wrong label').innerText").startswith("name")
    assert page.tell("document.querySelector(\"[name='field:grams']\").value") == "3"
    page.complaints.clear()  # browsers tell of every answer that is 4xx


def test_a_file_is_uploaded_with_the_form(page: Page, world: World, tmp_path: Path) -> None:
    table = tmp_path / "things.csv"
    table.write_text("thing,grams\napple,120\n")
    page.open(address(world, "/submit/file_processing"))
    page.choose_file("input[type=file]", table)
    page.click("form button.solid")
    page.until("document.querySelector('h1 .badge.succeeded') !== null")
    page.until_text('"things.csv"')


def test_a_running_task_shows_its_progress_and_is_cancelled(page: Page, world: World) -> None:
    task_id = world.submit("sample.slow", duration_s=600)
    page.open(address(world, f"/tasks/{task_id}"))
    page.until("document.querySelector('progress')?.max === 600")
    page.tell("window.untouched = true")
    first = page.tell("document.querySelector('progress').value")
    page.until(f"document.querySelector('progress').value > {first} && window.untouched")
    page.click("form[action$='/cancel'] button")
    page.until("document.querySelector('h1 .badge.cancelled') !== null")
    page.until("document.body.dataset.every === undefined")


def test_a_hidden_tab_makes_no_calls(page: Page, world: World) -> None:
    page.open(address(world, "/"))
    page.until_text("worker-1")
    asked = "performance.getEntriesByType('resource').filter(entry => entry.initiatorType === 'fetch').length"
    page.until(f"{asked} > 0")
    page.hide(hidden=True)
    before = page.tell(asked)
    page.tell("new Promise(done => setTimeout(done, 3000))")  # longer than the page's own two seconds
    assert page.tell(asked) == before
    page.hide(hidden=False)
    page.until(f"{asked} > {before}")


def test_a_dead_letter_is_replayed_with_another_payload(page: Page, world: World) -> None:
    task_id = world.submit("weigh", name="a feather", grams=-1)
    page.open(address(world, "/dead-letters"))
    page.until(f"document.querySelector('a[href=\"/dead-letters/{task_id}\"]') !== null")
    page.until_text("a feather weighs nothing")
    page.click(f"a[href='/dead-letters/{task_id}']")
    page.fill("#payload", json.dumps({"name": "a feather", "grams": 1}))
    page.click("form[action$='/replay'].form button")
    page.until("document.querySelector('h1 .badge.succeeded') !== null")
    page.until_text('"a feather": 1')


def test_a_dead_letter_is_discarded_only_after_a_second_look(page: Page, world: World) -> None:
    task_id = world.submit("weigh", name="nothing", grams=-1)
    page.open(address(world, "/dead-letters"))
    page.click(f"input[value='{task_id}']")
    shown = "document.querySelector('.sheet').checkVisibility()"
    assert not page.tell(shown)
    page.click(".confirm summary")
    assert page.tell(shown)
    page.click(".sheet button")
    page.until_text("Discarded 1 of 1.")
    assert page.tell(f"document.querySelector(\"input[value='{task_id}']\")") is None


def test_hostile_payloads_reasons_and_log_lines_are_text_and_nothing_else(page: Page, world: World) -> None:
    task_id = world.submit("weigh", name=HOSTILE, grams=-1)
    page.open(address(world, "/dead-letters"))
    page.until(f"document.querySelector('a[href=\"/dead-letters/{task_id}\"]') !== null")
    for path in (
        f"/dead-letters/{task_id}",
        f"/tasks/{task_id}",
        "/dead-letters",
        "/logs?service=worker",
        "/tasks",
        "/",
    ):
        page.open(address(world, path))
        page.until("document.title.endsWith('Poolhouse')")
        if path not in {"/tasks", "/"}:
            page.until_text("<img src=x")
        assert page.tell("document.querySelector('main img, main script')") is None
        assert "owned" not in page.tell("document.title")


def test_the_same_holds_for_what_a_live_page_fetches(page: Page, world: World) -> None:
    page.open(address(world, "/logs?service=worker"))
    page.until_text("worker ready")
    world.submit("weigh", name=f"later {HOSTILE}")
    page.until_text("later <img")
    assert page.tell("document.querySelector('main img, main script')") is None
    assert "owned" not in page.tell("document.title")


def test_a_schedule_is_paused_resumed_and_run(page: Page, world: World) -> None:
    page.open(address(world, "/schedules"))
    page.click("form[action$='/pause'] button")
    page.until("document.querySelector('.badge.paused') !== null")
    page.click("form[action$='/resume'] button")
    page.until("document.querySelector('.badge.paused') === null")
    page.click("form[action$='/run'] button")
    page.until_text("runs now")


def test_the_emulators_own_console_is_a_click_away(page: Page, world: World) -> None:
    page.open(address(world, "/"))
    page.click("nav a[href$='/ui']")
    page.until("document.querySelector('[data-live=subscriptions] a') !== null")


def test_every_page_is_usable_on_a_narrow_screen(page: Page, world: World) -> None:
    page.look_like(width=400)
    task_id = world.submit("sample.echo", value="a" * 300)
    for path in (
        "/",
        "/tasks",
        f"/tasks/{task_id}",
        "/submit",
        "/submit/weigh",
        "/dead-letters",
        "/schedules",
        "/logs",
    ):
        page.open(address(world, path))
        assert page.tell("document.documentElement.scrollWidth <= innerWidth"), path


def test_every_control_has_a_name_and_the_keyboard_reaches_it(page: Page, world: World) -> None:
    for path in ("/", "/tasks", "/submit/weigh", "/dead-letters", "/schedules", "/logs"):
        page.open(address(world, path))
        nameless = page.tell(
            "[...document.querySelectorAll('a, button, summary, input:not([type=hidden]), select, textarea')]"
            ".filter(one => !(one.textContent.trim() || one.labels?.length || one.ariaLabel)).map(one => one.outerHTML)"
        )
        assert nameless == [], path
        assert page.tell("[...document.querySelectorAll('[tabindex]')].every(one => one.tabIndex === 0)")


# The last ones: the code that they save stays.


def test_an_import_error_of_a_reload_is_shown_while_the_old_code_goes_on(page: Page, world: World) -> None:
    page.open(address(world, "/"))
    page.until_text("worker-1")
    world.handler.write_text("import nothing_of_that_name\n")
    page.until_text("nothing_of_that_name")
    assert page.tell("document.querySelector('.note.bad').checkVisibility()")
    page.open(address(world, f"/tasks/{world.submit('weigh', name='a stone')}"))
    page.until("document.querySelector('h1 .badge.succeeded') !== null")
    page.open(address(world, "/logs?service=worker"))
    page.until_text("nothing_of_that_name")
    page.open(address(world, "/"))
    world.handler.write_text(HANDLER)
    page.until("document.querySelector('.note.bad') === null")


def test_a_new_task_type_is_there_once_it_is_saved(page: Page, world: World) -> None:
    page.open(address(world, "/submit"))
    assert "measure" not in page.tell("document.body.innerText")
    world.handler.write_text(HANDLER + MORE)
    page.until_text("Measure a thing.")
    page.click("a[href='/submit/measure']")
    page.click("form button.solid")
    page.until("document.querySelector('h1 .badge.succeeded') !== null")
    page.until_text('"so long"')
