from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local import backends
from poolhouse.local.backend import ServiceState
from poolhouse.local.compose import backend as compose
from poolhouse.local.compose import engine
from poolhouse.local.compose.engine import EngineError
from poolhouse.local.errors import NoStack, StackError

INSPECTED: dict[str, Any] = {
    "Id": "abc",
    "Name": "/poolhouse-worker-default-1",
    "RestartCount": 2,
    "Config": {"Image": "poolhouse:local", "Labels": {"com.docker.compose.service": "worker-default"}},
    "State": {
        "Status": "running",
        "Pid": 42,
        "ExitCode": 0,
        "StartedAt": "2026-11-24T21:40:05.865548123Z",
        "Health": {"Status": "healthy"},
    },
    "NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "28080"}], "9/tcp": None}},
}
NOW = datetime(2026, 11, 24, 21, 41, 5, tzinfo=UTC)


def _container(**state: Any) -> engine.Container:
    (made,) = engine.parse([{**INSPECTED, "State": {**INSPECTED["State"], **state}}])
    return made


def test_a_container_is_read_from_what_inspect_prints() -> None:
    container = _container()
    assert (container.service, container.name, container.pid) == ("worker-default", "poolhouse-worker-default-1", 42)
    assert container.ports == {8080: 28080}
    assert container.started_at == datetime(2026, 11, 24, 21, 40, 5, tzinfo=UTC)
    assert container.ready


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, ServiceState.READY),
        ({"Health": {"Status": "starting"}}, ServiceState.STARTING),
        ({"Health": {"Status": "unhealthy"}}, ServiceState.STARTING),
        ({"Health": None}, ServiceState.READY),
        ({"Status": "created", "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}, ServiceState.STARTING),
        ({"Status": "restarting", "ExitCode": 2}, ServiceState.BACKOFF),
        ({"Status": "exited", "ExitCode": 137}, ServiceState.STOPPED),
    ],
)
def test_the_state_of_a_container_is_told_in_the_words_of_the_stack(
    state: dict[str, Any], expected: ServiceState
) -> None:
    status = compose._status(_container(**state), "worker-default-1", now=NOW)
    assert status.state is expected
    assert (status.service, status.restarts) == ("worker", 2)


def test_uptime_is_that_of_the_container() -> None:
    assert compose._status(_container(), "x", now=NOW).uptime_s == 60


def test_the_containers_get_the_sample_handlers_and_the_settings_of_this_shell() -> None:
    own = {"LOG_LEVEL": "DEBUG", "GOOGLE_CLOUD_PROJECT": "production", "BUCKET_NAME": "production", "PATH": "/bin"}
    made = compose.override(pipeline=("api", "worker-x"), own=own, extra={"WORKER_GRACE_S": "2"})
    assert set(made["services"]) == {"api", "worker-x"}
    service = made["services"]["api"]
    assert service["environment"] == {
        "LOG_LEVEL": "DEBUG",
        "WORKER_GRACE_S": "2",
        "TASK_HANDLERS": "worker.handlers,poolhouse.worker.samples",
    }
    assert service["volumes"] == []


def test_another_pipeline_file_takes_the_place_of_the_images(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[queues.default]\n")
    made = compose.override(pipeline=("api",), own={}, extra={"PIPELINE_FILE": str(file)})
    mounted = {"type": "bind", "source": str(file), "target": "/app/pipeline.toml", "read_only": True}
    assert mounted in made["services"]["api"]["volumes"]
    assert mounted in made["services"]["setup"]["volumes"]
    assert "PIPELINE_FILE" not in made["services"]["api"]["environment"]


@pytest.mark.parametrize(
    ("service", "word"),
    [("gcs", "storage"), ("worker-bulk", "worker"), ("dead-letters", "worker"), ("api", "api"), ("pubsub", "pubsub")],
)
def test_compose_services_have_the_common_words_of_the_backends(service: str, word: str) -> None:
    assert compose.word(service) == word


def test_without_a_usable_engine_processes_are_taken_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def not_running() -> None:
        raise EngineError("the Docker engine is not running: start it")

    monkeypatch.setattr(engine, "probe", not_running)
    choice = backends.choose(None, state_dir=tmp_path)
    assert choice.backend.name == "embedded"
    assert choice.reason == "no containers: the Docker engine is not running: start it"


def test_images_that_can_not_be_had_mean_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "probe", lambda: None)
    monkeypatch.setattr(engine, "has_image", lambda name: "python" in name)
    monkeypatch.setattr(engine, "can_pull", lambda name: False)
    choice = backends.choose(None, state_dir=tmp_path)
    assert choice.backend.name == "embedded"
    assert "fake-gcs-server" in choice.reason
    assert "python" not in choice.reason


def test_containers_are_taken_where_engine_and_images_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "probe", lambda: None)
    monkeypatch.setattr(engine, "has_image", lambda name: False)
    monkeypatch.setattr(engine, "can_pull", lambda name: True)
    assert backends.choose(None, state_dir=tmp_path).backend.name == "compose"


def test_no_docker_command_is_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="there is no docker command: install Docker"):
        engine.docker("version")
    with pytest.raises(StackError, match="there is no docker command"):
        engine.probe()


def _fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    fake = tmp_path / "docker"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_a_failing_docker_command_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_docker(tmp_path, monkeypatch, "echo 'write /x: no space left on device' >&2; exit 1")
    with pytest.raises(EngineError, match="the disk of the Docker engine is full"):
        engine.docker("pull", "x")


def test_an_engine_that_hangs_counts_as_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_docker(tmp_path, monkeypatch, "exec sleep 30")
    with pytest.raises(EngineError, match="docker version did not end in 0 s"):
        engine.docker("version", timeout_s=0.2)


def test_settings_for_other_compose_projects_do_not_reach_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere.yml")
    _fake_docker(tmp_path, monkeypatch, 'echo "[$COMPOSE_FILE][$API_PORT]"')
    assert engine.docker("x", environment={"API_PORT": "1"}) == "[][1]\n"


def test_no_stack_is_said_where_none_is_up(tmp_path: Path) -> None:
    backend = compose.Compose(tmp_path)
    assert backend.down() is False
    with pytest.raises(NoStack):
        backend.status()
