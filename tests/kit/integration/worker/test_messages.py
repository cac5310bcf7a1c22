"""Whatever arrives in a queue, and whatever a handler returns or raises, on the real client and real servers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local.provision import realise
from poolhouse.pipeline import names
from poolhouse.pipeline.config import settings
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.records import Outcome, Status
from poolhouse.pipeline.timing.timers import Timers
from tests.kit.integration.worker.message_handlers import RAISES, RETURNS
from tests.kit.integration.worker.test_worker import Pipeline, _pipeline

PIPELINE = """
[queues.default]
ack_deadline_s = 10
retry_min_backoff_s = 0
retry_max_backoff_s = 0
[queues.default.workers]
concurrency = 4
"""


@pytest.fixture
def pipeline(
    poolhouse_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Pipeline]:
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    monkeypatch.setenv("PIPELINE_FILE", str(tmp_path / "pipeline.toml"))
    monkeypatch.setenv("TASK_HANDLERS", "tests.kit.integration.worker.message_handlers")
    loaded = settings.load()
    realise(loaded)
    with _pipeline(loaded, tmp_path / "worker.log") as built:
        yield built


def submit(pipeline: Pipeline, task_type: str, **payload: Any) -> str:
    return pipeline.submit(task_type, queue="default", **payload)


def test_retries_far_in_the_future_leave_the_queue_to_others(pipeline: Pipeline) -> None:
    pipeline.worker("run")
    far = [submit(pipeline, "postpone", after_s=after_s) for after_s in (530, 599.5, 600, 3600, 604_800) * 6]
    near = [submit(pipeline, "plain") for _ in range(10)]
    for task_id in near:
        assert pipeline.ended(task_id).status is Status.SUCCEEDED
    for task_id in far:
        pipeline.until(lambda task_id=task_id: _status(pipeline, task_id) is Status.SCHEDULED, 30)
    # Those of more than nine minutes are objects, and no messages: they hold neither a lease nor a delivery.
    timers = pipeline.store.list(names.TIMERS).objects
    assert len(timers) == 24
    assert "Error in queue callback worker" not in pipeline.log.read_text()


def test_a_message_as_large_as_may_be_runs_and_a_refused_one_is_kept(pipeline: Pipeline) -> None:
    pipeline.worker("run", "--dead-letters")
    large = submit(pipeline, "measure", text="x" * 9_900_000)
    refused = submit(pipeline, "measure", text="y" * 9_900_000, refuse=True)
    assert pipeline.ended(large, 120).result == 9_900_000
    assert pipeline.ended(refused, 120).reason == "too much"
    pipeline.until(lambda: pipeline.box.count("default") == 1, 60)
    assert len(pipeline.box.get(refused).body()) > 9_900_000


HOSTILE: dict[str, tuple[bytes, dict[str, str]]] = {
    "empty": (b"", {"any": "attribute"}),
    "no utf-8": (b"\xff\xfe\x00", {}),
    "nested": (b"[" * 100_000, {}),
    "nested and closed": (b'{"task_type":"plain","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}),
    "nested 150": (b'{"task_type":"plain","a":' + b"[" * 150 + b"]" * 150 + b"}", {}),
    "surrogate": (b'{"task_type":"plain","a":"\\ud800"}', {}),
    "nan": (b'{"task_type":"plain","a":NaN}', {}),
    "infinite": (b'{"task_type":"plain","a":1e999}', {}),
    "digits": (b'{"task_type":"plain","a":' + b"9" * 100_000 + b"}", {}),
    "nul": (b'{"task_type":"plain\\u0000"}', {}),
    "escape": (b'{"task_type":"\\u001b[31m"}', {}),
    "long type": (b'{"task_type":"' + b"t" * 1000 + b'"}', {}),
    "time": (b'{"task_type":"plain","submitted_at":"0001-01-01T00:00:00+14:00"}', {}),
    "not before": (b'{"task_type":"plain"}', {"not_before": "whenever"}),
    "path": (b"no JSON", {"task_id": "../../x", "queue": "nowhere", "task_type": "\x1b[2J"}),
    "10 MB": (b"[" + b"1," * 4_900_000 + b"1]", {}),
}


@pytest.mark.parametrize("topic", ["poolhouse-default", "poolhouse-default-dead-letters"])
def test_any_bytes_end_as_one_kept_dead_letter_and_no_loop_spins(pipeline: Pipeline, topic: str) -> None:
    pipeline.worker("run", "--dead-letters")
    for data, attributes in HOSTILE.values():
        pipeline.publisher.publish(topic, data, attributes).result()
    pipeline.until(lambda: pipeline.box.count("default") == len(HOSTILE), 60)
    bodies = [pipeline.box.get(letter.task_id).body() for letter in pipeline.box.page().dead_letters]
    assert sorted(bodies) == sorted(data for data, _ in HOSTILE.values())
    log = pipeline.log.read_text()
    assert "the worker failed" not in log
    assert len(log.splitlines()) < 10 * len(HOSTILE)
    # Nothing is left, and nothing else is hurt.
    assert pipeline.ended(submit(pipeline, "plain")).status is Status.SUCCEEDED


def test_a_record_that_can_not_be_read_ends_its_message_as_a_dead_letter(pipeline: Pipeline) -> None:
    task_id = pipeline.task_ids.new(datetime.now(UTC))
    pipeline.store.put(names.claim(task_id), b'{"task_id": 1}')
    message = TaskMessage(
        task_id=task_id, task_type="plain", submitted_at=datetime.now(UTC), queue="default", payload={}
    )
    pipeline.publisher.submit(message).result()
    pipeline.worker("run", "--dead-letters")
    pipeline.until(lambda: pipeline.box.count("default") == 1, 60)
    assert "is not a record of this version" in pipeline.box.get(task_id).reason
    pipeline.box.replay(task_id, pipeline.publisher, now=datetime.now(UTC))
    assert pipeline.ended(task_id).status is Status.SUCCEEDED


def test_a_task_type_has_all_its_attempts_however_often_pubsub_delivers(pipeline: Pipeline) -> None:
    pipeline.worker("run", "--dead-letters")
    task_id = submit(pipeline, "stubborn")
    record = pipeline.ended(task_id, 180)
    assert (record.status, record.attempts[-1].number) == (Status.DEAD, 20)
    assert record.reason == "all 20 attempts used up; the last one: RuntimeError: attempt 20"
    pipeline.until(lambda: pipeline.box.count("default") == 1, 60)
    assert "has attempts left" in pipeline.log.read_text()


KEPT = {
    "datetime": {"at": "2026-01-02T00:00:00Z"},
    "decimal": "1.10",
    "set": [3],
    "uuid": "00000000-0000-0000-0000-000000000001",
    "bytes": "abc",
    "models": [{"at": "2026-01-02T00:00:00Z"}],
}
REFUSED = {
    "binary": "the result is a builtins.bytes",
    "nan": "the result.rows.1.mean is nan",
    "infinity": "the result is -inf",
    "object": "the result is a builtins.object",
    "cycle": "the result.0 contains itself",
    "deep": "nested deeper than 100 levels",
    "deeper": "nested deeper than 100 levels",
    "surrogate": "the result.file is text with a lone surrogate",
    "long integer": "4300 digits",
}
RAISED = {
    "reject colour": "\\x1b[31mred\\x1b[0m",
    "reject surrogate": "caf\\udce9",
    "reject blank": "the handler refused the task",
    "reject long": "yyyy",
    "surrogate": "FileNotFoundError: caf\\udce9",
    "nul": "a\\x00b",
    "unspeakable": "__str__ raised RuntimeError",
    "base": "OtherBase: base",
    "group": "several (2 sub-exceptions)",
    "retry nan": "ValueError: after_s must be between 0 and",
    "long": "RuntimeError: zzzz",
}


def test_every_outcome_is_one_final_state_with_its_reason_after_one_attempt(pipeline: Pipeline) -> None:
    assert {*KEPT, *REFUSED, "large"} == set(RETURNS)
    assert set(RAISED) == set(RAISES)
    pipeline.worker("run", "--dead-letters")
    returned = {way: submit(pipeline, "returns", way=way) for way in RETURNS}
    raised = {way: submit(pipeline, "raises", way=way) for way in RAISES}
    reports, submits = submit(pipeline, "reports"), submit(pipeline, "submits")
    for way, task_id in {**returned, **raised}.items():
        assert len(pipeline.ended(task_id).attempts) == 1, way
    for way, value in KEPT.items():
        assert pipeline.ended(returned[way]).result == value
    for way, reason in REFUSED.items():
        record = pipeline.ended(returned[way])
        assert record.status is Status.FAILED
        assert reason in (record.reason or ""), record.reason
    for way, reason in RAISED.items():
        record = pipeline.ended(raised[way])
        assert record.status in {Status.FAILED, Status.DEAD}
        assert reason in (record.reason or ""), record.reason
    large = pipeline.ended(returned["large"]).result_object
    assert large is not None
    assert pipeline.store.stat(large.name).size_bytes == large.size_bytes > 20_000_000
    progress = pipeline.ended(reports).progress
    assert progress is not None
    assert (progress.done, progress.total, progress.note) == (None, None, "caf\\udce9 \\x1b[31m")
    assert "lone surrogate" in (pipeline.ended(submits).reason or "")
    # And each dead letter can be read and replayed: a reason with an escape sequence broke the answer's headers.
    letters = len(REFUSED) + len(RAISED) + 1
    pipeline.until(lambda: pipeline.box.count("default") == letters, 60)
    for summary in pipeline.box.page().dead_letters:
        assert pipeline.box.get(summary.task_id).reason
    pipeline.box.replay(raised["reject colour"], pipeline.publisher, now=datetime.now(UTC))


def test_timers_run_each_task_once_and_in_time_under_two_schedulers_and_a_kill(pipeline: Pipeline) -> None:
    timers = Timers(pipeline.store)
    due_at = datetime.now(UTC) + timedelta(seconds=12)
    tasks = []
    for _ in range(60):
        task_id = pipeline.task_ids.new(datetime.now(UTC))
        task = TaskMessage(
            task_id=task_id, task_type="plain", submitted_at=due_at, queue="default", payload={}, not_before=due_at
        )
        timers.put("default", task.data(), task.attributes(), task_id=task_id, not_before=due_at)
        tasks.append(task_id)
    victim = pipeline.worker("schedules", ready=False)
    pipeline.worker("run", "--dead-letters")
    pipeline.worker("schedules", ready=False)
    pipeline.until(lambda: len(pipeline.store.list(names.TIMERS).objects) < len(tasks), 60)
    victim.kill()
    for task_id in tasks:
        record = pipeline.ended(task_id, 120)
        assert [attempt.outcome for attempt in record.attempts] == [Outcome.SUCCEEDED]
        assert record.attempts[0].started_at >= due_at
    pipeline.until(lambda: not pipeline.store.list(names.TIMERS).objects, 60)


def _status(pipeline: Pipeline, task_id: str) -> Status | None:
    record = pipeline.record(task_id)
    return None if record is None else record.status


def test_a_short_delay_is_kept_to_the_second_without_a_timer(pipeline: Pipeline) -> None:
    pipeline.worker("run")
    now = datetime.now(UTC)
    due_at = now + timedelta(seconds=4)
    task = TaskMessage(
        task_id=pipeline.task_ids.new(now),
        task_type="plain",
        submitted_at=now,
        queue="default",
        payload={},
        not_before=due_at,
    )
    Timers(pipeline.store).send(task, pipeline.publisher, now=now).result()
    record = pipeline.ended(task.task_id, 30)
    assert pipeline.store.list(names.TIMERS).objects == ()
    late_s = (record.attempts[0].started_at - due_at).total_seconds()
    assert 0 <= late_s < 5  # 1 s, and room for a machine that is busy
