"""Files that start tasks, on an embedded stack: storage's own events, real workers, the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from poolhouse.client.client import Client
from poolhouse.commands.tasks import calls
from poolhouse.commands.terminal import Terminal
from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from tests.kit.waiting import until

PIPELINE = """
name = "told"

[queues.default]
[queues.bulk]

[triggers.tables]
prefix = "uploads/in/"
suffix = ".csv"
task_type = "sample.echo"
field = "value"

[triggers.images]
prefix = "uploads/img/"
task_type = "sample.echo"
field = "value"
queue = "bulk"
"""


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    folder = tmp_path_factory.mktemp("triggers")
    file = folder / "pipeline.toml"
    file.write_text(PIPELINE)
    backend = Embedded(folder)
    options = UpOptions(api_port=ports.choose(), timeout_s=120, attached=True, environment={"PIPELINE_FILE": str(file)})
    try:
        yield backend.up(options, lambda _: None)
    finally:
        backend.down()


@pytest.fixture
def client(endpoints: Endpoints) -> Iterator[Client]:
    with Client(endpoints.api_url) as client:
        yield client


def started(client: Client) -> dict[tuple[str, str], str]:
    """Status of each task, by queue and the file that it was told of."""
    found = {}
    for task in client.get("/tasks?page_size=100")["tasks"]:
        record = client.get(f"/tasks/{task['task_id']}")
        found[record["queue"], record["payload"]["value"]] = record["status"]
    return found


def test_each_upload_starts_the_task_of_its_trigger_once(client: Client, tmp_path: Path) -> None:
    for name in ("in/a.csv", "in/deep/b.csv", "in/c.txt", "img/d.png", "elsewhere/e.csv"):
        client.files.upload(name, b"a,b\n1,2\n")
    wanted = {("default", "in/a.csv"), ("default", "in/deep/b.csv"), ("bulk", "img/d.png")}
    until(
        lambda: {key for key, status in started(client).items() if status == "succeeded"} >= wanted,
        "the three tasks have succeeded",
    )
    # All of them once more, by hand: each version has had its task.
    before = client.get("/tasks?page_size=100")["tasks"]
    for name in ("tables", "images"):
        assert calls.trigger(client, "backfill", [name], terminal=Terminal()) == 0
    client.files.upload("in/last.csv", b"")
    until(lambda: started(client).get(("default", "in/last.csv")) == "succeeded", "the last task has succeeded")
    after = client.get("/tasks?page_size=100")["tasks"]
    assert len(after) == len(before) + 1
    for task in after:
        assert len(client.get(f"/tasks/{task['task_id']}")["attempts"]) == 1
    assert set(started(client)) == wanted | {("default", "in/last.csv")}
    counts = {name: client.get(f"/tasks?trigger={name}&count=true")["total"] for name in ("tables", "images")}
    assert counts == {"tables": 3, "images": 1}
    assert client.get("/dead-letters")["dead_letters"] == []


def test_a_file_that_is_written_again_starts_its_task_again(client: Client) -> None:
    def runs() -> int:
        tasks = client.get("/tasks?page_size=100")["tasks"]
        records = [client.get(f"/tasks/{task['task_id']}") for task in tasks]
        return sum(record["payload"]["value"] == "in/again.csv" for record in records)

    client.files.upload("in/again.csv", b"1")
    until(lambda: runs() == 1, "the first version has started its task")
    client.files.upload("in/again.csv", b"2")
    until(lambda: runs() == 2, "the second version has started its task")


def test_the_triggers_are_listed(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert calls.trigger(client, "list", terminal=Terminal()) == 0
    assert "uploads/in/*.csv" in capsys.readouterr().out
