"""The whole pipeline in containers, on our Pub/Sub emulator and on Google's."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from starlette.testclient import TestClient

from poolhouse.client.event_stream import FINAL
from poolhouse.local.backend import ServiceState, UpOptions
from poolhouse.local.compose import emulator, engine, project
from poolhouse.local.compose.backend import Compose
from poolhouse.local.compose.engine import docker
from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import LocalStack
from poolhouse.local.e2e import main
from poolhouse.local.e2e.client import Client
from poolhouse.local.logs import of_containers
from poolhouse.local.processes import ports
from tests.kit.engine import require_engine
from tests.kit.waiting import until

pytestmark = [pytest.mark.xdist_group("compose"), pytest.mark.slow]

TASKS = 200
TIMEOUT_S = 120


@pytest.fixture(scope="module", params=emulator.WORDS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    require_engine()
    backend = Compose(tmp_path_factory.mktemp("compose"))
    options = UpOptions(attached=True, api_port=ports.choose(), timeout_s=180, pubsub=request.param)
    backend.up(options, lambda _: None)
    try:
        yield backend
    finally:
        backend.down()


@pytest.fixture
def ours(stack: Compose) -> Compose:
    """The stack, where it is ours that loses nothing."""
    if not _keeps(stack):
        pytest.skip("Google's emulator does not send again what a killed worker held, and keeps nothing")
    return stack


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
    assert len(ids) == 10  # the gateway, and the one that made the topology, too
    for entry in json.loads(docker("inspect", *ids)):
        host = entry["HostConfig"]
        assert host["ReadonlyRootfs"], entry["Name"]
        assert host["CapDrop"] == ["ALL"], entry["Name"]
        assert host["Memory"] > 0, entry["Name"]
        assert host["PidsLimit"] > 0, entry["Name"]
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, entry["Name"]
        bindings = [entry for entries in (host["PortBindings"] or {}).values() for entry in entries]
        assert all(binding["HostIp"] == "127.0.0.1" for binding in bindings), entry["Name"]
        if entry["State"]["Running"]:
            # The processes themselves, not what the image says.
            users = docker("top", entry["Id"], "-eo", "pid,uid").split()[3::2]
            assert set(users) == {"65532"}, entry["Name"]


def test_the_console_shows_the_containers_and_their_logs(stack: Compose, tmp_path: Path) -> None:
    with TestClient(create_app(LocalStack(lambda: stack, state_dir=tmp_path)), base_url="http://127.0.0.1") as browser:
        overview = browser.get("/").text
        assert "worker-bulk-1" in overview
        assert ("does not report its backlog" in overview) == (not _keeps(stack))
        emulator = browser.get("/emulator").text
        assert (f"http://{stack.endpoints().pubsub_host}/ui" in emulator) == _keeps(stack)
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
    until(lambda: client.task(submitted["task_id"])["status"] in FINAL, timeout_s=TIMEOUT_S)
    record = client.task(submitted["task_id"])
    assert record["status"] == "succeeded", record


@pytest.mark.parametrize(
    ("service", "kill"),
    [("gcs", True), ("api", True), ("dead-letters", True), ("worker-default", False)],
)
def test_a_container_that_restarts_in_the_middle_of_200_tasks_loses_none(
    stack: Compose, client: Client, *, service: str, kill: bool
) -> None:
    _all_once(stack, client, service, kill=kill)


# What Google's emulator has sent to a stream whose client died it never sends again.
@pytest.mark.parametrize("service", ["worker-default", "pubsub"])
def test_a_killed_worker_or_emulator_loses_no_task(ours: Compose, client: Client, service: str) -> None:
    _all_once(ours, client, service, kill=True)


def _all_once(stack: Compose, client: Client, service: str, *, kill: bool) -> None:
    """Submit tasks, restart a service in the middle of them, and see each task succeed, one time."""
    bodies = [
        {"task_type": "sample.slow", "queue": "default", "payload": {"duration_s": 0.2 + number / 10_000}}
        for number in range(TASKS)
    ]
    ids = [entry["task_id"] for entry in client.submit("/tasks:batch", {"tasks": bodies})["tasks"]]
    until(lambda: client.finished(ids[TASKS // 8]), timeout_s=TIMEOUT_S)
    stack.restart(service, kill=kill)
    until(lambda: all(client.task(task_id)["status"] in FINAL for task_id in ids), timeout_s=TIMEOUT_S)
    records = [client.task(task_id) for task_id in ids]
    assert {record["status"] for record in records} == {"succeeded"}
    made = [[attempt["outcome"] for attempt in record["attempts"]].count("succeeded") for record in records]
    assert set(made) == {1}
    for record, body in zip(records, bodies, strict=True):
        assert record["result"]["value"] == body["payload"]["duration_s"]  # type: ignore[index]


def test_what_was_killed_or_removed_is_seen_and_brought_back(stack: Compose) -> None:
    worker, api = (_container(stack, name) for name in ("worker-bulk", "api"))
    docker("rm", "--force", worker.id)
    docker("kill", api.id)  # not started again by the engine: it was told to end it
    assert stack.missing() == "api, worker-bulk does not run"
    told = {entry.instance: entry.state for entry in stack.status()}
    assert {name for name, how in told.items() if how is not ServiceState.READY} == {"api-1", "worker-bulk"}
    endpoints = stack.endpoints()
    said: list[str] = []
    # The same emulator again: nothing has to be said of it.
    assert stack.up(UpOptions(attached=True), said.append) == endpoints
    assert any("Google's emulator." in line for line in said) == (not _keeps(stack))
    assert stack.missing() is None
    assert {entry.state for entry in stack.status()} == {ServiceState.READY}


def test_containers_stop_in_an_orderly_way_within_seconds(stack: Compose) -> None:
    for container in engine.containers(_project(stack)):
        if container.state != "running" or (container.service == "pubsub" and not _keeps(stack)):
            continue
        # One that waits out its grace period does so each time; a machine that is busy is not always.
        assert any(_stop_s(container) < 8 for _ in range(3)), container.service


def _stop_s(container: engine.Container) -> float:
    """How long a container takes to stop, in seconds; it is started again."""
    started = time.monotonic()
    docker("stop", "--time", "30", container.id)
    took_s = time.monotonic() - started
    (entry,) = json.loads(docker("inspect", container.id))
    docker("start", container.id)
    # Not killed (137): told by SIGTERM, which reached the program itself.
    assert entry["State"]["ExitCode"] != 137, container.service
    return took_s


def test_a_restarted_pubsub_has_its_topology_again_and_tasks_run(stack: Compose, client: Client) -> None:
    stack.restart("pubsub", kill=True)
    assert {entry.state for entry in stack.status()} == {ServiceState.READY}
    submitted = client.submit("/tasks", {"task_type": "sample.echo", "payload": {"value": 1}})
    until(lambda: client.finished(submitted["task_id"]), timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("instances", [2, 0, 1])
def test_more_workers_can_be_had_fewer_and_none(stack: Compose, instances: int) -> None:
    stack.scale("worker-default", instances)
    assert _count(stack, "worker-default") == instances
    assert stack.missing() is None


def test_logs_are_labelled_by_the_names_that_status_prints(stack: Compose) -> None:
    for entry in stack.status():
        command = stack.log_command(entry.instance, follow=False, lines=3)
        assert command is not None
        written = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert {name for name, _ in of_containers(written, entry.instance)} <= {entry.instance}


def test_a_handlers_own_variables_reach_the_containers_and_their_spans_the_console(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_engine()
    monkeypatch.setenv("GREETING", 'it\'s $5 {for} "you"')
    monkeypatch.setenv("TRACES_EXPORTER", "file")
    backend = Compose(tmp_path)
    backend.up(UpOptions(attached=True, api_port=ports.choose(), timeout_s=180), lambda _: None)
    client = Client(backend.endpoints())
    try:
        for service in ("api", "worker-bulk", "scheduler"):
            assert _container(backend, service).environment["GREETING"] == 'it\'s $5 {for} "you"'
            assert "PYTHONPATH" not in _container(backend, service).environment
        task_id = client.submit("/tasks", {"task_type": "sample.echo", "payload": {"value": 1}})["task_id"]
        console = create_app(LocalStack(lambda: backend, state_dir=tmp_path))
        with TestClient(console, base_url="http://127.0.0.1") as browser:
            spans = ("POST /tasks", "run sample.echo")  # of API and worker, each of which writes its own
            until(lambda: all(span in browser.get(f"/tasks/{task_id}").text for span in spans), timeout_s=TIMEOUT_S)
    finally:
        client.close()
        assert backend.down(volumes=True)
    assert not engine.containers(project.name(tmp_path, attached=True))


def _count(stack: Compose, service: str) -> int:
    return sum(container.service == service for container in engine.containers(_project(stack)))


def _project(stack: Compose) -> str:
    return str(stack._live().details["project"])


def _keeps(stack: Compose) -> bool:
    return _pubsub(stack) == emulator.POOLHOUSE


def _pubsub(stack: Compose) -> str:
    return str(stack._live().details["pubsub"])


def _container(stack: Compose, service: str) -> engine.Container:
    (found,) = (entry for entry in engine.containers(_project(stack)) if entry.service == service)
    return found
