"""What a page of another site, open in a real browser, can do to a local stack: nothing."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from poolhouse.local.storage.fake_gcs import FakeGcs

pytestmark = pytest.mark.xdist_group("other-sites")

PIPELINE = """
[queues.default]

[schedules.nightly]
cron = "0 3 * * *"
task_type = "data_transformation"
payload = { dataset_size = 10, transformation = "aggregation" }
"""


@dataclass
class Site:
    """A web site of the attacker's, and what reached it."""

    port: int
    received: list[bytes] = field(default_factory=list)


@contextmanager
def site() -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Cats</title><body>cats</body>")

        def do_POST(self) -> None:
            made.received.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Site(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    folder = tmp_path_factory.mktemp("other-sites")
    (folder / "pipeline.toml").write_text(PIPELINE)
    backend = Embedded(folder / "state")
    options = UpOptions(
        api_port=ports.choose(),
        console_port=ports.choose(),
        timeout_s=120,
        attached=True,
        environment={"PIPELINE_FILE": str(folder / "pipeline.toml")},
    )
    endpoints = backend.up(options, lambda _: None)
    try:
        yield endpoints
    finally:
        backend.down()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that may complain: what it tries is refused."""
    with browser.new_page() as page:
        yield page


#: Tries one request in every way that a page has; gives what it could read.
TRY = """(async (url, method, body, type) => {
    const read = [];
    for (const mode of ["cors", "no-cors"]) {
        try {
            const headers = type ? {"content-type": type} : {};
            const answer = await fetch(url, {method, mode, headers, body: body ?? undefined});
            read.push([answer.status, await answer.text()]);
        } catch (error) { read.push([0, ""]); }
    }
    if (method === "POST") {
        const form = document.createElement("form");
        const frame = document.createElement("iframe");
        frame.name = "f" + Math.random();
        Object.assign(form, {action: url, method: "POST", enctype: "text/plain", target: frame.name});
        document.body.append(frame, form);
        const loaded = new Promise(done => { frame.onload = done; setTimeout(done, 2000); });
        form.submit();
        await loaded;
        navigator.sendBeacon(url, body ?? "");
    }
    return read;
})"""


def attempt(page: Page, url: str, method: str = "GET", body: str | None = None, kind: str = "") -> None:
    """Send a request from the open page, which must read nothing of an answer but the guard's no."""
    for status, text in page.evaluate(f"{TRY}(...{json.dumps([url, method, body, kind])})"):
        assert status in (0, 403, 421), (url, method, status, text)


def objects_of(storage: FakeGcs, stack: Endpoints) -> list[str]:
    """The names of all objects, without the index that the stack's own processes write all the time."""
    return [name for name in storage.list(stack.bucket) if not name.startswith("index/")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_site_reads_nothing_and_changes_nothing(stack: Endpoints, page: Page, host: str) -> None:
    storage = FakeGcs(stack.storage_url)
    pubsub = f"http://{stack.pubsub_host}"
    subscription = f"{pubsub}/v1/projects/{stack.project}/subscriptions/poolhouse-default-workers"
    objects = f"{stack.storage_url}/storage/v1/b/{stack.bucket}/o"
    upload = f"{stack.storage_url}/upload/storage/v1/b/{stack.bucket}/o"
    before = objects_of(storage, stack)
    assert "config/task-id-key" in before
    topics = requests.get(f"{pubsub}/v1/projects/{stack.project}/topics", timeout=10).json()
    counts = requests.get(f"{stack.api_url}/tasks", timeout=10).json()
    with site() as attacker:
        # The attacker's page is at any port of its own, and under a name that resolves to this machine at ours.
        page.goto(f"http://{host}:{attacker.port}/")
        push = json.dumps({"pushConfig": {"pushEndpoint": f"http://127.0.0.1:{attacker.port}/"}})
        task = json.dumps({"task_type": "data_transformation", "dataset_size": 3, "transformation": "aggregation"})
        attempt(page, objects)
        attempt(page, f"{objects}/config%2Ftask-id-key?alt=media")
        attempt(page, f"{objects}/config%2Ftask-id-key", "DELETE")
        attempt(page, f"{upload}?uploadType=media&name=planted", "POST", "x", "text/plain")
        attempt(page, f"{upload}?uploadType=resumable&name=planted", "POST")
        attempt(page, f"{upload}?uploadType=resumable&name=planted", "POST", "{}", "application/json")
        for kind in ("text/plain", "application/json"):
            attempt(page, f"{subscription}:modifyPushConfig", "POST", push, kind)
            attempt(page, f"{stack.api_url}/submit-task", "POST", task, kind)
            attempt(page, f"{stack.api_url}/tasks", "POST", task, kind)
        attempt(page, f"{pubsub}/reset", "POST")
        attempt(page, f"{pubsub}/admin/faults", "POST", json.dumps({"kind": "error"}), "text/plain")
        attempt(page, f"{pubsub}/admin/subscriptions")
        attempt(page, f"{pubsub}/ui")
        deletion = f"{pubsub}/ui/subscriptions/{stack.project}/poolhouse-default-workers/delete"
        attempt(page, deletion, "POST", "", "application/x-www-form-urlencoded")
        attempt(page, subscription, "DELETE")
        attempt(page, f"{stack.api_url}/tasks")
        for call in ("pause", "run", "due"):
            attempt(page, f"{stack.api_url}/schedules/nightly:{call}", "POST")
        attempt(page, f"{stack.console_url}/")
        attempt(
            page, f"{stack.console_url}/schedules/pause", "POST", "name=nightly", "application/x-www-form-urlencoded"
        )
        assert attacker.received == []
    assert objects_of(storage, stack) == before
    assert requests.get(f"{pubsub}/v1/projects/{stack.project}/topics", timeout=10).json() == topics
    assert "pushEndpoint" not in requests.get(subscription, timeout=10).text
    assert requests.get(f"{pubsub}/admin/faults", timeout=10).json() == {"faults": []}
    assert requests.get(f"{stack.api_url}/tasks", timeout=10).json() == counts
    (schedule,) = requests.get(f"{stack.api_url}/schedules", timeout=10).json()["schedules"]
    assert (schedule["paused_at"], schedule["last_run"]) == (None, None)


@pytest.mark.parametrize("path", ["api", "pubsub", "storage", "console"])
def test_a_name_that_is_rebound_to_this_machine_is_refused(stack: Endpoints, page: Page, path: str) -> None:
    url = {
        "api": f"{stack.api_url}/tasks",
        "pubsub": f"http://{stack.pubsub_host}/admin/subscriptions",
        "storage": f"{stack.storage_url}/storage/v1/b",
        "console": f"{stack.console_url}/",
    }[path]
    page.goto(url.replace("127.0.0.1", "evil.example"))
    assert "not one of this service" in page.locator("body").inner_text()


def test_the_reference_can_try_every_call(stack: Endpoints, page: Page) -> None:
    page.goto(f"{stack.api_url}/docs")
    for call in ("pause", "resume"):
        status = page.evaluate(f"fetch('/schedules/nightly:{call}', {{method: 'POST'}}).then(answer => answer.status)")
        assert status == 200
    task = json.dumps({"task_type": "data_transformation", "payload": {"dataset_size": 3, "transformation": "sorting"}})
    options = {"method": "POST", "body": task, "headers": {"content-type": "application/json"}}
    assert page.evaluate(f"fetch('/tasks', {json.dumps(options)}).then(answer => answer.status)") in (202, 422)


def test_a_link_of_another_site_leads_to_the_reference(stack: Endpoints, page: Page) -> None:
    with site() as other:
        page.goto(f"http://localhost:{other.port}/")
        page.evaluate(
            "(() => { const link = document.createElement('a');"
            f"link.href = {json.dumps(stack.api_url + '/docs')}; document.body.append(link); link.click(); }})()"
        )
        expect(page).to_have_title("Poolhouse API")


def test_a_page_uploads_to_the_session_that_its_own_server_opened_for_it(stack: Endpoints, page: Page) -> None:
    with site() as own:
        origin = f"http://localhost:{own.port}"
        opened = requests.post(
            f"{stack.api_url}/files", json={"name": "from-a-page.txt"}, headers={"Origin": origin}, timeout=10
        )
        assert opened.status_code == 201, opened.text
        page.goto(f"{origin}/")
        send = {"method": "PUT", "body": "from a page", "headers": opened.json()["headers"]}
        put = f"fetch({json.dumps(opened.json()['upload_url'])}, {json.dumps(send)}).then(answer => answer.status)"
        assert page.evaluate(put) == 200
    assert FakeGcs(stack.storage_url).download(stack.bucket, "uploads/from-a-page.txt") == b"from a page"
