from __future__ import annotations

import json
from pathlib import Path

import pytest

from poolhouse.local.backend import Endpoints, ServiceState, ServiceStatus
from poolhouse.local.console import lines
from poolhouse.local.errors import StackError
from tests.kit.unit.local.console.conftest import MadeUpBackend

WHERE = Endpoints(api_url="", pubsub_host="", storage_url="", project="", bucket="")


def said(second: int, message: str, severity: str = "INFO", **fields: str) -> str:
    return json.dumps({"time": f"2026-11-24T10:00:{second:02}Z", "severity": severity, "message": message, **fields})


@pytest.fixture
def backend(tmp_path: Path) -> MadeUpBackend:
    api, worker = tmp_path / "api.log", tmp_path / "worker-1.log"
    api.write_text("\n".join((said(1, "first"), said(3, "third", "ERROR"), "Traceback", "")))
    worker.write_text("\n".join((said(2, "second", "DEBUG", task_id="t1"), said(4, "fourth", task_id="t2"), "")))
    return MadeUpBackend(WHERE, files={"api": api, "worker-1": worker})


def texts(found: list[lines.Line]) -> list[str]:
    return [line.entry.message if line.entry else line.text for line in found]


def test_the_last_lines_come_in_the_order_of_time(backend: MadeUpBackend) -> None:
    found = lines.last(backend, None, severity="", words="", most=10)
    assert texts(found) == ["first", "second", "third", "Traceback", "fourth"]
    assert texts(lines.last(backend, None, severity="", words="", most=2)) == ["Traceback", "fourth"]
    assert texts(lines.last(backend, "worker", severity="", words="", most=9)) == ["second", "fourth"]


def test_a_severity_leaves_out_what_is_milder_but_no_line_of_a_traceback(backend: MadeUpBackend) -> None:
    assert texts(lines.last(backend, None, severity="WARNING", words="", most=9)) == ["third", "Traceback"]
    assert "second" not in texts(lines.last(backend, None, severity="INFO", words="", most=9))


def test_words_are_looked_for_in_any_case(backend: MadeUpBackend) -> None:
    assert texts(lines.last(backend, None, severity="", words="THIRD", most=9)) == ["third"]


def test_a_tasks_lines_are_those_that_name_it(backend: MadeUpBackend) -> None:
    assert backend.files is not None
    assert texts(lines.of_task(backend.files, "t1")) == ["second"]


def test_a_line_keeps_its_key_and_shares_it_with_no_other(backend: MadeUpBackend) -> None:
    assert backend.files is not None
    backend.files["api"].write_text("the same\nthe same\n")
    first = [line.key for line in lines.last(backend, "api", severity="", words="", most=9)]
    assert len(set(first)) == 2
    assert [line.key for line in lines.last(backend, "api", severity="", words="", most=9)] == first


def test_an_engines_lines_are_distinguished_by_what_is_before_the_bar() -> None:
    printed = f"worker-1  | {said(2, 'second')}\napi-1  | {said(1, 'first')}\napi-1  | a | b\nno bar"
    found = lines.last(MadeUpBackend(WHERE, files=None, printed=printed), None, severity="", words="", most=9)
    assert [(line.instance, line.text) for line in found if line.entry is None] == [("", "no bar"), ("api-1", "a | b")]
    assert [line.instance for line in found if line.entry is not None] == ["api-1", "worker-1"]


def test_of_an_engines_service_the_instance_that_was_asked_for_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = f"worker-bulk-1  | {said(2, 'second')}\nworker-urgent-1  | {said(1, 'first')}"
    asked: list[str | None] = []
    backend = MadeUpBackend(WHERE, files=None, printed=printed)
    backend.services = tuple(
        ServiceStatus(service="worker", instance=name, state=ServiceState.READY)
        for name in ("worker-bulk-1", "worker-urgent-1")
    )
    log_command = backend.log_command

    def asking(service: str | None, *, follow: bool, lines: int) -> list[str] | None:
        asked.append(service)
        return log_command(service, follow=follow, lines=lines)

    monkeypatch.setattr(backend, "log_command", asking)
    assert lines.instances(backend) == ["worker-bulk-1", "worker-urgent-1"]
    assert texts(lines.last(backend, "worker-bulk-1", severity="", words="", most=9)) == ["second"]
    assert texts(lines.last(backend, "worker", severity="", words="", most=9)) == ["first", "second"]
    assert asked == ["worker-bulk-1", "worker"]


def test_an_engine_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MadeUpBackend(WHERE, files=None)
    monkeypatch.setattr(backend, "log_command", lambda *_, **__: ["false"])
    with pytest.raises(StackError, match="does not give its logs"):
        lines.last(backend, None, severity="", words="", most=9)
