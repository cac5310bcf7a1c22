from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local import backends, state
from poolhouse.local.backend import Endpoints, ServiceState, UpOptions
from poolhouse.local.compose import backend as compose
from poolhouse.local.compose import engine
from poolhouse.local.compose import plan as compose_plan
from poolhouse.local.compose import status as compose_status
from poolhouse.local.compose.engine import EngineError
from poolhouse.local.errors import NoStack, StackError
from poolhouse.local.processes import ports
from poolhouse.local.processes.identity import ProcessId
from poolhouse.local.state import StackState
from poolhouse.pipeline.errors import ConfigError

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
def test_the_state_of_a_container_is_shown_in_the_terms_of_the_stack(
    state: dict[str, Any], expected: ServiceState
) -> None:
    container = _container(**state)
    status = compose_status.status(container, "worker-default-1", now=NOW, healthy=container.ready)
    assert status.state is expected
    assert (status.service, status.restarts) == ("worker", 2)


def test_uptime_is_that_of_the_container() -> None:
    assert compose_status.status(_container(), "x", now=NOW, healthy=True).uptime_s == 60


def test_a_check_that_passes_counts_before_the_engine_has_looked() -> None:
    starting = _container(Health={"Status": "starting"})
    assert compose_status.status(starting, "x", now=NOW, healthy=True).state is ServiceState.READY


@pytest.mark.parametrize(
    ("changed", "last_exit", "told"),
    [
        ({}, None, None),  # it runs again, and the engine does not remember what was: its own 0 is no exit code
        ({}, 137, "exit code 137 (SIGKILL)"),
        ({}, 1, "exit code 1"),
        ({"Status": "exited", "ExitCode": 143}, None, "exit code 143 (SIGTERM)"),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, None, "out of memory"),
        ({"Status": "exited", "ExitCode": 255}, None, "exit code 255"),
        ({"Status": "created", "Pid": 0}, None, None),
    ],
)
def test_how_a_container_last_ended_is_shown_or_left_out(
    changed: dict[str, Any], last_exit: int | None, told: str | None
) -> None:
    status = compose_status.status(_container(**changed), "x", now=NOW, healthy=False, last_exit=last_exit)
    assert status.last_exit == told


def test_a_service_lacks_what_was_killed_removed_or_never_there() -> None:
    running, ended = _container(), _container(Status="exited")
    assert compose_status.lacking({"worker-default": 1, "api": 1, "worker-bulk": 0}, [running]) == ("api",)
    assert compose_status.lacking({"worker-default": 2}, [running, ended]) == ("worker-default",)
    assert compose_status.lacking({"worker-default": 1}, [_container(Status="restarting")]) == ()
    (gone,) = compose_status.gone(["worker-bulk"])
    assert (gone.state, gone.service, gone.instance) == (ServiceState.STOPPED, "worker", "worker-bulk")


@pytest.mark.parametrize(
    ("service", "word"),
    [("gcs", "storage"), ("worker-bulk", "worker"), ("dead-letters", "worker"), ("api", "api"), ("pubsub", "pubsub")],
)
def test_compose_services_have_the_common_words_of_the_backends(service: str, word: str) -> None:
    assert compose_status.word(service) == word


