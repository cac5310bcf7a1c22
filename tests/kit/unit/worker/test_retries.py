"""Which error is retried, after how long, and which attempt counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.tasks.dead_letter_attributes import REASON
from poolhouse.pipeline.tasks.records import Outcome, Status
from poolhouse.worker import Backoff, Payload, TaskContext, task
from tests.kit.unit.worker.conftest import PIPELINE, Engine


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler's process reads."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("BUCKET_NAME", "test-bucket")
    monkeypatch.setenv("PIPELINE_FILE", str(PIPELINE))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")


def test_a_retry_that_does_not_count_may_come_more_often_than_there_are_attempts(engine: Engine) -> None:
    for number in range(1, 31):
        delivery = engine.task("busy", attempt=number)
        engine.attempts.process(delivery)
        assert delivery.ended == [("defer", 90)]
        engine.clock.forward(90)
    record = engine.record()
    assert (record.status, record.counted_attempts, record.last_attempt) == (Status.SCHEDULED, 0, 30)
    assert record.attempts[-1].outcome is Outcome.FAILED


def test_a_process_tells_its_worker_that_a_retry_does_not_count(engine: Engine) -> None:
    engine.attempts.process(engine.task("busy_process"))
    assert (engine.record().status, engine.record().counted_attempts) == (Status.QUEUED, 0)


def test_without_a_record_deliveries_are_counted_whatever_the_retry_says(engine: Engine) -> None:
    engine.attempts.process(engine.task("light_busy"))
    assert "all 1 attempts used up" in engine.dead_letters[0][REASON]


def test_a_types_own_backoff_grows_to_its_ceiling_and_goes_beyond_the_queues_attempts(engine: Engine) -> None:
    waits = []
    for number in range(1, 8):
        delivery = engine.task("backs_off", attempt=number)
        engine.attempts.process(delivery)
        ((_, wait_s),) = delivery.ended
        waits.append(wait_s)
        engine.clock.forward(wait_s)
    assert waits == [10, 30, 60, 60, 60, 60, 60]
    assert engine.record().status is Status.SCHEDULED


@pytest.mark.parametrize("task_type", ["choosy", "choosy_process"])
@pytest.mark.parametrize(
    ("number", "status", "error"),
    [
        (1, Status.QUEUED, "ConnectionError"),
        (4, Status.QUEUED, "TimeoutError"),
        (2, Status.FAILED, "KeyError"),
        (3, Status.FAILED, "ConnectionResetError"),
        (5, Status.QUEUED, "SystemExit"),
    ],
)
def test_only_declared_errors_are_retried(
    engine: Engine, task_type: str, number: int, status: Status, error: str
) -> None:
    delivery = engine.task(task_type, n=number)
    engine.attempts.process(delivery)
    record = engine.record()
    assert (record.status, record.attempts[0].error and record.attempts[0].error.type) == (status, error)
    assert delivery.ended == (["nack"] if status is Status.QUEUED else ["ack"])
    if status is Status.FAILED:
        assert record.reason is not None
        assert record.reason.startswith(f"{error} is not retried: ")
        assert record.attempts[0].error is not None
        assert "handlers.py" in (record.attempts[0].error.traceback or "")


def test_a_backoff_is_within_its_bounds_and_its_jitter_only_shortens_it() -> None:
    backoff = Backoff(base_s=2, factor=10, ceiling_s=100, jitter=0.5)
    assert [backoff.wait_s(failures, random=0) for failures in (1, 2, 3, 5000)] == [2, 20, 100, 100]
    assert [backoff.wait_s(failures, random=1) for failures in (1, 2, 3)] == [1, 10, 50]
    assert [Backoff(base_s=base_s, factor=1000).wait_s(5000, random=0) for base_s in (0, 1)] == [0, 3600]
    level = Backoff(base_s=5, ceiling_s=5, factor=1, jitter=0)
    assert [level.wait_s(failures, random=1) for failures in (0, 1, 9)] == [5, 5, 5]
    steep = Backoff(base_s=1, factor=1000, jitter=1)
    assert [steep.wait_s(failures, random=0.5) for failures in (1, 2, 3)] == [0.5, 500, 1800]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Backoff(base_s=-1), "Backoff: base_s must be between 0"),
        (lambda: Backoff(base_s="1"), "Backoff: base_s must be a number"),  # type: ignore[arg-type]
        (lambda: Backoff(base_s=5, ceiling_s=1), "ceiling_s .1. must not be below base_s"),
        (lambda: Backoff(base_s=5, ceiling_s=float("nan")), "ceiling_s must be between"),
        (lambda: Backoff(base_s=1, factor=0.5), "factor must be a number from 1"),
        (lambda: Backoff(base_s=1, factor=1001), "factor must be a number from 1 to 1000"),
        (lambda: Backoff(base_s=1, factor="2"), "factor must be a number"),  # type: ignore[arg-type]
        (lambda: Backoff(base_s=1, factor=float("nan")), "factor must be a number"),
        (lambda: Backoff(base_s=1, jitter="0"), "jitter must be a number"),  # type: ignore[arg-type]
        (lambda: Backoff(base_s=1, factor=True), "factor must be a number"),
        (lambda: Backoff(base_s=1, jitter=-0.1), "jitter must be a number from 0 to 1"),
        (lambda: Backoff(base_s=1, jitter=float("nan")), "jitter must be a number"),
        (lambda: Backoff(base_s=1, jitter=2), "jitter must be a number from 0 to 1"),
    ],
)
def test_a_backoff_that_can_not_be_is_refused_with_its_field(make: Callable[[], Backoff], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backoff": 5}, "backoff must be a Backoff"),
        ({"retry_on": OSError}, "retry_on must be a tuple of exception classes"),
        ({"reject_on": ("OSError",)}, "reject_on must be a tuple of exception classes"),
        ({"reject_on": (KeyboardInterrupt,)}, "reject_on must be a tuple of exception classes"),
        ({"retry_on": (OSError,), "reject_on": (OSError,)}, "both name OSError"),
    ],
)
def test_an_option_that_can_not_be_is_an_error_at_import(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):

        @task("wrong", **options)
        def wrong(payload: Payload, ctx: TaskContext) -> None: ...
