"""The embedded stack as its users meet it: real processes, killed in every way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import requests

from poolhouse.commands.exit_code import exit_code
from poolhouse.commands.stack.logs import show_logs
from poolhouse.local import state
from poolhouse.local.backend import SERVICES, ServiceState, ServiceStatus, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.errors import StackError
from poolhouse.local.processes import ports
from poolhouse.local.processes.identity import ProcessId
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.pipeline.exit_codes import OK, USAGE
from poolhouse.project import ROOT
from tests.kit.integration.local import leaky_handlers
from tests.kit.waiting import until

TIMEOUT_S = 60


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Embedded]:
    backend = Embedded(tmp_path)
    yield backend
    backend.down()


def options(**more: object) -> UpOptions:
    return UpOptions(**{"api_port": ports.choose(), "timeout_s": 120, "attached": True, **more})  # type: ignore[arg-type]


def quiet(text: str) -> None:
    """Takes a line for people, and shows it to nobody."""


def processes_of(state_dir: Path) -> list[ProcessId]:
    """Supervisor, children, children's children, and the reaper."""
    found = state.read_live(state_dir)
    assert found is not None
    assert found.supervisor is not None
    supervisor = psutil.Process(found.supervisor.pid)
    return [ProcessId.of(process.pid) for process in (supervisor, *supervisor.children(recursive=True))]


def all_gone(processes: list[ProcessId]) -> bool:
    return not any(process.alive() for process in processes)


def data_folder(state_dir: Path) -> Path:
    found = state.read(state_dir)
    assert found is not None
    return Path(found.details["data"])


def worker(backend: Embedded) -> ServiceStatus:
    return next(entry for entry in backend.status() if entry.service == "worker")


def test_up_is_ready_when_it_returns_and_down_leaves_nothing_behind(backend: Embedded, tmp_path: Path) -> None:
    endpoints = backend.up(options(attached=False), quiet)
    assert requests.get(f"{endpoints.api_url}/ready", timeout=10).json()["status"] == "ready"
    assert {entry.service for entry in backend.status()} == set(SERVICES)
    assert all(entry.state is ServiceState.READY for entry in backend.status())
    processes, data = processes_of(tmp_path), data_folder(tmp_path)
    assert len(processes) >= 5
    assert backend.down()
    assert all_gone(processes)
    assert not data.exists()
    assert state.read(tmp_path) is None
    assert not backend.down()


def test_the_emulators_clock_brings_scheduled_tasks_to_their_time_and_each_runs_once(backend: Embedded) -> None:
    endpoints = backend.up(options(), quiet)
    body = {"task_type": "data_transformation", "payload": {"dataset_size": 10, "transformation": "normalize"}}

    def submit(delay_s: float) -> str:
        answer = requests.post(f"{endpoints.api_url}/tasks", json={**body, "delay_s": delay_s}, timeout=10)
        return str(answer.json()["task_id"])

    def status(task_id: str) -> str:
        return str(requests.get(f"{endpoints.api_url}/tasks/{task_id}", timeout=10).json()["status"])

    def advance(seconds: float) -> None:
        answer = requests.post(
            f"http://{endpoints.pubsub_host}/admin/clock/advance", json={"seconds": seconds}, timeout=10
        )
        answer.raise_for_status()

    in_pubsub, with_a_timer = submit(300), submit(3 * 3600)
    assert (status(in_pubsub), status(with_a_timer)) == ("scheduled", "scheduled")
    advance(301)
    until(lambda: status(in_pubsub) == "succeeded", "the task in Pub/Sub has run")
    assert status(with_a_timer) == "scheduled"
    advance(3 * 3600)
    until(lambda: status(with_a_timer) == "succeeded", "the task with a timer has run")
    for task_id in (in_pubsub, with_a_timer):
        assert len(requests.get(f"{endpoints.api_url}/tasks/{task_id}", timeout=10).json()["attempts"]) == 1


def test_a_pipeline_without_schedules_has_no_scheduler_and_its_gpus_are_said_to_be_missing(
    backend: Embedded, tmp_path: Path
) -> None:
    (tmp_path / "pipeline.toml").write_text('[queues.only.workers]\ngpu = "nvidia-l4"\ncpu = 4\nmemory_mib = 16384\n')
    said: list[str] = []
    backend.up(options(environment={"PIPELINE_FILE": str(tmp_path / "pipeline.toml")}), said.append)
    assert "GPUs are for Google Cloud alone: local workers run without, also those of only (nvidia-l4)" in said
    assert {entry.service for entry in backend.status()} == {"pubsub", "storage", "api", "worker"}


def test_a_mistake_in_the_pipelines_declaration_is_reported_before_anything_starts(
    backend: Embedded, tmp_path: Path
) -> None:
    (tmp_path / "pipeline.toml").write_text("[queues.only]\nspeed = 3\n")
    with pytest.raises(StackError, match=r"pipeline\.toml:2: queues\.only\.speed: unknown field"):
        backend.up(options(environment={"PIPELINE_FILE": str(tmp_path / "pipeline.toml")}), quiet)


