from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from poolhouse.commands.exit_code import exit_code
from poolhouse.commands.project.checks import pytest_arguments
from poolhouse.commands.stack.lifecycle import down, up
from poolhouse.commands.stack.logs import show_logs
from poolhouse.commands.stack.status import status
from poolhouse.commands.stack.variables import show_environment
from poolhouse.local import backends, state
from poolhouse.local.backend import Endpoints, ServiceState, ServiceStatus, UpOptions
from poolhouse.local.errors import StackError
from poolhouse.local.processes.identity import ProcessId
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK, USAGE
from tests.kit.unit.local.console.conftest import MadeUpBackend


def failing(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StackError("it [broke]"), FAILED),
        (ConfigError("wrong"), USAGE),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_message_and_an_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(failing, error) == code
    assert capsys.readouterr().err.strip() == str(error)


def test_sigterm_breaks_a_command_off_as_ctrl_c_does() -> None:
    before, put_in_order = signal.getsignal(signal.SIGTERM), []

    def terminated() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            put_in_order.append(True)
        return OK

    assert exit_code(terminated) == 128 + signal.SIGTERM
    assert put_in_order
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_that_is_no_poolhouse_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(failing, ZeroDivisionError())


@pytest.mark.parametrize(("service", "code"), [("worker", FAILED), ("console", OK)])
def test_status_fails_where_something_is_not_ready_but_for_the_console(
    service: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Endpoints(api_url="http://127.0.0.1:9", pubsub_host="", storage_url="", project="p", bucket="b")
    backend = MadeUpBackend(nowhere)
    late = ServiceStatus(service=service, instance=service, state=ServiceState.STARTING, note="it takes its time")
    backend.services = (*backend.services, late)
    monkeypatch.setattr(backends, "current", lambda state_dir: backend)
    assert status(state_dir=tmp_path) == code
    assert "it takes its time" in capsys.readouterr().out


def test_status_for_programs_is_one_object_without_queues_where_the_api_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Endpoints(api_url="http://127.0.0.1:9", pubsub_host="", storage_url="", project="p", bucket="b")
    backend = MadeUpBackend(nowhere)
    monkeypatch.setattr(backends, "current", lambda state_dir: backend)
    status(as_json=True, state_dir=tmp_path)
    found = json.loads(capsys.readouterr().out)
    assert (found["project"], found["queues"]) == ("p", None)
    assert [entry["state"] for entry in found["services"]] == [str(entry.state) for entry in backend.services]


def test_without_a_stack_status_fails_and_down_is_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(status, state_dir=tmp_path) == FAILED
    assert "./invoke up" in capsys.readouterr().err
    assert exit_code(down, state_dir=tmp_path) == OK
    assert exit_code(show_logs, state_dir=tmp_path) == FAILED


def test_another_backend_than_that_of_the_stack_which_is_up_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints = Endpoints(api_url="http://a:1", pubsub_host="a:2", storage_url="http://a:3", project="p", bucket="b")
    me = ProcessId.of(os.getpid())
    state.write(
        tmp_path, state.StackState(backend="embedded", endpoints=endpoints, ready=True, supervisor=me, details={})
    )
    assert exit_code(up, backend="compose", state_dir=tmp_path) == USAGE
    assert "./invoke down" in capsys.readouterr().err
    assert exit_code(up, backend="embedded", state_dir=tmp_path) == OK
    assert "up already" in capsys.readouterr().out


def test_an_emulator_is_chosen_for_containers_alone_and_not_for_a_stack_that_has_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    google = UpOptions(pubsub="google")
    assert exit_code(up, backend="embedded", options=google, state_dir=tmp_path) == USAGE
    assert "--pubsub is for the backend compose" in capsys.readouterr().err
    _running(tmp_path, backend="compose", details={"pubsub": "poolhouse"})
    monkeypatch.setattr(backends, "current", lambda state_dir: MadeUpBackend(_ENDPOINTS))
    assert exit_code(up, options=google, state_dir=tmp_path) == USAGE
    assert "with the Pub/Sub emulator poolhouse: ./invoke down ends it" in capsys.readouterr().err


def test_what_does_not_run_of_a_stack_is_brought_back_by_its_own_backend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(tmp_path, backend="compose", details={})
    backend = MadeUpBackend(_ENDPOINTS)
    monkeypatch.setattr(backend, "missing", lambda: "worker-default does not run")
    monkeypatch.setattr(backend, "up", lambda options, say: _ENDPOINTS)
    asked: list[str | None] = []

    def chosen(name: str | None, *, state_dir: Path) -> backends.Choice:
        asked.append(name)
        return backends.Choice(backend=backend, reason="as asked")

    monkeypatch.setattr(backends, "current", lambda state_dir: backend)
    monkeypatch.setattr(backends, "choose", chosen)
    assert exit_code(up, state_dir=tmp_path) == OK
    assert asked == ["compose"]
    assert "worker-default does not run: bringing it back" in capsys.readouterr().out


def test_where_the_engine_is_off_the_other_backend_can_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _running(tmp_path, backend="compose", details={})
    backend = MadeUpBackend(_ENDPOINTS)

    def off() -> str | None:
        raise StackError("the Docker engine is not running: start it, or do without it: ./invoke up --backend embedded")

    monkeypatch.setattr(backend, "missing", off)
    monkeypatch.setattr(backend, "up", lambda options, say: _ENDPOINTS)
    monkeypatch.setattr(backends, "current", lambda state_dir: backend)
    monkeypatch.setattr(
        backends, "choose", lambda name, *, state_dir: backends.Choice(backend=backend, reason="as asked")
    )
    assert exit_code(up, state_dir=tmp_path) == FAILED
    assert "--backend embedded" in capsys.readouterr().err
    assert exit_code(up, backend="embedded", state_dir=tmp_path) == OK
    assert "is left as it is" in capsys.readouterr().out


_ENDPOINTS = Endpoints(api_url="http://a:1", pubsub_host="a:2", storage_url="http://a:3", project="p", bucket="b")


def _running(state_dir: Path, *, backend: str, details: dict[str, object]) -> None:
    me = ProcessId.of(os.getpid())
    state.write(
        state_dir, state.StackState(backend=backend, endpoints=_ENDPOINTS, ready=True, supervisor=me, details=details)
    )


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ("tests/unit -k 'a or b'", ["tests/unit", "-k", "a or b"]),
        ("-n 4 tests", ["-n", "4", "tests"]),
        ("--pdb", ["--pdb"]),
    ],
)
def test_what_follows_the_dashes_goes_to_pytest(given: str, handed_on: list[str]) -> None:
    arguments = pytest_arguments(given)
    assert arguments[-len(handed_on) :] == handed_on
    assert (arguments == handed_on) == (given != "tests/unit -k 'a or b'")


