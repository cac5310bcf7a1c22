"""The whole pipeline in containers."""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console
from starlette.testclient import TestClient

from poolhouse.local.backend import ServiceState, UpOptions
from poolhouse.local.compose import engine
from poolhouse.local.compose.backend import Compose
from poolhouse.local.compose.engine import docker
from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import LocalStack
from poolhouse.local.e2e import main
from poolhouse.local.e2e.client import FINAL, Client
from poolhouse.local.processes import ports
from tests.kit.engine import require_engine

pytestmark = [pytest.mark.xdist_group("compose"), pytest.mark.slow]

TASKS = 200
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    require_engine()
    backend = Compose(tmp_path_factory.mktemp("compose"))
    backend.up(UpOptions(attached=True, api_port=ports.choose(), timeout_s=180), lambda _: None)
    try:
        yield backend
    finally:
        backend.down()


@pytest.fixture
def client(stack: Compose) -> Iterator[Client]:
    made = Client(stack.endpoints())
    yield made
    made.close()


def test_the_whole_pipeline_gives_what_other_means_compute(stack: Compose) -> None:
    output = io.StringIO()
    code = main.check(stack, Console(file=output, width=200))
    assert code == 0, output.getvalue()


def test_every_container_runs_locked_down_and_not_as_root(stack: Compose) -> None:
    ids = [container.id for container in engine.containers(_project(stack))]
    assert len(ids) == 9  # the one that made the topology, too
    for entry in json.loads(docker("inspect", *ids)):
        host = entry["HostConfig"]
        assert host["ReadonlyRootfs"], entry["Name"]
        assert host["CapDrop"] == ["ALL"], entry["Name"]
        assert host["Memory"] > 0, entry["Name"]
        bindings = [entry for entries in (host["PortBindings"] or {}).values() for entry in entries]
        assert all(binding["HostIp"] == "127.0.0.1" for binding in bindings), entry["Name"]
        if entry["State"]["Running"]:
            # The processes themselves, not what the image says.
            users = docker("top", entry["Id"], "-eo", "pid,uid").split()[3::2]
            assert set(users) == {"65532"}, entry["Name"]


def test_the_console_shows_the_containers_and_their_logs(stack: Compose) -> None:
    with TestClient(create_app(LocalStack(lambda: stack)), base_url="http://127.0.0.1") as browser:
        overview = browser.get("/").text
        assert "worker-bulk-1" in overview
        assert "does not tell what waits" in overview
        assert "/emulator" not in overview
        logs = browser.get("/logs", params={"service": "worker-bulk-1"}).text
        assert "worker ready" in logs
        assert '<span class="from">worker-urgent-1' not in logs
        for path in ("/tasks", "/submit/file_processing", "/dead-letters", "/schedules"):
            assert browser.get(path).status_code == 200, path


def test_a_large_file_goes_up_from_outside_and_its_result_is_written_from_inside(client: Client) -> None:
    name = f"large-{secrets.token_hex(4)}.txt"
    line = b"forty-two bytes of text that end with a dot.\n"
    client.upload(name, line * 300_000, content_type="text/plain")  # 13 MB: in chunks, by a session, on both sides
    submitted = client.submit("/submit-file-task", {"filename": name, "task_type": "file_processing"})
    _until(lambda: client.task(submitted["task_id"])["status"] in FINAL)
    record = client.task(submitted["task_id"])
    assert record["status"] == "succeeded", record


@pytest.mark.parametrize(
    ("service", "kill"),
    # Not a killed worker: what Google's emulator has sent to a stream whose client died it never sends again. That a
    # killed worker loses nothing is tested on an emulator that does (tests/kit/e2e/test_kill.py).
    [("gcs", True), ("api", True), ("dead-letters", True), ("worker-default", False)],
)
def test_a_container_that_restarts_in_the_middle_of_200_tasks_loses_none(
    stack: Compose, client: Client, *, service: str, kill: bool
) -> None:
    bodies = [
        {"task_type": "sample.slow", "queue": "default", "payload": {"duration_s": 0.2 + number / 10_000}}
        for number in range(TASKS)
    ]
    ids = [entry["task_id"] for entry in client.submit("/tasks:batch", {"tasks": bodies})["tasks"]]
    _until(lambda: client.finished(ids[TASKS // 8]))
    stack.restart(service, kill=kill)
    _until(lambda: all(client.task(task_id)["status"] in FINAL for task_id in ids))
    records = [client.task(task_id) for task_id in ids]
    assert {record["status"] for record in records} == {"succeeded"}
    made = [[attempt["outcome"] for attempt in record["attempts"]].count("succeeded") for record in records]
    assert set(made) == {1}
    for record, body in zip(records, bodies, strict=True):
        assert record["result"]["value"] == body["payload"]["duration_s"]  # type: ignore[index]


def test_containers_stop_in_an_orderly_way_within_seconds(stack: Compose) -> None:
    for container in engine.containers(_project(stack)):
        if container.state != "running" or container.service == "pubsub":
            continue
        started = time.monotonic()
        docker("stop", "--time", "30", container.id)
        took_s = time.monotonic() - started
        (entry,) = json.loads(docker("inspect", container.id))
        # Not killed (137): told by SIGTERM, which reached the program itself. The bound is for a machine that is busy.
        assert entry["State"]["ExitCode"] != 137, container.service
        assert took_s < 8, container.service
        docker("start", container.id)


def test_a_restarted_pubsub_has_its_topology_again_and_tasks_run(stack: Compose, client: Client) -> None:
    stack.restart("pubsub", kill=True)
    assert {entry.state for entry in stack.status()} == {ServiceState.READY}
    submitted = client.submit("/tasks", {"task_type": "sample.echo", "payload": {"value": 1}})
    _until(lambda: client.finished(submitted["task_id"]))


def test_more_workers_can_be_had_and_sent_home(stack: Compose) -> None:
    stack.scale("worker-default", 2)
    assert _count(stack, "worker-default") == 2
    stack.scale("worker-default", 1)
    assert _count(stack, "worker-default") == 1


def _count(stack: Compose, service: str) -> int:
    return sum(container.service == service for container in engine.containers(_project(stack)))


def _project(stack: Compose) -> str:
    return str(stack._live().details["project"])


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)