def test_a_second_up_says_that_the_stack_is_up_and_starts_nothing(
    backend: Embedded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints = backend.up(options(), quiet)
    before = processes_of(tmp_path)
    done = subprocess.run(
        (sys.executable, "-m", "invoke", "up"),
        cwd=ROOT,
        env={**os.environ, "POOLHOUSE_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert "up already" in done.stdout
    assert endpoints.api_url in done.stdout
    with pytest.raises(StackError, match="another stack"):
        Embedded(tmp_path).up(options(), quiet)
    assert processes_of(tmp_path) == before


def test_a_killed_worker_starts_again_and_the_status_shows_it(backend: Embedded) -> None:
    backend.up(options(), quiet)
    first = worker(backend)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: worker(backend).restarts == 1 and worker(backend).state is ServiceState.READY, "worker ready again")
    assert worker(backend).pid != first.pid
    assert worker(backend).last_exit == "killed by SIGKILL"


def test_workers_are_scaled_up_and_down(backend: Embedded) -> None:
    backend.up(options(), quiet)
    backend.scale("worker", 2)
    pids = {entry.instance: entry.pid for entry in backend.status() if entry.service == "worker"}
    assert set(pids) == {"worker-1", "worker-2"}
    backend.scale("worker", 1)
    assert [entry.pid for entry in backend.status() if entry.service == "worker"] == [pids["worker-1"]]
    assert pids["worker-2"] is not None
    assert not psutil.pid_exists(pids["worker-2"])
    with pytest.raises(StackError, match="only workers"):
        backend.scale("api", 2)
    with pytest.raises(StackError, match="can't be restarted"):
        backend.restart("pubsub")


def test_a_killed_supervisor_takes_everything_with_it_and_its_state_is_stale(backend: Embedded, tmp_path: Path) -> None:
    backend.up(options(), quiet)
    processes, data = processes_of(tmp_path), data_folder(tmp_path)
    processes[0].signal(signal.SIGKILL)
    until(lambda: all_gone(processes), "all processes ended")
    until(lambda: not data.exists(), "the objects are removed")
    found = state.read(tmp_path)
    assert found is not None
    assert found.stale
    assert not backend.down()
    assert state.read(tmp_path) is None


def test_a_new_stack_starts_over_the_state_of_one_that_was_killed(backend: Embedded, tmp_path: Path) -> None:
    first = backend.up(options(), quiet)
    FakeGcs(first.storage_url).upload(first.bucket, "of the first", b"")
    processes = processes_of(tmp_path)
    processes[0].signal(signal.SIGKILL)
    until(lambda: all_gone(processes), "all processes ended")
    said: list[str] = []
    second = Embedded(tmp_path)
    try:
        again = second.up(options(), said.append)
        assert (again.project, again.bucket) == (first.project, first.bucket), "programs are set up for it once"
        assert "of the first" not in FakeGcs(again.storage_url).list(again.bucket)
    finally:
        second.down()
    assert "the last stack here ended without a goodbye; tidied up after it" in said


def test_the_stack_ends_with_the_process_that_it_is_attached_to(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from poolhouse.local.embedded.backend import Embedded; "
        "from poolhouse.local.backend import UpOptions; b = Embedded(Path(sys.argv[1])); "
        "b.up(UpOptions(api_port=int(sys.argv[2]), attached=True, timeout_s=120), print); time.sleep(600)"
    )
    command = (sys.executable, "-c", program, str(tmp_path), str(ports.choose()))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as starter:
        try:
            until(lambda: getattr(state.read_live(tmp_path), "ready", False), "stack ready")
            processes = processes_of(tmp_path)
        finally:
            starter.kill()
    until(lambda: all_gone(processes), "all processes ended")
    assert state.read(tmp_path) is None


def test_ctrl_c_stops_a_foreground_stack_in_order(tmp_path: Path) -> None:
    port = ("--api-port", str(ports.choose()))
    command = (sys.executable, "-m", "invoke", "up", "--backend", "embedded", "--foreground", *port)
    environment = {**os.environ, "POOLHOUSE_STATE_DIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as foreground:
        try:
            until(lambda: getattr(state.read_live(tmp_path), "ready", False), "stack ready")
            processes = processes_of(tmp_path)
            assert foreground.stdout is not None
            while "worker ready" not in foreground.stdout.readline():
                pass
        finally:
            os.killpg(foreground.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
        output, _ = foreground.communicate(timeout=TIMEOUT_S)
    assert foreground.returncode == 0, output
    assert output.rstrip().endswith("stopped")
    assert all_gone(processes)
    assert state.read(tmp_path) is None


def test_a_port_in_use_is_named_together_with_who_has_it(backend: Embedded) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=rf"port {port} is in use by process {os.getpid()} .*--api-port"):
            backend.up(options(api_port=port), quiet)


def test_a_service_that_does_not_start_is_shown_with_its_own_words_and_nothing_is_left(
    backend: Embedded, tmp_path: Path
) -> None:
    needy = tmp_path / "pipeline.toml"
    needy.write_text(f'handlers = ["{leaky_handlers.__name__}"]\n[secrets]\nPLANTED = "latest"\n[queues.default]\n')
    needs = r"leaky_handlers\.py:\d+: the handler of leak needs the secret PLANTED, and the variable PLANTED is not set"
    with pytest.raises(StackError, match=needs):
        backend.up(options(environment={"PIPELINE_FILE": str(needy)}), quiet)
    assert state.read(tmp_path) is None


def test_the_logs_of_all_services_are_there_after_the_stack_has_ended(
    backend: Embedded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.up(options(), quiet)
    backend.down()
    assert show_logs(state_dir=tmp_path) == OK
    output = capsys.readouterr().out
    assert "worker ready" in output
    assert "api listens" in output
    assert show_logs("api", state_dir=tmp_path) == OK
    assert "worker ready" not in capsys.readouterr().out
    assert exit_code(show_logs, "nobody", state_dir=tmp_path) == USAGE
