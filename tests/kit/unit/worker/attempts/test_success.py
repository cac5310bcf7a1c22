"""Attempts that succeed: what they cost, their results, and the tasks that follow them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from poolhouse.pipeline import names
from poolhouse.pipeline.tasks.records import Outcome, Status
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import Engine


def test_a_task_that_succeeds_costs_two_writes_and_is_acked(engine: Engine) -> None:
    delivery = engine.task("echo", n=3)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    record = engine.record()
    assert (record.status, record.result, record.attempts[0].outcome) == (Status.SUCCEEDED, {"n": 3}, Outcome.SUCCEEDED)
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_a_task_that_succeeds_costs_no_call_but_its_two_writes(engine: Engine) -> None:
    engine.attempts.process(engine.task("echo", n=3))
    assert engine.store.calls == 2


def test_a_task_that_returns_nothing_costs_no_more_than_another(engine: Engine) -> None:
    engine.attempts.process(engine.task("nothing"))
    assert engine.record().status is Status.SUCCEEDED
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_start_and_end_of_an_attempt_are_logged_with_its_duration_and_an_unrecorded_one_is_silent(
    engine: Engine,
) -> None:
    for task_type, level, outcome in (
        ("echo", "info", "succeeded"),
        ("boom", "info", "retried"),
        ("light", "debug", "succeeded"),
    ):
        with capture_logs() as lines:
            engine.attempts.process(engine.task(task_type, f"t-{task_type}"))
        started, ended = (line for line in lines if line["event"] in {"task started", "task ended"})
        assert (started["event"], started["log_level"], ended["log_level"]) == ("task started", level, level)
        assert (started["task_id"], started["attempt"]) == (f"t-{task_type}", 1)
        assert (ended["outcome"], ended["duration_s"]) == (outcome, 0.0)


def test_a_coroutine_handler_runs_on_the_loop(engine: Engine) -> None:
    engine.attempts.process(engine.task("coroutine", n=4))
    assert engine.record().result == 5


TRACED = """
import sys
from tests.kit.unit.worker.conftest import Engine
engine = Engine()
sys.setprofile(lambda frame, event, argument: None)  # as coverage and profilers do
for number in range(3):
    engine.attempts.process(engine.task("echo", f"t-{number}", n=number))
print(engine.attempts.counts["succeeded"])
"""


def test_a_traced_worker_goes_on_after_its_first_task() -> None:
    # A flag that a handler's end left up made CPython before 3.13 loop for ever where it was traced.
    ran = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout.splitlines()[-1:], ran.returncode) == (["3"], 0), ran.stderr


def test_a_message_published_by_hand_is_the_same_task_at_each_delivery(engine: Engine) -> None:
    for _ in range(2):
        engine.attempts.process(engine.delivery(b'{"task_type": "echo", "n": 4}', message_id="by-hand"))
    assert len(handlers.runs) == 1


def test_a_large_result_is_an_object_of_its_own_that_no_second_run_replaces(engine: Engine) -> None:
    name = names.result("big", "t-1")
    engine.store.put(name, b'"the first result"')
    engine.attempts.process(engine.task("big", n=100_000))
    record = engine.record()
    assert record.result_object is not None
    assert record.result_object.name == name
    assert engine.store.get(name)[0] == b'"the first result"'
    assert record.result == "the first result"


def test_a_result_wanted_as_a_file_is_in_the_record_too(engine: Engine) -> None:
    engine.attempts.process(engine.task("report", n=8))
    assert engine.record().result == {"n": 8}
    assert json.loads(engine.store.get("results/report_t-1.json")[0]) == {"n": 8}


def test_a_large_result_is_written_in_pieces(engine: Engine) -> None:
    engine.attempts.process(engine.task("big", n=9 * 1024 * 1024))
    found = engine.record().result_object
    assert found is not None
    assert engine.store.stat(found.name).size_bytes == found.size_bytes > 9 * 1024 * 1024


def test_follow_ups_are_published_after_success_and_again_by_a_duplicate_with_the_same_ids(engine: Engine) -> None:
    engine.attempts.process(engine.task("parent"))
    engine.attempts.process(engine.task("parent", attempt=2))
    submitted = [
        (message.topic, message.message.attributes["task_id"])
        for message in engine.topics.published
        if not message.topic.endswith("dead-letters")
    ]
    assert len(submitted) == 4
    assert submitted[:2] == submitted[2:]
    assert [task_id for _, task_id in submitted[:2]] == engine.record().result
    assert [topic for topic, _ in submitted[:2]] == ["poolhouse-default", "poolhouse-urgent"]


@pytest.mark.parametrize("task_type", ["referring_parent", "referring_coroutine"])
def test_what_a_handler_submits_by_a_reference_is_its_follow_up(engine: Engine, task_type: str) -> None:
    engine.attempts.process(engine.task(task_type))
    follow_ups = engine.record().follow_ups
    assert [(each.task_type, each.queue, each.payload) for each in follow_ups] == [
        ("echo", "default", {"n": 1}),
        ("echo", "urgent", {"n": 2}),
    ]
    assert [each.task_id for each in follow_ups] == engine.record().result


def test_follow_ups_of_a_failed_attempt_are_not_published(engine: Engine) -> None:
    engine.attempts.process(engine.task("failing_parent"))
    assert engine.topics.published == []
