"""The service as a process: on the emulators through Google's own clients, over real connections."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.cloud import pubsub_v1

from poolhouse.local.provision import declaration
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.exit_codes import USAGE
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.integration.api.conftest import ROOT, ApiProcess, Start, free_port, wait_for

TASK = {"task_type": "data_transformation", "dataset_size": 10, "transformation": "normalize"}


@pytest.fixture
def api(start_api: Start) -> ApiProcess:
    return start_api()


def pull(settings: Settings, queue: str, count: int) -> list[dict[str, Any]]:
    """The bodies of `count` messages of a queue."""
    found: list[dict[str, Any]] = []
    with pubsub_v1.SubscriberClient() as subscriber:
        path = subscriber.subscription_path(
            settings.google_cloud_project, settings.topology.by_name[queue].subscription
        )
        while len(found) < count:
            answer = subscriber.pull(subscription=path, max_messages=count, timeout=10)
            found += [json.loads(received.message.data) for received in answer.received_messages]
            subscriber.acknowledge(
                subscription=path, ack_ids=[received.ack_id for received in answer.received_messages]
            )
    return found


def test_submitted_tasks_are_in_their_queue(api: ApiProcess, poolhouse_settings: Settings) -> None:
    simple = requests.post(f"{api.url}/submit-task", json=TASK, timeout=10).json()
    batch = requests.post(
        f"{api.url}/tasks:batch",
        json={
            "tasks": [
                {"task_type": "data_transformation", "payload": {"dataset_size": n, "transformation": "normalize"}}
                for n in range(1, 101)
            ]
        },
        timeout=10,
    ).json()

    bodies = pull(poolhouse_settings, "default", 101)
    assert batch["submitted"] == 100
    assert {body["task_id"] for body in bodies} == {simple["task_id"], *(task["task_id"] for task in batch["tasks"])}
    assert requests.get(f"{api.url}/tasks/{simple['task_id']}", timeout=10).json()["status"] == "queued"


def test_an_upload_goes_straight_to_storage(api: ApiProcess, poolhouse_settings: Settings, fake_gcs: Any) -> None:
    data = b"a,b\n1,2\n" * 1000
    upload = requests.post(
        f"{api.url}/files", json={"name": "tables/ü 1.csv", "content_type": "text/csv"}, timeout=10
    ).json()

    sent = requests.request(upload["method"], upload["upload_url"], headers=upload["headers"], data=data, timeout=10)

    assert sent.ok, sent.text
    assert fake_gcs.download(poolhouse_settings.bucket_name, upload["object"]) == data


def test_eight_calls_with_one_key_submit_one_task(api: ApiProcess, poolhouse_settings: Settings) -> None:
    body = {"task_type": "data_transformation", "payload": {"dataset_size": 1, "transformation": "normalize"}}
    gate = threading.Barrier(8)

    def call() -> str:
        gate.wait()
        answer = requests.post(f"{api.url}/tasks", json=body, headers={"Idempotency-Key": "one"}, timeout=20)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    with ThreadPoolExecutor(8) as pool:
        ids = {future.result() for future in [pool.submit(call) for _ in range(8)]}
    requests.post(f"{api.url}/submit-task", json=TASK, timeout=10)

    assert len(ids) == 1
    assert len(pull(poolhouse_settings, "default", 2)) == 2


def test_metrics_that_can_not_be_served_end_the_service_with_one_message(api: ApiProcess) -> None:
    environment = {**os.environ, "METRICS_EXPORTER": "prometheus", "METRICS_HOST": "203.0.113.1"}
    ended = subprocess.run(
        [sys.executable, "-m", "poolhouse.api", "--port", "0"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == USAGE, said
    assert "metrics can't be served at 203.0.113.1:9464" in said
    assert "Traceback" not in said


def test_a_cancelled_task_reads_cancelled(api: ApiProcess) -> None:
    task_id = requests.post(f"{api.url}/submit-task", json=TASK, timeout=10).json()["task_id"]

    assert requests.post(f"{api.url}/tasks/{task_id}:cancel", timeout=10).json()["status"] == "cancelled"
    assert requests.get(f"{api.url}/tasks/{task_id}", timeout=10).json()["status"] == "cancelled"
    listed = requests.get(f"{api.url}/tasks?status=cancelled", timeout=10).json()["tasks"]
    assert [task["task_id"] for task in listed] == [task_id]


@pytest.mark.usefixtures("poolhouse_emulator")  # Google's has no such call
def test_the_emulator_reports_the_backlog(start_api: Start) -> None:
    api = start_api(BACKLOG_SOURCE="emulator")
    for _ in range(3):
        requests.post(f"{api.url}/submit-task?queue=bulk", json=TASK, timeout=10).raise_for_status()

    figures = {queue["name"]: queue for queue in requests.get(f"{api.url}/queues", timeout=10).json()["queues"]}

    assert (figures["bulk"]["backlog"], figures["bulk"]["in_flight"]) == (3, 0)
    assert figures["bulk"]["oldest_age_s"] > 0
    assert figures["urgent"]["backlog"] == 0


def test_a_body_over_the_limit_is_refused_in_chunks_too_and_the_answer_arrives(api: ApiProcess) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"task_type": "data_transformation", "value": "'
        for _ in range(210):
            yield b"x" * 100_000

    headers = {"Content-Type": "application/json"}
    chunked = requests.post(f"{api.url}/submit-task", data=chunks(), headers=headers, timeout=20)
    declared = requests.post(f"{api.url}/submit-task", data=b"x" * 21_000_000, headers=headers, timeout=20)

    assert (chunked.status_code, declared.status_code) == (413, 413)
    assert chunked.json()["status"] == 413


def test_the_log_is_one_json_object_a_line(api: ApiProcess) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    requests.post(
        f"{api.url}/submit-task", json=TASK, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}, timeout=10
    )
    wait_for(lambda: any(trace in line for line in api.log))

    lines = [json.loads(line) for line in api.log]
    [line] = [line for line in lines if line.get("logging.googleapis.com/trace", "").endswith(trace)]
    assert (line["message"], line["severity"], line["path"], line["status"]) == ("request", "INFO", "/submit-task", 200)


class TestStopping:
    def test_an_idle_service_stops_when_asked_to(self, api: ApiProcess) -> None:
        assert api.stop() == 0

    def test_event_streams_end_when_the_service_stops(self, api: ApiProcess) -> None:
        task_id = requests.post(f"{api.url}/submit-task", json=TASK, timeout=10).json()["task_id"]
        with requests.get(f"{api.url}/tasks/{task_id}/events", stream=True, timeout=10) as stream:
            lines = stream.iter_lines()
            assert b"event: status" in (next(lines), next(lines), next(lines), next(lines))

            assert api.stop() == 0
            list(lines)  # ends, and does not break off


class TestStarting:
    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "poolhouse.api", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_a_port_in_use_is_one_line_and_exit_code_2(self, poolhouse_environment: Mapping[str, str]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            ended = self.run("--port", str(port), **poolhouse_environment)

        assert ended.returncode == 2
        assert f"127.0.0.1:{port}" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1

    def test_a_wrong_environment_names_the_variable(self, poolhouse_environment: Mapping[str, str]) -> None:
        ended = self.run(**{**poolhouse_environment, "GOOGLE_CLOUD_PROJECT": ""})

        assert ended.returncode == 2
        assert "GOOGLE_CLOUD_PROJECT" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_handlers_that_can_not_be_imported_are_named(self, poolhouse_environment: Mapping[str, str]) -> None:
        ended = self.run(**{**poolhouse_environment, "TASK_HANDLERS": "no.such.module"})

        assert ended.returncode == 2
        assert "no.such.module" in ended.stderr

    @pytest.mark.parametrize("port", ["http", "-1", "65536"])
    def test_a_port_that_is_none_is_refused(self, port: str) -> None:
        assert self.run(f"--port={port}").returncode == 2


class TestOutages:
    def test_a_queue_that_is_down_is_503_and_works_again_when_it_is_back(
        self, start_api: Start, poolhouse_settings: Settings
    ) -> None:
        port = free_port()
        declared: dict[str, Any] = {
            "topology": declaration(poolhouse_settings.topology, project=poolhouse_settings.google_cloud_project),
            "project": poolhouse_settings.google_cloud_project,
            "port": port,
        }
        with EmulatorServer(**declared):
            api = start_api(PUBSUB_EMULATOR_HOST=f"127.0.0.1:{port}", PUBLISH_TIMEOUT_S="1")
            assert requests.post(f"{api.url}/submit-task", json=TASK, timeout=10).status_code == 200
        answers = [requests.post(f"{api.url}/submit-task", json=TASK, timeout=10) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert all("retry-after" in answer.headers for answer in answers)
        assert requests.get(f"{api.url}/health", timeout=10).ok
        assert requests.get(f"{api.url}/ready", timeout=10).status_code == 503
        with EmulatorServer(**declared):
            wait_for(
                lambda: requests.post(f"{api.url}/submit-task", json=TASK, timeout=10).status_code == 200, timeout_s=5
            )

    def test_a_bucket_that_is_down_stops_no_plain_submit(self, start_api: Start) -> None:
        api = start_api(ready=False, STORAGE_EMULATOR_HOST=f"http://127.0.0.1:{free_port()}", STORAGE_TIMEOUT_S="0.5")

        answers = [
            requests.get(f"{api.url}/tasks/x", timeout=10),
            requests.post(f"{api.url}/files", json={"name": "a.csv"}, timeout=10),
            requests.post(f"{api.url}/submit-task", json=TASK, timeout=10),  # the deployment's key is not known yet
        ]

        assert [answer.status_code for answer in answers] == [503, 503, 503]

    def test_a_bucket_that_does_not_exist_is_503_and_says_so(self, start_api: Start) -> None:
        api = start_api(ready=False, BUCKET_NAME="no-such-bucket")

        answer = requests.post(f"{api.url}/submit-task", json=TASK, timeout=10)

        assert answer.status_code == 503
        assert answer.json()["error"] == "the bucket is not there: bring the stack up (invoke up or deploy)"
