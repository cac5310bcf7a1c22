"""Hooks of a worker: their order, where each part runs, and that a broken one changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.hooks import Hook, Hooks, failures, load
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter_attributes import attributes_for
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.worker.errors import TaskTimeout
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from poolhouse.worker.runtime.execution.executor import Executor
from tests.kit.unit.worker import hook_samples
from tests.kit.unit.worker.conftest import PIPELINE, Engine, FakeDelivery

SAMPLES = "tests.kit.unit.worker.hook_samples"
HookedEngine = Callable[..., Engine]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    path = tmp_path / "hooks.log"
    monkeypatch.setenv("HOOK_LOG", str(path))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")  # for the handlers' processes
    monkeypatch.setenv("BUCKET_NAME", "test-bucket")
    monkeypatch.setenv("PIPELINE_FILE", str(PIPELINE))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    return lambda: path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def hooked(log: Callable[[], list[str]]) -> Iterator[HookedEngine]:
    """Makes an engine with hooks of `hook_samples`, by their names."""
    made: list[Engine] = []

    def make(*names: str) -> Engine:
        engine = Engine()
        declared = tuple(f"{SAMPLES}:{name}" for name in names)
        engine.hooks = Hooks(load(declared))
        engine.executor.stop()
        engine.executor = Executor(task_handlers=("tests.kit.unit.worker.handlers",), hooks=declared)
        engine.attempts = engine.another("worker-1")
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.executor.stop()
        engine.heartbeat.stop()


def words(lines: list[str]) -> list[str]:
    return [" ".join(line.split()[:2]) for line in lines]


@pytest.mark.parametrize("task_type", ["echo", "coroutine", "own_process"])
def test_the_first_hook_is_the_outermost_wherever_the_handler_runs(
    hooked: HookedEngine, log: Callable[[], list[str]], task_type: str
) -> None:
    engine = hooked("Noting", "Second")
    engine.attempts.process(engine.task(task_type))
    assert engine.record().status is Status.SUCCEEDED
    assert words(log()) == [
        *("first before", "second before", "first enter", "second enter"),
        *("second leave", "first leave", "second after", "first after"),
    ]


@pytest.mark.parametrize(("task_type", "place"), [("echo", "thread"), ("coroutine", "loop"), ("own_process", "thread")])
def test_around_runs_where_the_handler_runs_and_the_rest_in_the_worker(
    hooked: HookedEngine, log: Callable[[], list[str]], task_type: str, place: str
) -> None:
    engine = hooked("Noting")
    engine.attempts.process(engine.task(task_type))
    before, enter, leave, _ = (line.split() for line in log())
    assert before[3:5] == [str(os.getpid()), "thread"]
    assert enter[-3:] == leave[-3:]
    assert enter[-2] == place
    assert (enter[-3] == str(os.getpid())) == (task_type != "own_process")
    assert (enter[-1] == before[-1]) == (task_type != "coroutine")  # a process runs it on its main thread, too


@pytest.mark.parametrize("task_type", ["echo", "coroutine", "own_process"])
def test_async_hooks_are_waited_for_and_run_on_a_loop(
    hooked: HookedEngine, log: Callable[[], list[str]], task_type: str
) -> None:
    engine = hooked("Async")
    engine.attempts.process(engine.task(task_type))
    assert words(log()) == ["async before", "async enter", "async leave", "async after"]
    assert all(" loop " in line for line in log()[:3])
    assert ("handlers-loop" in log()[1]) == (task_type == "coroutine")


def test_what_becomes_of_an_attempt_is_told_after_it_is_durable(
    hooked: HookedEngine, log: Callable[[], list[str]]
) -> None:
    engine = hooked("Noting")
    engine.attempts.process(engine.task("boom"))
    assert log()[-3:-1] == [f"first leave {hook_samples.where()}", "first after retried"]
    assert log()[-1] == "first on_retry boom"
    engine.attempts.process(engine.task("reject", "t-2"))
    assert log()[-1] == "first on_death Reject: not this one"
    engine.attempts.process(engine.task("once", "t-3"))
    assert log()[-1] == "first on_death RuntimeError: only once"
    engine.attempts.process(engine.task("parent", "t-4"))
    assert log()[-3:] == ["first on_submit echo", "first on_submit echo", "first after succeeded"]


def test_a_task_that_ends_without_an_attempt_is_told_once(hooked: HookedEngine, log: Callable[[], list[str]]) -> None:
    engine = hooked("Noting")
    unknown = TaskRecord(
        task_id="t-1",
        task_type="",
        queue="",
        status=Status.QUEUED,
        submitted_at=engine.clock.now,
        updated_at=engine.clock.now,
    )
    engine.records.write(transitions.cancelled(unknown, now=engine.clock.now), if_generation=0)
    engine.attempts.process(engine.task("echo"))
    engine.attempts.process(engine.task("echo", attempt=2))
    assert log() == ["first on_cancel echo"]
    task = engine.task("echo", "t-2")
    attributes = attributes_for(
        task.attributes, task_id="t-2", reason="lost", message_id="m-1", published_at=task.published_at
    )
    for _ in range(2):
        letter = FakeDelivery(data=task.data, attributes=attributes, published_at=engine.clock.now)
        DeadLetterKeeper(engine.services()).process(letter)
    assert log()[1:] == ["first on_death lost"]


@pytest.mark.parametrize("hook", ["Broken", "BrokenAtTheDoor"])
@pytest.mark.parametrize(
    ("task_type", "status"),
    [("echo", "succeeded"), ("coroutine", "succeeded"), ("own_process", "succeeded"), ("boom", "queued"),
     ("once", "dead"), ("reject", "failed"), ("leave_coroutine", "queued"), ("odd_process", "failed")],
)  # fmt: skip
def test_a_hook_that_raises_changes_nothing(
    hooked: HookedEngine, log: Callable[[], list[str]], hook: str, task_type: str, status: str
) -> None:
    plain, engine = hooked(), hooked("Noting", hook)
    outcomes = []
    for each in (plain, engine):
        task = each.task(task_type)
        each.attempts.process(task)
        record = each.record()
        errors = [attempt.error and (attempt.error.type, attempt.error.message) for attempt in record.attempts]
        outcomes.append((task.ended, record.status, errors, type(record.result)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] == status
    assert log()[-1].startswith(("first after", "first on_"))
    assert any(name.startswith(f"{SAMPLES}:{hook}.") for name in failures()) or task_type.endswith("process")


def test_a_failure_is_logged_once_with_the_name_of_the_hook_and_counted(
    hooked: HookedEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(Hook):
        def before(self, attempt: object) -> None:
            raise RuntimeError("no")

    engine = hooked()
    engine.hooks = Hooks([Failing()])
    engine.attempts = engine.another("worker-1")
    for number in range(3):
        engine.attempts.process(engine.task("echo", f"t-{number}"))
    name = f"{__name__}:{Failing.__qualname__}.before"
    assert failures()[name] == 3
    assert capsys.readouterr().out.count(name) == 1


def test_an_interruption_that_meets_a_hook_is_the_handlers(hooked: HookedEngine, log: Callable[[], list[str]]) -> None:
    class Slow(Hook):
        @contextmanager
        def around(self, attempt: object) -> Iterator[None]:
            [running] = engine.heartbeat.tasks()
            running.interrupt(TaskTimeout("too slow"))
            for _ in range(5000):  # Python raises it at one of the next bytecodes
                time.sleep(0.001)
            yield

    engine = hooked()
    engine.hooks = Hooks([*load([f"{SAMPLES}:Noting"]), Slow()])
    engine.attempts = engine.another("worker-1")
    engine.attempts.process(engine.task("echo"))
    assert [attempt.error and attempt.error.message for attempt in engine.record().attempts] == ["too slow"]
    assert log()[-4:-2] == ["first raised TaskTimeout", f"first leave {hook_samples.where()}"]


def test_hooks_of_a_task_type_come_after_those_of_all_and_are_closed_once() -> None:
    called: list[str] = []

    class Named(Hook):
        def __init__(self, name: str) -> None:
            self.name = name

        def before(self, attempt: object) -> None:
            called.append(self.name)

        def close(self) -> None:
            called.append(f"close {self.name}")

    everywhere, own = Named("all"), Named("own")
    hooks = Hooks([everywhere], {"echo": (own,), "boom": (own,)})
    hooks.of("echo").before(None)  # type: ignore[arg-type]  # it looks at nothing
    hooks.of("other").before(None)  # type: ignore[arg-type]
    hooks.close()
    assert called == ["all", "own", "all", "close own", "close all"]
    assert not Hooks()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tests.kit.no_such:Hook", "tests.kit.no_such can't be imported"),
        (f"{SAMPLES}:Missing", "has no Missing"),
        (f"{SAMPLES}:note", "note() failed"),
        (f"{SAMPLES}:os", "a module is no hook"),
    ],
)
def test_a_hook_that_can_not_be_loaded_is_an_error_at_the_start(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"hooks in pipeline\.toml") as raised:
        load([name])
    assert told in str(raised.value)
