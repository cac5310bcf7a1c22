"""The hooks of docs/hooks.md are hooks, and do what the page says."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from poolhouse.pipeline.hooks import Hook, Hooks, failures, load
from poolhouse.project import ROOT
from tests.kit.unit.worker.conftest import Engine

_BLOCK = re.compile(r"```python\n# shop/(\w+)\.py\n(.*?)```", re.DOTALL)
BLOCKS = {
    f"documented_{name}": code for name, code in _BLOCK.findall((ROOT / "docs/hooks.md").read_text(encoding="utf-8"))
}


class FakeTransport(Transport):
    """Keeps what Sentry's client sends."""

    sent: list[Envelope]

    def capture_envelope(self, envelope: Envelope) -> None:
        self.sent.append(envelope)


@pytest.fixture
def engine(engine_of: Engine) -> Engine:
    return engine_of


@pytest.fixture
def engine_of() -> Iterator[Engine]:
    built = Engine()
    yield built
    built.executor.stop()
    built.heartbeat.stop()


def documented(name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(BLOCKS[name], "docs/hooks.md", "exec"), vars(module))
    return module


def test_the_page_has_its_three_examples() -> None:
    assert list(BLOCKS) == ["documented_hooks", "documented_telemetry", "documented_errors"]


def test_the_first_example_runs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    documented("documented_hooks", monkeypatch)
    engine.hooks = Hooks(load(["documented_hooks:Slow"]))
    engine.attempts = engine.another("worker-1")
    before = dict(failures())
    for task_type in ("echo", "reject"):
        engine.attempts.process(engine.task(task_type, task_type))
    assert failures() == before
    assert "reason='Reject: not this one'" in capsys.readouterr().out


def test_the_sentry_example_reports_errors_with_their_task_and_deaths(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = FakeTransport()
    transport.sent = []
    initialised = sentry_sdk.init
    monkeypatch.setattr(sentry_sdk, "init", lambda dsn: initialised(dsn=dsn, transport=transport))
    monkeypatch.setenv("SENTRY_DSN", "https://public@sentry.invalid/1")
    documented("documented_errors", monkeypatch)
    hooks: list[Hook] = [*load(["documented_errors:Sentry"])]
    engine.hooks = Hooks(hooks)
    engine.attempts = engine.another("worker-1")
    before = dict(failures())
    try:
        for task_type in ("echo", "boom", "reject", "once"):
            engine.attempts.process(engine.task(task_type, task_type))
        engine.hooks.close()
    finally:
        initialised()
    assert failures() == before
    events = [event for envelope in transport.sent if (event := envelope.get_event())]
    errors = [event["exception"]["values"][-1]["value"] if "exception" in event else None for event in events]
    told = [
        (event["tags"]["task_type"], error or event["message"]) for event, error in zip(events, errors, strict=True)
    ]
    assert told == [
        ("boom", "boom"),
        ("reject", "task reject is dead: Reject: not this one"),
        ("once", "only once"),
        ("once", "task once is dead: RuntimeError: only once"),
    ]
    assert events[0]["contexts"]["task"] == {"task_id": "boom", "attempt": 1}
