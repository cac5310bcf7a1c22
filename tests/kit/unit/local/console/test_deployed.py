"""The console of a pipeline that runs elsewhere: all that its API returns, and nothing of processes."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import TOKEN_S, Deployed
from poolhouse.pipeline.errors import PoolhouseError
from tests.kit.unit.commands.conftest import Served
from tests.kit.unit.local.console.conftest import HOST, served, words

__all__ = ["served"]

LOG_FILTER = 'labels."poolhouse"="shop"'


def deployed(url: str, *, token: Callable[[], str] = lambda: "token", **more: Any) -> TestClient:
    """A browser at the console of a pipeline whose API is at some address."""
    stack = Deployed("some-project", url, token, log_filter=LOG_FILTER, **more)
    return TestClient(create_app(stack), base_url=f"http://{HOST}", raise_server_exceptions=False)


@pytest.fixture
def there(served: Served) -> TestClient:
    return deployed(served.api.url)


def post(browser: TestClient, path: str, **form: str) -> str:
    """Send a form; the page that it leads to, as text."""
    answer = browser.post(path, data=form, headers={"Origin": f"http://{HOST}"})
    assert answer.status_code == 200, answer.text
    return words(answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?window=24+h",
        "/tasks",
        "/tasks/{dead}",
        "/groups/{group}",
        "/submit",
        "/submit/anything",
        "/submit/anything?like={dead}",
        "/dead-letters",
        "/dead-letters/{dead}",
        "/schedules",
        "/delayed",
        "/groups",
        "/limits",
        "/triggers",
        "/files",
        "/emulator",
    ],
)
def test_its_pages_show_the_pipeline_and_lead_to_no_place_of_a_local_stack(
    served: Served, there: TestClient, path: str
) -> None:
    group = served.api.post("/groups", {"tasks": [{"task_type": "anything", "payload": {}}]})["group_id"]
    answer = there.get(path.format(dead=served.bury(), group=group))
    assert answer.status_code == 200
    assert "Google Cloud: some-project" in answer.text
    # The API lets no browser in, and logs and processes are elsewhere.
    for absent in ("/logs", f"{served.api.url}/docs"):
        assert f'href="{absent}' not in answer.text


def test_every_page_names_the_stage(served: Served) -> None:
    assert "Google Cloud: some-project, prod" in deployed(served.api.url, stage="prod").get("/").text


def test_log_lines_are_read_in_cloud_logging_those_of_a_task_alone_too(served: Served, there: TestClient) -> None:
    task_id = served.bury()
    explorer = "https://console.cloud.google.com/logs/query;query="
    page = there.get(f"/tasks/{task_id}").text
    assert f'href="{explorer}{quote(LOG_FILTER, safe="")}?project=some-project" data-key="l"' in page
    of_task = quote(f'{LOG_FILTER}\njsonPayload.task_id="{task_id}"', safe="")
    assert f'<a href="{explorer}{of_task}?project=some-project">Its log lines</a>' in page


def test_spans_are_where_its_exporter_sends_them(served: Served, there: TestClient) -> None:
    assert "are where its TRACES_EXPORTER sends them" in words(there.get(f"/tasks/{served.bury()}").text)


def test_a_task_that_is_recorded_leads_to_its_trace_in_cloud_trace(served: Served) -> None:
    there = deployed(served.api.url, cloud_trace=True)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    for flags, recorded in (("01", True), ("00", False)):
        task_id = served.bury(trace={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-{flags}"})
        page = there.get(f"/tasks/{task_id}").text
        link = f'href="https://console.cloud.google.com/traces/explorer;traceId={trace_id}?project=some-project"'
        assert (link in page) == recorded
        assert ("No trace of this task is known" in words(page)) == (not recorded)


def test_it_looks_less_often_than_at_a_local_stack(there: TestClient) -> None:
    assert 'data-every="6.0"' in there.get("/tasks").text


def test_the_emulators_page_says_why_there_is_none(there: TestClient) -> None:
    page = words(there.get("/emulator").text)
    assert "The Pub/Sub of this pipeline is Google Cloud’s, in some-project" in page
    assert "./invoke up" in page


@pytest.mark.parametrize("path", ["/logs", "/ui"])
def test_what_it_has_not_is_not_found(there: TestClient, path: str) -> None:
    assert there.get(path).status_code == 404


def test_a_task_is_submitted_and_followed_there(served: Served, there: TestClient) -> None:
    assert "queued" in post(there, "/submit/data_transformation", **{"field:dataset_size": "7"})
    assert [task["dataset_size"] for task in served.published] == [7]


def test_whatever_a_person_can_do_is_done_through_the_api(served: Served, there: TestClient) -> None:
    assert "default is paused" in post(there, "/queues/default/pause")
    assert "default runs." in post(there, "/queues/default/resume")
    assert "nightly is paused." in post(there, "/schedules/nightly/pause")
    assert "nightly runs now" in post(there, "/schedules/nightly/run")
    assert "Replayed." in post(there, "/dead-letters/replay", id=served.bury())
    assert "Discarded 1 of 1." in post(there, "/dead-letters/discard", id=served.bury())
    assert served.dead == []
    task_id = served.api.post("/tasks", {"task_type": "anything", "payload": {}, "delay_s": 3600})["task_id"]
    assert "Moved." in post(there, f"/tasks/{task_id}/reschedule", delay="2h")
    assert "Cancelled." in post(there, f"/tasks/{task_id}/cancel")


def test_a_token_is_asked_for_once_while_it_is_good(served: Served) -> None:
    now, given = [0.0], list[bool]()

    def token() -> str:
        given.append(True)
        return "token"

    browser = deployed(served.api.url, token=token, clock=lambda: now[0])
    for _ in range(3):
        assert browser.get("/schedules").status_code == 200
    assert len(given) == 1
    now[0] += TOKEN_S
    browser.get("/schedules")
    assert len(given) == 2


def test_without_a_login_a_page_says_so(served: Served) -> None:
    def token() -> str:
        raise PoolhouseError("You are not logged in: gcloud auth login.")

    answer = deployed(served.api.url, token=token).get("/tasks")
    assert answer.status_code == 502
    assert "gcloud auth login" in answer.text


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of what lets nobody in, as Cloud Run does: with a page of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><title>403 Forbidden</title></html>")

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/", "/tasks"])
def test_an_account_without_the_role_is_told_which_one(refusing: str, path: str) -> None:
    page = words(deployed(refusing).get(path).text)
    assert "roles/run.invoker" in page
    assert "does not answer" not in page