def test_without_a_usable_engine_processes_are_taken_and_the_reason_is_reported(
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


def test_a_missing_docker_command_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


def test_a_failing_docker_command_is_reported_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_docker(tmp_path, monkeypatch, "echo 'write /x: no space left on device' >&2; exit 1")
    with pytest.raises(EngineError, match="the disk of the Docker engine is full"):
        engine.docker("pull", "x")


def test_an_engine_that_hangs_counts_as_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_docker(tmp_path, monkeypatch, "exec sleep 30")
    with pytest.raises(EngineError, match="docker version did not end in 0 s"):
        engine.docker("version", timeout_s=0.2)


def test_settings_for_other_compose_projects_do_not_reach_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_ANSI", "BUILDX_BUILDER", "DOCKER_DEFAULT_PLATFORM")
    for name in (*names, "COMPOSE_IGNORE_ORPHANS"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("DOCKER_HOST", "unix:///x")
    shown = "".join(f"[${name}]" for name in names)
    _fake_docker(tmp_path, monkeypatch, f'echo "{shown}$COMPOSE_IGNORE_ORPHANS $DOCKER_HOST $API_PORT"')
    assert engine.docker("x", environment={"API_PORT": "1"}) == f"{'[]' * len(names)}false unix:///x 1\n"


@pytest.mark.parametrize(("quota", "most"), [("true", 2.0), ("false", 0.0)])
def test_a_rootless_engine_that_can_not_limit_processors_is_asked_to_limit_none(
    quota: str, most: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _fake_docker(tmp_path, monkeypatch, f"""echo '{{"NCPU": 2, "CpuCfsQuota": {quota}}}'""")
    assert engine.most_cpus() == most


def test_no_stack_is_said_where_none_is_up(tmp_path: Path) -> None:
    backend = compose.Compose(tmp_path)
    assert backend.down() is False
    with pytest.raises(NoStack):
        backend.status()


ENDPOINTS = Endpoints(
    api_url="http://127.0.0.1:28080",
    pubsub_host="127.0.0.1:28085",
    storage_url="http://127.0.0.1:28443",
    project="p",
    bucket="bucket",
)


def _recorded(**changed: Any) -> StackState:
    details = {
        "project": "poolhouse-x",
        "volumes": False,
        "environment": {},
        "pubsub": "poolhouse",
        "overlay": True,
        "services": {"api": 1, "worker-default": 1},
        "pipeline_file": None,
    }
    return StackState(backend="compose", endpoints=ENDPOINTS, ready=True, details={**details, **changed})


def _engine_with(monkeypatch: pytest.MonkeyPatch, *services: str) -> None:
    listed = [
        {
            **INSPECTED,
            "Id": name,
            "Name": f"/poolhouse-x-{name}-1",
            "Config": {"Image": "x", "Labels": {"com.docker.compose.service": name}},
        }
        for name in services
    ]
    monkeypatch.setattr(engine, "containers", lambda project: engine.parse(listed))
    monkeypatch.setattr(engine, "last_exits", lambda project: {})


def test_a_recorded_stack_whose_containers_are_gone_is_not_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state.write(tmp_path, _recorded())
    _engine_with(monkeypatch, "api")
    backend = compose.Compose(tmp_path)
    assert (backend.missing() or "").startswith("worker-default, ")
    states = {entry.instance: entry.state for entry in backend.status()}
    assert states == {"api-1": ServiceState.READY, "worker-default": ServiceState.STOPPED}


def test_a_queue_that_was_declared_since_is_missing_its_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipeline_file = tmp_path / "pipeline.toml"
    pipeline_file.write_text("[queues.default]\n")
    state.write(tmp_path, _recorded(pipeline_file=str(pipeline_file)))
    _engine_with(monkeypatch, "api", "worker-default")
    assert compose.Compose(tmp_path).missing() is None
    pipeline_file.write_text("[queues.default]\n[queues.fresh]\n")
    assert compose.Compose(tmp_path).missing() == "worker-fresh does not run"


def test_a_stack_that_is_brought_back_has_as_many_workers_as_scale_gave_it(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text("[queues.default]\n[queues.fresh]\n")
    before = _recorded(services={"worker-default": 3, "worker-bulk": 1})
    kept = compose_plan.expected(1, pipeline_file=str(file), before=before)
    assert (kept["worker-default"], kept["worker-fresh"], kept["worker-bulk"], kept["api"]) == (3, 1, 0, 1)
    asked = compose_plan.expected(2, pipeline_file=str(file), before=before)
    assert (asked["worker-default"], asked["worker-fresh"]) == (2, 2)


def test_an_up_that_was_killed_leaves_a_state_that_the_next_command_does_not_wait_for(tmp_path: Path) -> None:
    gone = ProcessId(2**22 + 1, 0.0)
    state.write(tmp_path, StackState(**{**vars(_recorded()), "ready": False, "supervisor": gone}))
    assert backends.look(tmp_path) is None
    assert backends.last(tmp_path).name == "compose"  # for `down`


def test_what_was_up_keeps_its_ports_and_settings_choose_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_PORT", "PUBSUB_PORT", "STORAGE_PORT", "GOOGLE_CLOUD_PROJECT", "BUCKET_NAME"):
        monkeypatch.delenv(name, raising=False)
    kept = compose_plan.endpoints(UpOptions(), _recorded())
    assert (kept.api_url, kept.pubsub_host) == (ENDPOINTS.api_url, ENDPOINTS.pubsub_host)
    free = ports.choose()
    monkeypatch.setenv("API_PORT", str(free))
    monkeypatch.setenv("BUCKET_NAME", "my-bucket")
    chosen = compose_plan.endpoints(UpOptions(), _recorded())
    assert (chosen.api_url, chosen.bucket) == (f"http://127.0.0.1:{free}", "my-bucket")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("API_PORT", "70000", "70000 is no port for the API"),
        ("PUBSUB_PORT", "http", "PUBSUB_PORT=http is no port"),
        ("BUCKET_NAME", "My Bucket", "BUCKET_NAME: "),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: "),
    ],
)
def test_a_setting_that_is_wrong_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=told):
        compose_plan.endpoints(UpOptions(), None)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("worker-default-1", ("worker-default",)),
        ("worker-default", ("worker-default",)),
        ("worker", ("worker-default", "dead-letters")),
        ("storage", ("gcs",)),
        ("gcs-1", ("gcs",)),
    ],
)
def test_every_name_that_status_prints_is_understood(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: str, chosen: tuple[str, ...]
) -> None:
    state.write(tmp_path, _recorded(services=dict.fromkeys(("api", "gcs", "worker-default", "dead-letters"), 1)))
    _engine_with(monkeypatch, "api")
    command = compose.Compose(tmp_path).log_command(asked, follow=False, lines=5)
    assert command is not None
    assert tuple(command[command.index("5") + 1 :]) == chosen


def test_a_name_of_no_service_is_refused_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state.write(tmp_path, _recorded())
    _engine_with(monkeypatch, "api")
    with pytest.raises(ConfigError, match=r"no service 'wroker' \(there are: api, worker, worker-default\)"):
        compose.Compose(tmp_path).log_command("wroker", follow=False, lines=5)


def test_a_compose_that_is_missing_is_the_reason_whatever_docker_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _fake_docker(
        tmp_path, monkeypatch, "[ $1 = compose ] || { echo '{}'; exit 0; }; echo 'Run docker --help' >&2; exit 1"
    )
    with pytest.raises(EngineError, match="Docker Compose is not installed"):
        engine.probe()