def test_everything_is_all_below_the_folder_of_tests() -> None:
    assert "tests" not in pytest_arguments("-x")
    assert pytest_arguments("-x", everything=True)[-2:] == ["tests", "-x"]


@pytest.mark.parametrize("form", ["shell", "dotenv", "json"])
def test_the_environment_of_a_stack_is_what_other_programs_read(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = Endpoints(
        api_url="http://127.0.0.1:1",
        pubsub_host="127.0.0.1:2",
        storage_url="http://127.0.0.1:3",
        project="p",
        bucket="it's",
        console_url=None,
    )
    backend = MadeUpBackend(endpoints)
    monkeypatch.setattr(backends, "current", lambda state_dir: backend)
    assert show_environment(form, state_dir=tmp_path) == OK
    output = capsys.readouterr().out
    if form == "json":
        found = json.loads(output)
    elif form == "shell":
        script = f"{output}\nenv"
        printed = subprocess.run(("sh", "-c", script), env={}, capture_output=True, text=True, check=True).stdout
        found = dict(line.split("=", 1) for line in printed.splitlines())
    else:
        found = dict(line.split("=", 1) for line in output.splitlines())
    wanted = {
        **endpoints.environment(),
        "POOLHOUSE_API_URL": endpoints.api_url,
        "TRACES_DIR": str(
            tmp_path / "traces" / backend.name
        ),  # a worker started by hand records its spans where the console looks
    }
    assert {name: found[name] for name in wanted} == wanted


def test_a_form_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shell, dotenv, json"):
        show_environment("yaml", state_dir=tmp_path)


def test_what_the_system_refuses_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    refusal = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/shm/x")
    assert exit_code(failing, refusal) == FAILED
    assert capsys.readouterr().err == "No space left on device: /dev/shm/x\n"
    with pytest.raises(FileNotFoundError):  # a mistake of ours keeps its traceback
        exit_code(failing, FileNotFoundError(errno.ENOENT, "none", "x"))
